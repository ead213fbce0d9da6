using EdgeHost.Errors;
using EdgeHost.Linux;

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

    /// <summary>What workloads may ask for of the board's devices, as in <c>i2c=i2c1, /dev/ttyUSB*</c>; null: anything.</summary>
    public string? AllowedDevices { get; init; }

    /// <summary>Bytes that images of deployments of before may take; beyond the ones that run and those before them.</summary>
    public long KeepUnusedBytes { get; init; } = long.MaxValue;

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
    public static BoardCapacity Read() => new(SystemMemory.TotalBytes, Environment.ProcessorCount);
}

/// <summary>Limits for workloads that give none; null leaves the limit required.</summary>
/// <param name="MemoryBytes">Memory in bytes.</param>
/// <param name="NanoCpus">CPU time in billionths of a CPU.</param>
/// <param name="Pids">Processes and threads.</param>
public sealed record DefaultLimits(long? MemoryBytes = null, long? NanoCpus = null, long Pids = 512);
