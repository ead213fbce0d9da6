using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>What the kernel knows about the other end of a connected socket.</summary>
public static unsafe class SocketPeer
{
    private const short POLLERR = 0x8;
    private const short POLLHUP = 0x10;

    [StructLayout(LayoutKind.Sequential)]
    private struct PollFd
    {
        internal int fd;
        internal short events;
        internal short revents;
    }

    private struct TimeSpec
    {
        internal long tv_sec;
        internal long tv_nsec;
    }

    /// <summary>Whether the other end was closed altogether. One that has only shut down its sending side has not gone.</summary>
    /// <param name="socket">A connected stream socket.</param>
    /// <exception cref="LinuxException">The kernel refused to look.</exception>
    public static bool HasGone(SafeHandle socket)
    {
        var held = false;
        try
        {
            socket.DangerousAddRef(ref held);
            // POLLHUP and POLLERR are reported without being asked for.
            PollFd poll = new() { fd = (int)socket.DangerousGetHandle() };
            TimeSpec atOnce = default;
            Libc.Check(Libc.syscall(Nr.ppoll, (nint)(&poll), 1, (nint)(&atOnce), 0, 8), "look at the other end of a socket");
            return (poll.revents & (POLLHUP | POLLERR)) != 0;
        }
        catch (ObjectDisposedException)
        {
            return true;
        }
        finally
        {
            if (held)
            {
                socket.DangerousRelease();
            }
        }
    }
}
