using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;
using EdgeHost.Errors;

namespace EdgeHost.Board;

/// <summary>What the board is: observed once, changes only with a reboot (free memory apart).</summary>
public sealed record BoardFacts
{
    /// <summary>What the device tree or the firmware calls the board; null where neither says.</summary>
    public string? Model { get; init; }

    /// <summary>The architecture in OCI's words: <c>arm64</c>, <c>amd64</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>The kernel's release, as in <c>6.1.0-37-arm64</c>.</summary>
    public required string Kernel { get; init; }

    /// <summary>How many CPUs this process may use.</summary>
    public required int Cpus { get; init; }

    /// <summary>Memory that the kernel manages, in bytes.</summary>
    [JsonPropertyName("memoryBytes")]
    public required long Memory { get; init; }

    /// <summary>Memory that a new workload could get without swapping, in bytes.</summary>
    [JsonPropertyName("availableMemoryBytes")]
    public required long AvailableMemory { get; init; }

    /// <summary>Swap that is on, in bytes; 0 when there is none.</summary>
    [JsonPropertyName("swapBytes")]
    public required long Swap { get; init; }

    /// <summary>Looks at this board.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Internal"/>: /proc is not mounted or not readable.</exception>
    public static BoardFacts Observe()
    {
        try
        {
            var memory = MemoryInfo.Parse(File.ReadAllText("/proc/meminfo"));
            return new BoardFacts
            {
                Model = ModelOf("/proc/device-tree/model") ?? ModelOf("/sys/class/dmi/id/product_name"),
                Architecture = RuntimeInformation.OSArchitecture switch
                {
                    System.Runtime.InteropServices.Architecture.X64 => "amd64",
                    var other => other.ToString().ToLowerInvariant(),
                },
                Kernel = File.ReadAllText("/proc/sys/kernel/osrelease").TrimEnd(),
                Cpus = Environment.ProcessorCount,
                Memory = memory.Total,
                AvailableMemory = memory.Available,
                Swap = memory.Swap,
            };
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Internal, $"cannot look at the board: {failure.Message} (is /proc mounted?)", failure);
        }
    }

    // A device tree string ends with a zero byte.
    private static string? ModelOf(string path) =>
        File.Exists(path) && File.ReadAllText(path).TrimEnd('\0', '\n', ' ') is { Length: > 0 } model ? model : null;
}

/// <summary>The lines of /proc/meminfo that count here, in bytes.</summary>
/// <param name="Total">MemTotal.</param>
/// <param name="Available">MemAvailable.</param>
/// <param name="Swap">SwapTotal.</param>
internal readonly record struct MemoryInfo(long Total, long Available, long Swap)
{
    /// <summary>Reads the text of /proc/meminfo.</summary>
    internal static MemoryInfo Parse(string text)
    {
        long total = 0, available = 0, swap = 0;
        foreach (var line in text.AsSpan().EnumerateLines())
        {
            _ = Take(line, "MemTotal:", ref total) || Take(line, "MemAvailable:", ref available) || Take(line, "SwapTotal:", ref swap);
        }

        return new MemoryInfo(total, available, swap);
    }

    private static bool Take(ReadOnlySpan<char> line, string name, ref long bytes)
    {
        if (!line.StartsWith(name, StringComparison.Ordinal))
        {
            return false;
        }

        var number = line[name.Length..].Trim();
        var end = number.IndexOf(' ');
        bytes = long.Parse(end < 0 ? number : number[..end], NumberStyles.None, CultureInfo.InvariantCulture) * 1024;
        return true;
    }
}
