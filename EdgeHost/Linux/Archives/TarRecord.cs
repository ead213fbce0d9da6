using System.Buffers.Binary;

namespace EdgeHost.Linux.Archives;

/// <summary>
/// Keeps of a tar what the files that were unpacked from it do not say: headers as they were written, padding, what stands
/// after the end. With the files beside it the same bytes can be made again, and so the same digest. Of a file's content
/// only its place is kept: parts of a head (three lengths), bytes of the tar, and the name of the file that follows them.
/// </summary>
/// <param name="stream">Left open.</param>
public sealed class TarRecord(Stream stream)
{
    private const int HeadBytes = 16;
    private const int MostBytes = 64 << 10;

    // Of a name in a tar; a header before it may be a megabyte long.
    private const int LongestName = 1 << 20;

    private readonly byte[] _bytes = new byte[MostBytes];
    private int _used;

    /// <summary>Reads a record from its beginning to its end.</summary>
    /// <exception cref="InvalidDataException">It is none.</exception>
    public static IEnumerable<TarPart> Read(Stream stream)
    {
        var head = new byte[HeadBytes];
        while (stream.ReadAtLeast(head, HeadBytes, throwOnEndOfStream: false) is > 0 and var count)
        {
            int bytes = BinaryPrimitives.ReadInt32LittleEndian(head), name = BinaryPrimitives.ReadInt32LittleEndian(head.AsSpan(4));
            var size = BinaryPrimitives.ReadInt64LittleEndian(head.AsSpan(8));
            if (count < HeadBytes || bytes is < 0 or > MostBytes || name is < 0 or > LongestName || size < 0)
            {
                throw new InvalidDataException("the record of a tar is damaged");
            }

            var part = new TarPart(new byte[bytes], new byte[name], size);
            stream.ReadExactly(part.Bytes);
            stream.ReadExactly(part.FileName);
            yield return part;
        }
    }

    /// <summary>Bytes that are in no file.</summary>
    internal void Add(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            var count = Math.Min(bytes.Length, MostBytes - _used);
            bytes[..count].CopyTo(_bytes.AsSpan(_used));
            _used += count;
            bytes = bytes[count..];
            if (_used == MostBytes)
            {
                Put([], 0);
            }
        }
    }

    /// <summary>The content of a file stands here.</summary>
    internal void AddFile(ReadOnlySpan<byte> name, long size) => Put(name, size);

    /// <summary>Hands on what is left.</summary>
    public void Finish()
    {
        if (_used > 0)
        {
            Put([], 0);
        }
    }

    private void Put(ReadOnlySpan<byte> name, long size)
    {
        Span<byte> head = stackalloc byte[HeadBytes];
        BinaryPrimitives.WriteInt32LittleEndian(head, _used);
        BinaryPrimitives.WriteInt32LittleEndian(head[4..], name.Length);
        BinaryPrimitives.WriteInt64LittleEndian(head[8..], size);
        stream.Write(head);
        stream.Write(_bytes, 0, _used);
        stream.Write(name);
        _used = 0;
    }
}

/// <summary>A part of a tar.</summary>
/// <param name="bytes">Bytes as they stood in it.</param>
/// <param name="fileName">The file whose content follows, as the tar names it; empty for none.</param>
/// <param name="size">The length of its content.</param>
public sealed class TarPart(byte[] bytes, byte[] fileName, long size)
{
    /// <summary>Bytes as they stood in it.</summary>
    public byte[] Bytes { get; } = bytes;

    /// <summary>The file whose content follows, as the tar names it; empty for none.</summary>
    public byte[] FileName { get; } = fileName;

    /// <summary>The length of its content.</summary>
    public long Size { get; } = size;
}
