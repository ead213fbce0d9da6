using System.Security.Cryptography;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>From blobs to layers, whatever they come from.</summary>
public sealed partial class ImageStore
{
    /// <summary>Unpacks layer <paramref name="index"/> into a staged snapshot, checked.</summary>
    private delegate Task<StagedLayer> LayerSource(int index, string staged, CancellationToken cancel);

    /// <summary>
    /// Makes all layers of an image. They are unpacked side by side, since each has a directory of its own, and become
    /// visible from the lowest up. Layers that are held are not asked for.
    /// </summary>
    private async Task BuildLayersAsync(IReadOnlyList<string> diffIds, LayerSource source, Action<int> held, CancellationToken cancel)
    {
        using var all = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var chains = ChainIds(diffIds);
        var tasks = new Task<Snapshot>[chains.Count];
        for (var i = 0; i < tasks.Length; i++)
        {
            tasks[i] = BuildLayerAsync(i, diffIds[i], chains, i == 0 ? null : tasks[i - 1], source, all.Token);
        }

        Exception? first = null;
        await foreach (var task in Task.WhenEach(tasks).ConfigureAwait(false))
        {
            if (task.IsCompletedSuccessfully)
            {
                held(Array.IndexOf(tasks, task));
                continue;
            }

            // What the cancellation of the others brings is not the reason.
            first ??= task.Exception?.InnerException;
            await all.CancelAsync().ConfigureAwait(false);
        }

        if (first is not null and not OperationCanceledException)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(first);
        }

