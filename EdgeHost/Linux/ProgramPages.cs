using System.Globalization;

namespace EdgeHost.Linux;

/// <summary>
/// The pages of this program's file that the process has mapped. A start-up touches nearly all of it once, and the
/// kernel maps what lies around each touch; most of it is not needed again.
/// </summary>
public static unsafe class ProgramPages
{
    private const int MADV_PAGEOUT = 21;

    /// <summary>
    /// Gives them back (madvise(2), MADV_PAGEOUT): code and read-only data come again from the file as they are needed;
    /// pages that another process has mapped, and those that were written to, stay. A kernel before 5.4 keeps all.
    /// </summary>
    public static void GiveBack()
    {
        var program = new FileInfo("/proc/self/exe").LinkTarget;
        foreach (var line in File.ReadLines("/proc/self/maps"))
        {
            // 00405000-00d62000 r-xp 00005000 fe:00 11657260    /usr/bin/edgehost
            var words = line.Split(' ', 6, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            var dash = words[0].IndexOf('-', StringComparison.Ordinal);
            if (words is [_, "r-xp" or "r--p", _, _, _, var path] && path == program
                && nint.TryParse(words[0].AsSpan(0, dash), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var start)
                && nint.TryParse(words[0].AsSpan(dash + 1), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var end))
            {
                // It is advice: whatever comes of it, nothing is lost.
                _ = Libc.syscall(Nr.madvise, start, end - start, MADV_PAGEOUT);
            }
        }
    }
}
