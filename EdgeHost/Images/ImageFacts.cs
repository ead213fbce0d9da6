using System.Text.Json.Serialization;

namespace EdgeHost.Images;

/// <summary>What lies on disk for each image and says all that is not in its manifest and configuration.</summary>
internal sealed record ImageFacts
{
    /// <summary>The digest of the configuration.</summary>
    public required string Id { get; init; }

    /// <summary>The digest of the manifest for this platform.</summary>
    public required string ManifestDigest { get; init; }

    /// <summary>Indexes that it was found through; their blobs are kept too.</summary>
    public IReadOnlyList<string> Indexes { get; init => field = value ?? []; } = [];

    /// <summary>Tagged names, each with the number of the change that set it: where two images claim one name, the later is right.</summary>
    public IReadOnlyDictionary<string, long> References { get; init => field = value ?? new Dictionary<string, long>(); } = new Dictionary<string, long>();

    /// <summary>Names with the digest that they were pulled by.</summary>
    public IReadOnlyList<string> RepositoryDigests { get; init => field = value ?? []; } = [];

    /// <summary>Bytes in the files of its layers.</summary>
    public long SizeBytes { get; init; }

    /// <summary>When it came here.</summary>
    public DateTimeOffset Added { get; init; }

    /// <summary>It was removed by force while containers had it, and goes with the last of them.</summary>
    public bool RemoveWhenFree { get; init; }

    /// <summary>A deployment brought it, and nobody else has asked for it since.</summary>
    public bool ForDeployment { get; init; }
}

[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ImageFacts))]
internal sealed partial class ImageFactsJson : JsonSerializerContext;
