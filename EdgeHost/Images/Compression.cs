using System.IO.Compression;
using EdgeHost.Errors;
using ZstdSharp;
using ZstdSharp.Unsafe;

namespace EdgeHost.Images;

/// <summary>Opens what may be compressed, by its first bytes: media types lie often enough (as Docker, we believe the bytes).</summary>
internal static class Compression
{
    // 32 MiB; zstd -19 uses 8 MiB, --long and --ultra more than a small board has.
    private const int MaximumWindowLog = 25;

    /// <summary>A stream of the uncompressed bytes: gzip (all members), zstd (all frames), or as they are.</summary>
    /// <param name="source">Left open.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unsupported"/>: another compression.</exception>
    internal static Stream Open(Stream source)
    {
        var head = new byte[6];
        var count = source.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        var whole = new PrefixedStream(head.AsMemory(0, count), source);
        return head switch
        {
            [0x1f, 0x8b, ..] => new GZipStream(whole, CompressionMode.Decompress),
            [0x28, 0xb5, 0x2f, 0xfd, ..] or [>= 0x50 and <= 0x5f, 0x2a, 0x4d, 0x18, ..] => Zstd(whole),
            [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0] => throw Other("xz"),
            [(byte)'B', (byte)'Z', (byte)'h', ..] => throw Other("bzip2"),
            _ => whole,
        };
    }

    /// <summary>Whether an exception is the decompressor's word for damaged data.</summary>
    internal static bool IsDamage(Exception e) => e is InvalidDataException or ZstdException or EndOfStreamException;

    private static EdgeHostException Other(string name) =>
        new(ErrorKind.Unsupported, $"it is compressed with {name}; gzip, zstd and plain tar are read");

    private static DecompressionStream Zstd(Stream source)
    {
        var stream = new DecompressionStream(source, 64 << 10, checkEndOfStream: true, leaveOpen: true);
        stream.SetParameter(ZSTD_dParameter.ZSTD_d_windowLogMax, MaximumWindowLog);
        return stream;
    }
}

/// <summary>Bytes that were read already, then the rest of a stream, which is left open.</summary>
internal sealed class PrefixedStream(ReadOnlyMemory<byte> prefix, Stream rest) : ForwardStream
{
    private ReadOnlyMemory<byte> _prefix = prefix;

    public override int Read(Span<byte> buffer)
    {
        if (_prefix.IsEmpty)
        {
            return rest.Read(buffer);
        }

        var count = Math.Min(buffer.Length, _prefix.Length);
        _prefix.Span[..count].CopyTo(buffer);
        _prefix = _prefix[count..];
        return count;
    }
}
