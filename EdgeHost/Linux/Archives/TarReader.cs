using System.Buffers.Text;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux.Archives;

/// <summary>The kind of an entry of a tar.</summary>
public enum TarType
{
    /// <summary>A regular file, with content.</summary>
    File,

    /// <summary>Another name of a file that came before.</summary>
    HardLink,

    /// <summary>A symbolic link.</summary>
    SymbolicLink,

    /// <summary>A character device.</summary>
    CharacterDevice,

    /// <summary>A block device.</summary>
    BlockDevice,

    /// <summary>A directory.</summary>
    Directory,

    /// <summary>A named pipe.</summary>
    Fifo,
}

/// <summary>The header of one entry; names are bytes, as the kernel has them.</summary>
public sealed class TarEntry
{
    /// <summary>As it stands in the archive.</summary>
    public required byte[] Name { get; init; }

    /// <summary>What a link points at; empty for all others.</summary>
    public required byte[] LinkName { get; init; }

    /// <summary>What it is.</summary>
    public required TarType Type { get; init; }

    /// <summary>Permission bits with setuid, setgid and sticky.</summary>
    public required uint Mode { get; init; }

    /// <summary>The owner.</summary>
    public required uint Uid { get; init; }

    /// <summary>The group.</summary>
    public required uint Gid { get; init; }

    /// <summary>Bytes of content; 0 for all but files.</summary>
    public required long Size { get; init; }

    /// <summary>Last change of its content, seconds since 1970.</summary>
    public required long ModifiedSeconds { get; init; }

    /// <summary>And nanoseconds.</summary>
    public required uint ModifiedNanoseconds { get; init; }

    /// <summary>Of a device.</summary>
    public required uint DeviceMajor { get; init; }

    /// <summary>Of a device.</summary>
    public required uint DeviceMinor { get; init; }

    /// <summary>Extended attributes (SCHILY.xattr of pax).</summary>
    public required IReadOnlyList<KeyValuePair<byte[], byte[]>> Attributes { get; init; }
}

/// <summary>
/// Reads a tar as it streams by: v7, ustar, pax, star and GNU headers. One buffer of 128 KiB; every byte that is read
/// from the stream also goes into a hash. Whatever does not fit the format is refused, with
/// <see cref="ErrorKind.Corrupt"/>; sparse files with <see cref="ErrorKind.Unsupported"/>.
/// </summary>
/// <param name="stream">Left open.</param>
/// <param name="hash">Null for none.</param>
/// <param name="record">Gets what is needed to make the tar again from its files; null for none.</param>
public sealed class TarReader(Stream stream, IncrementalHash? hash, TarRecord? record = null)
{
    private const int Block = 512;
    private const int MaximumExtension = 1 << 20;
    private const int MaximumAttributes = 256;

    // GNU tar pads to 10 KiB, others to a megabyte at most; more is no padding.
    private const long MaximumTrailer = 64L << 20;

    private readonly byte[] _buffer = new byte[128 << 10];
    private int _start;
    private int _end;
    private long _remaining;
    private int _padding;

