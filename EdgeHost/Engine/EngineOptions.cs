namespace EdgeHost.Engine;

/// <summary>Where the engine keeps things and what it leaves the host.</summary>
public sealed record EngineOptions
{
    /// <summary>What must survive a power cut; absolute.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>What belongs to this boot, on a tmpfs as a rule; absolute.</summary>
    public required string RunDirectory { get; init; }

    /// <summary>The cgroup beneath which all containers live.</summary>
    public string CgroupRoot { get; init; } = "/edgehost";

    /// <summary>Whether containers have the host's users unless they ask for their own.</summary>
    public bool HostUsers { get; init; }

    /// <summary>A file of subuid(5) with the users that containers may have; null for the host's.</summary>
    public string? UserRangeFile { get; init; }

    /// <summary>Whether the shepherd is a service of its own, which the engine waits for and never starts.</summary>
    public bool ExternalShepherd { get; init; }

    /// <summary>Memory that all containers together leave the host, in bytes; at most half of the board's counts.</summary>
    public long ReserveMemoryBytes { get; init; } = 64L << 20;

    /// <summary>Processes and threads that all containers together leave the host.</summary>
    public long ReservePids { get; init; } = 512;

    /// <summary>The size in bytes from which on a log begins a new segment.</summary>
    public long LogSegmentBytes { get; init; } = 4L << 20;

    /// <summary>What containers are told at each start; null when there is nothing to tell.</summary>
    public IStartSecrets? Secrets { get; init; }

    /// <summary>How many bytes the logs of all containers may have together.</summary>
    public long LogTotalBytes { get; init; } = 1L << 30;

    /// <summary>How many segments of a container's log are kept.</summary>
    public int LogSegments { get; init; } = 4;
}
