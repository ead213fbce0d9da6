using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>
/// Waits on many descriptors in one thread (epoll(7), level-triggered) and calls what belongs to those that are ready.
/// </summary>
public sealed unsafe class EventLoop : IDisposable
{
    private readonly Fd _epoll = new((int)Libc.Check(Libc.epoll_create1(Libc.EPOLL_CLOEXEC), "make an event loop"));
    private readonly Dictionary<int, (uint Generation, Action Handler)> _handlers = [];
    private uint _generation;

    /// <summary>Calls a handler whenever a descriptor can be read or its other end is gone.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Add(Fd fd, Action handler) => Add(fd, Libc.EPOLLIN, handler);

    /// <summary>Calls a handler whenever a descriptor takes bytes or its other end is gone.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void AddWriter(Fd fd, Action handler) => Add(fd, Libc.EPOLLOUT, handler);

    private void Add(Fd fd, uint events, Action handler)
    {
        // struct epoll_event is packed on x86_64 only.
        var change = stackalloc byte[16];
        *(uint*)change = events;
        *(ulong*)(change + DataOffset) = (uint)fd.Value | ((ulong)++_generation << 32);
        Libc.Check(Libc.epoll_ctl(_epoll.Value, Libc.EPOLL_CTL_ADD, fd.Value, change), "wait on a descriptor");
        _handlers[fd.Value] = (_generation, handler);
    }

    /// <summary>Waits on a descriptor no more; before it is closed.</summary>
    public void Remove(Fd fd)
    {
        if (_handlers.Remove(fd.Value))
        {
            var change = stackalloc byte[16];
            Libc.Check(Libc.epoll_ctl(_epoll.Value, Libc.EPOLL_CTL_DEL, fd.Value, change), "wait on a descriptor no more");
        }
    }

    /// <summary>Waits once and calls the handlers of what is ready.</summary>
    /// <param name="milliseconds">How long at most; -1 without end.</param>
    /// <returns>Whether anything was ready.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public bool RunOnce(int milliseconds)
    {
        const int Batch = 64;
        var events = stackalloc byte[Batch * 16];
        var count = Libc.epoll_pwait(_epoll.Value, events, Batch, milliseconds);
        if (count == -1 && Libc.LastErrno != Errno.EINTR)
        {
            throw Libc.Failure("wait for events");
        }

        for (var i = 0; i < count; i++)
        {
            var data = *(ulong*)(events + (i * EventSize) + DataOffset);

            // A handler before this one may have taken it out, and its number may be another's already.
            if (_handlers.TryGetValue((int)(uint)data, out var entry) && entry.Generation == (uint)(data >> 32))
            {
                entry.Handler();
            }
        }

        return count > 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _epoll.Dispose();

    private static bool Packed => RuntimeInformation.ProcessArchitecture == Architecture.X64;

    private static int EventSize => Packed ? 12 : 16;

    private static int DataOffset => Packed ? 4 : 8;
}
