using System.Text.Json.Serialization;

namespace EdgeHost.Oci;

/// <summary>An image for one platform: its configuration and its layers, the lowest first (OCI image-spec, manifest.md).</summary>
public sealed record ImageManifest
{
    /// <summary>Always 2.</summary>
    [JsonPropertyName("schemaVersion")]
    public int SchemaVersion { get; init; } = 2;

    /// <summary>Its own type; OCI allows it to be left out.</summary>
    [JsonPropertyName("mediaType")]
    public string? MediaType { get; init; }

    /// <summary>The configuration.</summary>
    [JsonPropertyName("config")]
    public Descriptor Config { get; init => field = value ?? new(); } = new();

    /// <summary>The layers, the lowest first.</summary>
    [JsonPropertyName("layers")]
    public IReadOnlyList<Descriptor> Layers { get; init => field = value ?? []; } = [];
}
