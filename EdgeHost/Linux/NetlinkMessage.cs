using System.Buffers.Binary;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>What is asked of the kernel with a message (<c>NLM_F_…</c> of linux/netlink.h).</summary>
[Flags]
public enum NetlinkFlags : ushort
{
    /// <summary>Nothing but a request.</summary>
    None = 0,

    /// <summary>Answer when it is done, also when it went well.</summary>
    Acknowledge = 4,

    /// <summary>All objects, not one.</summary>
    Dump = 0x300,

    /// <summary>In the place of what is there.</summary>
    Replace = 0x100,

    /// <summary>Refuse when it is there already.</summary>
    Exclusive = 0x200,

    /// <summary>Make it when it is not there.</summary>
    Create = 0x400,

    /// <summary>At the end of the list.</summary>
    Append = 0x800,
}

/// <summary>
/// One request of netlink(7) in the making: its header, the header of its family, then attributes. Numbers are in the
/// order of this machine, as rtnetlink wants them, unless the name of the method says otherwise (nftables).
/// </summary>
public sealed class NetlinkMessage
{
    private const int HeaderLength = 16;
    private const ushort NestedFlag = 0x8000;

    private byte[] _bytes = new byte[256];
    private int _length;

    /// <summary>Begins a message.</summary>
    /// <param name="type">What it asks for, such as RTM_NEWLINK.</param>
    /// <param name="flags">How.</param>
    /// <param name="header">The header of the family, such as a struct ifinfomsg.</param>
    public NetlinkMessage(ushort type, NetlinkFlags flags, params ReadOnlySpan<byte> header)
    {
        Type = type;
        Flags = flags;
        _length = HeaderLength;
        Append(header);
    }

    /// <summary>What it asks for.</summary>
    public ushort Type { get; }

    /// <summary>How it asks.</summary>
    public NetlinkFlags Flags { get; }

    /// <summary>Adds an attribute of bytes.</summary>
    public NetlinkMessage Add(ushort type, ReadOnlySpan<byte> value)
    {
        Span<byte> header = stackalloc byte[4];
        BitConverter.TryWriteBytes(header, (ushort)(4 + value.Length));
        BitConverter.TryWriteBytes(header[2..], type);
        Append(header);
        Append(value);
        return this;
    }

    /// <summary>Adds a zero-terminated text.</summary>
    public NetlinkMessage Add(ushort type, string text) => Add(type, [.. Encoding.UTF8.GetBytes(text), 0]);

    /// <summary>Adds a number of one byte.</summary>
    public NetlinkMessage Add(ushort type, byte value) => Add(type, [value]);

    /// <summary>Adds a number of two bytes.</summary>
    public NetlinkMessage Add(ushort type, ushort value) => Add(type, BitConverter.GetBytes(value));

    /// <summary>Adds a number of four bytes.</summary>
    public NetlinkMessage Add(ushort type, uint value) => Add(type, BitConverter.GetBytes(value));

    /// <summary>Adds a number of four bytes, the highest first.</summary>
    public NetlinkMessage AddBigEndian(ushort type, uint value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return Add(type, bytes);
    }

    /// <summary>Adds a number of eight bytes, the highest first.</summary>
    public NetlinkMessage AddBigEndian(ushort type, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return Add(type, bytes);
    }

    /// <summary>Adds an attribute that holds the attributes which <paramref name="inside"/> adds.</summary>
    public NetlinkMessage Nest(ushort type, Action<NetlinkMessage> inside)
    {
        var start = _length;
        Add((ushort)(type | NestedFlag), []);
        inside(this);
        BitConverter.TryWriteBytes(_bytes.AsSpan(start), (ushort)(_length - start));
        return this;
    }

    /// <summary>Adds bytes that are no attribute: a second header within an attribute, as VETH_INFO_PEER wants it.</summary>
    public NetlinkMessage AddRaw(ReadOnlySpan<byte> bytes)
    {
        Append(bytes);
        return this;
    }

    /// <summary>The finished message.</summary>
    internal ReadOnlySpan<byte> Finish(uint sequence, NetlinkFlags more)
    {
        const ushort request = 1;
        var header = _bytes.AsSpan(0, HeaderLength);
        BitConverter.TryWriteBytes(header, _length);
        BitConverter.TryWriteBytes(header[4..], Type);
        BitConverter.TryWriteBytes(header[6..], (ushort)(request | (ushort)(Flags | more)));
        BitConverter.TryWriteBytes(header[8..], sequence);
        return _bytes.AsSpan(0, _length);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        var padded = (bytes.Length + 3) & ~3;
        if (_length + padded > _bytes.Length)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _length + padded));
        }

        bytes.CopyTo(_bytes.AsSpan(_length));
        _bytes.AsSpan(_length + bytes.Length, padded - bytes.Length).Clear();
        _length += padded;
    }
}
