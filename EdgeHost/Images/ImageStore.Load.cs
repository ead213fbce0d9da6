using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>Loading from archives: an OCI layout (image-layout.md) or what <c>docker save</c> and <c>skopeo copy docker-archive:</c> write.</summary>
public sealed partial class ImageStore
{
    private const int MaximumImagesInArchive = 256;

    /// <inheritdoc/>
    public async Task<IReadOnlyList<Image>> LoadAsync(Stream archive, CancellationToken cancel)
    {
        using var spool = await Task.Run(() => SpooledArchive.Read(archive, _content.Ingest, _options.ReservedBytes, cancel), cancel).ConfigureAwait(false);

        try
        {
            return await LoadAsync(spool, cancel).ConfigureAwait(false);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Full)
        {
            await Task.Run(RemoveOrphans, CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }

    private async Task<IReadOnlyList<Image>> LoadAsync(SpooledArchive spool, CancellationToken cancel)
    {
        // docker save writes both since version 25; the layout has the digests.
        return spool.Contains("oci-layout") && spool.Contains("index.json")
            ? await LoadLayoutAsync(spool, cancel).ConfigureAwait(false)
            : spool.Contains("manifest.json")
                ? await LoadDockerArchiveAsync(spool, cancel).ConfigureAwait(false)
                : throw new EdgeHostException(ErrorKind.Invalid, "the archive is neither an OCI layout (oci-layout, index.json) nor a docker archive (manifest.json)");
    }

    private static string? NameInLayout(Descriptor entry)
    {
        // containerd and docker save write the whole name here; the specification's own annotation is often only a tag.
        var name = entry.Annotations.GetValueOrDefault("io.containerd.image.name") ?? entry.Annotations.GetValueOrDefault("org.opencontainers.image.ref.name");
        return name is not null && (name.Contains('/', StringComparison.Ordinal) || name.Contains(':', StringComparison.Ordinal))
            && ImageReference.TryParse(name, out var reference)
                ? reference.Tagged
                : null;
    }

    private async Task<IReadOnlyList<Image>> LoadLayoutAsync(SpooledArchive spool, CancellationToken cancel)
    {
        var top = ImageDocument.ReadIndex(spool.ReadSmall("index.json"), "index.json of the archive");
        if (top.Value.Manifests.Count is 0 or > MaximumImagesInArchive)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the archive has {top.Value.Manifests.Count} images; 1 to {MaximumImagesInArchive} are loaded");
        }

        // Names that only differ in platform are one image to Docker's users: the best one for this board gets the name.
        var images = new List<Image>();
        EdgeHostException? infeasible = null;
        foreach (var entries in top.Value.Manifests.GroupBy(entry => NameInLayout(entry) ?? entry.Digest).ToList())
        {
            try
            {
                var entry = entries.Count() == 1 ? entries.First() : _options.Platform.Choose(new ImageIndex { Manifests = [.. entries] }, entries.Key);
                images.Add(await LoadLayoutImageAsync(spool, entry, NameInLayout(entry), cancel).ConfigureAwait(false));
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.Infeasible)
            {
                infeasible = e;
            }
        }

        return images.Count > 0 || infeasible is null ? images : throw infeasible;
    }

    private async Task<Image> LoadLayoutImageAsync(SpooledArchive spool, Descriptor entry, string? name, CancellationToken cancel)
    {
        var label = name ?? entry.Digest;
        var indexes = new List<Received<ImageIndex>>();
        Received<ImageManifest>? manifest = null;
        for (var depth = 0; manifest is null; depth++)
        {
            if (depth == MaximumIndexDepth)
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"{label}: indexes within indexes, more than {MaximumIndexDepth} deep");
            }

            var digest = entry.ContentDigest;
            var what = $"manifest {digest} of {label}";
            var bytes = spool.ReadSmallBlob(digest, what);
            if (ImageDocument.IsIndex(bytes, entry.MediaType, what))
            {
                var index = ImageDocument.ReadIndex(bytes, what) with { Digest = digest };
                indexes.Add(index);
                entry = _options.Platform.Choose(index.Value, label);
            }
            else
            {
                manifest = ImageDocument.ReadManifest(bytes, what) with { Digest = digest };
            }
        }

