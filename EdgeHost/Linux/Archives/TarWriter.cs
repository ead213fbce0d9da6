using System.Globalization;
using System.Text;

namespace EdgeHost.Linux.Archives;

/// <summary>
/// Writes a tar as it streams by: ustar headers, with a pax header before an entry whose name, size, owner, time or
/// attributes do not fit (POSIX.1-2017, pax). One buffer of 64 KiB. Times are written in whole seconds, as Docker does.
/// </summary>
/// <param name="stream">Left open; written to without async.</param>
public sealed class TarWriter(Stream stream)
{
    private const int Block = 512;
    private const long LargestSize = 0x1_FFFF_FFFF; // 8 GiB - 1: eleven octal digits
    private const uint LargestId = 0x1F_FFFF; // seven octal digits

    private readonly byte[] _buffer = new byte[64 << 10];
    private int _used;
    private long _left;
    private int _padding;

    /// <summary>Begins an entry; a file's content follows by <see cref="Write"/>, exactly as many bytes as the entry says.</summary>
    public void Begin(TarEntry entry)
    {
        if (_left != 0)
        {
            throw new InvalidOperationException("the content of the entry before is not whole");
        }

        WritePax(entry);
        Header(entry.Name, entry.LinkName, TypeOf(entry.Type), entry.Mode, entry.Uid, entry.Gid, entry.Size, entry.ModifiedSeconds, entry.DeviceMajor, entry.DeviceMinor);
        _left = entry.Size;
        _padding = (int)((Block - (entry.Size % Block)) % Block);
    }

    /// <summary>Writes a piece of the content.</summary>
    public void Write(ReadOnlySpan<byte> piece)
    {
        if (piece.Length > _left)
        {
            throw new InvalidOperationException("more content than the entry says");
        }

        Append(piece);
        _left -= piece.Length;
        if (_left == 0 && _padding > 0)
        {
            Zeros(_padding);
            _padding = 0;
        }
    }

    /// <summary>Ends the archive, and hands the last bytes on.</summary>
    public void Finish()
    {
        Zeros(2 * Block);
        HandOn();
    }

    private static byte TypeOf(TarType type) => type switch
    {
        TarType.HardLink => (byte)'1',
        TarType.SymbolicLink => (byte)'2',
        TarType.CharacterDevice => (byte)'3',
        TarType.BlockDevice => (byte)'4',
        TarType.Directory => (byte)'5',
        TarType.Fifo => (byte)'6',
        _ => (byte)'0',
    };

    private static bool Fits(ReadOnlySpan<byte> name) => name.Length <= 100 && !name.ContainsAnyExceptInRange((byte)1, (byte)0x7E);

    private static void Octal(Span<byte> field, long value)
    {
        for (var at = field.Length - 2; at >= 0; at--)
        {
            field[at] = (byte)('0' + (value & 7));
            value >>= 3;
        }
    }

    /// <summary>A record of a pax header: its own length, a blank, the key, the value.</summary>
    private static void Record(MemoryStream records, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        var rest = key.Length + value.Length + 3;
        var length = rest + 1;
        while (length != rest + length.ToString(CultureInfo.InvariantCulture).Length)
        {
            length = rest + length.ToString(CultureInfo.InvariantCulture).Length;
        }

        records.Write(Encoding.ASCII.GetBytes(length.ToString(CultureInfo.InvariantCulture)));
        records.WriteByte((byte)' ');
        records.Write(key);
        records.WriteByte((byte)'=');
        records.Write(value);
        records.WriteByte((byte)'\n');
    }

    private void WritePax(TarEntry entry)
    {
        using var records = new MemoryStream();
        if (!Fits(entry.Name))
        {
            Record(records, "path"u8, entry.Name);
        }

        if (!Fits(entry.LinkName))
        {
            Record(records, "linkpath"u8, entry.LinkName);
        }

        Number("size"u8, entry.Size, LargestSize);
        Number("uid"u8, entry.Uid, LargestId);
        Number("gid"u8, entry.Gid, LargestId);
        Number("mtime"u8, entry.ModifiedSeconds, LargestSize);
        foreach (var (name, value) in entry.Attributes)
        {
            Record(records, [.. "SCHILY.xattr."u8, .. name], value);
        }

        if (records.Length == 0)
        {
            return;
        }

        Header("PaxHeaders.0/x"u8, [], (byte)'x', 0x1A4, 0, 0, records.Length, 0, 0, 0);
        Append(records.GetBuffer().AsSpan(0, (int)records.Length));
        Zeros((int)((Block - (records.Length % Block)) % Block));

        void Number(ReadOnlySpan<byte> key, long value, long largest)
        {
            if (value < 0 || value > largest)
            {
                Record(records, key, Encoding.ASCII.GetBytes(value.ToString(CultureInfo.InvariantCulture)));
            }
        }
    }

    private void Header(ReadOnlySpan<byte> name, ReadOnlySpan<byte> link, byte type, uint mode, uint uid, uint gid, long size, long modified, uint major, uint minor)
    {
        Span<byte> header = stackalloc byte[Block];
        header.Clear();
        name[..Math.Min(name.Length, 100)].CopyTo(header);
        Octal(header[100..108], mode);
        Octal(header[108..116], uid <= LargestId ? uid : 0);
        Octal(header[116..124], gid <= LargestId ? gid : 0);
        Octal(header[124..136], size <= LargestSize ? size : 0);
        Octal(header[136..148], modified is >= 0 and <= LargestSize ? modified : 0);
        header[156] = type;
        link[..Math.Min(link.Length, 100)].CopyTo(header[157..]);
        "ustar\000"u8.CopyTo(header[257..]);
        Octal(header[329..337], major & LargestId);
        Octal(header[337..345], minor & LargestId);
        header[148..156].Fill((byte)' ');
        var sum = 0;
        foreach (var each in header)
        {
            sum += each;
        }

        Octal(header[148..155], sum);
        Append(header);
    }

    private void Zeros(int count)
    {
        Span<byte> zeros = stackalloc byte[Block];
        zeros.Clear();
        for (; count > 0; count -= Math.Min(count, Block))
        {
            Append(zeros[..Math.Min(count, Block)]);
        }
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            var count = Math.Min(bytes.Length, _buffer.Length - _used);
            bytes[..count].CopyTo(_buffer.AsSpan(_used));
            _used += count;
            bytes = bytes[count..];
            if (_used == _buffer.Length)
            {
                HandOn();
            }
        }
    }

    private void HandOn()
    {
        stream.Write(_buffer, 0, _used);
        _used = 0;
    }
}
