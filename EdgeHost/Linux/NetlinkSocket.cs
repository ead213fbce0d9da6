using System.Text;

namespace EdgeHost.Linux;

/// <summary>Whom in the kernel a netlink socket speaks to.</summary>
public enum NetlinkProtocol
{
    /// <summary>Links, addresses, routes (rtnetlink(7)).</summary>
    Route = 0,

    /// <summary>nftables and its relatives.</summary>
    Netfilter = 12,

    /// <summary>Devices that come, change and go: from the kernel (group 1), and once udev has done its part (group 2).</summary>
    Devices = 15,
}

/// <summary>
/// A netlink socket (netlink(7)). It belongs for ever to the network namespace of the thread that opened it. Requests
/// of several threads go one after the other.
/// </summary>
public sealed unsafe class NetlinkSocket : IDisposable
{
    private const ushort Error = 2;
    private const ushort Done = 3;
    private const ushort FirstOfFamily = 16;
    private const int HeaderLength = 16;
    private const int MessageOfError = 1;
    private const ushort BatchBegin = 16;
    private const ushort BatchEnd = 17;
    private const ushort BatchGeneration = 1;

    private readonly Lock _lock = new();
    private readonly Fd _fd;
    private readonly byte[] _buffer = new byte[32 << 10];
    private uint _sequence;

    private NetlinkSocket(Fd fd) => _fd = fd;

    /// <summary>The descriptor, for waiting on it.</summary>
    public Fd Fd => _fd;