    /// <summary>Goes to the next entry; what is left of the content of the last one is passed over. Null at the end of the archive.</summary>
    public TarEntry? Next()
    {
        while (!NextData().IsEmpty)
        {
        }

        Dictionary<string, byte[]>? pax = null;
        List<KeyValuePair<byte[], byte[]>>? attributes = null;
        byte[]? longName = null;
        byte[]? longLink = null;
        long extensions = 0;
        while (true)
        {
            var header = Take(Block, mayEnd: true);
            if (header.IsEmpty)
            {
                return pax is null && longName is null && longLink is null ? null : throw Corrupt("it ends after an extension header");
            }

            if (!header.ContainsAnyExcept((byte)0))
            {
                header = Take(Block, mayEnd: true);
                return header.IsEmpty || !header.ContainsAnyExcept((byte)0) ? null : throw Corrupt("an empty header stands in the middle");
            }

            CheckSum(header);
            var type = header[156];
            if (type is (byte)'x' or (byte)'g' or (byte)'X' or (byte)'L' or (byte)'K')
            {
                var size = Number(header[124..136], "size");

                // All of them together: what they say is kept until the entry comes. Of global ones nothing is.
                extensions += type == (byte)'g' ? 0 : size;
                if (size is < 0 or > MaximumExtension || extensions > MaximumExtension)
                {
                    throw Corrupt($"extension headers of {Math.Max(size, extensions)} bytes are more than {MaximumExtension}");
                }

                var content = new byte[size];
                Fill(content, (int)((Block - (size % Block)) % Block));
                switch (type)
                {
                    case (byte)'x' or (byte)'X':
                        ReadPax(content, pax ??= [], attributes ??= []);
                        break;
                    case (byte)'L':
                        longName = UpToZero(content).ToArray();
                        break;
                    case (byte)'K':
                        longLink = UpToZero(content).ToArray();
                        break;
                    default:
                        // Global headers carry comments (git archive) and are passed over, as Docker does.
                        break;
                }

                continue;
            }

            return Entry(header, pax, attributes, longName, longLink);
        }
    }

    /// <summary>The next piece of the content, valid until the next call; empty at its end.</summary>
    public ReadOnlySpan<byte> NextData()
    {
        if (_remaining == 0)
        {
            if (_padding > 0)
            {
                var padding = _padding;
                _padding = 0;

                // umoci insert ends an archive right after the last content; Go's reader, and so Docker, takes that.
                Take(padding, mayEnd: true);
            }

            return [];
        }

        if (_start == _end && !Refill())
        {
            throw Corrupt("it ends in the middle of a file");
        }

        var count = (int)Math.Min(_remaining, _end - _start);
        var piece = _buffer.AsSpan(_start, count);
        _start += count;
        _remaining -= count;
        return piece;
    }

    /// <summary>Reads what stands after the end of the archive, so that the hash covers it.</summary>
    public void Drain()
    {
        long trailer = 0;
        do
        {
            trailer += _end - _start;
            record?.Add(_buffer.AsSpan(_start, _end - _start));
            _start = _end;
            if (trailer > MaximumTrailer)
            {
                throw Corrupt($"more than {MaximumTrailer} bytes follow its end");
            }
        }
        while (Refill());
    }

    private static EdgeHostException Corrupt(string why) => new(ErrorKind.Corrupt, $"tar archive: {why}");

    private static ReadOnlySpan<byte> UpToZero(ReadOnlySpan<byte> text)
    {
        var end = text.IndexOf((byte)0);
        return end < 0 ? text : text[..end];
    }

    private static void CheckSum(ReadOnlySpan<byte> header)
    {
        var wanted = Number(header[148..156], "checksum");
        long plain = 0;
        long signed = 0;
        for (var i = 0; i < Block; i++)
        {
            var value = i is >= 148 and < 156 ? (byte)' ' : header[i];
            plain += value;
            signed += (sbyte)value;
        }

        // Old tars summed signed characters.
        if (wanted != plain && wanted != signed)
        {
            throw Corrupt($"a header's checksum is {wanted}, its bytes make {plain}");
        }
    }

    private static long Number(ReadOnlySpan<byte> field, string name)
    {
        if ((field[0] & 0x80) != 0)
        {
            // Base 256 (GNU, star): big-endian two's complement below the marker bit.
            var negative = (field[0] & 0x40) != 0;
            long value = negative ? -1 : 0;
            for (var i = 0; i < field.Length; i++)
            {
                var digit = i == 0 ? (negative ? field[0] | 0x80 : field[0] & 0x7f) : field[i];
                if (i < field.Length - 8 && digit != (negative ? 0xff : 0))
                {
                    throw Corrupt($"{name} is out of range");
                }

                value = (value << 8) | (byte)digit;
            }

            return negative == value < 0 ? value : throw Corrupt($"{name} is out of range");
        }

        var text = field.Trim(" \0"u8);
        var end = text.IndexOfAny((byte)0, (byte)' ');
        text = end < 0 ? text : text[..end];
        long number = 0;
        foreach (var digit in text)
        {
            if (digit is < (byte)'0' or > (byte)'7')
            {
                throw Corrupt($"{name} is no octal number");
            }

            number = (number << 3) | (long)(digit - (byte)'0');
        }

        return number;
    }

