namespace EdgeHost.Linux;

/// <summary>
/// Files of cgroups and of /proc: one write is one request and its error is the kernel's answer, and they are read without
/// the locks and lengths that a file on a disk has.
/// </summary>
public static unsafe class CgroupFile
{
    private const int UsualBytes = 4096;

    /// <summary>Reads a file whole, without its last line end.</summary>
    /// <param name="file">The file.</param>
    /// <returns>Null when it is not there, or what it tells of has gone meanwhile.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static string? TryRead(string file)
    {
        int number;
        fixed (byte* path = Libc.Z(file))
        {
            number = Libc.openat(Libc.AT_FDCWD, path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        }

        if (number == -1)
        {
            return IsGone(Libc.LastErrno) ? null : throw Libc.Failure($"open {file}");
        }

        using var fd = new Fd(number);
        Span<byte> content = stackalloc byte[UsualBytes];
        var length = 0;
        while (true)
        {
            if (length == content.Length)
            {
                var larger = new byte[length * 2];
                content.CopyTo(larger);
                content = larger;
            }

            nint count;
            fixed (byte* start = content)
            {
                count = Libc.read(fd.Value, start + length, content.Length - length);
            }

            if (count == 0)
            {
                return System.Text.Encoding.UTF8.GetString(content[..length].TrimEnd((byte)'\n'));
            }

            if (count > 0)
            {
                length += (int)count;
            }
            else if (Libc.LastErrno != Errno.EINTR)
            {
                return IsGone(Libc.LastErrno) ? null : throw Libc.Failure($"read {file}");
            }
        }
    }

    /// <summary>Makes a cgroup in one that is there.</summary>
    /// <returns>False when it is there already, or its parent is not.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static bool TryMake(string directory)
    {
        fixed (byte* path = Libc.Z(directory))
        {
            return Libc.mkdirat(Libc.AT_FDCWD, path, 0x1ED) == 0
                || (Libc.LastErrno is Errno.EEXIST or Errno.ENOENT ? false : throw Libc.Failure($"make cgroup {directory}"));
        }
    }

    /// <summary>Whether a cgroup is there and has none beneath it: the kernel counts them as links of its directory.</summary>
    public static bool HasNoneBeneath(string directory)
    {
        fixed (byte* path = Libc.Z(directory))
        {
            Libc.statx_t facts;
            return Libc.statx(Libc.AT_FDCWD, path, 0, Libc.STATX_BASIC_STATS, &facts) == 0 && facts.stx_nlink == 2;
        }
    }

    /// <summary>Writes a value in one write(2).</summary>
    /// <param name="file">The file, which must exist.</param>
    /// <param name="value">The value.</param>
    /// <param name="what">What is asked for, in the user's words.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static void Write(string file, string value, string what) => WriteEach(file, [value], what);

    /// <summary>Writes values one after the other, each in one write(2).</summary>
    /// <param name="file">The file, which must exist.</param>
    /// <param name="values">The values.</param>
    /// <param name="what">What is asked for, in the user's words.</param>
    /// <exception cref="LinuxException">The kernel refuses one; those before it are written.</exception>
    public static void WriteEach(string file, IReadOnlyList<string> values, string what)
    {
        fixed (byte* path = Libc.Z(file))
        {
            using var fd = new Fd((int)Libc.Check(
                Libc.openat(Libc.AT_FDCWD, path, Libc.O_WRONLY | Libc.O_CLOEXEC), $"{what}: open {file}"));
            foreach (var value in values)
            {
                var bytes = System.Text.Encoding.UTF8.GetBytes(value);
                fixed (byte* start = bytes)
                {
                    Libc.Check(Libc.write(fd.Value, start, bytes.Length), $"{what}: write {value} to {file}");
                }
            }
        }
    }

    /// <summary>Whether there is nothing in a file, or no such file.</summary>
    /// <exception cref="LinuxException">It cannot be read.</exception>
    public static bool IsEmpty(string file)
    {
        fixed (byte* path = Libc.Z(file))
        {
            var number = Libc.openat(Libc.AT_FDCWD, path, Libc.O_RDONLY | Libc.O_CLOEXEC);
            if (number == -1)
            {
                return Libc.LastErrno is Errno.ENOENT or Errno.ENODEV ? true : throw Libc.Failure($"open {file}");
            }

            using var fd = new Fd(number);
            byte first;
            var count = Libc.read(fd.Value, &first, 1);
            return count >= 0 ? count == 0 : Libc.LastErrno == Errno.ENODEV ? true : throw Libc.Failure($"read {file}");
        }
    }

    /// <summary>Removes one directory.</summary>
    /// <returns>False while processes are in it.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static bool TryRemoveDirectory(string directory)
    {
        fixed (byte* path = Libc.Z(directory))
        {
            if (Libc.unlinkat(Libc.AT_FDCWD, path, Libc.AT_REMOVEDIR) == 0 || Libc.LastErrno == Errno.ENOENT)
            {
                return true;
            }

            return Libc.LastErrno == Errno.EBUSY ? false : throw Libc.Failure($"remove cgroup {directory}");
        }
    }

    // ENODEV: the cgroup was removed after it was opened; ESRCH: the process.
    private static bool IsGone(Errno errno) => errno is Errno.ENOENT or Errno.ENOTDIR or Errno.ENODEV or Errno.ESRCH;
}
