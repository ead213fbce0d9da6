using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace EdgeHost.Networks.Names;

/// <summary>What is asked of a name server: a message with one question (RFC 1035, section 4).</summary>
internal sealed class DnsQuestion
{
    /// <summary>The longest message over UDP from one who does not say that he takes more (RFC 1035, section 4.2.1).</summary>
    internal const int MaximumPlainBytes = 512;

    internal const ushort A = 1;
    internal const ushort Pointer = 12;
    internal const ushort Aaaa = 28;

    private const int HeaderBytes = 12;
    private const int MaximumNameBytes = 255;
    private const int MaximumLabelBytes = 63;
    private const ushort Internet = 1;

    // Flags of a header, RFC 1035 section 4.1.1.
    private const ushort IsResponse = 0x8000;
    private const ushort OperationMask = 0x7800;
    private const ushort IsTruncated = 0x0200;
    private const ushort RecursionDesired = 0x0100;
    private const ushort RecursionAvailable = 0x0080;

    private readonly ushort _flags;
    private readonly byte[] _question;

    private DnsQuestion(ushort id, ushort flags, string name, ushort type, byte[] question) => (Id, _flags, Name, Type, _question) = (id, flags, name, type, question);

    /// <summary>The number by which the asker knows the answer.</summary>
    internal ushort Id { get; }

    /// <summary>The name in lower case, without the dot at its end.</summary>
    internal string Name { get; }

    /// <summary>What is asked about it, such as <see cref="A"/>.</summary>
    internal ushort Type { get; }

    /// <summary>Reads a message.</summary>
    /// <returns>Null when it is no standard query with one question of the Internet: nothing that could be answered here.</returns>
    internal static DnsQuestion? Parse(ReadOnlySpan<byte> message)
    {
        if (message.Length < HeaderBytes)
        {
            return null;
        }

        var flags = BinaryPrimitives.ReadUInt16BigEndian(message[2..]);
        if ((flags & (IsResponse | OperationMask)) != 0 || BinaryPrimitives.ReadUInt16BigEndian(message[4..]) != 1)
        {
            return null;
        }

        var name = new StringBuilder();
        var at = HeaderBytes;
        while (at < message.Length && message[at] is > 0 and <= MaximumLabelBytes and var length && at + 1 + length < message.Length && at - HeaderBytes + length < MaximumNameBytes)
        {
            if (name.Length > 0)
            {
                name.Append('.');
            }

            foreach (var each in message.Slice(at + 1, length))
            {
                // No name of ours has any other character; what is forwarded goes on as it came.
                name.Append(char.ToLowerInvariant((char)each));
            }

            at += 1 + length;
        }

        if (at + 5 > message.Length || message[at] != 0 || BinaryPrimitives.ReadUInt16BigEndian(message[(at + 3)..]) != Internet)
        {
            return null;
        }

        return new DnsQuestion(
            BinaryPrimitives.ReadUInt16BigEndian(message),
            flags,
            name.ToString(),
            BinaryPrimitives.ReadUInt16BigEndian(message[(at + 1)..]),
            message[HeaderBytes..(at + 5)].ToArray());
    }

    /// <summary>The address that a question of type <see cref="Pointer"/> is about (RFC 1035 section 3.5, RFC 3596 section 2.5).</summary>
    /// <returns>Null when it is about none.</returns>
    internal IPAddress? ReverseAddress()
    {
        const string v4 = ".in-addr.arpa", v6 = ".ip6.arpa";
        if (Name.EndsWith(v4, StringComparison.Ordinal))
        {
            var parts = Name[..^v4.Length].Split('.');
            Array.Reverse(parts);
            return parts.Length == 4 && IPAddress.TryParse(string.Join('.', parts), out var address) ? address : null;
        }

        if (!Name.EndsWith(v6, StringComparison.Ordinal))
        {
            return null;
        }

        var digits = Name[..^v6.Length].Replace(".", string.Empty, StringComparison.Ordinal).ToCharArray();
        Array.Reverse(digits);
        return digits.Length == 32 && digits.All(char.IsAsciiHexDigit) ? new IPAddress(Convert.FromHexString(digits)) : null;
    }

