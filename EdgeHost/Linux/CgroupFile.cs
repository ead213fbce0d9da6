namespace EdgeHost.Linux;

/// <summary>Writes to files of cgroups and of /proc/sys, where one write is one request and its error is the kernel's answer.</summary>
public static unsafe class CgroupFile
{
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
}
