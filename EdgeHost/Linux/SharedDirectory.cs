namespace EdgeHost.Linux;

/// <summary>A directory with a mode and a group of its own.</summary>
public static unsafe class SharedDirectory
{
    /// <summary>Makes the directory where it is missing, and gives it mode and group in any case.</summary>
    /// <param name="path">An absolute path; its parent exists.</param>
    /// <param name="mode">Permission bits.</param>
    /// <param name="group">The group that is to own it; null leaves it.</param>
    /// <exception cref="LinuxException">A step failed.</exception>
    public static void Create(string path, uint mode, uint? group)
    {
        fixed (byte* name = Libc.Z(path))
        {
            if (Libc.mkdirat(Libc.AT_FDCWD, name, mode) == -1 && Libc.LastErrno != Errno.EEXIST)
            {
                throw Libc.Failure($"create directory {path}");
            }
        }

        using var directory = Files.OpenDirectory(path);
        if (group is { } gid)
        {
            fixed (byte* empty = "\0"u8)
            {
                Libc.Check(Libc.fchownat(directory.Value, empty, uint.MaxValue, gid, Libc.AT_EMPTY_PATH), $"set the group of {path}");
            }
        }

        Libc.Check(Libc.fchmod(directory.Value, mode), $"set the mode of {path}");
        Files.FlushDirectory(Path.GetDirectoryName(path) ?? "/");
    }
}
