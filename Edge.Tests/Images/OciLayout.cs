using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace Edge.Tests.Images;

/// <summary>Makes an OCI layout by hand, so that a test says every byte of an image.</summary>
public sealed class OciLayout : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly JsonArray _manifests = [];

    public OciLayout()
    {
        Directory.CreateDirectory(_directory.Sub("blobs/sha256"));
        File.WriteAllText(_directory.Sub("oci-layout"), """{"imageLayoutVersion":"1.0.0"}""");
        WriteIndex();
    }

    public string Path => _directory.Path;

    public static string Sha256(byte[] bytes) => "sha256:" + Convert.ToHexStringLower(SHA256.HashData(bytes));

    public void Dispose() => _directory.Dispose();

    public JsonObject AddBlob(byte[] bytes, string mediaType)
    {
        var digest = Sha256(bytes);
        File.WriteAllBytes(BlobPath(digest), bytes);
        return new JsonObject { ["mediaType"] = mediaType, ["digest"] = digest, ["size"] = bytes.Length };
    }

    public string BlobPath(string digest) => _directory.Sub("blobs/sha256/" + digest["sha256:".Length..]);

    /// <summary>Adds an image; the descriptor of its manifest is returned, and named in the index when <paramref name="name"/> is given.</summary>
    public JsonObject AddImage(
        string? name, IEnumerable<Layer> layers, string architecture = "amd64", string? variant = null, Action<JsonObject>? change = null)
    {
        var all = layers.ToList();
        var config = new JsonObject
        {
            ["created"] = "2024-05-06T07:08:09.123456789Z",
            ["architecture"] = architecture,
            ["os"] = "linux",
            ["config"] = new JsonObject
            {
                ["Env"] = new JsonArray("PATH=/bin"),
                ["Cmd"] = new JsonArray("/bin/sh"),
                ["Entrypoint"] = null,
                ["Labels"] = new JsonObject { ["who"] = "test" },
                ["Unknown"] = new JsonArray(1, 2, 3),
            },
            ["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = new JsonArray([.. all.Select(layer => (JsonNode)layer.DiffId)]) },
        };
        if (variant is not null)
        {
            config["variant"] = variant;
        }

        change?.Invoke(config);
        var manifest = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = "application/vnd.oci.image.manifest.v1+json",
            ["config"] = AddBlob(
                Encoding.UTF8.GetBytes(config.ToJsonString()),
                "application/vnd.oci.image.config.v1+json"),
            ["layers"] = new JsonArray([.. all.Select(layer => (JsonNode)AddBlob(
                layer.Blob, "application/vnd.oci.image.layer.v1.tar" + layer.Suffix))]),
        };
        var descriptor = AddBlob(Encoding.UTF8.GetBytes(manifest.ToJsonString()), (string)manifest["mediaType"]!);
        var platform = new JsonObject { ["os"] = "linux", ["architecture"] = architecture };
        if (variant is not null)
        {
            platform["variant"] = variant;
        }

        descriptor["platform"] = platform;
        if (name is not null)
        {
            Name(descriptor, name);
        }

        return descriptor;
    }

    public JsonObject AddIndex(string? name, params JsonObject[] manifests)
    {
        var index = new JsonObject
        {
            ["schemaVersion"] = 2,
            ["mediaType"] = "application/vnd.oci.image.index.v1+json",
            ["manifests"] = new JsonArray([.. manifests.Select(manifest => manifest.DeepClone())]),
        };
        var descriptor = AddBlob(Encoding.UTF8.GetBytes(index.ToJsonString()), "application/vnd.oci.image.index.v1+json");
        if (name is not null)
        {
            Name(descriptor, name);
        }

        return descriptor;
    }

    public void Name(JsonObject descriptor, string name)
    {
        var named = (JsonObject)descriptor.DeepClone();
        named["annotations"] = new JsonObject { ["org.opencontainers.image.ref.name"] = name };
        _manifests.Add(named);
        WriteIndex();
    }

    private void WriteIndex() => File.WriteAllText(
        _directory.Sub("index.json"), new JsonObject { ["schemaVersion"] = 2, ["manifests"] = _manifests.DeepClone() }.ToJsonString());
}

/// <summary>A layer with both of its forms.</summary>
public sealed record Layer(byte[] Tar, byte[] Blob, string Suffix)
{
    public string DiffId => OciLayout.Sha256(Tar);

    public static Layer Gzip(byte[] tar)
    {
        using var output = new MemoryStream();
        using (var gzip = new GZipStream(output, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(tar);
        }

        return new Layer(tar, output.ToArray(), "+gzip");
    }

    public static Layer Zstd(byte[] tar)
    {
        using var compressor = new ZstdSharp.Compressor(3);
        return new Layer(tar, compressor.Wrap(tar).ToArray(), "+zstd");
    }

    public static Layer Plain(byte[] tar) => new(tar, tar, string.Empty);

    /// <summary>Files with their content.</summary>
    public static byte[] Files(params (string Name, string Content)[] files) => Entries([.. files.Select(file => new PaxTarEntry(TarEntryType.RegularFile, file.Name)
    {
        DataStream = new MemoryStream(Encoding.UTF8.GetBytes(file.Content)),
        Mode = (UnixFileMode)Convert.ToInt32("644", 8),
    })]);

    public static byte[] Entries(params TarEntry[] entries)
    {
        using var output = new MemoryStream();
        using (var writer = new TarWriter(output, TarEntryFormat.Pax, leaveOpen: true))
        {
            foreach (var entry in entries)
            {
                writer.WriteEntry(entry);
            }
        }

        return output.ToArray();
    }

    /// <summary>One file of bytes that do not compress.</summary>
    public static byte[] Noise(string name, int bytes, int seed)
    {
        var noise = new byte[bytes];
        new Random(seed).NextBytes(noise);
        return Entries(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(noise) });
    }
}
