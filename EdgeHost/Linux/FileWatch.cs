using System.Text;

namespace EdgeHost.Linux;

/// <summary>Tells by a descriptor, on which others can wait, that files were changed (inotify(7)).</summary>
public sealed unsafe class FileWatch : IDisposable
{
    private const uint IN_MODIFY = 2, IN_CLOSE_WRITE = 8, IN_MOVED_FROM = 0x40, IN_MOVED_TO = 0x80, IN_CREATE = 0x100, IN_DELETE = 0x200;
    private const uint IN_Q_OVERFLOW = 0x4000;
    private const int HeaderLength = 16;

    /// <summary>Watches nothing yet.</summary>
    /// <exception cref="LinuxException">The host's watches are used up (fs.inotify.max_user_instances).</exception>
    public FileWatch() => Fd = new Fd((int)Libc.Check(
        Libc.syscall(Nr.inotify_init1, Libc.O_NONBLOCK | Libc.O_CLOEXEC), "watch files (fs.inotify.max_user_instances may be used up)"));

    /// <summary>The descriptor, for waiting on it.</summary>
    public Fd Fd { get; }

    /// <summary>Watches a file, or the names in a directory; again is fine.</summary>
    /// <returns>False when there is no such thing.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public bool Add(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            if (Libc.syscall(Nr.inotify_add_watch, Fd.Value, (nint)name, (nint)(IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE)) != -1)
            {
                return true;
            }
        }

        return Libc.LastErrno is Errno.ENOENT or Errno.ENOTDIR ? false : throw Libc.Failure($"watch {path}");
    }

    /// <summary>Takes all that was told since the last call, without waiting.</summary>
    /// <param name="names">The names in directories whose changes count; those of a file that is watched itself always do.</param>
    /// <returns>Whether any of it has changed.</returns>
    public bool TakeChange(IReadOnlySet<string> names)
    {
        const int size = 4096;
        var events = stackalloc byte[size];
        var found = false;
        while (Libc.read(Fd.Value, events, size) is > 0 and var length)
        {
            for (var at = 0; at + HeaderLength <= length;)
            {
                var (mask, count) = (*(uint*)(events + at + 4), *(int*)(events + at + 12));
                var text = Encoding.UTF8.GetString(new ReadOnlySpan<byte>(events + at + HeaderLength, count).TrimEnd((byte)0));
                found |= (mask & IN_Q_OVERFLOW) != 0 || (text.Length == 0 && (mask & IN_MODIFY) != 0) || names.Contains(text);
                at += HeaderLength + count;
            }
        }

        return found;
    }

    /// <inheritdoc/>
    public void Dispose() => Fd.Dispose();
}
