using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>A document of an image with the bytes that were received: digests and signatures are about bytes.</summary>
/// <param name="Value">What they say.</param>
/// <param name="Bytes">The bytes.</param>
/// <param name="Digest">Their sha256.</param>
/// <typeparam name="T">The kind of document.</typeparam>
public sealed record Received<T>(T Value, ReadOnlyMemory<byte> Bytes, Digest Digest);

/// <summary>Reads the documents of an image. Unknown fields are passed over, as the specification asks; size and depth are bounded.</summary>
public static class ImageDocument
{
    /// <summary>The most bytes that a manifest, an index or a configuration may have (OCI distribution-spec: registries take 4 MiB).</summary>
    public const int MaximumBytes = 4 << 20;

    /// <summary>The most layers that an image may have: overlayfs takes 500, Docker 127.</summary>
    public const int MaximumLayers = 127;

    /// <summary>Reads an index or a manifest list.</summary>
    /// <param name="bytes">At most <see cref="MaximumBytes"/>.</param>
    /// <param name="what">What it is called in an error.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: it is none.</exception>
    public static Received<ImageIndex> ReadIndex(ReadOnlyMemory<byte> bytes, string what)
    {
        var index = Read(bytes, ImageJson.Default.ImageIndex, what);
        Refuse(index.Value.SchemaVersion != 2, what, $"schema version {index.Value.SchemaVersion} is not 2");
        foreach (var entry in index.Value.Manifests)
        {
            Check(entry, what);
        }

        return index;
    }

    /// <summary>Reads a manifest.</summary>
    /// <inheritdoc cref="ReadIndex"/>
    public static Received<ImageManifest> ReadManifest(ReadOnlyMemory<byte> bytes, string what)
    {
        var manifest = Read(bytes, ImageJson.Default.ImageManifest, what);
        Refuse(manifest.Value.SchemaVersion != 2, what, $"schema version {manifest.Value.SchemaVersion} is not 2");
        Check(manifest.Value.Config, what);
        Refuse(manifest.Value.Layers.Count > MaximumLayers, what, $"{manifest.Value.Layers.Count} layers are more than {MaximumLayers}");
        foreach (var layer in manifest.Value.Layers)
        {
            Check(layer, what);
        }

        return manifest;
    }

    /// <summary>Reads an image configuration.</summary>
    /// <inheritdoc cref="ReadIndex"/>
    public static Received<ImageConfig> ReadConfig(ReadOnlyMemory<byte> bytes, string what)
    {
        var config = Read(bytes, ImageJson.Default.ImageConfig, what);
        Refuse(config.Value.RootFs.DiffIds.Count > MaximumLayers, what, $"{config.Value.RootFs.DiffIds.Count} layers are more than {MaximumLayers}");
        foreach (var diffId in config.Value.RootFs.DiffIds)
        {
            Refuse(!Digest.TryParse(diffId, out _), what, $"\"{diffId}\" is no digest");
        }

        var run = config.Value.Config;
        CheckTexts(run.Env, what, "Env");
        CheckTexts(run.Entrypoint, what, "Entrypoint");
        CheckTexts(run.Cmd, what, "Cmd");
        CheckTexts(run.Labels.Values, what, "Labels");
        CheckTexts([run.User, run.WorkingDir, run.StopSignal ?? string.Empty], what, "User, WorkingDir or StopSignal");
        Refuse(config.Value.History.Contains(null!), what, "its history has a null in it");
        return config;
    }

    // What a registry sends is not what the types promise: a list of strings may have null in it, and a string a zero
    // byte, at which the kernel would end it.
    private static void CheckTexts(IEnumerable<string?> texts, string what, string field)
    {
        foreach (var text in texts)
        {
            Refuse(text is null || text.Contains('\0', StringComparison.Ordinal), what, $"{field} has a null or a zero byte in it");
        }
    }

    /// <summary>Whether a document is an index or a manifest, by what it says of itself or else by what it has.</summary>
    /// <param name="bytes">At most <see cref="MaximumBytes"/>.</param>
    /// <param name="declared">The type that came with it (Content-Type, descriptor), or null.</param>
    /// <param name="what">What it is called in an error.</param>
    /// <returns>True for an index.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: neither, or both (CVE-2021-41190).</exception>
    public static bool IsIndex(ReadOnlyMemory<byte> bytes, string? declared, string what)
    {
        var shape = Read(bytes, ImageJson.Default.Shape, what).Value;
        var index = shape.Manifests is { ValueKind: JsonValueKind.Array };
        var manifest = shape.Layers is { ValueKind: JsonValueKind.Array } || shape.Config is { ValueKind: JsonValueKind.Object };
        Refuse(index && manifest, what, "it is an index and a manifest at once");
        if (shape.SchemaVersion == 1 || declared == MediaTypes.DockerManifestV1)
        {
            throw new EdgeHostException(
                ErrorKind.Unsupported, $"{what} is a Docker schema 1 manifest, which has no checkable digests: push the image again with a current tool");
        }

        Refuse(!index && !manifest, what, $"it is neither an index nor a manifest (type {shape.MediaType ?? declared ?? "not given"})");
        var saidIndex = MediaTypes.IsIndex(shape.MediaType) || (shape.MediaType is null && MediaTypes.IsIndex(declared));
        var saidManifest = MediaTypes.IsManifest(shape.MediaType) || (shape.MediaType is null && MediaTypes.IsManifest(declared));
        Refuse((index && saidManifest) || (manifest && saidIndex), what, $"its type {shape.MediaType ?? declared} does not fit its content");
        return index;
    }

    private static Received<T> Read<T>(ReadOnlyMemory<byte> bytes, JsonTypeInfo<T> type, string what)
        where T : class
    {
        Refuse(bytes.Length > MaximumBytes, what, $"{bytes.Length} bytes are more than {MaximumBytes}");
        try
        {
            var value = JsonSerializer.Deserialize(bytes.Span, type) ?? throw new JsonException("null");
            return new Received<T>(value, bytes, Digest.OfSha256(bytes.Span));
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{what} cannot be read: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    private static void Check(Descriptor? descriptor, string what)
    {
        Refuse(descriptor is null, what, "a descriptor is null");
        Refuse(!Digest.TryParse(descriptor!.Digest, out _), what, $"\"{descriptor.Digest}\" is no digest");
        Refuse(descriptor.Size < 0, what, $"size {descriptor.Size} of {descriptor.Digest} is negative");
    }

    private static void Refuse(bool refused, string what, string why)
    {
        if (refused)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{what} cannot be read: {why}");
        }
    }
}

/// <summary>As much of a document as tells what it is.</summary>
internal sealed record Shape
{
    [JsonPropertyName("schemaVersion")]
    public int SchemaVersion { get; init; }

    [JsonPropertyName("mediaType")]
    public string? MediaType { get; init; }

    [JsonPropertyName("manifests")]
    public JsonElement? Manifests { get; init; }

    [JsonPropertyName("layers")]
    public JsonElement? Layers { get; init; }

    [JsonPropertyName("config")]
    public JsonElement? Config { get; init; }
}

/// <summary>Generated readers and writers of the image documents.</summary>
[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, MaxDepth = 32, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ImageIndex))]
[JsonSerializable(typeof(ImageManifest))]
[JsonSerializable(typeof(ImageConfig))]
[JsonSerializable(typeof(Shape))]
internal sealed partial class ImageJson : JsonSerializerContext;
