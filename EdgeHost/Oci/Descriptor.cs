using System.Text.Json.Serialization;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>Points at a blob (OCI image-spec, descriptor.md; Docker's schema 2 has the same fields).</summary>
public sealed record Descriptor
{
    /// <summary>The type of what it points at; empty when it does not say.</summary>
    [JsonPropertyName("mediaType")]
    public string MediaType { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>The digest as it was written. Use <see cref="ContentDigest"/>.</summary>
    [JsonPropertyName("digest")]
    public string Digest { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>The length in bytes, 0 or more once the document was parsed.</summary>
    [JsonPropertyName("size")]
    public long Size { get; init; }

    /// <summary>What the image is for, in an index.</summary>
    [JsonPropertyName("platform")]
    public Platform? Platform { get; init; }

    /// <summary>Free annotations, such as <c>org.opencontainers.image.ref.name</c>.</summary>
    [JsonPropertyName("annotations")]
    public IReadOnlyDictionary<string, string> Annotations { get; init => field = value ?? Empty; } = Empty;

    /// <summary>The type of an artifact.</summary>
    [JsonPropertyName("artifactType")]
    public string? ArtifactType { get; init; }

    /// <summary>The digest, parsed.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>.</exception>
    [JsonIgnore]
    public Digest ContentDigest => Oci.Digest.Parse(Digest);

    private static readonly IReadOnlyDictionary<string, string> Empty = new Dictionary<string, string>();
}