        var configDigest = manifest.Value.Config.ContentDigest;
        var config = ImageDocument.ReadConfig(spool.ReadSmallBlob(configDigest, $"configuration of {label}"), $"configuration {configDigest} of {label}")
            with
        { Digest = configDigest };
        _options.Platform.Require(config.Value, label);
        var diffIds = config.Value.RootFs.DiffIds;
        var layers = manifest.Value.Layers;
        if (diffIds.Count != layers.Count)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{label}: the manifest has {layers.Count} layers, the configuration {diffIds.Count}");
        }

        using (Lease(ChainIds(diffIds)))
        {
            await BuildLayersAsync(
                diffIds,
                (index, staged, stop) => UnpackSpooledAsync(
                    spool, SpooledArchive.BlobName(layers[index].ContentDigest), $"layer {layers[index].Digest} of {label}", layers[index].ContentDigest, diffIds[index], staged, stop),
                static _ => { },
                cancel).ConfigureAwait(false);
            return Register(config, manifest, indexes, name, null, forDeployment: false);
        }
    }

    private async Task<IReadOnlyList<Image>> LoadDockerArchiveAsync(SpooledArchive spool, CancellationToken cancel)
    {
        List<DockerArchiveEntry>? entries;
        try
        {
            entries = JsonSerializer.Deserialize(spool.ReadSmall("manifest.json").Span, DockerArchiveJson.Default.ListDockerArchiveEntry);
        }
        catch (JsonException e)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"manifest.json of the archive cannot be read: {e.Message.ReplaceLineEndings(" ")}", e);
        }

        if (entries is null || entries.Count is 0 or > MaximumImagesInArchive || entries.Contains(null!))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the archive has {entries?.Count ?? 0} images; 1 to {MaximumImagesInArchive} are loaded");
        }

        var images = new List<Image>();
        foreach (var entry in entries)
        {
            if (entry.RepoTags.Contains(null!) || entry.Layers.Contains(null!))
            {
                throw new EdgeHostException(ErrorKind.Corrupt, "manifest.json of the archive has a null among its names or layers");
            }

            var names = entry.RepoTags.Select(tag => ImageReference.Parse(tag).Tagged!).ToList();
            var label = names.FirstOrDefault() ?? entry.Config;
            var config = ImageDocument.ReadConfig(spool.ReadSmall(entry.Config), $"configuration {entry.Config} of {label}");
            _options.Platform.Require(config.Value, label);
            var diffIds = config.Value.RootFs.DiffIds;
            if (diffIds.Count != entry.Layers.Count)
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"{label}: manifest.json has {entry.Layers.Count} layers, the configuration {diffIds.Count}");
            }

            // A docker archive has no manifest; the one that is made says what was in it.
            var manifest = ManifestOf(config.Digest.ToString(), config.Bytes.Length, diffIds, [.. entry.Layers.Select(spool.Length)]);
            var bytes = JsonSerializer.SerializeToUtf8Bytes(manifest, ImageJson.Default.ImageManifest);
            using (Lease(ChainIds(diffIds)))
            {
                await BuildLayersAsync(
                    diffIds,
                    (index, staged, stop) => UnpackSpooledAsync(
                        spool, entry.Layers[index], $"layer {entry.Layers[index]} of {label}", null, diffIds[index], staged, stop),
                    static _ => { },
                    cancel).ConfigureAwait(false);
                Image? image = null;
                foreach (var name in names.Count == 0 ? [null] : names.Cast<string?>())
                {
                    image = Register(config, new Received<ImageManifest>(manifest, bytes, Digest.OfSha256(bytes)), [], name, null, forDeployment: false);
                }

                images.Add(image!);
            }
        }

        return images;
    }

    private async Task<StagedLayer> UnpackSpooledAsync(
        SpooledArchive spool, string file, string what, Digest? digest, string diffId, string staged, CancellationToken cancel)
    {
        await _turns.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            var unpacked = await Task.Factory.StartNew(
                () =>
                {
                    using var blob = spool.Open(file);
                    return UnpackBlob(blob, what, digest, Digest.Parse(diffId), staged, static _ => { }, cancel);
                },
                CancellationToken.None,
                TaskCreationOptions.LongRunning,
                TaskScheduler.Default).ConfigureAwait(false);
            return new StagedLayer(unpacked, null);
        }
        finally
        {
            _turns.Release();
        }
    }
}

/// <summary>One image of a docker archive's <c>manifest.json</c>.</summary>
internal sealed class DockerArchiveEntry
{
    [JsonPropertyName("Config")]
    public string Config { get; init => field = value ?? string.Empty; } = string.Empty;

    [JsonPropertyName("RepoTags")]
    public IReadOnlyList<string> RepoTags { get; init => field = value ?? []; } = [];

    [JsonPropertyName("Layers")]
    public IReadOnlyList<string> Layers { get; init => field = value ?? []; } = [];
}

[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, MaxDepth = 16)]
[JsonSerializable(typeof(List<DockerArchiveEntry>))]
internal sealed partial class DockerArchiveJson : JsonSerializerContext;

/// <summary>
/// The files of an archive, written one by one beside what is under way: an archive streams by once, and says only at
/// its end, if it likes, what its files are for. Names of the archive are never names on disk.
/// </summary>
internal sealed class SpooledArchive : IDisposable
{
    private const int MaximumEntries = 20_000;
    private const int MaximumLinkDepth = 8;
    private const long SpaceCheckBytes = 32L << 20;

    private readonly string _directory;
    private readonly Dictionary<string, (string Path, long Length)> _files = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _links = new(StringComparer.Ordinal);

