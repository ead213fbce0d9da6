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
        const int F_SETFL = 4;
        var pair = stackalloc int[2];
        Libc.Check(Libc.pipe2(pair, Libc.O_CLOEXEC), "make a pipe");
        var (read, write) = (new Fd(pair[0]), new Fd(pair[1]));
        _ = Libc.fcntl(read.Value, F_SETFL, Libc.O_NONBLOCK);
        return (read, write);
    }

    /// <summary>Reads what is there.</summary>
    /// <returns>The number of bytes; 0 at the end, -1 when there is nothing.</returns>
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

                if (Libc.LastErrno == Errno.EAGAIN)
                {
                    return -1;
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
