using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// A connected unix socket that keeps message boundaries (SOCK_SEQPACKET, unix(7)) and can hand descriptors over.
/// </summary>
public sealed unsafe class PacketSocket : IDisposable
{
    /// <summary>The longest message in bytes; larger ones (from about 200 KiB on) the kernel refuses.</summary>
    public const int MaximumLength = 64 << 10;

    /// <summary>How many descriptors one message carries at most (SCM_MAX_FD).</summary>
    public const int MaximumDescriptors = 253;

    private const int ControlSize = 16 + (MaximumDescriptors * 4) + 8;

    /// <summary>Takes a connected socket over.</summary>
    public PacketSocket(Fd fd) => Fd = fd;

    /// <summary>The descriptor, for waiting on it.</summary>
    public Fd Fd { get; }

    /// <summary>Makes two sockets that are connected with each other.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (PacketSocket One, PacketSocket Other) MakePair()
    {
        var pair = stackalloc int[2];
        Libc.Check(Libc.syscall(Nr.socketpair, Libc.AF_UNIX, Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC, 0, (nint)pair), "make a socket pair");
        return (new PacketSocket(new Fd(pair[0])), new PacketSocket(new Fd(pair[1])));
    }

    /// <summary>Connects to a listening socket.</summary>
    /// <returns>Null when nobody listens there.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static PacketSocket? TryConnect(string path)
    {
        var fd = new Fd((int)Libc.Check(Libc.socket(Libc.AF_UNIX, Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC, 0), "make a socket"));
        var address = Address(path);
        fixed (byte* start = address)
        {
            if (Libc.connect(fd.Value, start, (uint)address.Length) == -1)
            {
                var errno = Libc.LastErrno;
                fd.Dispose();
                return errno is Errno.ENOENT or Errno.ECONNREFUSED ? null : throw new LinuxException($"connect to {path}", errno);
            }
        }

        return new PacketSocket(fd);
    }

    /// <summary>Listens at a path, in the place of a stale socket there. Only the owner may connect.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd Listen(string path)
    {
        var fd = new Fd((int)Libc.Check(Libc.socket(Libc.AF_UNIX, Libc.SOCK_SEQPACKET | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0), "make a socket"));
        var address = Address(path);
        fixed (byte* start = address, name = Libc.Z(path))
        {
            _ = Libc.unlinkat(Libc.AT_FDCWD, name, 0);
            Libc.Check(Libc.bind(fd.Value, start, (uint)address.Length), $"listen at {path}");
            Libc.Check(Libc.syscall(Nr.fchmodat, Libc.AT_FDCWD, (nint)name, 0x180), $"set the mode of {path}");
            Libc.Check(Libc.listen(fd.Value, 16), $"listen at {path}");
        }

        return fd;
    }

    /// <summary>Takes the next connection.</summary>
    /// <returns>Null when none waits.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static PacketSocket? TryAccept(Fd listener)
    {
        var fd = Libc.accept4(listener.Value, Libc.SOCK_CLOEXEC);
        if (fd == -1)
        {
            return Libc.LastErrno is Errno.EAGAIN or Errno.EINTR or Errno.ECONNABORTED ? null : throw Libc.Failure("accept a connection");
        }

        return new PacketSocket(new Fd(fd));
    }

    /// <summary>Who is at the other end (SO_PEERCRED): the pid and user at the time of connecting.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public (int Pid, uint Uid) ReadPeer()
    {
        var credentials = stackalloc int[3];
        uint length = 12;
        Libc.Check(Libc.getsockopt(Fd.Value, Libc.SOL_SOCKET, Libc.SO_PEERCRED, credentials, &length), "ask who is at the other end");
        return (credentials[0], (uint)credentials[1]);
    }

    /// <summary>Sends one message, waiting for room.</summary>
    /// <param name="message">The bytes.</param>
    /// <param name="descriptors">Duplicates of these arrive with it.</param>
    /// <returns>False when the other end is gone.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public bool Send(ReadOnlySpan<byte> message, params ReadOnlySpan<int> descriptors) => Send(message, descriptors, 0) ?? false;

    /// <summary>Sends one message if there is room for it now.</summary>
    /// <returns>False when the other end is gone, null when it does not read.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public bool? TrySend(ReadOnlySpan<byte> message, params ReadOnlySpan<int> descriptors) => Send(message, descriptors, Libc.MSG_DONTWAIT);

