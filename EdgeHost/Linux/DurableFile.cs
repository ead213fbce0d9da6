namespace EdgeHost.Linux;

/// <summary>
/// The one way in which EdgeHost replaces a file that must survive a pulled plug: temporary name in the same
/// directory, write, fsync, rename, fsync of the directory. A reader sees the whole old or the whole new content,
/// never a mixture; after the rename nothing can fail but the flush of the directory.
/// </summary>
public static unsafe class DurableFile
{
    /// <summary>Writes a file whole, or leaves what was there.</summary>
    /// <param name="path">An absolute path; its directory exists.</param>
    /// <param name="content">The bytes.</param>
    /// <param name="mode">Permission bits, as in <c>0o600</c> = 384.</param>
    /// <param name="group">The group that is to own the file, or null to leave it.</param>
    /// <param name="user">The user who is to own the file, or null for who writes it.</param>
    /// <exception cref="LinuxException">A step failed; the old content is untouched and the temporary file is gone.</exception>
    public static void Write(string path, ReadOnlySpan<byte> content, uint mode = 0x1A4, uint? group = null, uint? user = null) =>
        Write(path, content, mode, group, user, flush: true);

    /// <summary>
    /// Writes a file whole, or leaves what was there, for state that a power cut ends anyway (a run directory on tmpfs):
    /// as <see cref="Write(string, ReadOnlySpan{byte}, uint, uint?, uint?)"/> without the flushes.
    /// </summary>
    /// <param name="path">An absolute path; its directory exists.</param>
    /// <param name="content">The bytes.</param>
    /// <param name="mode">Permission bits.</param>
    /// <param name="owner">The user and the group that it belongs to; null for those of this process.</param>
    /// <exception cref="LinuxException">A step failed.</exception>
    public static void WriteVolatile(string path, ReadOnlySpan<byte> content, uint mode = 0x180, uint? owner = null) =>
        Write(path, content, mode, owner, owner, flush: false);

    private static void Write(string path, ReadOnlySpan<byte> content, uint mode, uint? group, uint? user, bool flush)
    {
        var directory = Path.GetDirectoryName(path) ?? "/";
        var name = Path.GetFileName(path);
        using var dir = Files.OpenDirectory(directory);
        var temporary = Libc.Z($".{name}.{Environment.ProcessId:x}.tmp");
        var target = Libc.Z(name);
        fixed (byte* temporaryName = temporary, targetName = target)
        {
            var renamed = false;
            try
            {
                using (var file = new Fd((int)Libc.Check(
                    Libc.openat(dir.Value, temporaryName, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_TRUNC | Libc.O_CLOEXEC | Libc.O_NOFOLLOW, mode),
                    $"create a new version of {path}")))
                {
                    // The umask must not take from what was asked.
                    Libc.Check(Libc.fchmod(file.Value, mode), $"set the mode of {path}");
                    if (group is not null || user is not null)
                    {
                        fixed (byte* empty = "\0"u8)
                        {
                            Libc.Check(Libc.fchownat(file.Value, empty, user ?? uint.MaxValue, group ?? uint.MaxValue, Libc.AT_EMPTY_PATH), $"set the owner of {path}");
                        }
                    }

                    Files.WriteAll(file, content, path);
                    if (flush)
                    {
                        Libc.Check(Libc.fsync(file.Value), $"flush {path}");
                    }
                }

                Libc.Check(Libc.renameat2(dir.Value, temporaryName, dir.Value, targetName, 0), $"put the new version of {path} in place");
                renamed = true;
            }
            finally
            {
                if (!renamed)
                {
                    _ = Libc.unlinkat(dir.Value, temporaryName, 0);
                }
            }

            if (flush)
            {
                Libc.Check(Libc.fsync(dir.Value), $"flush directory {directory}");
            }
        }
    }

    /// <summary>
    /// Removes what a lost power or a killed process has left of files that never got their names: in a directory, those in
    /// it, and those in these. Nobody may be writing there.
    /// </summary>
    /// <param name="directory">An absolute path.</param>
    public static void Sweep(string directory)
    {
        const int GrandChildren = 2;
        var options = new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = GrandChildren, AttributesToSkip = FileAttributes.ReparsePoint };
        foreach (var left in Directory.EnumerateFiles(directory, ".*.tmp", options))
        {
            File.Delete(left);
        }
    }

    /// <summary>Removes a file and makes the removal durable; a file that is not there is no error.</summary>
    /// <param name="path">An absolute path.</param>
    /// <exception cref="LinuxException">It could not be removed or flushed.</exception>
    public static void Remove(string path)
    {
        var directory = Path.GetDirectoryName(path) ?? "/";
        using var dir = Files.OpenDirectory(directory);
        fixed (byte* name = Libc.Z(Path.GetFileName(path)))
        {
            if (Libc.unlinkat(dir.Value, name, 0) == -1)
            {
                if (Libc.LastErrno == Errno.ENOENT)
                {
                    return;
                }

                throw Libc.Failure($"remove {path}");
            }
        }

        Libc.Check(Libc.fsync(dir.Value), $"flush directory {directory}");
    }
}
