using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Why a <see cref="StreamPump"/> has ended.</summary>
public enum PumpEnd
{
    /// <summary>Everything was passed on.</summary>
    Drained,

    /// <summary>The client has gone.</summary>
    Gone,

    /// <summary>The client has asked to be let go.</summary>
    Detached,
}

/// <summary>
/// Passes on what a program writes to a client, and what the client sends to the program, each on a thread that the
/// caller gives: one read and one write for up to 64 KiB, and nothing is held of it in between.
/// </summary>
/// <remarks>
/// The client's connection is a socket that does not block and that others may be reading meanwhile. Frames are Docker's:
/// one byte for the stream (1 output, 2 error), three of zero, the length in four bytes big-endian, the bytes.
/// </remarks>
public sealed unsafe class StreamPump : IDisposable
{
    /// <summary>How long a stream may still be silent once the program has ended, when something that it has left behind holds it open.</summary>
    private const int SilenceMilliseconds = 1000;

    private const int HeaderSize = 8;
    private const int ChunkSize = 64 << 10;
    private const short POLLIN = 1;
    private const short POLLOUT = 4;
    private const short POLLERR = 0x8;
    private const short POLLHUP = 0x10;

    private readonly SafeHandle? _client;
    private readonly bool _framed;
    private readonly Fd _wake = new((int)Libc.Check(Libc.syscall(Nr.eventfd2, 0, Libc.O_CLOEXEC | Libc.O_NONBLOCK), "make an event descriptor"));
    private volatile bool _ended;
    private volatile bool _detached;

    /// <summary>Makes one for a client.</summary>
    /// <param name="client">Its connected socket; null when nobody is there, and what a program writes is dropped.</param>
    /// <param name="framed">Whether frames are wanted, or the bytes as they come.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public StreamPump(SafeHandle? client, bool framed)
    {
        _client = client;
        _framed = framed;
    }

    /// <summary>Tells it that the program has ended: what it has written is still passed on.</summary>
    public void End()
    {
        _ended = true;
        Wake();
    }

    /// <summary>Lets the client go at once.</summary>
    public void Detach()
    {
        _detached = true;
        Wake();
    }

    /// <summary>Passes on what comes from the program until it ends.</summary>
    /// <param name="output">Standard output or a terminal, which does not block; null for none.</param>
    /// <param name="error">Standard error, which does not block; null for none.</param>
    /// <param name="untilEnd">Whether the end of the streams is not enough and <see cref="End"/> is waited for.</param>
    /// <exception cref="LinuxException">A stream cannot be read.</exception>
    public PumpEnd CopyOutput(Fd? output, Fd? error, bool untilEnd)
    {
        var buffer = GC.AllocateUninitializedArray<byte>(HeaderSize + ChunkSize, pinned: false);
        var gathering = new Gathering();
        var held = false;
        try
        {
            _client?.DangerousAddRef(ref held);
            var client = (int?)_client?.DangerousGetHandle() ?? -1;
            int[] sources = [output?.Value ?? -1, error?.Value ?? -1];
            var polls = stackalloc PollFd[4];
            while (true)
            {
                var open = sources[0] >= 0 || sources[1] >= 0;
                if (_detached)
                {
                    return PumpEnd.Detached;
                }

                if (!open && (_ended || !untilEnd))
                {
                    return PumpEnd.Drained;
                }

                var ended = _ended;
                polls[0] = new PollFd { fd = sources[0], events = POLLIN };
                polls[1] = new PollFd { fd = sources[1], events = POLLIN };
                polls[2] = new PollFd { fd = client };
                polls[3] = new PollFd { fd = ended ? -1 : _wake.Value, events = POLLIN };
                if (Wait(polls, 4, ended ? SilenceMilliseconds : -1) == 0 && ended)
                {
                    return PumpEnd.Drained;
                }

                if ((polls[2].revents & (POLLHUP | POLLERR)) != 0)
                {
                    return PumpEnd.Gone;
                }

                for (var stream = 0; stream < 2; stream++)
                {
                    if (polls[stream].revents == 0)
                    {
                        continue;
                    }

                    var count = Read(sources[stream], buffer.AsSpan(HeaderSize));
                    if (count == 0)
                    {
                        sources[stream] = -1;
                    }
                    else if (count > 0)
                    {
                        if (!Send(client, buffer, stream, count))
                        {
                            return _detached ? PumpEnd.Detached : PumpEnd.Gone;
                        }

                        gathering.After(count);
                    }
                }
            }
        }
        catch (ObjectDisposedException)
        {
            return PumpEnd.Gone;
        }
        finally
        {
            if (held)
            {
                _client!.DangerousRelease();
            }
        }
    }

