using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.State;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace EdgeHost.Images;

/// <summary>
/// Images on this host: <c>content/</c> (blobs, what is under way, and the facts of each image) and <c>snapshots/</c>
/// beneath the data directory. The facts on disk decide; the rows in the database follow them. One process at a time.
/// </summary>
public sealed partial class ImageStore : IImageStore, IDisposable
{
    private readonly ImageStoreOptions _options;
    private readonly ILogger _logger;
    private readonly ContentStore _content;
    private readonly SnapshotStore _snapshots;
    private readonly RegistryClient _registry;
    private readonly StateTable<ImageFacts> _rows;
    private readonly SemaphoreSlim _turns;
    private readonly KeyedLock _chainLocks = new();
    private readonly KeyedLock _blobLocks = new();

    // Over what follows. Small durable writes happen under it, long work never.
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Held> _images = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _leases = new(StringComparer.Ordinal);
    private long _sequence;

    /// <summary>Finds what is held, and removes what a killed process left unfinished.</summary>
    /// <param name="dataDirectory">An absolute path; <c>content</c> and <c>snapshots</c> are made in it.</param>
    /// <param name="state">The database that gets the rows (table <c>images</c>).</param>
    /// <param name="options">How to work.</param>
    /// <param name="logger">Told of retries and of damage.</param>
    /// <exception cref="EdgeHostException">The directories cannot be used.</exception>
    public ImageStore(string dataDirectory, StateDatabase state, ImageStoreOptions? options = null, ILogger<ImageStore>? logger = null)
    {
        _options = options ?? new ImageStoreOptions();
        _logger = logger ?? (ILogger)NullLogger.Instance;
        _turns = new SemaphoreSlim(Math.Clamp(_options.ConcurrentLayers, 1, 16));
        _rows = state.Table("images", ImageFactsJson.Default.ImageFacts);
        _registry = new RegistryClient(_options, _logger);
        try
        {
            _content = new ContentStore(Path.Combine(dataDirectory, "content"), _logger);
            _snapshots = new SnapshotStore(SnapshotsOf(dataDirectory), _logger);
            _content.Sweep(_options.KeepInterrupted);
            ReadImages();
            CollectGarbage();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Internal, $"image store in {dataDirectory}: {e.Message}", e);
        }
    }

    /// <summary>Takes other settings of registries for what is fetched from now on.</summary>
    public void UseRegistries(IReadOnlyDictionary<string, RegistryOptions> registries) => _registry.Use(registries);

    /// <summary>Where the layers of images and containers are in a data directory.</summary>
    public static string SnapshotsOf(string dataDirectory) => Path.Combine(dataDirectory, "snapshots");

    /// <inheritdoc/>
    public void Dispose()
    {
        _registry.Dispose();
        _turns.Dispose();
    }

    /// <summary>Done once the leftovers of a killed process are removed; nothing has to wait for it.</summary>
    internal Task Swept => _snapshots.Swept;

    /// <inheritdoc/>
    public Image? Find(string referenceOrId)
    {
        lock (_gate)
        {
            return FindHeld(referenceOrId)?.Image;
        }
    }

    /// <inheritdoc/>
    public void Tag(string referenceOrId, string name)
    {
        var reference = ImageReference.Parse(name);
        var tagged = reference is { Digest: null, Tagged: { } whole } ? whole : throw new EdgeHostException(ErrorKind.Invalid, "refusing to create a tag with a digest reference");
        lock (_gate)
        {
            var held = FindHeld(referenceOrId) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {referenceOrId}");
            if (!held.Facts.References.ContainsKey(tagged))
            {
                Name(held.Facts with { ForDeployment = false }, tagged);
            }
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<Image> List()
    {
        lock (_gate)
        {
            return [.. _images.Values.Select(held => held.Image).OrderByDescending(image => image.Created)];
        }
    }

    /// <inheritdoc/>
    public ContainerSnapshot Prepare(string imageId, string containerId, bool durable = true)
    {
        if (containerId.Length is 0 or > 128 || containerId.AsSpan().ContainsAnyExcept("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"container id \"{containerId}\" is not 1 to 128 letters, digits, _, . and -");
        }

        lock (_gate)
        {
            var there = _snapshots.FindContainer(containerId);
            var held = FindHeld(there?.Facts.ImageId ?? imageId)
                ?? throw new EdgeHostException(ErrorKind.NotFound, $"image {imageId} is not held: pull it first");
            var lower = LowerLayers(held);
            var snapshot = there ?? _snapshots.AddContainer(
                new SnapshotFacts { ContainerId = containerId, ImageId = held.Facts.Id }, lower.Count > 0 ? lower[0] : null, durable);
            return SnapshotOf(snapshot, lower);
        }
    }

    /// <inheritdoc/>
    public ContainerSnapshot? FindContainer(string containerId)
    {
        lock (_gate)
        {
            return _snapshots.FindContainer(containerId) is { } snapshot && FindHeld(snapshot.Facts.ImageId!) is { } held
                ? SnapshotOf(snapshot, LowerLayers(held))
                : null;
        }
    }

    /// <inheritdoc/>
    public void Discard(string containerId)
    {
        var gone = new List<string>();
        lock (_gate)
        {
            if (_snapshots.FindContainer(containerId) is not { } snapshot)
            {
                return;
            }

            // Nobody sees it any more; the next start removes what is not removed by then.
            var aside = _snapshots.Detach(snapshot);
            Afterwards.Add(() => _snapshots.TryRemoveTree(aside));
            if (_images.GetValueOrDefault(snapshot.Facts.ImageId!) is { Facts: { RemoveWhenFree: true, References.Count: 0 } } held && !InUse(held))
            {
                Delete(held, gone);
            }
        }

        foreach (var name in gone)
        {
            _snapshots.RemoveTree(name);
        }
    }

    /// <inheritdoc/>
    public void DiscardOthers(Predicate<string> isThere)
    {
        foreach (var snapshot in _snapshots.Containers())
        {
            if (!isThere(snapshot.Facts.ContainerId!))
            {
                LogNoContainer(_logger, snapshot.Directory, snapshot.Facts.ContainerId!);
                Discard(snapshot.Facts.ContainerId!);
            }
        }
    }

    /// <summary>The chain ids of a stack of layers, the lowest first (OCI image-spec, config.md, "Layer ChainID").</summary>
    internal static IReadOnlyList<string> ChainIds(IReadOnlyList<string> diffIds)
    {
        var chains = new string[diffIds.Count];
        for (var i = 0; i < chains.Length; i++)
        {
            chains[i] = i == 0 ? diffIds[0] : Digest.OfSha256(Encoding.ASCII.GetBytes($"{chains[i - 1]} {diffIds[i]}")).ToString();
        }

        return chains;
    }

    private string FactsPath(string id) => Path.Combine(_content.Images, Digest.Parse(id).Hex + ".json");

    private void ReadImages()
    {
        foreach (var file in Directory.EnumerateFiles(_content.Images))
        {
            if (!file.EndsWith(".json", StringComparison.Ordinal))
            {
                // Whole perhaps, but it never got its name: nobody was told of it, and nothing would remove it.
                File.Delete(file);
                continue;
            }

            var facts = FactsFile.Read(file, ImageFactsJson.Default.ImageFacts, out var problem);
            if (facts is null)
            {
                LogUnusable(_logger, file, problem ?? "it is gone");
                continue;
            }

            if (Read(facts, out problem) is { } held)
            {
                _images[facts.Id] = held;
                _sequence = Math.Max(_sequence, facts.References.Values.DefaultIfEmpty(0).Max());
            }
            else
            {
                LogUnusable(_logger, facts.References.Keys.FirstOrDefault() ?? facts.Id, problem!);
            }
        }

        // Killed between the two writes that move a name: the image that got it last has it.
        foreach (var claims in _images.Values
            .SelectMany(held => held.Facts.References.Select(reference => (held.Facts.Id, reference.Key, reference.Value)))
            .GroupBy(claim => claim.Key)
            .Where(claims => claims.Count() > 1)
            .ToList())
        {
            foreach (var (id, name, _) in claims.OrderByDescending(claim => claim.Value).Skip(1))
            {
                Keep(Without(_images[id], name));
            }
        }

        foreach (var id in _rows.Rows.Keys.Where(id => !_images.ContainsKey(id)).ToList())
        {
            _rows.Delete(id);
        }

        foreach (var (id, held) in _images)
        {
            if (_rows.Find(id) is not { } row || row.ManifestDigest != held.Facts.ManifestDigest || !row.References.SequenceEqual(held.Facts.References))
            {
                _rows.Upsert(id, held.Facts);
            }
        }
    }

    private Held? Read(ImageFacts facts, out string? problem)
    {
        problem = null;
        if (!Digest.TryParse(facts.Id, out var id) || !Digest.TryParse(facts.ManifestDigest, out var manifest))
        {
            problem = "its facts name no digests";
            return null;
        }

        if (_content.TryRead(id) is not { } bytes)
        {
            problem = "its configuration is missing or damaged: pull it again";
            return null;
        }

        if (!File.Exists(_content.PathOf(manifest)))
        {
            problem = "its manifest is missing: pull it again";
            return null;
        }

        Received<ImageConfig> config;
        try
        {
            config = ImageDocument.ReadConfig(bytes, $"configuration {id}");
        }
        catch (EdgeHostException e)
        {
            // An older version was less strict.
            problem = e.Message;
            return null;
        }

        var chains = ChainIds(config.Value.RootFs.DiffIds);
        if (chains.FirstOrDefault(chain => _snapshots.FindLayer(chain) is null) is { } missing)
        {
            problem = $"its layer {missing} is missing: pull it again";
            return null;
        }

        return new Held(ToImage(facts, config.Value, chains), facts, chains);
    }

    private Image ToImage(ImageFacts facts, ImageConfig config, IReadOnlyList<string> chains) => new(
        Digest.Parse(facts.Id),
        Digest.Parse(facts.ManifestDigest),
        [.. facts.References.Keys.Order(StringComparer.Ordinal)],
        facts.RepositoryDigests,
        config,
        facts.SizeBytes,
        config.CreatedTime ?? facts.Added)
    {
        LayerBytes = [.. chains.Select(chain => _snapshots.FindLayer(chain)?.Facts.SizeBytes ?? 0)],
    };

    private Held? FindHeld(string text)
    {
        if (text.StartsWith("sha256:", StringComparison.Ordinal))
        {
            return FindById(text["sha256:".Length..]);
        }

        if (ImageReference.TryParse(text, out var reference))
        {
            var found = reference.Digest is { } digest
                ? FindByDigest(reference, digest)
                : _images.Values.FirstOrDefault(held => held.Facts.References.ContainsKey(reference.Tagged!));
            if (found is not null)
            {
                return found;
            }
        }

        return FindById(text);
    }

    private Held? FindById(string hex)
    {
        if (hex.Length is 0 or > 64 || hex.AsSpan().ContainsAnyExcept("0123456789abcdef"))
        {
            return null;
        }

        var found = _images.Where(image => image.Key.AsSpan("sha256:".Length).StartsWith(hex)).Take(2).ToList();
        return found.Count == 1 ? found[0].Value : null;
    }

    private Held? FindByDigest(ImageReference reference, Digest digest)
    {
        var wanted = digest.ToString();
        var exact = $"{reference.Name}@{wanted}";
        return _images.Values.FirstOrDefault(held => held.Facts.RepositoryDigests.Contains(exact))

            // By the manifest of this platform where the index was pulled, and what was loaded from an archive: the
            // bytes have the digest, and the repository is known.
            ?? _images.Values.FirstOrDefault(held => (held.Facts.ManifestDigest == wanted || held.Facts.Indexes.Contains(wanted))
                && (held.Facts.RepositoryDigests.Any(name => name.StartsWith(reference.Name + "@", StringComparison.Ordinal))
                    || held.Facts.References.Keys.Any(name => name.StartsWith(reference.Name + ":", StringComparison.Ordinal))));
    }

    private static ImageFacts Without(Held held, string reference) => held.Facts with
    {
        References = held.Facts.References.Where(pair => pair.Key != reference).ToDictionary(),
    };

    /// <summary>Makes facts durable, then visible.</summary>
    private Image Keep(ImageFacts facts)
    {
        FactsFile.Write(FactsPath(facts.Id), facts, ImageFactsJson.Default.ImageFacts);
        var held = _images[facts.Id];
        _images[facts.Id] = held = held with { Facts = facts, Image = ToImage(facts, held.Image.Config, held.Chains) };
        _rows.Upsert(facts.Id, facts);
        return held.Image;
    }

    /// <summary>Makes an image visible under its names. All of its layers are there.</summary>
    private Image Register(
        Received<ImageConfig> config,
        Received<ImageManifest> manifest,
        IReadOnlyList<Received<ImageIndex>> indexes,
        string? reference,
        string? repositoryDigest,
        bool forDeployment)
    {
        lock (_gate)
        {
            var chains = ChainIds(config.Value.RootFs.DiffIds);
            var size = chains.Sum(chain => _snapshots.FindLayer(chain)?.Facts.SizeBytes
                ?? throw new EdgeHostException(ErrorKind.Internal, $"layer {chain} was removed while its image was made"));
            foreach (var index in indexes)
            {
                _content.Write(index.Digest, index.Bytes.Span);
            }

            _content.Write(manifest.Digest, manifest.Bytes.Span);
            _content.Write(config.Digest, config.Bytes.Span);
            var id = config.Digest.ToString();
            var old = _images.GetValueOrDefault(id)?.Facts;
            var facts = new ImageFacts
            {
                Id = id,
                ManifestDigest = manifest.Digest.ToString(),
                Indexes = [.. (old?.Indexes ?? []).Union(indexes.Select(index => index.Digest.ToString()))],
                References = old?.References ?? new Dictionary<string, long>(),
                RepositoryDigests = [.. (old?.RepositoryDigests ?? []).Union(repositoryDigest is null ? [] : [repositoryDigest])],
                SizeBytes = size,
                Added = old?.Added ?? DateTimeOffset.UtcNow,
                ForDeployment = forDeployment && old?.ForDeployment != false,
            };

            // The same image under another manifest: the old one's blob would be nobody's.
            if (old is not null && old.ManifestDigest != facts.ManifestDigest)
            {
                facts = facts with { Indexes = [.. facts.Indexes.Union([old.ManifestDigest])] };
            }

            _images[id] = new Held(ToImage(facts, config.Value, chains), facts, chains);
            return reference is null ? Keep(facts) : Name(facts, reference);
        }
    }

    /// <summary>Lets a name lead to an image, and no longer to the one that had it.</summary>
    private Image Name(ImageFacts facts, string reference)
    {
        var references = facts.References.ToDictionary();
        references[reference] = ++_sequence;
        var image = Keep(facts with { References = references, RemoveWhenFree = false });
        foreach (var other in _images.Values.Where(held => held.Facts.Id != facts.Id && held.Facts.References.ContainsKey(reference)).ToList())
        {
            Keep(Without(other, reference));
        }

        return image;
    }

    /// <summary>The layers of an image, the topmost first, down to one that hides all below.</summary>
    private List<Snapshot> LowerLayers(Held held)
    {
        var lower = new List<Snapshot>();
        foreach (var chain in held.Chains.Reverse())
        {
            var layer = _snapshots.FindLayer(chain)
                ?? throw new EdgeHostException(ErrorKind.Internal, $"layer {chain} of image {held.Facts.Id} is missing: pull the image again");
            lower.Add(layer);
            if (layer.Facts.OpaqueRoot)
            {
                break;
            }
        }

        return lower;
    }

    private ContainerSnapshot SnapshotOf(Snapshot snapshot, List<Snapshot> lower) =>
        new([.. lower.Select(layer => layer.FileSystem)], snapshot.FileSystem, snapshot.Work)
        {
            // Below a layer that hides all others it would show nothing.
            MountPoints = lower.Count > 0 && lower[^1].Facts.OpaqueRoot ? null : _snapshots.MountPoints,
        };

    private static string Number(int count, string one, string many) => $"{count.ToString(CultureInfo.InvariantCulture)} {(count == 1 ? one : many)}";

    private sealed record Held(Image Image, ImageFacts Facts, IReadOnlyList<string> Chains);
}
