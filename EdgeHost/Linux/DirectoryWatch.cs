namespace EdgeHost.Linux;

/// <summary>Waits for files in a directory to be written, made or removed (inotify(7)).</summary>
public sealed unsafe class DirectoryWatch : IDisposable
{
    private const uint IN_MODIFY = 2, IN_MOVED_TO = 0x80, IN_CREATE = 0x100, IN_DELETE = 0x200, IN_DELETE_SELF = 0x400;

    private readonly Fd _fd;

    /// <summary>Watches a directory.</summary>
    /// <exception cref="LinuxException">It is not there, or the host's watches are used up (fs.inotify.max_user_instances).</exception>
    public DirectoryWatch(string directory)
    {
        _fd = new Fd((int)Libc.Check(
            Libc.syscall(Nr.inotify_init1, Libc.O_NONBLOCK | Libc.O_CLOEXEC), "watch a directory (fs.inotify.max_user_instances may be used up)"));
        fixed (byte* name = Libc.Z(directory))
        {
            if (Libc.syscall(Nr.inotify_add_watch, _fd.Value, (nint)name, (nint)(IN_MODIFY | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF)) == -1)
            {
                var failure = Libc.Failure($"watch {directory}");
                _fd.Dispose();
                throw failure;
            }
        }
    }

    /// <summary>Waits for a change since the last call, or for the time to be over.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Wait(int milliseconds)
    {
        if (SingleThread.WaitReadable([_fd.Value], milliseconds) == 0)
        {
            // What changed does not matter: who waits looks for itself.
            const int Size = 4096;
            var events = stackalloc byte[Size];
            while (Libc.read(_fd.Value, events, Size) > 0)
            {
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _fd.Dispose();
}
