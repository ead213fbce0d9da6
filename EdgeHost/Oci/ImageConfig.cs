using System.Globalization;
using System.Text.Json.Serialization;

namespace EdgeHost.Oci;

/// <summary>An image's configuration (OCI image-spec, config.md), as far as it is used; the bytes that were received keep the digest.</summary>
public sealed record ImageConfig
{
    /// <summary>When it was built, as RFC 3339 text.</summary>
    [JsonPropertyName("created")]
    public string? Created { get; init; }

    /// <summary>Who made it.</summary>
    [JsonPropertyName("author")]
    public string? Author { get; init; }

    /// <summary>In Go's words: <c>arm64</c>, <c>amd64</c>.</summary>
    [JsonPropertyName("architecture")]
    public string Architecture { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>The variant of the architecture: <c>v8</c>, <c>v7</c>.</summary>
    [JsonPropertyName("variant")]
    public string? Variant { get; init; }

    /// <summary>In Go's words: <c>linux</c>.</summary>
    [JsonPropertyName("os")]
    public string Os { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>How its containers run unless they say otherwise.</summary>
    [JsonPropertyName("config")]
    public ExecutionParameters Config { get; init => field = value ?? new(); } = new();

    /// <summary>Its layers.</summary>
    [JsonPropertyName("rootfs")]
    public RootFileSystem RootFs { get; init => field = value ?? new(); } = new();

    /// <summary>How it was built, the oldest step first.</summary>
    [JsonPropertyName("history")]
    public IReadOnlyList<HistoryEntry> History { get; init => field = value ?? []; } = [];

    /// <summary>What it is for.</summary>
    [JsonIgnore]
    public Platform Platform => new() { Os = Os, Architecture = Architecture, Variant = Variant };

    /// <summary>When it was built; null when it does not say, or says something that is no time.</summary>
    [JsonIgnore]
    public DateTimeOffset? CreatedTime =>
        DateTimeOffset.TryParse(Created, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time : null;
}

/// <summary>How containers of an image run unless they say otherwise (the <c>config</c> of config.md; Docker's additions with it).</summary>
public sealed record ExecutionParameters
{
    /// <summary><c>name|uid[:group|gid]</c>; empty means root.</summary>
    [JsonPropertyName("User")]
    public string User { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>Ports as in <c>80/tcp</c>.</summary>
    [JsonPropertyName("ExposedPorts")]
    public IReadOnlyDictionary<string, EmptyObject> ExposedPorts { get; init => field = value ?? NoKeys; } = NoKeys;

    /// <summary>Variables as <c>NAME=value</c>.</summary>
    [JsonPropertyName("Env")]
    public IReadOnlyList<string> Env { get; init => field = value ?? []; } = [];

    /// <summary>The program and its fixed arguments.</summary>
    [JsonPropertyName("Entrypoint")]
    public IReadOnlyList<string> Entrypoint { get; init => field = value ?? []; } = [];

    /// <summary>The arguments, or the program when there is no entrypoint.</summary>
    [JsonPropertyName("Cmd")]
    public IReadOnlyList<string> Cmd { get; init => field = value ?? []; } = [];

    /// <summary>Paths that are to be volumes.</summary>
    [JsonPropertyName("Volumes")]
    public IReadOnlyDictionary<string, EmptyObject> Volumes { get; init => field = value ?? NoKeys; } = NoKeys;

    /// <summary>The working directory; empty means <c>/</c>.</summary>
    [JsonPropertyName("WorkingDir")]
    public string WorkingDir { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>Labels.</summary>
    [JsonPropertyName("Labels")]
    public IReadOnlyDictionary<string, string> Labels { get; init => field = value ?? NoLabels; } = NoLabels;

    /// <summary>The signal that asks it to stop, as a name or a number.</summary>
    [JsonPropertyName("StopSignal")]
    public string? StopSignal { get; init; }

    /// <summary>Docker's health check.</summary>
    [JsonPropertyName("Healthcheck")]
    public HealthCheck? Healthcheck { get; init; }

    /// <summary>What a command line is given to, as in <c>["/bin/sh", "-c"]</c>, which stands for none.</summary>
    [JsonPropertyName("Shell")]
    public IReadOnlyList<string> Shell { get; init => field = value ?? []; } = [];

    private static readonly IReadOnlyDictionary<string, EmptyObject> NoKeys = new Dictionary<string, EmptyObject>();
    private static readonly IReadOnlyDictionary<string, string> NoLabels = new Dictionary<string, string>();
}

/// <summary>The <c>{}</c> that Go writes as the value of a set.</summary>
public sealed record EmptyObject;

/// <summary>The layers of an image by the digests of their uncompressed tars, the lowest first.</summary>
public sealed record RootFileSystem
{
    /// <summary>Always <c>layers</c>.</summary>
    [JsonPropertyName("type")]
    public string Type { get; init => field = value ?? string.Empty; } = "layers";

    /// <summary>The digests as they were written.</summary>
    [JsonPropertyName("diff_ids")]
    public IReadOnlyList<string> DiffIds { get; init => field = value ?? []; } = [];
}

/// <summary>A step of a build.</summary>
public sealed record HistoryEntry
{
    /// <summary>When, as RFC 3339 text.</summary>
    [JsonPropertyName("created")]
    public string? Created { get; init; }

    /// <summary>The command.</summary>
    [JsonPropertyName("created_by")]
    public string? CreatedBy { get; init; }

    /// <summary>A remark.</summary>
    [JsonPropertyName("comment")]
    public string? Comment { get; init; }

    /// <summary>Whether it made no layer.</summary>
    [JsonPropertyName("empty_layer")]
    public bool EmptyLayer { get; init; }
}
