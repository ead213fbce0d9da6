using System.Text.Json.Serialization;

namespace EdgeHost.Deployments;

/// <summary>A document on disk: <c>current.json</c>, <c>previous.json</c>, <c>accepted.json</c>.</summary>
internal sealed record DeploymentRecord
{
    public required long Version { get; init; }

    public required string Digest { get; init; }

    /// <summary>The bytes as received (base64 in the file).</summary>
    public required byte[] Document { get; init; }

    /// <summary>Image ids by workload: a moved tag must not change what was deployed. Empty until they are known.</summary>
    public Dictionary<string, string> Images { get; init; } = [];

    /// <summary>The limits of workloads that name none, as they were when it was accepted: another configuration must not change what runs. Null in records of before.</summary>
    public DefaultLimits? Defaults { get; init; }
}

/// <summary>A switch under way on disk: <c>journal.json</c>.</summary>
internal sealed record JournalRecord
{
    public required DeploymentRecord Target { get; init; }

    /// <summary>Containers of ours that were there before, by id: every other one goes when the way back is taken.</summary>
    public required List<string> Existed { get; init; }

    /// <summary>Those of them that ran: the way back starts them again.</summary>
    public required List<string> Ran { get; init; }

    /// <summary>Set once the way back was taken.</summary>
    public DeploymentFailure? Failure { get; init; }
}

/// <summary>How the records are written.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UseStringEnumConverter = true)]
[JsonSerializable(typeof(DeploymentRecord))]
[JsonSerializable(typeof(JournalRecord))]
[JsonSerializable(typeof(DeploymentFailure))]
internal sealed partial class RecordJson : JsonSerializerContext;
