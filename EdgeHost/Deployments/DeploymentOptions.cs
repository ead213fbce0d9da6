using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>What the room needs to know of configuration and board.</summary>
public sealed record DeploymentOptions
{
    /// <summary>Where deployments are kept, absolute: <c>deployments</c> in the data directory.</summary>
    public required string Directory { get; init; }

    /// <summary>What the board has: nothing larger is accepted.</summary>
    public required BoardCapacity Capacity { get; init; }

    /// <summary>Limits of a workload that gives none.</summary>
    public DefaultLimits Defaults { get; init; } = new();

    /// <summary>The id of this boot; with another one the workloads of the last boot are started again.</summary>
    public required string BootId { get; init; }

    /// <summary>The delay before an unreachable registry is tried again; it doubles up to <see cref="MaximumRetryDelay"/>.</summary>
    public TimeSpan RetryDelay { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The longest delay between two tries.</summary>
    public TimeSpan MaximumRetryDelay { get; init; } = TimeSpan.FromMinutes(5);
}

/// <summary>What a board can give at most.</summary>
/// <param name="MemoryBytes">Its memory in bytes.</param>
/// <param name="Cpus">Its CPUs.</param>
public sealed record BoardCapacity(long MemoryBytes, int Cpus)
{
    /// <summary>Reads it from the kernel.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Internal"/>: /proc/meminfo is not as the kernel writes it.</exception>
    public static BoardCapacity Read()
    {
        foreach (var line in File.ReadLines("/proc/meminfo"))
        {
            // MemTotal:        3884256 kB
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal)
                && long.TryParse(line.AsSpan(9).Trim().TrimEnd("kB").Trim(), out var kibibytes))
            {
                return new BoardCapacity(kibibytes * 1024, Environment.ProcessorCount);
            }
        }

        throw new EdgeHostException(ErrorKind.Internal, "/proc/meminfo has no line MemTotal");
    }
}

/// <summary>Limits for workloads that give none; null leaves the limit required.</summary>
/// <param name="MemoryBytes">Memory in bytes.</param>
/// <param name="NanoCpus">CPU time in billionths of a CPU.</param>
/// <param name="Pids">Processes and threads.</param>
public sealed record DefaultLimits(long? MemoryBytes = null, long? NanoCpus = null, long Pids = 512);