    /// <summary>Receives one message, waiting for it.</summary>
    /// <param name="buffer">At least <see cref="MaximumLength"/> bytes.</param>
    /// <param name="descriptors">What came with it; the caller closes them.</param>
    /// <returns>The length, 0 when the other end is gone.</returns>
    /// <exception cref="LinuxException">The kernel refuses, or the message was longer than allowed.</exception>
    public int Receive(Span<byte> buffer, List<Fd> descriptors)
    {
        var control = stackalloc byte[ControlSize];
        fixed (byte* start = buffer)
        {
            var part = new Libc.iovec { iov_base = start, iov_len = buffer.Length };
            var header = new Libc.msghdr { msg_iov = &part, msg_iovlen = 1, msg_control = control, msg_controllen = ControlSize };
            nint count;
            do
            {
                header.msg_controllen = ControlSize;
                count = Libc.recvmsg(Fd.Value, &header, Libc.MSG_CMSG_CLOEXEC);
            }
            while (count == -1 && Libc.LastErrno == Errno.EINTR);

            if (count == -1)
            {
                return Libc.LastErrno == Errno.ECONNRESET ? 0 : throw Libc.Failure("receive a message");
            }

            for (var at = 0; at + 16 <= header.msg_controllen;)
            {
                var length = (int)*(nint*)(control + at);
                if (*(int*)(control + at + 8) == Libc.SOL_SOCKET && *(int*)(control + at + 12) == Libc.SCM_RIGHTS)
                {
                    for (var i = 16; i + 4 <= length; i += 4)
                    {
                        descriptors.Add(new Fd(*(int*)(control + at + i)));
                    }
                }

                at += (length + 7) & ~7;
                if (length < 16)
                {
                    break;
                }
            }

            if ((header.msg_flags & (Libc.MSG_TRUNC | Libc.MSG_CTRUNC)) != 0)
            {
                foreach (var descriptor in descriptors)
                {
                    descriptor.Dispose();
                }

                descriptors.Clear();
                throw new LinuxException("receive a message", Errno.EMSGSIZE);
            }

            return (int)count;
        }
    }

    /// <summary>Lets a waiting <see cref="Receive"/> of another thread return.</summary>
    public void Shutdown() => _ = Libc.syscall(Nr.shutdown, Fd.Value, 2);

    /// <inheritdoc/>
    public void Dispose() => Fd.Dispose();

    private static byte[] Address(string path)
    {
        var name = Encoding.UTF8.GetBytes(path);
        if (name.Length > 107)
        {
            throw new LinuxException($"socket path {path} ({name.Length} bytes, the kernel takes 107)", Errno.ENAMETOOLONG);
        }

        var address = new byte[2 + name.Length + 1];
        address[0] = Libc.AF_UNIX;
        name.CopyTo(address, 2);
        return address;
    }

    private bool? Send(ReadOnlySpan<byte> message, ReadOnlySpan<int> descriptors, int flags)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, MaximumDescriptors);
        var control = stackalloc byte[ControlSize];
        fixed (byte* start = message)
        {
            var part = new Libc.iovec { iov_base = start, iov_len = message.Length };
            var header = new Libc.msghdr { msg_iov = &part, msg_iovlen = 1 };
            if (descriptors.Length > 0)
            {
                *(nint*)control = 16 + (descriptors.Length * 4);
                *(int*)(control + 8) = Libc.SOL_SOCKET;
                *(int*)(control + 12) = Libc.SCM_RIGHTS;
                for (var i = 0; i < descriptors.Length; i++)
                {
                    *(int*)(control + 16 + (i * 4)) = descriptors[i];
                }

                header.msg_control = control;
                header.msg_controllen = (16 + (descriptors.Length * 4) + 7) & ~7;
            }

            while (true)
            {
                if (Libc.sendmsg(Fd.Value, &header, flags | Libc.MSG_NOSIGNAL) >= 0)
                {
                    return true;
                }

                switch (Libc.LastErrno)
                {
                    case Errno.EINTR: continue;
                    case Errno.EAGAIN: return null;
                    case Errno.EPIPE or Errno.ECONNRESET or Errno.ENOTCONN: return false;
                    default: throw Libc.Failure("send a message");
                }
            }
        }
    }
}