    private static void ReadPax(ReadOnlySpan<byte> content, Dictionary<string, byte[]> pax, List<KeyValuePair<byte[], byte[]>> attributes)
    {
        while (!content.IsEmpty)
        {
            var space = content.IndexOf((byte)' ');
            if (space <= 0 || !Utf8Parser.TryParse(content[..space], out int length, out var used) || used != space
                || length <= space + 1 || length > content.Length || content[length - 1] != (byte)'\n')
            {
                // Some writers pad the header with zeros.
                if (!content.ContainsAnyExcept((byte)0))
                {
                    return;
                }

                throw Corrupt("a pax record is malformed");
            }

            var record = content[(space + 1)..(length - 1)];
            content = content[length..];
            var equals = record.IndexOf((byte)'=');
            if (equals <= 0)
            {
                throw Corrupt("a pax record has no key");
            }

            var value = record[(equals + 1)..];
            var key = record[..equals];
            if (key.StartsWith("SCHILY.xattr."u8))
            {
                if (attributes.Count == MaximumAttributes)
                {
                    throw Corrupt($"a file has more than {MaximumAttributes} extended attributes");
                }

                attributes.Add(KeyValuePair.Create(key["SCHILY.xattr.".Length..].ToArray(), value.ToArray()));
            }
            else if (key.StartsWith("GNU.sparse."u8))
            {
                throw new EdgeHostException(ErrorKind.Unsupported, "tar archive: it has sparse files (GNU.sparse), which are not read: write it without --sparse");
            }
            else
            {
                pax[Encoding.UTF8.GetString(key)] = value.ToArray();
            }
        }
    }

    private static uint Id(long value, string name) =>
        value is >= 0 and < uint.MaxValue ? (uint)value : throw Corrupt($"{name} {value} is out of range");

