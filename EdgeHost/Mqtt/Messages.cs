using System.Text.Json.Serialization;
using EdgeHost.Deployments;

namespace EdgeHost.Mqtt;

/// <summary>The content of <c>…/status</c>.</summary>
internal sealed record StatusMessage
{
    /// <summary><c>online</c> or <c>offline</c>.</summary>
    public required string State { get; init; }

    public required string BootId { get; init; }

    /// <summary>Of EdgeHost.</summary>
    public required string Version { get; init; }

    /// <summary>Absent in the will, which is written before its time.</summary>
    public DateTimeOffset? Time { get; init; }

    /// <summary><c>synchronized</c> or <c>unsynchronized</c>.</summary>
    public string? TimeQuality { get; init; }

    /// <summary>What this version understands.</summary>
    public string[]? Features { get; init; }
}

/// <summary>The content of <c>…/progress</c>.</summary>
internal sealed record ProgressMessage(
    long Version,
    string Workload,
    string Image,
    string Phase,
    string? Layer,
    long DoneBytes,
    long TotalBytes,
    long? BytesPerSecond,
    double? EtaSeconds);

/// <summary>The content of <c>…/events</c>.</summary>
internal sealed record EventMessage
{
    /// <summary><c>{boot id}-{sequence}</c>: the same event may arrive twice, its id tells.</summary>
    public required string Id { get; init; }

    public required string BootId { get; init; }

    /// <summary>From 1 on in each start of the daemon; a gap is an event that was dropped.</summary>
    public required long Sequence { get; init; }

    public required DateTimeOffset Time { get; init; }

    public required string Type { get; init; }

    public required string Action { get; init; }

    /// <summary>Of the container or image.</summary>
    public required string ObjectId { get; init; }

    public string? Workload { get; init; }

    public required SortedDictionary<string, string> Attributes { get; init; }

    /// <summary>How many events before this one were dropped because the broker was away for too long.</summary>
    public long? Dropped { get; init; }
}

/// <summary>The content of <c>…/commands/{name}</c>.</summary>
internal sealed record CommandRequest
{
    public string? Workload { get; init; }

    /// <summary>For stop and restart: how long it may take, as in <c>10s</c>.</summary>
    public string? Grace { get; init; }

    /// <summary>For logs: the last so many lines.</summary>
    public int? Tail { get; init; }

    /// <summary>Comes back in the answer; the only correlation that MQTT 3.1.1 has.</summary>
    public string? Correlation { get; init; }

    /// <summary>Where the answer goes, for MQTT 3.1.1; the property of MQTT 5 goes first.</summary>
    public string? ResponseTopic { get; init; }

    /// <summary>Not to be carried out after this time, for MQTT 3.1.1.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

/// <summary>The answer to a command.</summary>
internal sealed record CommandResponse
{
    public required string Command { get; init; }

    public string? Workload { get; init; }

    public string? Correlation { get; init; }

    public required bool Ok { get; init; }

    public ReportedError? Error { get; init; }

    /// <summary>For start, stop and restart: the workload after it.</summary>
    public ReportedWorkload? State { get; init; }

    /// <summary>For stats: each workload by name.</summary>
    public SortedDictionary<string, ReportedWorkload>? Stats { get; init; }

    /// <summary>For logs: the lines, oldest first.</summary>
    public List<LogLine>? Lines { get; init; }

    /// <summary>For logs: whether older lines were left out to keep the answer small.</summary>
    public bool? Truncated { get; init; }
}

/// <summary>A line of output.</summary>
/// <param name="Time">When it was read.</param>
/// <param name="Stream"><c>stdout</c> or <c>stderr</c>.</param>
/// <param name="Text">Without its end; what is not UTF-8 is replaced.</param>
internal sealed record LogLine(DateTimeOffset Time, string Stream, string Text);

/// <summary>How messages are written.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    AllowDuplicateProperties = false)]
[JsonSerializable(typeof(StatusMessage))]
[JsonSerializable(typeof(ProgressMessage))]
[JsonSerializable(typeof(EventMessage))]
[JsonSerializable(typeof(CommandRequest))]
[JsonSerializable(typeof(CommandResponse))]
[JsonSerializable(typeof(OperatorCredential))]
[JsonSerializable(typeof(RetainedRecord))]
internal sealed partial class MqttJson : JsonSerializerContext;
