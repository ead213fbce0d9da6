using System.Text.Json.Serialization;
using EdgeHost.Linux;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>What is kept of a container on disk: what was asked for, what was decided once, and how far it is.</summary>
internal sealed record ContainerRecord
{
    public required string Id { get; init; }

    public required string Name { get; init; }

    public required ContainerSpec Spec { get; init; }

    /// <summary><see cref="Spec"/> with the image's defaults beneath it; null in what an older version wrote.</summary>
    public ContainerSpec? Effective { get; init; }

    public required string ImageId { get; init; }

    public required DateTimeOffset Created { get; init; }

    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>
    /// The first of the <see cref="UserRanges.Size"/> users and groups of the host that are its own for as long as it is
    /// there; null when they are the host's.
    /// </summary>
    public uint? FirstUser { get; init; }

    /// <summary>The signal that asks it to stop.</summary>
    public required int StopSignal { get; init; }

    /// <summary>Volumes without a name that were made for it.</summary>
    public IReadOnlyList<string> AnonymousVolumes { get; init; } = [];

    /// <summary>Whether it was ever started: what a policy is asked about after a power cut.</summary>
    public bool Started { get; init; }

    /// <summary>Whether a person stopped it last.</summary>
    public bool StoppedByHand { get; init; }

    public ContainerState State { get; init; } = ContainerState.Created;

    /// <summary>Whether its cgroup is frozen.</summary>
    public bool Paused { get; init; }

    public int Pid { get; init; }

    public long StartTime { get; init; }

    /// <summary>The boot in which <see cref="Pid"/> and <see cref="State"/> were written.</summary>
    public string BootId { get; init; } = string.Empty;

    public DateTimeOffset? StartedAt { get; init; }

    public DateTimeOffset? FinishedAt { get; init; }

    public int? ExitCode { get; init; }

    public bool OomKilled { get; init; }

    public string Error { get; init; } = string.Empty;

    public int RestartCount { get; init; }

    /// <summary>What it has of networks while it runs.</summary>
    public SandboxStatus? Sandbox { get; init; }

    /// <summary>The users of <see cref="FirstUser"/>.</summary>
    [JsonIgnore]
    internal MappedUsers? Users => FirstUser is { } first ? new MappedUsers(first, UserRanges.Size) : null;

    /// <summary>What a person would miss after a power cut: everything but how far it is.</summary>
    internal bool SameFacts(ContainerRecord other) =>
        Name == other.Name && Started == other.Started && StoppedByHand == other.StoppedByHand && ReferenceEquals(Spec, other.Spec);

    internal ContainerStatus ToStatus() => new()
    {
        Id = Id,
        Name = Name,
        Spec = Spec,
        Effective = Effective ?? Spec,
        ImageId = ImageId,
        State = State,
        Created = Created,
        Pid = Pid,
        StartedAt = StartedAt,
        FinishedAt = FinishedAt,
        ExitCode = ExitCode,
        OomKilled = OomKilled,
        Error = Error,
        RestartCount = RestartCount,
        Sandbox = Sandbox ?? SandboxStatus.Empty,
        Arguments = Arguments,
        AnonymousVolumes = AnonymousVolumes,
        Paused = Paused,
    };
}

/// <summary>JSON of what the engine keeps, without reflection.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UseStringEnumConverter = true,
    Converters = [typeof(IPAddressConverter)])]
[JsonSerializable(typeof(ContainerRecord))]
[JsonSerializable(typeof(VolumeFacts))]
[JsonSerializable(typeof(ContainerHealth))]
internal sealed partial class EngineJson : JsonSerializerContext
{
}
