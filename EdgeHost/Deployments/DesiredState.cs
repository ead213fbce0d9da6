using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Deployments;

/// <summary>What somebody wants to run here: a document that was wholly understood and fits the board.</summary>
/// <param name="Version">1 or more; only grows.</param>
/// <param name="Networks">Those in which workloads are, but the default bridge.</param>
/// <param name="Workloads">In the order of the document, each after those on which it depends.</param>
/// <param name="Bytes">The document as received: digests and signatures are about bytes.</param>
/// <param name="Digest">The SHA-256 of <paramref name="Bytes"/>, <c>sha256:…</c>.</param>
public sealed record DesiredState(
    long Version,
    IReadOnlyList<WorkloadNetwork> Networks,
    IReadOnlyList<WorkloadSpec> Workloads,
    ReadOnlyMemory<byte> Bytes,
    string Digest)
{
    /// <summary>The largest document, in bytes.</summary>
    public const int MaximumBytes = 1024 * 1024;

    /// <summary>The deepest nesting; the schema needs 7.</summary>
    public const int MaximumDepth = 16;

    /// <summary>The largest number of networks.</summary>
    public const int MaximumNetworks = 64;

    /// <summary>The largest number of workloads.</summary>
    public const int MaximumWorkloads = 128;

    /// <summary>The digest of a document, <c>sha256:…</c>, as it stands in reports.</summary>
    public static string DigestOf(ReadOnlySpan<byte> document) => Oci.Digest.OfSha256(document).ToString();
}

/// <summary>A workload as it was asked for.</summary>
/// <param name="Name">Its name, <c>[a-zA-Z0-9][a-zA-Z0-9_.-]*</c>, at most 63 characters.</param>
/// <param name="PullPolicy">When its image is fetched.</param>
/// <param name="Container">The container that it is to be, still without a name; the image is a reference.</param>
public sealed record WorkloadSpec(string Name, PullPolicy PullPolicy, ContainerSpec Container)
{
    /// <summary>What must have been reached before it is started.</summary>
    public IReadOnlyList<WorkloadDependency> DependsOn { get; init; } = [];

    /// <summary>What it may subscribe to at the broker in the daemon, beside its own topics: filters beneath the device's telemetry. Null when it may not use it.</summary>
    public IReadOnlyList<string>? Mqtt { get; init; }
}

/// <summary>A network in which workloads are.</summary>
/// <param name="Key">How the document calls it.</param>
/// <param name="Spec">The network, with the name that it has on this board.</param>
/// <param name="IsExternal">Whether it was made by somebody else, and only has to be there.</param>
public sealed record WorkloadNetwork(string Key, NetworkSpec Spec, bool IsExternal = false);

/// <summary>A workload that another one needs.</summary>
/// <param name="On">The name of the one that is needed.</param>
/// <param name="Condition">What it must have reached.</param>
public sealed record WorkloadDependency(string On, DependencyCondition Condition);

/// <summary>What a workload must have reached before one that depends on it is started, in Compose's words.</summary>
public enum DependencyCondition
{
    /// <summary><c>service_started</c>: its program runs, or has run.</summary>
    Started,

    /// <summary><c>service_completed_successfully</c>: it has ended with 0.</summary>
    Completed,

    /// <summary><c>service_healthy</c>: its health check has passed.</summary>
    Healthy,
}

/// <summary>When an image is fetched, in Compose's words.</summary>
public enum PullPolicy
{
    /// <summary>When it is not held.</summary>
    Missing,

    /// <summary>With every new version of the document.</summary>
    Always,

    /// <summary>Never: it must have been loaded.</summary>
    Never,
}

/// <summary>A document that is refused, with the place that is to blame.</summary>
public sealed class DesiredStateException : EdgeHostException
{
    /// <summary>Makes the refusal.</summary>
    /// <param name="kind">Invalid, Infeasible, Denied or Unsupported.</param>
    /// <param name="path">Where, as in <c>workloads.web.mem_limit</c>; empty for the whole document.</param>
    /// <param name="reason">Why, in one line.</param>
    /// <param name="version">The document's version where it could be read.</param>
    public DesiredStateException(ErrorKind kind, string path, string reason, long? version = null)
        : base(kind, path.Length == 0 ? $"desired state: {Line(reason)}" : $"{path}: {Line(reason)}")
    {
        Path = path;
        Version = version;
    }

    /// <summary>Where, as in <c>workloads.web.mem_limit</c>; empty for the whole document.</summary>
    public string Path { get; }

    /// <summary>The document's version where it could be read.</summary>
    public long? Version { get; internal set; }

    /// <summary>A reason may repeat what a stranger wrote, and stands in logs and in <c>reported</c>.</summary>
    private static string Line(string reason)
    {
        const int Most = 512;
        var line = reason.Length > Most ? reason[..Most] + "…" : reason;
        foreach (var c in line)
        {
            if (char.IsControl(c) || char.IsSurrogate(c))
            {
                line = line.Replace(c, '?');
            }
        }

        return line;
    }
}
