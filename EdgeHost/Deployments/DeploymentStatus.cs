using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>Where the board is on its way to the desired state.</summary>
public enum DeploymentPhase
{
    /// <summary>Nothing was ever deployed.</summary>
    Idle,

    /// <summary>Images of the target are fetched and verified; what runs is untouched.</summary>
    Fetching,

    /// <summary>What changed is switched.</summary>
    Switching,

    /// <summary>The target could not be started; what ran before is put back.</summary>
    RollingBack,

    /// <summary>The version that runs is the one that is wanted.</summary>
    Running,

    /// <summary>The target was understood but could not be carried out; the version before runs.</summary>
    Failed,
}

/// <summary>A document that did not become what runs.</summary>
/// <param name="Version">Its version; null when it could not be read.</param>
/// <param name="Digest">The SHA-256 of its bytes, <c>sha256:…</c>.</param>
/// <param name="IsRefusal">Refused at sight; otherwise it was accepted and failed.</param>
/// <param name="Kind">What decides the reason.</param>
/// <param name="Path">The place that is to blame, as in <c>workloads.web.image</c>; empty for the whole.</param>
/// <param name="Reason">One line.</param>
/// <param name="Time">When.</param>
/// <param name="RetryAt">When it is tried again; null when it is not.</param>
public sealed record DeploymentFailure(
    long? Version,
    string Digest,
    bool IsRefusal,
    ErrorKind Kind,
    string Path,
    string Reason,
    DateTimeOffset Time,
    DateTimeOffset? RetryAt = null);

/// <summary>The deployment as it is at this moment.</summary>
public sealed record DeploymentStatus
{
    /// <summary>The version that runs; 0 before the first one.</summary>
    public long Version { get; init; }

    /// <summary>The SHA-256 of the document that runs; empty before the first one.</summary>
    public string Digest { get; init; } = string.Empty;

    /// <summary>Where it is.</summary>
    public DeploymentPhase Phase { get; init; }

    /// <summary>The version that it is on its way to; null when there is none.</summary>
    public long? Target { get; init; }

    /// <summary>The highest version that was ever accepted.</summary>
    public long HighestVersion { get; init; }

    /// <summary>The latest document that did not become what runs; null when a later one did.</summary>
    public DeploymentFailure? Failure { get; init; }

    /// <summary>Something that the operator should know and that changes nothing, such as an emptied retained message.</summary>
    public string? Notice { get; init; }

    /// <summary>The images of the document that runs, by workload, as it names them: a container keeps the name that it was made with when the same image comes under another one.</summary>
    public IReadOnlyDictionary<string, string> Images { get; init; } = new Dictionary<string, string>();

    /// <summary>Workloads that should run and could not be brought to it outside a deployment, with the reason; at most 16.</summary>
    public IReadOnlyList<DeploymentProblem> Problems { get; init; } = [];
}

/// <summary>Something that went wrong with a part of what runs.</summary>
/// <param name="Path">The part, as in <c>workloads.web</c>.</param>
/// <param name="Kind">What decides the reason.</param>
/// <param name="Reason">One line.</param>
public sealed record DeploymentProblem(string Path, ErrorKind Kind, string Reason);

/// <summary>How far the fetching of an image is.</summary>
/// <param name="Version">Of the document.</param>
/// <param name="Workload">The first workload that needs the image.</param>
/// <param name="Image">The reference.</param>
/// <param name="Phase"><c>resolving</c>, <c>downloading</c>, <c>extracting</c>, <c>done</c>.</param>
/// <param name="Layer">The digest of the layer that it is about, or null.</param>
/// <param name="DoneBytes">Bytes done.</param>
/// <param name="TotalBytes">Bytes in all.</param>
public readonly record struct DeploymentProgress(
    long Version, string Workload, string Image, string Phase, string? Layer, long DoneBytes, long TotalBytes);

/// <summary>What became of a document that was offered.</summary>
public enum DeploymentDecision
{
    /// <summary>On disk, and on its way.</summary>
    Accepted,

    /// <summary>Known already: nothing happens.</summary>
    Unchanged,

    /// <summary>Refused; the reason is in the status.</summary>
    Refused,
}
