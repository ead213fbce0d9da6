using System.Text.Json.Serialization;
using EdgeHost.Board;

namespace EdgeHost.Deployments;

/// <summary>What a board says about itself: the content of <c>…/reported</c>. Field names on the wire are in snake case.</summary>
public sealed record ReportedState
{
    /// <summary>When it was put together.</summary>
    public DateTimeOffset Time { get; init; }

    /// <summary>The boot's id.</summary>
    public required string BootId { get; init; }

    /// <summary>The deployment.</summary>
    public required ReportedDeployment Deployment { get; init; }

    /// <summary>Each workload by name.</summary>
    public required SortedDictionary<string, ReportedWorkload> Workloads { get; init; }

    /// <summary>The board.</summary>
    public required ReportedBoard Board { get; init; }

    /// <summary>What is wrong at this moment, in words; empty when all is well.</summary>
    public required IReadOnlyList<ReportedError> Errors { get; init; }
}

/// <summary>The deployment of a board.</summary>
public sealed record ReportedDeployment
{
    /// <summary>The version that runs; 0 for none.</summary>
    public required long Version { get; init; }

    /// <summary>The SHA-256 of the document that runs.</summary>
    public string? Digest { get; init; }

    /// <summary><c>idle</c>, <c>fetching</c>, <c>switching</c>, <c>rolling_back</c>, <c>running</c>, <c>failed</c>.</summary>
    public required string Phase { get; init; }

    /// <summary>The version that it is on its way to.</summary>
    public long? Target { get; init; }

    /// <summary>The highest version ever accepted: the next one must be higher.</summary>
    public required long HighestVersion { get; init; }

    /// <summary>The latest document that did not become what runs.</summary>
    public ReportedFailure? Failure { get; init; }

    /// <summary>Something that the operator should know and that changes nothing.</summary>
    public string? Notice { get; init; }
}

/// <summary>A document that did not become what runs.</summary>
public sealed record ReportedFailure
{
    /// <summary>Its version where it could be read.</summary>
    public long? Version { get; init; }

    /// <summary>The SHA-256 of its bytes.</summary>
    public required string Digest { get; init; }

    /// <summary><c>refused</c> at sight, or <c>failed</c> after it was accepted.</summary>
    public required string Outcome { get; init; }

    /// <summary><c>invalid</c>, <c>infeasible</c>, <c>conflict</c>, <c>not_found</c>, <c>unavailable</c>, <c>cannot_execute</c> …</summary>
    public required string Kind { get; init; }

    /// <summary>The place that is to blame; absent for the whole document.</summary>
    public string? Path { get; init; }

    /// <summary>One line.</summary>
    public required string Reason { get; init; }

    /// <summary>When.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>When it is tried again; absent when it is not.</summary>
    public DateTimeOffset? RetryAt { get; init; }
}

/// <summary>A workload as it is.</summary>
public sealed record ReportedWorkload
{
    /// <summary>The image as the document names it.</summary>
    public required string Image { get; init; }

    /// <summary>The digest of its manifest, or of its configuration once its manifest is no longer held.</summary>
    public required string ImageDigest { get; init; }

    /// <summary>The container's id.</summary>
    public required string Container { get; init; }

    /// <summary><c>created</c>, <c>running</c>, <c>restarting</c>, <c>waiting</c> for a device, <c>removing</c>, <c>exited</c>, <c>dead</c>.</summary>
    public required string State { get; init; }

    /// <summary><c>none</c> without a check, else <c>starting</c>, <c>healthy</c> or <c>unhealthy</c>.</summary>
    public required string Health { get; init; }

    /// <summary>How often its policy has started it again.</summary>
    public required int Restarts { get; init; }

    /// <summary>How it last ended; absent before that, and when nobody saw it.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Whether the kernel killed in it for want of memory in the last run.</summary>
    public required bool OomKilled { get; init; }

    /// <summary>When it was last started.</summary>
    public DateTimeOffset? StartedAt { get; init; }

    /// <summary>When it last ended.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Why it could not be started; absent otherwise.</summary>
    public string? Error { get; init; }

    /// <summary>Its limits: as the kernel holds them while it runs, else as they were asked for.</summary>
    public required ReportedLimits Limits { get; init; }

    /// <summary>What it uses; absent while it does not run.</summary>
    public ReportedUse? Use { get; init; }
}

/// <summary>Limits of a workload, under the names that the desired state has for them.</summary>
/// <param name="MemLimit">Memory in bytes.</param>
/// <param name="Cpus">CPUs.</param>
/// <param name="PidsLimit">Processes and threads.</param>
/// <param name="Cpuset">The CPUs that it may run on.</param>
public sealed record ReportedLimits(long? MemLimit, decimal? Cpus, long? PidsLimit, string? Cpuset);

/// <summary>What a workload uses, from the kernel's counters.</summary>
/// <param name="MemoryBytes">Memory, page cache included.</param>
/// <param name="CpuSeconds">CPU time since its start.</param>
/// <param name="ThrottledSeconds">How long it was held back by its CPU limit.</param>
/// <param name="OomKills">How often the kernel killed in it for want of memory.</param>
/// <param name="Pids">Processes and threads.</param>
public sealed record ReportedUse(long MemoryBytes, decimal CpuSeconds, decimal ThrottledSeconds, long OomKills, long Pids);

/// <summary>The board.</summary>
/// <param name="MemoryBytes">Its memory.</param>
/// <param name="Cpus">Its CPUs.</param>
/// <param name="TimeQuality"><c>synchronized</c> or <c>unsynchronized</c>.</param>
/// <param name="UserNamespaces"><c>on</c> when workloads have users of their own unless they say otherwise, else <c>off: </c> and why.</param>
/// <param name="AppArmor"><c>on</c> when workloads are confined by an AppArmor profile, else <c>off: </c> and why.</param>
public sealed record ReportedBoard(long MemoryBytes, int Cpus, string TimeQuality, string UserNamespaces, [property: JsonPropertyName("apparmor")] string AppArmor)
{
    /// <summary>How it is; absent where only changes count.</summary>
    public BoardHealth? Health { get; init; }
}

/// <summary>Something that is wrong.</summary>
/// <param name="Kind">As in <see cref="ReportedFailure.Kind"/>.</param>
/// <param name="Path">The part, as in <c>workloads.web</c>; absent for the board.</param>
/// <param name="Message">One line.</param>
public sealed record ReportedError(string Kind, string? Path, string Message);

/// <summary>How the reported state is written.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ReportedState))]
public sealed partial class ReportedJson : JsonSerializerContext;
