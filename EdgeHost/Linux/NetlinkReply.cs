using System.Text;

namespace EdgeHost.Linux;

/// <summary>One message that the kernel sent.</summary>
/// <param name="Type">What it is, such as RTM_NEWLINK.</param>
/// <param name="Payload">What follows the header of netlink: that of the family, then attributes.</param>
public readonly record struct NetlinkReply(ushort Type, ReadOnlyMemory<byte> Payload)
{
    /// <summary>Of a message of a group: the port of the socket whose request it tells of; 0 for the kernel itself.</summary>
    public uint Sender { get; init; }

    /// <summary>The attributes after the family's header.</summary>
    /// <param name="headerLength">The length of that header in bytes.</param>
    public NetlinkAttributes Attributes(int headerLength) => new(Payload.Span.Length < headerLength ? [] : Payload.Span[((headerLength + 3) & ~3)..]);
}

/// <summary>A row of attributes, one after the other (<c>struct nlattr</c>).</summary>
public ref struct NetlinkAttributes(ReadOnlySpan<byte> bytes)
{
    private const int TypeMask = 0x3fff;

    private ReadOnlySpan<byte> _rest = bytes;

    /// <summary>The number of the present attribute.</summary>
    public int Type { get; private set; }

    /// <summary>The bytes of the present attribute.</summary>
    public ReadOnlySpan<byte> Value { get; private set; }

    /// <summary>The present attribute as a number of four bytes, in this machine's order.</summary>
    public readonly uint Number => Value.Length >= 4 ? BitConverter.ToUInt32(Value) : Value.Length >= 2 ? BitConverter.ToUInt16(Value) : Value.IsEmpty ? 0u : Value[0];

    /// <summary>The present attribute as text.</summary>
    public readonly string Text => Encoding.UTF8.GetString(Value.TrimEnd((byte)0));

    /// <summary>The present attribute as a row of attributes.</summary>
    public readonly NetlinkAttributes Nested => new(Value);

    /// <summary>Goes to the next attribute.</summary>
    /// <returns>False at the end, or where the bytes are no attribute.</returns>
    public bool Next()
    {
        if (_rest.Length < 4)
        {
            return false;
        }

        var length = BitConverter.ToUInt16(_rest);
        if (length < 4 || length > _rest.Length)
        {
            return false;
        }

        Type = BitConverter.ToUInt16(_rest[2..]) & TypeMask;
        Value = _rest[4..length];
        _rest = _rest[Math.Min((length + 3) & ~3, _rest.Length)..];
        return true;
    }

    /// <summary>Looks for an attribute from here on.</summary>
    public readonly bool TryFind(int type, out ReadOnlySpan<byte> value)
    {
        var copy = this;
        while (copy.Next())
        {
            if (copy.Type == type)
            {
                value = copy.Value;
                return true;
            }
        }

        value = default;
        return false;
    }
}