    private static long Decimal(byte[] text, string name) =>
        long.TryParse(Encoding.ASCII.GetString(text), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw Corrupt($"pax {name} is no number");

    private static (long Seconds, uint Nanoseconds) Time(byte[] text)
    {
        var words = Encoding.ASCII.GetString(text);
        var point = words.IndexOf('.', StringComparison.Ordinal);
        var whole = point < 0 ? words : words[..point];
        var fraction = point < 0 ? string.Empty : words[(point + 1)..];
        if (!long.TryParse(whole is "" or "-" ? whole + "0" : whole, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var seconds)
            || fraction.AsSpan().ContainsAnyExcept("0123456789"))
        {
            throw Corrupt("pax mtime is no number");
        }

        var nanoseconds = fraction.Length == 0 ? 0 : uint.Parse(fraction.PadRight(9, '0')[..9], CultureInfo.InvariantCulture);
        return words.StartsWith('-') && nanoseconds > 0 ? (seconds - 1, 1_000_000_000 - nanoseconds) : (seconds, nanoseconds);
    }

    private TarEntry Entry(
        ReadOnlySpan<byte> header, Dictionary<string, byte[]>? pax, List<KeyValuePair<byte[], byte[]>>? attributes, byte[]? longName, byte[]? longLink)
    {
        byte[]? Pax(string key) => pax is not null && pax.TryGetValue(key, out var value) && value.Length > 0 ? value : null;

        var name = Pax("path") ?? longName;
        if (name is null)
        {
            var shortName = UpToZero(header[..100]);

            // ustar and pax have a prefix; star's is shorter; GNU has other fields there.
            var prefix = header[257..263].SequenceEqual("ustar\0"u8)
                ? UpToZero(header[508..512].SequenceEqual("tar\0"u8) ? header[345..476] : header[345..500])
                : [];
            name = prefix.IsEmpty ? shortName.ToArray() : [.. prefix, (byte)'/', .. shortName];
        }

        var link = Pax("linkpath") ?? longLink ?? UpToZero(header[157..257]).ToArray();
        if (name.AsSpan().IndexOf((byte)0) >= 0 || link.AsSpan().IndexOf((byte)0) >= 0)
        {
            throw Corrupt($"the name {RootedDirectory.Shown(name)} has a zero byte in it");
        }

        var type = header[156] switch
        {
            // A v7 directory is a file whose name ends with a slash.
            0 or (byte)'0' or (byte)'7' => name.Length > 0 && name[^1] == '/' ? TarType.Directory : TarType.File,
            (byte)'1' => TarType.HardLink,
            (byte)'2' => TarType.SymbolicLink,
            (byte)'3' => TarType.CharacterDevice,
            (byte)'4' => TarType.BlockDevice,
            (byte)'5' => TarType.Directory,
            (byte)'6' => TarType.Fifo,
            (byte)'S' => throw new EdgeHostException(
                ErrorKind.Unsupported, $"tar archive: {RootedDirectory.Shown(name)} is a sparse file, which is not read: write it without --sparse"),
            var other => throw new EdgeHostException(
                ErrorKind.Unsupported, $"tar archive: {RootedDirectory.Shown(name)} has the type 0x{other:x2}, which is not known"),
        };

        var size = Pax("size") is { } paxSize ? Decimal(paxSize, "size") : Number(header[124..136], "size");
        if (size < 0)
        {
            throw Corrupt($"{RootedDirectory.Shown(name)} has the size {size}");
        }

        // Only files have content; a size at a hard link is that of its target (as GNU tar and Go read it).
        _remaining = type == TarType.File ? size : 0;
        _padding = (int)((Block - (_remaining % Block)) % Block);
        if (_remaining > 0)
        {
            record?.AddFile(name, _remaining);
        }

        var (seconds, nanoseconds) = Pax("mtime") is { } time ? Time(time) : (Number(header[136..148], "mtime"), 0u);
        var device = type is TarType.CharacterDevice or TarType.BlockDevice;
        return new TarEntry
        {
            Name = name,
            LinkName = link,
            Type = type,
            Mode = (uint)(Number(header[100..108], "mode") & 0xFFF),
            Uid = Id(Pax("uid") is { } uid ? Decimal(uid, "uid") : Number(header[108..116], "uid"), "uid"),
            Gid = Id(Pax("gid") is { } gid ? Decimal(gid, "gid") : Number(header[116..124], "gid"), "gid"),
            Size = _remaining,
            ModifiedSeconds = seconds,
            ModifiedNanoseconds = nanoseconds,
            DeviceMajor = device ? Id(Number(header[329..337], "device"), "device") : 0,
            DeviceMinor = device ? Id(Number(header[337..345], "device"), "device") : 0,
            Attributes = attributes ?? [],
        };
    }

    /// <summary>So many bytes in one piece, at most one block; none when the archive ends before them and may.</summary>
    private ReadOnlySpan<byte> Take(int count, bool mayEnd)
    {
        while (_end - _start < count)
        {
            if (!Refill())
            {
                return mayEnd && _start == _end ? [] : throw Corrupt("it ends in the middle of a block");
            }
        }

        var piece = _buffer.AsSpan(_start, count);
        _start += count;
        record?.Add(piece);
        return piece;
    }

    private void Fill(Span<byte> content, int padding)
    {
        while (!content.IsEmpty)
        {
            if (_start == _end && !Refill())
            {
                throw Corrupt("it ends in the middle of an extension header");
            }

            var count = Math.Min(content.Length, _end - _start);
            _buffer.AsSpan(_start, count).CopyTo(content);
            record?.Add(content[..count]);
            _start += count;
            content = content[count..];
        }

        Take(padding, mayEnd: false);
    }

    private bool Refill()
    {
        if (_start > 0)
        {
            _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
            (_start, _end) = (0, _end - _start);
        }

        var count = stream.Read(_buffer, _end, _buffer.Length - _end);
        hash?.AppendData(_buffer, _end, count);
        _end += count;
        return count > 0;
    }
}
