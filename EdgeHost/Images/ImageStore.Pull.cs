using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>Pulling from a registry.</summary>
public sealed partial class ImageStore
{
    private const int MaximumIndexDepth = 3;

    /// <inheritdoc/>
    public Task<Image> PullAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel) => PullAsync(reference, null, progress, cancel);

    /// <inheritdoc/>
    public Task<Image> PullForDeploymentAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel) =>
        PullAsync(_registry, ImageReference.Parse(reference), forDeployment: true, progress, cancel);

    /// <inheritdoc/>
    public async Task<Image> PullAsync(string reference, RegistryCredentials? credentials, IProgress<PullProgress>? progress, CancellationToken cancel)
    {
        var name = ImageReference.Parse(reference);
        if (credentials is null)
        {
            return await PullAsync(_registry, name, forDeployment: false, progress, cancel).ConfigureAwait(false);
        }

        // A client of its own: what the registry gives for one user's password must serve nobody else's pull.
        var special = _options.Registries.GetValueOrDefault(name.Registry) ?? new RegistryOptions();
        using var registry = new RegistryClient(
            _options with { Registries = new Dictionary<string, RegistryOptions> { [name.Registry] = special with { Credentials = credentials } } }, _logger);
        return await PullAsync(registry, name, forDeployment: false, progress, cancel).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public Task<string?> LoginAsync(string registry, RegistryCredentials credentials, CancellationToken cancel) => _registry.LoginAsync(registry, credentials, cancel);

    private async Task<Image> PullAsync(RegistryClient registry, ImageReference name, bool forDeployment, IProgress<PullProgress>? progress, CancellationToken cancel)
    {
        var meter = new ProgressMeter(progress);
        meter.Say("resolving");

        // What a digest names cannot have changed: no registry is asked, and a board without network starts what it has.
        if (name.Digest is { } digest && Named(name, digest, tag: false, forDeployment) is { } exact)
        {
            meter.Say("done");
            return exact;
        }

        var resolved = name.Digest ?? await registry.ResolveAsync(name, cancel).ConfigureAwait(false);
        if (resolved is { } current && Named(name, current, tag: true, forDeployment) is { } held)
        {
            meter.Say("done");
            return held;
        }

        var indexes = new List<Received<ImageIndex>>();
        var (manifest, top) = await FetchManifestAsync(registry, name, resolved, indexes, cancel).ConfigureAwait(false);
        var type = manifest.Value.Config.MediaType;
        if (type is not ("" or MediaTypes.ImageConfig or MediaTypes.DockerImageConfig))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"{name} is no image but an artifact: its configuration has the type {type}");
        }

        var configDigest = manifest.Value.Config.ContentDigest;
        var configBytes = _content.TryRead(configDigest) ?? await registry.FetchSmallBlobAsync(name, manifest.Value.Config, cancel).ConfigureAwait(false);
        var config = ImageDocument.ReadConfig(configBytes, $"configuration {configDigest} of {name}") with { Digest = configDigest };
        _options.Platform.Require(config.Value, name.ToString());
        var diffIds = config.Value.RootFs.DiffIds;
        var layers = manifest.Value.Layers;
        if (diffIds.Count != layers.Count)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{name}: the manifest has {layers.Count} layers, the configuration {diffIds.Count}");
        }

        try
        {
            using (Lease(ChainIds(diffIds)))
            {
                RequireSpace(name, layers, diffIds);
                await BuildLayersAsync(
                    diffIds,
                    (index, staged, stop) => FetchLayerAsync(registry, name, layers[index], Digest.Parse(diffIds[index]), staged, meter, stop),
                    index => meter.Finish(layers[index].Digest, layers[index].Size),
                    cancel).ConfigureAwait(false);
                var image = Register(config, manifest, indexes, name.Digest is null ? name.Tagged : null, $"{name.Name}@{top}", forDeployment);
                meter.Say("done");
                return image;
            }
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Full)
        {
            // Others need the space more than this pull, which cannot succeed, needs its beginning.
            foreach (var layer in layers)
            {
                File.Delete(_content.IngestPathOf(layer.ContentDigest));
            }

            await Task.Run(RemoveOrphans, CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Finds what is held under a digest, and gives it the tag that it was pulled by.</summary>
    private Image? Named(ImageReference name, Digest digest, bool tag, bool forDeployment)
    {
        lock (_gate)
        {
            if (FindByDigest(name, digest) is not { } held)
            {
                return null;
            }

            var facts = held.Facts with { ForDeployment = held.Facts.ForDeployment && forDeployment };
            return tag && !facts.References.ContainsKey(name.Tagged!) ? Name(facts, name.Tagged!)
                : facts != held.Facts ? Keep(facts)
                : held.Image;
        }
    }

    private async Task<(Received<ImageManifest> Manifest, Digest Top)> FetchManifestAsync(
        RegistryClient registry, ImageReference name, Digest? digest, List<Received<ImageIndex>> indexes, CancellationToken cancel)
    {
        Digest? top = null;
        string? declared = null;
        for (var depth = 0; depth < MaximumIndexDepth; depth++)
        {
            RemoteManifest remote;
            if (digest is { } known && _content.TryRead(known) is { } kept)
            {
                remote = new RemoteManifest(kept, declared, known);
            }
            else
            {
                remote = await registry.FetchManifestAsync(name, digest, cancel).ConfigureAwait(false);
            }

            top ??= remote.Digest;
            var what = $"manifest {remote.Digest} of {name.Name}";
            if (!ImageDocument.IsIndex(remote.Bytes, remote.MediaType ?? declared, what))
            {
                return (ImageDocument.ReadManifest(remote.Bytes, what) with { Digest = remote.Digest }, top.Value);
            }

            var index = ImageDocument.ReadIndex(remote.Bytes, what) with { Digest = remote.Digest };
            indexes.Add(index);
            var chosen = _options.Platform.Choose(index.Value, name.ToString());
            (digest, declared) = (chosen.ContentDigest, chosen.MediaType);
        }

        throw new EdgeHostException(ErrorKind.Unsupported, $"{name}: indexes within indexes, more than {MaximumIndexDepth} deep");
    }

    private void RequireSpace(ImageReference name, IReadOnlyList<Descriptor> layers, IReadOnlyList<string> diffIds)
    {
        var chains = ChainIds(diffIds);
        long wanted = 0;
        for (var i = 0; i < layers.Count; i++)
        {
            if (_snapshots.FindLayer(chains[i]) is null)
            {
                var ingest = new FileInfo(_content.IngestPathOf(layers[i].ContentDigest));
                wanted = checked(wanted + Math.Max(0, layers[i].Size - (ingest.Exists ? ingest.Length : 0)));
            }
        }

        using var directory = Files.OpenDirectory(_snapshots.DirectoryPath);
        var free = DiskSpace.Of(directory, _options.ReservedBytes + wanted).FreeBytes;
        if (free - _options.ReservedBytes < wanted)
        {
            throw new EdgeHostException(
                ErrorKind.Full,
                $"{name}: {wanted >> 20} MiB are to be fetched (compressed), {free >> 20} MiB are left on the disk of {_snapshots.DirectoryPath}, of which {_options.ReservedBytes >> 20} MiB stay free: remove images or containers");
        }
    }

    private async Task<StagedLayer> FetchLayerAsync(
        RegistryClient registry, ImageReference name, Descriptor layer, Digest diffId, string staged, ProgressMeter meter, CancellationToken cancel)
    {
        var digest = layer.ContentDigest;
        if (layer.MediaType.EndsWith("+encrypted", StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"layer {digest} of {name} is encrypted");
        }

        var path = _content.IngestPathOf(digest);
        using var mine = await _blobLocks.EnterAsync(digest.ToString(), cancel).ConfigureAwait(false);
        await _turns.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            for (var again = false; ; again = true)
            {
                long found = 0;
                try
                {
                    using var file = IngestFile.Open(path, layer.Size);
                    found = file.Found;
                    meter.Begin(digest.ToString(), found, layer.Size);
                    return new StagedLayer(await FetchAndUnpackAsync(registry, name, layer, diffId, staged, file, meter, cancel).ConfigureAwait(false), path);
                }
                catch (EdgeHostException e) when (e.Kind == ErrorKind.Corrupt)
                {
                    // What an earlier process left may be what is damaged, by a power cut for instance: once from zero.
                    File.Delete(path);
                    if (found == 0 || again)
                    {
                        throw;
                    }

                    Empty(staged);
                }
            }
        }
        finally
        {
            _turns.Release();
        }
    }

    private async Task<Unpacked> FetchAndUnpackAsync(
        RegistryClient registry, ImageReference name, Descriptor layer, Digest diffId, string staged, IngestFile file, ProgressMeter meter, CancellationToken cancel)
    {
        var digest = layer.ContentDigest;
        var label = digest.ToString();
        using var both = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var fetch = Task.Run(
            async () =>
            {
                try
                {
                    await registry.FetchBlobAsync(name, layer, file, count => meter.Arrived(label, count), both.Token).ConfigureAwait(false);
                    file.Complete();
                }
                catch (Exception e)
                {
                    file.Fail(e);
                    throw;
                }
            },
            CancellationToken.None);
        var unpack = Task.Factory.StartNew(
            () => UnpackBlob(file.OpenReader(position => meter.Unpacked(label, position)), $"layer {digest} of {name}", digest, diffId, staged, Stop, both.Token),
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        await ((Task)Task.WhenAll(fetch, unpack)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await file.SettleAsync().ConfigureAwait(false);
        cancel.ThrowIfCancellationRequested();

        // Each failing makes the other fail: the reason is the one that is not the echo.
        if (fetch.IsFaulted && (unpack.IsCompletedSuccessfully || unpack.Exception?.InnerException is IngestFailedException))
        {
            await fetch.ConfigureAwait(false);
        }

        return await unpack.ConfigureAwait(false);

        void Stop(Exception e)
        {
            both.Cancel();
            file.Fail(e);
        }
    }

    private void Empty(string staged)
    {
        _snapshots.RemoveTree(staged);
        Directory.CreateDirectory(_snapshots.StagedFileSystem(staged));
    }

    /// <summary>Keeps layers from being collected while an image is made of them.</summary>
    private LayerLease Lease(IReadOnlyList<string> chains)
    {
        lock (_gate)
        {
            foreach (var chain in chains)
            {
                _leases[chain] = _leases.GetValueOrDefault(chain) + 1;
            }
        }

        return new LayerLease(this, chains);
    }

    private sealed class LayerLease(ImageStore store, IReadOnlyList<string> chains) : IDisposable
    {
        public void Dispose()
        {
            lock (store._gate)
            {
                foreach (var chain in chains)
                {
                    if (--store._leases[chain] == 0)
                    {
                        store._leases.Remove(chain);
                    }
                }
            }
        }
    }
}
