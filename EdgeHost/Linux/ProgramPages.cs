using System.Globalization;

namespace EdgeHost.Linux;

/// <summary>
/// The pages of this program's file that the process has mapped. A start-up touches nearly all of it once, and the
/// kernel maps what lies around each touch; most of it is not needed again.
/// </summary>
public static unsafe class ProgramPages
{
    private const int MADV_DONTNEED = 4;

    /// <summary>
    /// Lets go of code and read-only data (madvise(2), MADV_DONTNEED): the pages stay in the page cache, from which the
    /// kernel may take them, and come back by a fault as they are needed. A mapping in which anything was written (what
    /// the dynamic loader relocated and then made read-only) is left alone, since its file does not have that.
    /// </summary>
    public static void GiveBack()
    {
        var program = new FileInfo("/proc/self/exe").LinkTarget ?? string.Empty;
        nint start = 0, end = 0;
        var isOfProgram = false;
        foreach (var line in File.ReadLines("/proc/self/smaps"))
        {
            if (char.IsAsciiHexDigitLower(line[0]))
            {
                var wasOfProgram = isOfProgram;
                isOfProgram = line.EndsWith(program, StringComparison.Ordinal);
                if (wasOfProgram && !isOfProgram)
                {
                    // They lie side by side; to read of a hundred others takes nearly a megabyte of heap.
                    break;
                }
            }

            if (!isOfProgram)
            {
                continue;
            }

            var words = line.Split(' ', 6, StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            if (words is ["Anonymous:", var anonymous, ..])
            {
                if (start != 0 && anonymous == "0")
                {
                    // It is advice: whatever comes of it, nothing is lost.
                    _ = Libc.syscall(Nr.madvise, start, end - start, MADV_DONTNEED);
                }

                start = 0;
            }
            else if (words is [var range, "r-xp" or "r--p", _, _, _, _])
            {
                // 00405000-00d62000 r-xp 00005000 fe:00 11657260    /usr/bin/edgehost
                var dash = range.IndexOf('-', StringComparison.Ordinal);
                start = nint.Parse(range.AsSpan(0, dash), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
                end = nint.Parse(range.AsSpan(dash + 1), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
            }
        }
    }
}