    /// <summary>Opens one in the network namespace of this thread.</summary>
    /// <param name="protocol">Whom to speak to.</param>
    /// <param name="groups">Groups whose messages are to arrive without being asked for, such as RTNLGRP_LINK.</param>
    /// <exception cref="LinuxException">The kernel refuses, as one that was built without nftables does (EPROTONOSUPPORT).</exception>
    public static NetlinkSocket Open(NetlinkProtocol protocol, params ReadOnlySpan<int> groups)
    {
        var fd = new Fd((int)Libc.Check(Libc.socket(Libc.AF_NETLINK, Libc.SOCK_RAW | Libc.SOCK_CLOEXEC, (int)protocol), $"open a netlink socket to {protocol}"));
        try
        {
            var address = stackalloc byte[12];
            *(ushort*)address = Libc.AF_NETLINK;
            Libc.Check(Libc.bind(fd.Value, address, 12), "bind a netlink socket");

            // Words with an error, and errors without a copy of what was asked; kernels before 4.12 have neither.
            _ = Libc.setsockopt(fd.Value, Libc.SOL_NETLINK, Libc.NETLINK_EXT_ACK, 1);
            _ = Libc.setsockopt(fd.Value, Libc.SOL_NETLINK, Libc.NETLINK_CAP_ACK, 1);
            foreach (var group in groups)
            {
                Libc.Check(Libc.setsockopt(fd.Value, Libc.SOL_NETLINK, Libc.NETLINK_ADD_MEMBERSHIP, group), $"join netlink group {group} of {protocol}");
            }

            return new NetlinkSocket(fd);
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    /// <summary>Asks, and returns when the kernel has done it.</summary>
    /// <param name="message">What is asked.</param>
    /// <param name="what">What that is in words, for the error.</param>
    /// <exception cref="LinuxException">The kernel refuses; its own words, where it has some, are in the message.</exception>
    public void Request(NetlinkMessage message, string what)
    {
        var errno = TryRequest(message, out var words);
        if (errno != Errno.None)
        {
            throw new LinuxException(words.Length == 0 ? what : $"{what} ({words})", errno);
        }
    }

    /// <summary>Asks, and gives the kernel's answer.</summary>
    public Errno TryRequest(NetlinkMessage message) => TryRequest(message, out _);

    /// <summary>Asks for objects and gives all that come.</summary>
    /// <param name="message">What is asked, with <see cref="NetlinkFlags.Dump"/> for more than one.</param>
    /// <param name="what">What that is in words, for the error.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public List<NetlinkReply> Query(NetlinkMessage message, string what)
    {
        lock (_lock)
        {
            var sequence = ++_sequence;
            var isDump = (message.Flags & NetlinkFlags.Dump) == NetlinkFlags.Dump;
            Send(message.Finish(sequence, isDump ? NetlinkFlags.None : NetlinkFlags.Acknowledge), what);
            var replies = new List<NetlinkReply>();
            var errno = ReadAnswer(sequence, sequence, replies, out var words);
            return errno == Errno.None ? replies : throw new LinuxException(words.Length == 0 ? what : $"{what} ({words})", errno);
        }
    }

    /// <summary>
    /// Sends messages to nftables as one transaction: the kernel does all of them or none (nfnetlink's batch).
    /// </summary>
    /// <param name="subsystem">Whose they are: NFNL_SUBSYS_NFTABLES is 10.</param>
    /// <param name="messages">What is asked, in order.</param>
    /// <param name="what">What that is in words, for the error.</param>
    /// <param name="generation">The generation that it was thought of for; null for any.</param>
    /// <exception cref="LinuxException">The kernel refuses; nothing was changed. ERESTART: it is another generation by now.</exception>
    public void Transact(byte subsystem, IReadOnlyList<NetlinkMessage> messages, string what, uint? generation = null)
    {
        lock (_lock)
        {
            using var batch = new MemoryStream();
            var begin = Frame(BatchBegin, subsystem);
            if (generation is { } number)
            {
                begin.AddBigEndian(BatchGeneration, number);
            }

            batch.Write(begin.Finish(++_sequence, NetlinkFlags.None));

            // A batch for another generation is refused by its begin.
            var (first, last) = (_sequence, _sequence + (uint)messages.Count);
            foreach (var message in messages)
            {
                // The last one alone is acknowledged, once all is done; an older kernel does not acknowledge the end.
                batch.Write(message.Finish(++_sequence, _sequence == last ? NetlinkFlags.Acknowledge : NetlinkFlags.None));
            }

            batch.Write(Frame(BatchEnd, subsystem).Finish(++_sequence, NetlinkFlags.None));
            if (batch.Length > 200 << 10)
            {
                _ = Libc.setsockopt(_fd.Value, Libc.SOL_SOCKET, Libc.SO_SNDBUF, (int)batch.Length * 2);
            }

            Send(batch.GetBuffer().AsSpan(0, (int)batch.Length), what);
            var errno = ReadAnswer(first, last, [], out var words);
            if (errno != Errno.None)
            {
                throw new LinuxException(words.Length == 0 ? what : $"{what} ({words})", errno);
            }
        }

        static NetlinkMessage Frame(ushort type, byte subsystem) => new(type, NetlinkFlags.None, 0, 0, 0, subsystem);
    }

    /// <summary>The number by which the kernel says which socket a change came from.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public uint Port
    {
        get
        {
            var address = stackalloc byte[12];
            var length = 12u;
            Libc.Check(Libc.getsockname(_fd.Value, address, &length), "ask for the port of a netlink socket");
            return *(uint*)(address + 4);
        }
    }

    /// <summary>Takes messages of the groups that were joined; none when none are there, without waiting.</summary>
    /// <returns>They; null when some were lost because nobody read in time, and what they told about must be read anew.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public List<NetlinkReply>? Receive()
    {
        var length = ReadPacket(out var errno, Libc.MSG_DONTWAIT);
        if (errno == Errno.EAGAIN)
        {
            return [];
        }

        if (errno == Errno.ENOBUFS)
        {
            return null;
        }

        if (errno != Errno.None)
        {
            throw new LinuxException("read from a netlink socket", errno);
        }

        var replies = new List<NetlinkReply>();
        Split(_buffer.AsSpan(0, length), (type, _, sender, payload) => replies.Add(new NetlinkReply(type, payload.ToArray()) { Sender = sender }));
        return replies;
    }

    /// <summary>Waits until the kernel tells of something, whatever it is; also when that was lost.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void WaitForAny()
    {
        _ = ReadPacket(out var errno);
        if (errno is not (Errno.None or Errno.ENOBUFS))
        {
            throw new LinuxException("read from a netlink socket", errno);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _fd.Dispose();

    private delegate void Part(ushort type, uint sequence, uint sender, ReadOnlySpan<byte> payload);

    private Errno TryRequest(NetlinkMessage message, out string words)
    {
        lock (_lock)
        {
            var sequence = ++_sequence;
            Send(message.Finish(sequence, NetlinkFlags.Acknowledge), "send to netlink");
            return ReadAnswer(sequence, sequence, [], out words);
        }
    }

    private void Send(ReadOnlySpan<byte> bytes, string what)
    {
        fixed (byte* start = bytes)
        {
            while (Libc.sendto(_fd.Value, start, bytes.Length, 0) == -1)
            {
                if (Libc.LastErrno != Errno.EINTR)
                {
                    throw Libc.Failure(what);
                }
            }
        }
    }

    /// <summary>
    /// Reads until the last of what was asked is answered, or any of it has failed. What is still there of an earlier
    /// transaction with more than one error is passed over.
    /// </summary>
    private Errno ReadAnswer(uint first, uint last, List<NetlinkReply> replies, out string words)
    {
        var (isEnd, result, said) = (false, Errno.None, string.Empty);
        while (!isEnd)
        {
            var length = ReadPacket(out var unread);
            if (unread != Errno.None)
            {
                throw new LinuxException("read from a netlink socket", unread);
            }

            Split(_buffer.AsSpan(0, length), (type, answered, _, payload) =>
            {
                switch (type)
                {
                    case Error when answered >= first && answered <= last && payload.Length >= 4:
                        var errno = (Errno)(-BitConverter.ToInt32(payload));
                        if (result == Errno.None && errno != Errno.None)
                        {
                            (result, said) = (errno, Words(payload));
                        }

                        isEnd |= errno != Errno.None || answered == last;
                        break;
                    case Done when answered == last:
                        isEnd = true;
                        result = payload.Length >= 4 ? (Errno)(-BitConverter.ToInt32(payload)) : Errno.None;
                        break;
                    case >= FirstOfFamily when answered == last:
                        replies.Add(new NetlinkReply(type, payload.ToArray()));
                        break;
                    default:
                        break;
                }
            });
        }

        words = said;
        return result;
    }

    private static string Words(ReadOnlySpan<byte> payload)
    {
        // An error number, then the header of what was asked (without its body, as NETLINK_CAP_ACK has it).
        const int before = 4 + HeaderLength;
        return payload.Length > before && new NetlinkAttributes(payload[before..]).TryFind(MessageOfError, out var words)
            ? Encoding.UTF8.GetString(words.TrimEnd((byte)0))
            : string.Empty;
    }

    private int ReadPacket(out Errno errno, int flags = 0)
    {
        fixed (byte* start = _buffer)
        {
            while (true)
            {
                var length = Libc.recvfrom(_fd.Value, start, _buffer.Length, flags);
                errno = length == -1 ? Libc.LastErrno : Errno.None;
                if (errno != Errno.EINTR)
                {
                    return (int)Math.Max(length, 0);
                }
            }
        }
    }

    private static void Split(ReadOnlySpan<byte> packet, Part part)
    {
        while (packet.Length >= HeaderLength)
        {
            var length = BitConverter.ToInt32(packet);
            if (length < HeaderLength || length > packet.Length)
            {
                return;
            }

            part(BitConverter.ToUInt16(packet[4..]), BitConverter.ToUInt32(packet[8..]), BitConverter.ToUInt32(packet[12..]), packet[HeaderLength..length]);
            packet = packet[Math.Min((length + 3) & ~3, packet.Length)..];
        }
    }
}
