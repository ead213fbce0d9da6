namespace EdgeHost.Linux;

/// <summary>Pipes (pipe(7)).</summary>
public static unsafe class Pipe
{
    /// <summary>
    /// Makes one; both ends are closed by exec. Reading never waits, not even when there was something just now: who has
    /// an end of a pipe can open the other one by /proc and take it.
    /// </summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (Fd Read, Fd Write) Make()
    {
        var pair = stackalloc int[2];
        Libc.Check(Libc.pipe2(pair, Libc.O_CLOEXEC), "make a pipe");
        var (read, write) = (new Fd(pair[0]), new Fd(pair[1]));
        DoNotWait(read);
        return (read, write);
    }

    /// <summary>Makes one for what a program is to read: both ends are closed by exec, and writing never waits.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (Fd Read, Fd Write) MakeForInput()
    {
        var pair = stackalloc int[2];
        Libc.Check(Libc.pipe2(pair, Libc.O_CLOEXEC), "make a pipe");
        var write = new Fd(pair[1]);
        DoNotWait(write);
        return (new Fd(pair[0]), write);
    }

    /// <summary>Makes one between two processes of ours: both ends are closed by exec, and neither waits.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static (Fd Read, Fd Write) MakeBetween()
    {
        var pipe = Make();
        DoNotWait(pipe.Write);

        // Fewer wakes for the same bytes. Only root may have as much; a pipe as it was made does as well. What a container
        // writes to itself is charged to its memory, so its own are not made wider.
        const int F_SETPIPE_SZ = 1031;
        const int Much = 1 << 20;
        _ = Libc.fcntl(pipe.Write.Value, F_SETPIPE_SZ, Much);
        return pipe;
    }

    /// <summary>Writes as much as there is room for.</summary>
    /// <returns>How much; null when nobody reads any more.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static int? TryWrite(Fd fd, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            while (true)
            {
                var count = Libc.write(fd.Value, start, bytes.Length);
                if (count >= 0)
                {
                    return (int)count;
                }

                switch (Libc.LastErrno)
                {
                    case Errno.EINTR:
                        break;
                    case Errno.EAGAIN:
                        return 0;
                    case Errno.EPIPE:
                        return null;
                    default:
                        throw Libc.Failure("write a pipe");
                }
            }
        }
    }

    /// <summary>Lets no reading or writing of it wait, whoever holds it.</summary>
    public static void DoNotWait(Fd fd)
    {
        const int F_SETFL = 4;
        _ = Libc.fcntl(fd.Value, F_SETFL, Libc.O_NONBLOCK);
    }

    /// <summary>The same file once more, closed by exec.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd Duplicate(Fd fd)
    {
        const int F_DUPFD_CLOEXEC = 1030;
        return new Fd((int)Libc.Check(Libc.fcntl(fd.Value, F_DUPFD_CLOEXEC, 3), "duplicate a descriptor"));
    }

    /// <summary>Reads what is there.</summary>
    /// <returns>The number of bytes; 0 at the end, which is also that of a terminal which no program holds; -1 when there is nothing.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static int Read(Fd fd, Span<byte> buffer)
    {
        fixed (byte* start = buffer)
        {
            while (true)
            {
                var count = Libc.read(fd.Value, start, buffer.Length);
                if (count >= 0)
                {
                    return (int)count;
                }

                if (Libc.LastErrno is Errno.EAGAIN or Errno.EIO)
                {
                    return Libc.LastErrno == Errno.EIO ? 0 : -1;
                }

                if (Libc.LastErrno != Errno.EINTR)
                {
                    throw Libc.Failure("read a pipe");
                }
            }
        }
    }

    /// <summary>Opens /dev/null for reading and writing.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd OpenNull()
    {
        fixed (byte* path = "/dev/null\0"u8)
        {
            return new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, path, Libc.O_RDWR | Libc.O_CLOEXEC), "open /dev/null"));
        }
    }
}
