using System.Globalization;

namespace EdgeHost.Linux;

/// <summary>A group of the host.</summary>
public static class SystemGroup
{
    /// <summary>The id of a group in <c>/etc/group</c>; null when it is not there. Other sources of names are not asked: a board has none.</summary>
    /// <param name="name">The group's name.</param>
    public static uint? Find(string name) => Find(name, "/etc/group");

    /// <summary>The id of a group in a file of that form; null when it is not there.</summary>
    /// <param name="name">The group's name.</param>
    /// <param name="file">The file.</param>
    public static uint? Find(string name, string file)
    {
        if (!File.Exists(file))
        {
            return null;
        }

        foreach (var line in File.ReadLines(file))
        {
            var fields = line.Split(':');
            if (fields.Length >= 3 && fields[0] == name
                && uint.TryParse(fields[2], NumberStyles.None, CultureInfo.InvariantCulture, out var id))
            {
                return id;
            }
        }

        return null;
    }
}
