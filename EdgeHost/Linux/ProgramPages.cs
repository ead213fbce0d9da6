using System.Buffers.Text;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace EdgeHost.Linux;

/// <summary>
/// The pages of this program's file, and of its large libraries (libcrypto), that the process has mapped. A start-up
/// touches nearly all of it once, and the kernel maps what lies around each touch; most of it is not needed again.
/// </summary>
/// <remarks>Order.txt beside the project has what a quiet process runs, so that it lies together.</remarks>
public static unsafe class ProgramPages
{
    private const int PROT_READ = 1;
    private const int MADV_DONTNEED = 4;
    private const int LargeLibrary = 1 << 20;

    // Two addresses each: where one begins, and where it ends.
    private static nint[]? _ranges;

    // cross-build.sh writes here where the type tables lie, which is known once the program is linked.
    private static ReadOnlySpan<byte> TypeTables => "type tables 0000000000000000 0000000000000000"u8;

    /// <summary>
    /// Makes the tables of methods of all types read-only, as the linker does with what is relocated at start
    /// (mprotect(2)). The compiler keeps them beside data that changes, though nothing ever writes to them: protected,
    /// their pages can be given back, and no stray write turns a call elsewhere. For processes that stay.
    /// </summary>
    public static void ProtectTypeTables()
    {
        const int start = 12, digits = 16;
        var (from, to) = (Address(TypeTables.Slice(start, digits)), Address(TypeTables[(start + digits + 1)..]));
        long page = Environment.SystemPageSize;
        from = (from + page - 1) & -page;
        to &= -page;
        if (from < to)
        {
            // A kernel that refuses leaves them as they were.
            _ = Libc.syscall(Nr.mprotect, (nint)from, (nint)(to - from), PROT_READ);
        }
    }

    /// <summary>
    /// Lets go of code and read-only data (madvise(2), MADV_DONTNEED): the pages stay in the page cache, from which the
    /// kernel may take them, and come back by a fault as they are needed. A mapping in which anything was written (what
    /// the dynamic loader relocated and then made read-only) is left alone, since its file does not have that.
    /// </summary>
    public static void GiveBack()
    {
        if (!File.ReadAllText("/proc/self/status").Contains("\nTracerPid:\t0\n", StringComparison.Ordinal))
        {
            // A debugger's breakpoints are in copies of these pages.
            return;
        }

        // They stay where they are, and reading of them again and again would itself leave garbage behind.
        var ranges = _ranges ??= Find();
        for (var i = 0; i < ranges.Length; i += 2)
        {
            // It is advice: whatever comes of it, nothing is lost.
            _ = Libc.syscall(Nr.madvise, ranges[i], ranges[i + 1] - ranges[i], MADV_DONTNEED);
        }
    }

    private static nint[] Find()
    {
        var program = new FileInfo("/proc/self/exe").LinkTarget ?? string.Empty;
        var found = new nint[16];
        var count = 0;
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
                if (start != 0 && anonymous == "0" && count < found.Length)
                {
                    found[count++] = start;
                    found[count++] = end;
                }

                start = 0;
            }
            else if (words is [var range, "r-xp" or "r--p", _, _, _, _])
            {
                // 00405000-00d62000 r-xp 00005000 fe:00 11657260    /usr/bin/edgehost
                (start, end) = Range(range);
            }
        }

        // The code of a library is never written. The C library is in use all the time, by each process.
        foreach (var line in File.ReadLines("/proc/self/maps"))
        {
            if (line.Contains(" r-xp ", StringComparison.Ordinal) && line.Contains(".so", StringComparison.Ordinal) && !line.Contains("/libc.so", StringComparison.Ordinal))
            {
                (start, end) = Range(line.AsSpan(0, line.IndexOf(' ', StringComparison.Ordinal)));
                if (end - start >= LargeLibrary && count < found.Length)
                {
                    found[count++] = start;
                    found[count++] = end;
                }
            }
        }

        return found[..count];
    }

    private static (nint Start, nint End) Range(ReadOnlySpan<char> range)
    {
        var dash = range.IndexOf('-');
        return (nint.Parse(range[..dash], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture), nint.Parse(range[(dash + 1)..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture));
    }

    // Not inlined: the compiler would take the zeros that it sees for what stands there when the program runs.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static long Address(ReadOnlySpan<byte> digits) =>
        Utf8Parser.TryParse(digits, out long address, out _, 'x') ? address : 0;
}