    /// <summary>Gives the program what the client has sent, waiting as long as it does not read.</summary>
    /// <param name="target">A pipe or a terminal, which does not block.</param>
    /// <param name="bytes">What was sent.</param>
    /// <returns>False when the program takes nothing any more, or has ended.</returns>
    /// <exception cref="LinuxException">It cannot be written.</exception>
    public bool Give(Fd target, ReadOnlySpan<byte> bytes)
    {
        var polls = stackalloc PollFd[2];
        while (bytes.Length > 0)
        {
            nint count;
            fixed (byte* start = bytes)
            {
                count = Libc.write(target.Value, start, bytes.Length);
            }

            if (count >= 0)
            {
                bytes = bytes[(int)count..];
                continue;
            }

            switch (Libc.LastErrno)
            {
                case Errno.EINTR:
                    break;
                case Errno.EPIPE or Errno.EIO:
                    return false;
                case Errno.EAGAIN:
                    polls[0] = new PollFd { fd = target.Value, events = POLLOUT };
                    polls[1] = new PollFd { fd = _wake.Value, events = POLLIN };
                    Wait(polls, 2, -1);
                    if (_ended || _detached)
                    {
                        return false;
                    }

                    break;
                default:
                    throw Libc.Failure("write the input of a program");
            }
        }

        return true;
    }

    /// <summary>Sends bytes as they are, such as the head of an answer; false when the client has gone.</summary>
    public static bool Send(SafeHandle client, ReadOnlySpan<byte> bytes)
    {
        var held = false;
        try
        {
            client.DangerousAddRef(ref held);
            return SendAll((int)client.DangerousGetHandle(), bytes);
        }
        catch (ObjectDisposedException)
        {
            return false;
        }
        finally
        {
            if (held)
            {
                client.DangerousRelease();
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _wake.Dispose();

    private void Wake()
    {
        ulong one = 1;
        _ = Libc.write(_wake.Value, &one, sizeof(ulong));
    }

    private bool Send(int client, byte[] buffer, int stream, int count)
    {
        if (client < 0)
        {
            return true;
        }

        if (!_framed)
        {
            return SendAll(client, buffer.AsSpan(HeaderSize, count));
        }

        buffer[0] = (byte)(stream + 1);
        buffer[1] = buffer[2] = buffer[3] = 0;
        System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(buffer.AsSpan(4), count);
        return SendAll(client, buffer.AsSpan(0, HeaderSize + count));
    }

    private static bool SendAll(int client, ReadOnlySpan<byte> bytes)
    {
        var poll = stackalloc PollFd[1];
        while (bytes.Length > 0)
        {
            nint count;
            fixed (byte* start = bytes)
            {
                count = Libc.syscall(Nr.sendto, client, (nint)start, bytes.Length, Libc.MSG_NOSIGNAL | Libc.MSG_DONTWAIT);
            }

            if (count >= 0)
            {
                bytes = bytes[(int)count..];
            }
            else if (Libc.LastErrno == Errno.EAGAIN)
            {
                poll[0] = new PollFd { fd = client, events = POLLOUT };
                Wait(poll, 1, -1);
                if ((poll[0].revents & (POLLHUP | POLLERR)) != 0)
                {
                    return false;
                }
            }
            else if (Libc.LastErrno != Errno.EINTR)
            {
                return false;
            }
        }

        return true;
    }

    // A terminal of which nobody in the container holds the other side any more says so by an error.
    private static int Read(int fd, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            var count = Libc.read(fd, start, buffer.Length);
            return count >= 0 ? (int)count
                : Libc.LastErrno is Errno.EAGAIN or Errno.EINTR ? -1
                : Libc.LastErrno == Errno.EIO ? 0
                : throw Libc.Failure("read what a program has written");
        }
    }

    private static int Wait(PollFd* polls, int count, int milliseconds)
    {
        var limit = stackalloc long[2];
        limit[0] = milliseconds / 1000;
        limit[1] = milliseconds % 1000 * 1_000_000L;
        while (true)
        {
            var ready = (int)Libc.syscall(Nr.ppoll, (nint)polls, count, milliseconds < 0 ? 0 : (nint)limit, 0, 8);
            if (ready >= 0)
            {
                return ready;
            }

            if (Libc.LastErrno != Errno.EINTR)
            {
                throw Libc.Failure("wait for what a program writes");
            }
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        internal int fd;
        internal short events;
        internal short revents;
    }
}