        cancel.ThrowIfCancellationRequested();
        foreach (var task in tasks)
        {
            await task.ConfigureAwait(false);
        }
    }

    private async Task<Snapshot> BuildLayerAsync(
        int index, string diffId, IReadOnlyList<string> chains, Task<Snapshot>? below, LayerSource source, CancellationToken cancel)
    {
        // Two pulls that share a layer: the second waits here and then finds it. Whoever holds a chain waits for lower
        // ones only, so nobody waits in a circle.
        using var turn = await _chainLocks.EnterAsync(chains[index], cancel).ConfigureAwait(false);
        if (_snapshots.FindLayer(chains[index]) is { } there)
        {
            if (below is not null)
            {
                await below.ConfigureAwait(false);
            }

            return there;
        }

        var staged = _snapshots.Stage();
        try
        {
            var layer = await source(index, staged, cancel).ConfigureAwait(false);
            var parent = below is null ? null : await below.ConfigureAwait(false);
            var snapshot = await Task.Run(
                () =>
                {
                    Adopt(staged, layer.Unpacked, parent);
                    return _snapshots.Commit(staged, new SnapshotFacts
                    {
                        ChainId = chains[index],
                        DiffId = diffId,
                        Parent = parent?.Facts.ChainId,
                        OpaqueRoot = layer.Unpacked.OpaqueRoot,
                        SizeBytes = layer.Unpacked.Bytes,
                    });
                },
                cancel).ConfigureAwait(false);
            if (layer.Ingest is { } ingest)
            {
                File.Delete(ingest);
            }

            return snapshot;
        }
        catch
        {
            if (Directory.Exists(_snapshots.StagedFileSystem(staged)))
            {
                _snapshots.RemoveTree(staged);
            }

            throw;
        }
    }

    private void Adopt(string staged, Unpacked unpacked, Snapshot? parent)
    {
        if (unpacked.Implied.Count == 0)
        {
            return;
        }

        var lower = new List<RootedDirectory>();
        try
        {
            for (var layer = parent; layer is not null; layer = layer.Facts.Parent is { } next ? _snapshots.FindLayer(next) : null)
            {
                lower.Add(RootedDirectory.Open(layer.FileSystem));
            }

            using var root = RootedDirectory.Open(_snapshots.StagedFileSystem(staged));
            LayerUnpacker.AdoptAttributes(root, unpacked.Implied, lower);
        }
        finally
        {
            lower.ForEach(layer => layer.Dispose());
        }
    }

    /// <summary>Decompresses, hashes and unpacks a blob that streams by.</summary>
    /// <param name="blob">The bytes of the blob.</param>
    /// <param name="what">What it is called in an error.</param>
    /// <param name="digest">What the blob must have; null when it has none of its own (docker archives).</param>
    /// <param name="diffId">What its uncompressed bytes must have.</param>
    /// <param name="staged">Where to.</param>
    /// <param name="failed">Told of a failure before anything waits for the blob's end.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: not what the digests promise, or hostile. <see cref="ErrorKind.Full"/>.</exception>
    private Unpacked UnpackBlob(Stream blob, string what, Digest? digest, Digest diffId, string staged, Action<Exception> failed, CancellationToken cancel)
    {
        using var blobHash = digest is { } expected ? HashOf(expected) : null;
        using var diffHash = HashOf(diffId);
        using var hashing = new HashingStream(blob, blobHash);
        ReadAheadStream? ahead = null;
        Stream? plain = null;
        try
        {
            plain = Compression.Open(hashing);
            ahead = new ReadAheadStream(plain);
            using var root = RootedDirectory.Open(_snapshots.StagedFileSystem(staged));
            using var unpacker = new LayerUnpacker(root, _options.ReservedBytes);
            using var kept = LayerTar.Create(_snapshots.StagedRecord(staged));
            var record = new TarRecord(kept);
            var unpacked = unpacker.Unpack(new TarReader(ahead, diffHash, record), cancel);
            record.Finish();
            hashing.Drain();
            if (digest is { } wanted && Hex(blobHash!) is var found && found != wanted.Hex)
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"{what}: its bytes have the digest {wanted.Algorithm}:{found}");
            }

            if (Hex(diffHash) is var diff && diff != diffId.Hex)
            {
                throw new EdgeHostException(
                    ErrorKind.Corrupt, $"{what}: uncompressed it has the digest {diffId.Algorithm}:{diff}, not the diff_id {diffId} of the configuration");
            }

            return unpacked;
        }
        catch (Exception e)
        {
            failed(e);
            var reason = e is ReadAheadException { InnerException: { } inner } ? inner : e;
            throw reason switch
            {
                EdgeHostException known when !known.Message.StartsWith(what, StringComparison.Ordinal) =>
                    new EdgeHostException(known.Kind, $"{what}: {known.Message}", known),
                _ when Compression.IsDamage(reason) =>
                    new EdgeHostException(ErrorKind.Corrupt, $"{what} cannot be decompressed: {reason.Message.ReplaceLineEndings(" ").TrimEnd('.')}", reason),
                _ => reason,
            };
        }
        finally
        {
            ahead?.Dispose();
            plain?.Dispose();
        }
    }

    internal static IncrementalHash HashOf(Digest digest) =>
        IncrementalHash.CreateHash(digest.Algorithm == "sha256" ? HashAlgorithmName.SHA256 : HashAlgorithmName.SHA512);

    internal static string Hex(IncrementalHash hash) => Convert.ToHexStringLower(hash.GetCurrentHash());

    /// <summary>A layer that is unpacked and checked, but not yet seen.</summary>
    /// <param name="Unpacked">What was unpacked.</param>
    /// <param name="Ingest">The file of its blob, to be removed once the layer is seen.</param>
    private sealed record StagedLayer(Unpacked Unpacked, string? Ingest);
}

/// <summary>Hashes what is read through it.</summary>
internal sealed class HashingStream(Stream inner, IncrementalHash? hash) : ForwardStream
{
    public override int Read(Span<byte> buffer)
    {
        var count = inner.Read(buffer);
        hash?.AppendData(buffer[..count]);
        return count;
    }

    /// <summary>Reads to the end, so that the hash covers all.</summary>
    internal void Drain()
    {
        var buffer = new byte[16 << 10];
        while (Read(buffer) > 0)
        {
        }
    }
}
