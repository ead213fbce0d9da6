using System.Text.Json.Serialization;

namespace EdgeHost.Oci;

/// <summary>One name for the same image on several platforms (OCI image-spec, image-index.md; Docker's manifest list).</summary>
public sealed record ImageIndex
{
    /// <summary>Always 2.</summary>
    [JsonPropertyName("schemaVersion")]
    public int SchemaVersion { get; init; } = 2;

    /// <summary>Its own type; OCI allows it to be left out.</summary>
    [JsonPropertyName("mediaType")]
    public string? MediaType { get; init; }

    /// <summary>The images.</summary>
    [JsonPropertyName("manifests")]
    public IReadOnlyList<Descriptor> Manifests { get; init => field = value ?? []; } = [];
}