    private SpooledArchive(string directory) => _directory = directory;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>Reads an archive to its end.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>, <see cref="ErrorKind.Full"/>, <see cref="ErrorKind.Unsupported"/>.</exception>
    internal static SpooledArchive Read(Stream archive, string ingest, long reservedBytes, CancellationToken cancel)
    {
        var directory = Path.Combine(ingest, $"load-{Guid.NewGuid():n}");
        Directory.CreateDirectory(directory);
        var spool = new SpooledArchive(directory);
        try
        {
            using var plain = Compression.Open(archive);
            spool.Fill(new TarReader(plain, null), reservedBytes, cancel);
            return spool;
        }
        catch (Exception e)
        {
            spool.Dispose();
            throw e switch
            {
                _ when Compression.IsDamage(e) => new EdgeHostException(ErrorKind.Corrupt, $"the archive cannot be decompressed: {e.Message.TrimEnd('.')}", e),
                EdgeHostException known when !known.Message.StartsWith("the archive", StringComparison.Ordinal) =>
                    new EdgeHostException(known.Kind, $"the archive cannot be read: {known.Message}", e),
                _ => e,
            };
        }
    }

    internal static string BlobName(Digest digest) => $"blobs/{digest.Algorithm}/{digest.Hex}";

    internal bool Contains(string name) => _files.ContainsKey(name);

    internal long Length(string name) => Find(name).Length;

    internal Stream Open(string name) => new FileStream(Find(name).Path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);

    /// <summary>A document, whole.</summary>
    internal ReadOnlyMemory<byte> ReadSmall(string name)
    {
        var (path, length) = Find(name);
        return length <= ImageDocument.MaximumBytes
            ? File.ReadAllBytes(path)
            : throw new EdgeHostException(ErrorKind.Corrupt, $"the archive's {name} has {length} bytes, more than {ImageDocument.MaximumBytes}");
    }

    /// <summary>A document by its digest, checked.</summary>
    internal ReadOnlyMemory<byte> ReadSmallBlob(Digest digest, string what)
    {
        var bytes = ReadSmall(BlobName(digest));
        return ContentStore.Matches(digest, bytes.Span)
            ? bytes
            : throw new EdgeHostException(ErrorKind.Corrupt, $"{what}: the archive has {Digest.OfSha256(bytes.Span)} in its place");
    }

    private static string Clean(string name) => name.StartsWith("./", StringComparison.Ordinal) ? name[2..] : name;

    private (string Path, long Length) Find(string name)
    {
        name = Clean(name);
        for (var depth = 0; depth < MaximumLinkDepth; depth++)
        {
            if (_files.TryGetValue(name, out var file))
            {
                return file;
            }

            // docker save of old: a layer that two images share is a link to the other's.
            if (!_links.TryGetValue(name, out var target))
            {
                break;
            }

            name = Path.GetFullPath(target, "/" + Path.GetDirectoryName(name))[1..];
        }

        throw new EdgeHostException(ErrorKind.Corrupt, $"the archive has no {RootedDirectory.Shown(System.Text.Encoding.UTF8.GetBytes(name))}");
    }

    private void Fill(TarReader tar, long reservedBytes, CancellationToken cancel)
    {
        using var directory = Files.OpenDirectory(_directory);
        var sinceCheck = SpaceCheckBytes;
        while (tar.Next() is { } entry)
        {
            cancel.ThrowIfCancellationRequested();
            var name = Clean(System.Text.Encoding.UTF8.GetString(entry.Name));
            if (_files.Count + _links.Count == MaximumEntries)
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"the archive has more than {MaximumEntries} files");
            }

            if (entry.Type is TarType.SymbolicLink or TarType.HardLink)
            {
                // A hard link names its target from the root of the archive.
                var target = System.Text.Encoding.UTF8.GetString(entry.LinkName);
                _links[name] = entry.Type == TarType.HardLink ? "/" + Clean(target) : target;
                continue;
            }

            if (entry.Type != TarType.File)
            {
                continue;
            }

            var path = Path.Combine(_directory, _files.Count.ToString(System.Globalization.CultureInfo.InvariantCulture));
            if (_files.ContainsKey(name))
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"the archive has {RootedDirectory.Shown(entry.Name)} twice");
            }

            using var file = RootedDirectory.TryCreateFile(directory, System.Text.Encoding.ASCII.GetBytes(Path.GetFileName(path)))
                ?? throw new EdgeHostException(ErrorKind.Internal, $"{path} is there already");
            for (var piece = tar.NextData(); !piece.IsEmpty; piece = tar.NextData())
            {
                cancel.ThrowIfCancellationRequested();
                sinceCheck += piece.Length;
                if (sinceCheck >= SpaceCheckBytes)
                {
                    sinceCheck = 0;
                    var free = DiskSpace.Of(directory, reservedBytes + SpaceCheckBytes).FreeBytes;
                    if (free < reservedBytes + SpaceCheckBytes)
                    {
                        throw new EdgeHostException(
                            ErrorKind.Full, $"the archive does not fit: {free >> 20} MiB are left on the disk of {_directory}, of which {reservedBytes >> 20} MiB stay free");
                    }
                }

                Files.WriteAll(file, piece, path);
            }

            _files[name] = (path, entry.Size);
        }

        tar.Drain();
    }
}
