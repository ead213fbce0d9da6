using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>Counts the boots of a board, with one small write in each.</summary>
public static class BootCounter
{
    private const int MaximumBytes = 256;

    /// <summary>Counts this boot unless it was counted before.</summary>
    /// <param name="dataDirectory">Its file <c>boots</c> has the count and the id of the last boot.</param>
    /// <param name="bootId">The id of this boot.</param>
    /// <returns>How many there were, this one included; null when that cannot be kept, as on a full disk.</returns>
    public static long? Count(string dataDirectory, string bootId)
    {
        var path = dataDirectory + "/boots";
        try
        {
            var words = File.Exists(path) && new FileInfo(path).Length <= MaximumBytes ? File.ReadAllText(path).Split(' ', '\n') : [];
            var count = words.Length > 1 && long.TryParse(words[0], NumberStyles.None, CultureInfo.InvariantCulture, out var before) && before < long.MaxValue ? before : 0;
            if (count > 0 && words[1] == bootId)
            {
                return count;
            }

            DurableFile.Write(path, Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{count + 1} {bootId}\n")), 0x1A4);
            return count + 1;
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
