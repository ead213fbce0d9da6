namespace EdgeHost.Linux;

/// <summary>
/// Memory handed to another process that neither side can change any more (memfd_create(2), F_ADD_SEALS): what was
/// checked is what is used.
/// </summary>
public static unsafe class SealedMemory
{
    private const int Seals = Libc.F_SEAL_SEAL | Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_WRITE;

    /// <summary>Makes it with this content.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd Create(string name, ReadOnlySpan<byte> content)
    {
        Fd fd;
        fixed (byte* text = Libc.Z(name))
        {
            fd = new Fd((int)Libc.Check(Libc.memfd_create(text, Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING), $"make memory for {name}"));
        }

        try
        {
            Files.WriteAll(fd, content, name);
            Libc.Check(Libc.fcntl(fd.Value, Libc.F_ADD_SEALS, Seals), $"seal {name}");
            return fd;
        }
        catch
        {
            fd.Dispose();
            throw;
        }
    }

    /// <summary>Reads what was sealed.</summary>
    /// <param name="fd">The descriptor.</param>
    /// <param name="maximum">The most bytes that are accepted.</param>
    /// <exception cref="LinuxException">It is not sealed, too long, or cannot be read.</exception>
    public static byte[] Read(Fd fd, int maximum)
    {
        var seals = Libc.fcntl(fd.Value, Libc.F_GET_SEALS, 0);
        if (seals == -1 || (seals & Seals) != Seals)
        {
            throw new LinuxException("read memory that was handed over: it is not sealed", Errno.EPERM);
        }

        var length = Libc.Check(Libc.syscall(Nr.lseek, fd.Value, 0, 2), "measure memory that was handed over");
        if (length > maximum)
        {
            throw new LinuxException($"read memory that was handed over: {length} bytes, at most {maximum}", Errno.EFBIG);
        }

        var content = new byte[length];
        fixed (byte* start = content)
        {
            nint done = 0;
            while (done < length)
            {
                var count = Libc.Check(Libc.syscall(Nr.pread64, fd.Value, (nint)(start + done), length - done, done), "read memory that was handed over");
                if (count == 0)
                {
                    throw new LinuxException("read memory that was handed over", Errno.EIO);
                }

                done += count;
            }
        }

        return content;
    }
}
