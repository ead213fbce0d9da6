namespace EdgeHost.Linux;

/// <summary>A file that grows by whole records.</summary>
public sealed unsafe class AppendFile : IDisposable
{
    private readonly Fd _fd;
    private readonly string _path;

    private AppendFile(Fd fd, string path)
    {
        _fd = fd;
        _path = path;
    }

    /// <summary>Opens or makes it.</summary>
    /// <exception cref="LinuxException">It cannot be opened.</exception>
    public static AppendFile Open(string path, uint mode)
    {
        fixed (byte* name = Libc.Z(path))
        {
            return new AppendFile(
                new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_CLOEXEC | Libc.O_NOFOLLOW, mode), $"open {path}")), path);
        }
    }

    /// <summary>Writes a record at a position in one write, or leaves the file as it was.</summary>
    /// <returns>False when the disk is full.</returns>
    /// <exception cref="LinuxException">Any other failure.</exception>
    public bool TryAppend(ReadOnlySpan<byte> record, long position)
    {
        fixed (byte* start = record)
        {
            while (true)
            {
                var count = Libc.syscall(Nr.pwrite64, _fd.Value, (nint)start, record.Length, (nint)position);
                if (count == record.Length)
                {
                    return true;
                }

                if (count == -1 && Libc.LastErrno == Errno.EINTR)
                {
                    continue;
                }

                if (count >= 0 || Libc.LastErrno is Errno.ENOSPC or Errno.EDQUOT)
                {
                    Truncate(position);
                    return false;
                }

                throw Libc.Failure($"write {_path}");
            }
        }
    }

    /// <summary>Cuts it to a length.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Truncate(long length) => Libc.Check(Libc.syscall(Nr.ftruncate, _fd.Value, (nint)length), $"cut {_path}");

    /// <inheritdoc/>
    public void Dispose() => _fd.Dispose();
}
