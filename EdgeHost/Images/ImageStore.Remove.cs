using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>Removal, and what is removed with it.</summary>
public sealed partial class ImageStore
{
    // What manifest, configuration and facts take of the disk, about: images that share all layers are not free.
    private const int DocumentBytes = 16 << 10;

    /// <inheritdoc/>
    public async Task<ImageRemoval> RemoveAsync(string referenceOrId, bool force, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        var untagged = new List<string>();
        var deleted = new List<string>();
        var gone = new List<string>();
        lock (_gate)
        {
            var held = FindHeld(referenceOrId) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {referenceOrId}");
            var name = ImageReference.TryParse(referenceOrId, out var reference) && reference.Tagged is { } tagged && held.Facts.References.ContainsKey(tagged)
                ? tagged
                : null;
            if (name is null && held.Facts.References.Count > 1 && !force)
            {
                throw new EdgeHostException(
                    ErrorKind.Conflict,
                    $"image {referenceOrId} has {Number(held.Facts.References.Count, "name", "names")} ({string.Join(", ", held.Facts.References.Keys)}): remove them one by one, or use force");
            }

            IReadOnlyList<string> names = name is not null ? [name] : [.. held.Facts.References.Keys];
            var last = names.Count == held.Facts.References.Count;
            if (last && InUse(held) && !force)
            {
                var users = Users(held).ToList();
                throw new EdgeHostException(
                    ErrorKind.Conflict,
                    $"image {referenceOrId} is used by {Number(users.Count, "container", "containers")} ({string.Join(", ", users.Take(3).Select(id => id[..Math.Min(12, id.Length)]))}): remove {(users.Count == 1 ? "it" : "them")} first");
            }

            untagged.AddRange(names);
            if (!last || InUse(held))
            {
                Keep(held.Facts with
                {
                    References = held.Facts.References.Where(pair => !names.Contains(pair.Key)).ToDictionary(),
                    RemoveWhenFree = last,
                });
            }
            else
            {
                untagged.AddRange(held.Facts.RepositoryDigests);
                deleted.Add(held.Facts.Id);
                deleted.AddRange(Delete(held, gone));
            }
        }

        await RemoveTreesAsync(gone).ConfigureAwait(false);
        return new ImageRemoval(untagged, deleted);
    }

    /// <inheritdoc/>
    public async Task<IReadOnlyList<Image>> RemoveUnneededAsync(long keepBytes, IReadOnlySet<string> needed, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        var removed = new List<Image>();
        var gone = new List<string>();
        lock (_gate)
        {
            var unneeded = _images.Values
                .Where(held => held.Facts.ForDeployment && !needed.Contains(held.Facts.Id) && !InUse(held))
                .OrderBy(held => held.Facts.Added)
                .ToList();
            while (unneeded.Count > 0 && BytesOnlyIn(unneeded) > keepBytes)
            {
                Delete(unneeded[0], gone);
                removed.Add(unneeded[0].Image);
                unneeded.RemoveAt(0);
            }
        }

        await RemoveTreesAsync(gone).ConfigureAwait(false);
        return removed;
    }

    /// <summary>Bytes in the files of layers that no other image has, and of what there is of each image besides.</summary>
    private long BytesOnlyIn(List<Held> some)
    {
        var seen = new HashSet<string>(_images.Values.Where(held => !some.Contains(held)).SelectMany(held => held.Chains), StringComparer.Ordinal);
        return some.SelectMany(held => held.Chains).Where(seen.Add).Sum(chain => _snapshots.FindLayer(chain)?.Facts.SizeBytes ?? 0) + ((long)some.Count * DocumentBytes);
    }

    private Task RemoveTreesAsync(List<string> gone) => Task.Run(() => gone.ForEach(_snapshots.RemoveTree), CancellationToken.None);

    private IEnumerable<string> Users(Held held) => _snapshots.Containers()
        .Where(container => container.Facts.ImageId == held.Facts.Id)
        .Select(container => container.Facts.ContainerId!);

    private bool InUse(Held held) => Users(held).Any();

    /// <summary>Takes an image away with what only it had: first its facts, then its blobs and layers.</summary>
    /// <param name="held">The image.</param>
    /// <param name="gone">Gets the trees that are still to be removed.</param>
    /// <returns>The chain ids of the layers that are gone.</returns>
    private List<string> Delete(Held held, List<string> gone)
    {
        Linux.DurableFile.Remove(FactsPath(held.Facts.Id));
        _images.Remove(held.Facts.Id);
        _rows.Delete(held.Facts.Id);
        var wanted = WantedBlobs();
        foreach (var blob in BlobsOf(held.Facts).Where(blob => !wanted.Contains(blob)))
        {
            _content.Delete(Digest.Parse(blob));
        }

        var chains = WantedChains();
        var removed = new List<string>();
        foreach (var chain in held.Chains.Reverse())
        {
            if (!chains.Contains(chain) && _snapshots.FindLayer(chain) is { } layer)
            {
                gone.Add(_snapshots.Detach(layer));
                removed.Add(chain);
            }
        }

        return removed;
    }

    /// <summary>At the start: removes blobs of no image, and layers of no image that are older than an interrupted pull is kept.</summary>
    private void CollectGarbage()
    {
        foreach (var held in _images.Values.Where(held => held.Facts is { RemoveWhenFree: true, References.Count: 0 } && !InUse(held)).ToList())
        {
            var gone = new List<string>();
            Delete(held, gone);
            gone.ForEach(_snapshots.RemoveTree);
        }

        // An image that cannot be used now keeps its layers: pulling it again should find them.
        var unusable = Directory.EnumerateFiles(_content.Images).Count() > _images.Count;
        var blobs = WantedBlobs();
        foreach (var blob in _content.List().Where(blob => !unusable && !blobs.Contains(blob.ToString())).ToList())
        {
            LogCollected(_logger, $"blob {blob}");
            _content.Delete(blob);
        }

        var chains = WantedChains();
        foreach (var layer in _snapshots.Layers())
        {
            if (!chains.Contains(layer.Facts.ChainId!) && DateTime.UtcNow - Directory.GetLastWriteTimeUtc(layer.Directory) > _options.KeepInterrupted)
            {
                LogCollected(_logger, $"layer {layer.Facts.ChainId}");
                _snapshots.RemoveTree(_snapshots.Detach(layer));
            }
        }
    }

    /// <summary>Removes layers that belong to no image and to no pull that is under way, however young.</summary>
    private void RemoveOrphans()
    {
        List<string> gone;
        lock (_gate)
        {
            var chains = WantedChains();
            gone = [.. _snapshots.Layers().Where(layer => !chains.Contains(layer.Facts.ChainId!)).Select(_snapshots.Detach)];
        }

        gone.ForEach(_snapshots.RemoveTree);
    }

    private static IEnumerable<string> BlobsOf(ImageFacts facts) => [facts.Id, facts.ManifestDigest, .. facts.Indexes];

    private HashSet<string> WantedBlobs() => [.. _images.Values.SelectMany(held => BlobsOf(held.Facts))];

    private HashSet<string> WantedChains() => [.. _images.Values.SelectMany(held => held.Chains), .. _leases.Keys];
}
