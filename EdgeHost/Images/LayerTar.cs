using System.IO.Compression;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;
using EdgeHost.Oci;

namespace EdgeHost.Images;

/// <summary>
/// The tar of a layer, made again from its files and the record that was kept when it was unpacked, since blobs are not
/// kept: it has the same bytes, so an image that is saved has the id that it has here.
/// </summary>
internal static class LayerTar
{
    /// <summary>Where a record is written to.</summary>
    internal static Stream Create(string path) => new GZipStream(File.Create(path), CompressionLevel.Fastest);

    /// <summary>How many bytes it has.</summary>
    internal static long LengthOf(Snapshot layer)
    {
        long length = 0;
        using var record = Open(layer);
        foreach (var part in Parts(layer, record))
        {
            length += part.Bytes.Length + part.Size;
        }

        return length;
    }

    /// <summary>Writes it as the content of an entry.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: it is not what the layer was unpacked from, which may be found out only at the end.</exception>
    internal static void WriteTo(Snapshot layer, TarWriter tar, CancellationToken cancel)
    {
        var diffId = Digest.Parse(layer.Facts.DiffId!);
        using var hash = ImageStore.HashOf(diffId);
        using var root = RootedDirectory.Open(layer.FileSystem);
        using var record = Open(layer);
        var buffer = new byte[64 << 10];
        foreach (var part in Parts(layer, record))
        {
            cancel.ThrowIfCancellationRequested();
            Put(part.Bytes);
            if (part.Size == 0)
            {
                continue;
            }

            var path = LayerUnpacker.Clean(part.FileName);
            using var file = OpenFile(root, path);
            var shown = RootedDirectory.Shown(path);
            for (var left = part.Size; left > 0;)
            {
                cancel.ThrowIfCancellationRequested();
                var count = file is null ? 0 : Files.Read(file, buffer.AsSpan(0, (int)Math.Min(left, buffer.Length)), shown);
                if (count == 0)
                {
                    // Also a file that its layer has twice: the content of the first is nowhere any more.
                    throw Damaged(layer, $"{shown} is not there as it was");
                }

                Put(buffer.AsSpan(0, count));
                left -= count;
            }
        }

        if (ImageStore.Hex(hash) is var found && found != diffId.Hex)
        {
            throw Damaged(layer, $"its bytes have the digest {diffId.Algorithm}:{found}");
        }

        void Put(ReadOnlySpan<byte> bytes)
        {
            hash.AppendData(bytes);
            tar.Write(bytes);
        }
    }

    private static Fd? OpenFile(RootedDirectory root, byte[] path)
    {
        using var parent = root.TryOpenDirectory(LayerUnpacker.DirectoryOf(path), out _);
        var name = LayerUnpacker.BaseOf(path);
        return parent is not null && RootedDirectory.Stat(parent, name) is { IsFile: true } ? RootedDirectory.OpenNamedFile(parent, name) : null;
    }

    private static GZipStream Open(Snapshot layer) => new(File.OpenRead(layer.Record), CompressionMode.Decompress);

    private static IEnumerable<TarPart> Parts(Snapshot layer, Stream record)
    {
        using var parts = TarRecord.Read(record).GetEnumerator();
        while (true)
        {
            try
            {
                if (!parts.MoveNext())
                {
                    yield break;
                }
            }
            catch (Exception e) when (Compression.IsDamage(e))
            {
                throw Damaged(layer, $"{layer.Record} cannot be read");
            }

            yield return parts.Current;
        }
    }

    private static EdgeHostException Damaged(Snapshot layer, string why) =>
        new(ErrorKind.Corrupt, $"layer {layer.Facts.DiffId} cannot be made again: {why}; remove the image, and pull or load it again");
}
