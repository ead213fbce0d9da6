using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux.Archives;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>Saving into archives: an OCI layout that is a docker archive, too, as Docker writes them since version 25.</summary>
public sealed partial class ImageStore
{
    /// <inheritdoc/>
    public ImageArchive OpenArchive(IReadOnlyList<string> names)
    {
        lock (_gate)
        {
            var images = new List<SavedImage>();
            foreach (var name in names)
            {
                // As Docker: a name without a tag is all its tags.
                var reference = ImageReference.TryParse(name, out var parsed) ? parsed : null;
                var all = reference is null || name.Contains('@', StringComparison.Ordinal) || name.LastIndexOf(':') > name.LastIndexOf('/') ? []
                    : _images.Values.SelectMany(held => held.Facts.References.Keys).Where(each => each.StartsWith(reference.Name + ":", StringComparison.Ordinal)).Order(StringComparer.Ordinal).ToList();
                foreach (var each in all.DefaultIfEmpty(name))
                {
                    var held = FindHeld(each) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {each}");
                    var image = images.Find(known => known.Held.Facts.Id == held.Facts.Id);
                    if (image is null)
                    {
                        images.Add(image = ToSave(held));
                    }

                    if (ImageReference.TryParse(each, out var tag) && tag is { Digest: null, Tagged: { } tagged } && held.Facts.References.ContainsKey(tagged) && !image.Tags.Contains(tagged))
                    {
                        image.Tags.Add(tagged);
                    }
                }
            }

            return new SavedImages(images, Lease([.. images.SelectMany(image => image.Held.Chains)]));
        }
    }

    /// <summary>A manifest for layers that are not compressed.</summary>
    private static ImageManifest ManifestOf(string config, long configBytes, IReadOnlyList<string> diffIds, IReadOnlyList<long> layerBytes) => new()
    {
        MediaType = MediaTypes.ImageManifest,
        Config = new Descriptor { MediaType = MediaTypes.ImageConfig, Digest = config, Size = configBytes },
        Layers = [.. diffIds.Select((diffId, i) => new Descriptor { MediaType = MediaTypes.LayerTar, Digest = diffId, Size = layerBytes[i] })],
    };

    private SavedImage ToSave(Held held)
    {
        var layers = new List<Snapshot>();
        foreach (var chain in held.Chains)
        {
            var layer = _snapshots.FindLayer(chain);
            layers.Add(layer is not null && File.Exists(layer.Record) ? layer : throw new EdgeHostException(
                ErrorKind.Unsupported,
                $"image {held.Facts.References.Keys.FirstOrDefault() ?? held.Facts.Id} was unpacked by a version that did not keep what saving needs: remove it, and pull or load it again"));
        }

        return new SavedImage(held, layers, _content.TryRead(held.Image.Id) ?? throw new EdgeHostException(ErrorKind.Corrupt, $"the configuration of image {held.Facts.Id} is missing or damaged: pull it again"));
    }

    /// <summary>An image on its way into an archive.</summary>
    private sealed class SavedImage(Held held, List<Snapshot> layers, byte[] config)
    {
        internal Held Held { get; } = held;

        internal List<Snapshot> Layers { get; } = layers;

        internal byte[] Config { get; } = config;

        /// <summary>In full form.</summary>
        internal List<string> Tags { get; } = [];
    }

    private sealed class SavedImages(List<SavedImage> images, LayerLease lease) : ImageArchive
    {
        public override void WriteTo(Stream output, CancellationToken cancel)
        {
            var tar = new TarWriter(output);
            var written = new HashSet<string>(StringComparer.Ordinal);
            var index = new List<Descriptor>();
            var entries = new List<DockerArchiveEntry>();
            foreach (var image in images)
            {
                var time = image.Held.Image.Created.ToUnixTimeSeconds();
                var sizes = new List<long>();
                foreach (var layer in image.Layers)
                {
                    var size = LayerTar.LengthOf(layer);
                    sizes.Add(size);
                    if (written.Add(layer.Facts.DiffId!))
                    {
                        Begin(tar, BlobOf(layer.Facts.DiffId!), size, time);
                        LayerTar.WriteTo(layer, tar, cancel);
                    }
                }

                var id = image.Held.Facts.Id;
                var manifest = JsonSerializer.SerializeToUtf8Bytes(
                    ManifestOf(id, image.Config.Length, image.Held.Image.Config.RootFs.DiffIds, sizes), ImageJson.Default.ImageManifest);
                var digest = Digest.OfSha256(manifest).ToString();
                Put(tar, BlobOf(id), image.Config, time);
                Put(tar, BlobOf(digest), manifest, time);
                index.AddRange(image.Tags.DefaultIfEmpty(string.Empty).Select(tag => Entry(digest, manifest.Length, tag)));
                entries.Add(new DockerArchiveEntry
                {
                    Config = BlobOf(id),
                    RepoTags = [.. image.Tags.Select(tag => ImageReference.Parse(tag).Familiar)],
                    Layers = [.. image.Layers.Select(layer => BlobOf(layer.Facts.DiffId!))],
                });
            }

            Put(tar, "index.json", JsonSerializer.SerializeToUtf8Bytes(new ImageIndex { MediaType = MediaTypes.ImageIndex, Manifests = index }, ImageJson.Default.ImageIndex), 0);
            Put(tar, "manifest.json", JsonSerializer.SerializeToUtf8Bytes(entries, DockerArchiveJson.Default.ListDockerArchiveEntry), 0);
            Put(tar, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"u8, 0);
            tar.Finish();
        }

        public override void Dispose() => lease.Dispose();

        private static Descriptor Entry(string digest, long size, string tag) => new()
        {
            MediaType = MediaTypes.ImageManifest,
            Digest = digest,
            Size = size,
            Annotations = tag.Length == 0 ? new Dictionary<string, string>() : new Dictionary<string, string>
            {
                ["io.containerd.image.name"] = tag,
                ["org.opencontainers.image.ref.name"] = tag[(tag.LastIndexOf(':') + 1)..],
            },
        };

        private static string BlobOf(string digest) => SpooledArchive.BlobName(Digest.Parse(digest));

        private static void Put(TarWriter tar, string name, ReadOnlySpan<byte> content, long time)
        {
            Begin(tar, name, content.Length, time);
            tar.Write(content);
        }

        private static void Begin(TarWriter tar, string name, long size, long time) => tar.Begin(new TarEntry
        {
            Name = Encoding.ASCII.GetBytes(name),
            LinkName = [],
            Type = TarType.File,
            Mode = 0x1A4, // 0644
            Uid = 0,
            Gid = 0,
            Size = size,
            ModifiedSeconds = time,
            ModifiedNanoseconds = 0,
            DeviceMajor = 0,
            DeviceMinor = 0,
            Attributes = [],
        });
    }
}
