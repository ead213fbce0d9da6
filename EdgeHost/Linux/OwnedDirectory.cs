namespace EdgeHost.Linux;

/// <summary>A directory with an owner and a mode that are decided, not left to the umask.</summary>
public static unsafe class OwnedDirectory
{
    /// <summary>Makes a directory, and those above it (0755); one that is there already is left as it is.</summary>
    /// <param name="path">An absolute path.</param>
    /// <param name="mode">Permission bits, as in <c>0o700</c> = 448.</param>
    /// <param name="group">The group that is to own it, or null to leave it.</param>
    /// <exception cref="LinuxException">It cannot be made; something else of this name is there.</exception>
    public static void Create(string path, uint mode, uint? group)
    {
        if (Directory.Exists(path))
        {
            return;
        }

        if (Path.GetDirectoryName(path) is { Length: > 1 } parent)
        {
            Create(parent, 0x1ED, null); // 0755
        }

        fixed (byte* name = Libc.Z(path))
        {
            // Made closed, opened after it has its group.
            Libc.Check(Libc.mkdirat(Libc.AT_FDCWD, name, 0x1C0), $"make directory {path}"); // 0700
            if (group is { } gid)
            {
                Libc.Check(Libc.fchownat(Libc.AT_FDCWD, name, uint.MaxValue, gid, Libc.AT_SYMLINK_NOFOLLOW), $"set the group of directory {path}");
            }

            Libc.Check(Libc.syscall(Nr.fchmodat, Libc.AT_FDCWD, (nint)name, (nint)mode), $"set the mode of directory {path}");
        }
    }
}