    /// <summary>The answer that a name has these addresses; where none is of the kind that was asked for, that it has none of that kind.</summary>
    /// <param name="addresses">All addresses, of either kind.</param>
    /// <param name="most">The longest answer in bytes; what does not fit is left out, and the asker told so.</param>
    internal byte[] Answer(IReadOnlyList<IPAddress> addresses, int most)
    {
        var family = Type switch { A => AddressFamily.InterNetwork, Aaaa => AddressFamily.InterNetworkV6, _ => AddressFamily.Unspecified };
        var (answer, count, isCut) = (new MemoryStream(), 0, false);
        answer.Write(Header(DnsCode.NoError, 0));
        foreach (var address in addresses)
        {
            if (address.AddressFamily != family)
            {
                continue;
            }

            var data = address.GetAddressBytes();
            isCut = answer.Length + 12 + data.Length > most;
            if (isCut)
            {
                break;
            }

            WriteRecord(answer, data);
            count++;
        }

        return Finish(answer, count, isCut);
    }

    /// <summary>The answer that an address is of a name.</summary>
    internal byte[] Answer(string name)
    {
        var data = new MemoryStream();
        foreach (var label in name.Split('.'))
        {
            data.WriteByte((byte)label.Length);
            data.Write(Encoding.ASCII.GetBytes(label));
        }

        data.WriteByte(0);
        var answer = new MemoryStream();
        answer.Write(Header(DnsCode.NoError, 0));
        WriteRecord(answer, data.ToArray());
        return Finish(answer, 1, isCut: false);
    }

    /// <summary>An answer without a record.</summary>
    internal byte[] Answer(DnsCode code) => Header(code, 0);

    /// <summary>Whether a message answers this question.</summary>
    internal bool IsAnsweredBy(ReadOnlySpan<byte> message, ushort id) =>
        message.Length >= HeaderBytes
        && BinaryPrimitives.ReadUInt16BigEndian(message) == id
        && (message[2] & 0x80) != 0
        && (message.Length == HeaderBytes || Parse(WithoutResponse(message)) is { } other && other.Name == Name && other.Type == Type);

    /// <summary>How an answer went.</summary>
    internal static DnsCode CodeOf(ReadOnlySpan<byte> answer) => (DnsCode)(answer[3] & 0xF);

    private static byte[] WithoutResponse(ReadOnlySpan<byte> message)
    {
        var copy = message[..Math.Min(message.Length, HeaderBytes + MaximumNameBytes + 5)].ToArray();
        copy[2] &= 0x7F;
        return copy;
    }

    private byte[] Header(DnsCode code, int answers)
    {
        var header = new byte[HeaderBytes + _question.Length];
        BinaryPrimitives.WriteUInt16BigEndian(header, Id);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(2), (ushort)(IsResponse | (_flags & RecursionDesired) | RecursionAvailable | (int)code));
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(4), 1);
        BinaryPrimitives.WriteUInt16BigEndian(header.AsSpan(6), (ushort)answers);
        _question.CopyTo(header, HeaderBytes);
        return header;
    }

    /// <summary>The name is that of the question; nobody may keep it, since the next start can have another address.</summary>
    private void WriteRecord(MemoryStream answer, byte[] data)
    {
        Span<byte> head = stackalloc byte[12];
        head.Clear();
        BinaryPrimitives.WriteUInt16BigEndian(head, 0xC000 | HeaderBytes);
        BinaryPrimitives.WriteUInt16BigEndian(head[2..], Type);
        BinaryPrimitives.WriteUInt16BigEndian(head[4..], Internet);
        BinaryPrimitives.WriteUInt16BigEndian(head[10..], (ushort)data.Length);
        answer.Write(head);
        answer.Write(data);
    }

    private static byte[] Finish(MemoryStream answer, int count, bool isCut)
    {
        var bytes = answer.ToArray();
        BinaryPrimitives.WriteUInt16BigEndian(bytes.AsSpan(6), (ushort)count);
        if (isCut)
        {
            bytes[2] |= IsTruncated >> 8;
        }

        return bytes;
    }
}

/// <summary>How an answer went (RFC 1035, section 4.1.1).</summary>
internal enum DnsCode
{
    /// <summary>It is an answer.</summary>
    NoError = 0,

    /// <summary>Nobody who was asked could say.</summary>
    ServerFailure = 2,

    /// <summary>There is no such name.</summary>
    NameError = 3,

    /// <summary>Not for you.</summary>
    Refused = 5,
}
