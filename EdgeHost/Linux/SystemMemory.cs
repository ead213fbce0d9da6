using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>The memory of the board (proc(5), /proc/meminfo).</summary>
public static class SystemMemory
{
    /// <summary>All of it that the kernel can give out, in bytes.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Internal"/>: /proc/meminfo is not as the kernel writes it.</exception>
    public static long TotalBytes { get; } = Read();

    private static long Read()
    {
        foreach (var line in File.ReadLines("/proc/meminfo"))
        {
            // MemTotal:        3884256 kB
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal)
                && long.TryParse(line.AsSpan(9).Trim().TrimEnd("kB").Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var kibibytes))
            {
                return kibibytes * 1024;
            }
        }

        throw new EdgeHostException(ErrorKind.Internal, "/proc/meminfo has no line MemTotal");
    }
}
