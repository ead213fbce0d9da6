using System.Net;
using EdgeHost.Linux;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>Where a container is in its life, in Docker's words.</summary>
public enum ContainerState
{
    /// <summary>Made, never started.</summary>
    Created,

    /// <summary>Its first process runs.</summary>
    Running,

    /// <summary>Waiting to be started: again by its policy, or once a device is there.</summary>
    Restarting,

    /// <summary>Being removed.</summary>
    Removing,

    /// <summary>Ended.</summary>
    Exited,

    /// <summary>It could not be removed whole.</summary>
    Dead,
}

/// <summary>A container as it is at this moment.</summary>
public sealed record ContainerStatus
{
    /// <summary>64 hex digits.</summary>
    public required string Id { get; init; }

    /// <summary>The name, without a slash.</summary>
    public required string Name { get; init; }

    /// <summary>What was asked for.</summary>
    public required ContainerSpec Spec { get; init; }

    /// <summary><see cref="Spec"/> with the image's defaults beneath it: variables, labels, entrypoint, command, user, working directory, stop signal.</summary>
    public ContainerSpec Effective { get => field ?? Spec; init; }

    /// <summary>The digest of the image's configuration, <c>sha256:…</c>: Docker's image id.</summary>
    public required string ImageId { get; init; }

    /// <summary>Where it is in its life.</summary>
    public required ContainerState State { get; init; }

    /// <summary>When it was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>The host's pid of its first process; 0 when it does not run.</summary>
    public int Pid { get; init; }

    /// <summary>When it was last started.</summary>
    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>When it last ended.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>How it last ended (128 + signal when killed); null before that, and when nobody saw it.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Whether the kernel killed something in it for want of memory during the last run.</summary>
    public bool OomKilled { get; init; }

    /// <summary>Why it could not be started, in one line; empty otherwise.</summary>
    public string Error { get; init; } = string.Empty;

    /// <summary>The device that it waits for to be started; null when it waits for none.</summary>
    public string? AwaitedDevice { get; init; }

    /// <summary>How often its policy has started it again.</summary>
    public int RestartCount { get; init; }

    /// <summary>What its health checks have told; null when it has none, or was never started.</summary>
    public ContainerHealth? Health { get; init; }

    /// <summary>Whether all its processes are held still.</summary>
    public bool Paused { get; init; }

    /// <summary>Names of the volumes among its mounts that nobody gave a name: they go with it when that is asked for.</summary>
    public IReadOnlyList<string> AnonymousVolumes { get; init; } = [];

    /// <summary>What it has of networks while it runs; empty otherwise.</summary>
    public SandboxStatus Sandbox { get; init; } = SandboxStatus.Empty;

    /// <summary>This machine's address in the first of its networks that has a bridge; null when it does not run, or is in none.</summary>
    public IPAddress? Gateway => Sandbox.Endpoints.FirstOrDefault(static endpoint => endpoint.HostInterface.Length > 0)?.Addresses.FirstOrDefault()?.Gateway;

    /// <summary>The program and its arguments after the image's defaults were applied.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];
}

/// <summary>A process of a container.</summary>
/// <param name="Pid">On the host.</param>
/// <param name="ParentPid">On the host.</param>
/// <param name="Uid">Its effective user, as the container counts.</param>
/// <param name="CpuTime">What it has used so far.</param>
/// <param name="Started">When it began.</param>
/// <param name="CommandLine">With blanks between the words; the name in brackets where there is none.</param>
public sealed record ContainerProcess(int Pid, int ParentPid, uint Uid, TimeSpan CpuTime, DateTimeOffset Started, string CommandLine);

/// <summary>What a running container uses, from the kernel's counters.</summary>
public sealed class ContainerStats
{
    /// <summary>When it was read.</summary>
    public required DateTimeOffset ReadAt { get; init; }

    /// <summary>Memory in bytes, page cache included.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Of it, page cache that the kernel can drop at once, in bytes.</summary>
    public required long InactiveFileBytes { get; init; }

    /// <summary>The limit as the kernel holds it, in bytes; null without one.</summary>
    public required long? MemoryLimitBytes { get; init; }

    /// <summary>How often the kernel killed for want of memory.</summary>
    public required long OomKills { get; init; }

    /// <summary>CPU time used, in nanoseconds.</summary>
    public required long CpuNanoseconds { get; init; }

    /// <summary>Of it in user mode, in nanoseconds.</summary>
    public required long CpuUserNanoseconds { get; init; }

    /// <summary>Of it in the kernel, in nanoseconds.</summary>
    public required long CpuSystemNanoseconds { get; init; }

    /// <summary>The quota as the kernel holds it, in billionths of a CPU; null without one.</summary>
    public required long? NanoCpus { get; init; }

    /// <summary>Periods with anything to run.</summary>
    public required long CpuPeriods { get; init; }

    /// <summary>Of them, periods in which the quota was used up.</summary>
    public required long CpuThrottledPeriods { get; init; }

    /// <summary>How long it was held back, in nanoseconds.</summary>
    public required long CpuThrottledNanoseconds { get; init; }

    /// <summary>Processes and threads.</summary>
    public required long Pids { get; init; }

    /// <summary>The limit as the kernel holds it; null without one.</summary>
    public required long? PidsLimit { get; init; }

    /// <summary>What went to and from block devices.</summary>
    public IReadOnlyList<BlockUse> Blocks { get; init; } = [];
}
