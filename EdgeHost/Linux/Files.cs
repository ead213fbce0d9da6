namespace EdgeHost.Linux;

/// <summary>Plain verbs on files and directories that must act on descriptors rather than on names.</summary>
public static unsafe class Files
{
    /// <summary>Opens a directory for flushing, locking or as the start of relative paths.</summary>
    /// <param name="path">The directory.</param>
    /// <returns>The descriptor, close-on-exec.</returns>
    /// <exception cref="LinuxException">It is not there, not a directory, or may not be read.</exception>
    public static Fd OpenDirectory(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            return new Fd((int)Libc.Check(
                Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC),
                $"open directory {path}"));
        }
    }

    /// <summary>Opens a directory as the start of relative paths only, which needs no right to list it.</summary>
    /// <param name="path">The directory.</param>
    /// <exception cref="LinuxException">It is not there, not a directory, or not to be reached.</exception>
    public static Fd OpenDirectoryForPaths(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            return new Fd((int)Libc.Check(
                Libc.openat(Libc.AT_FDCWD, name, Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC),
                $"open directory {path}"));
        }
    }

    /// <summary>What the kernel knows of what a path leads to, symbolic links followed.</summary>
    /// <exception cref="LinuxException">It leads nowhere.</exception>
    public static FileFacts Stat(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            using var fd = new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_PATH | Libc.O_CLOEXEC), $"look at {path}"));
            return RootedDirectory.Stat(fd);
        }
    }

    /// <summary>Writes all bytes, going on after short writes and interruptions.</summary>
    /// <param name="fd">Where to.</param>
    /// <param name="content">The bytes.</param>
    /// <param name="name">What it is called in an error.</param>
    /// <exception cref="LinuxException">A write failed.</exception>
    public static void WriteAll(Fd fd, ReadOnlySpan<byte> content, string name)
    {
        fixed (byte* start = content)
        {
            nint done = 0;
            while (done < content.Length)
            {
                var count = Libc.write(fd.Value, start + done, content.Length - done);
                if (count == -1)
                {
                    if (Libc.LastErrno == Errno.EINTR)
                    {
                        continue;
                    }

                    throw Libc.Failure($"write {name}");
                }

                done += count;
            }
        }
    }

    /// <summary>Reads what is there, at most as much as fits; 0 at the end.</summary>
    /// <param name="fd">Where from.</param>
    /// <param name="buffer">Where to.</param>
    /// <param name="name">What it is called in an error.</param>
    /// <exception cref="LinuxException">A read failed.</exception>
    public static int Read(Fd fd, Span<byte> buffer, string name)
    {
        fixed (byte* start = buffer)
        {
            while (true)
            {
                var count = Libc.read(fd.Value, start, buffer.Length);
                if (count != -1 || Libc.LastErrno != Errno.EINTR)
                {
                    return (int)Libc.Check(count, $"read {name}");
                }
            }
        }
    }

    /// <summary>Gives a file another name, in the place of the file that has it.</summary>
    /// <returns>False when the kernel refuses.</returns>
    public static bool TryRename(string from, string to)
    {
        fixed (byte* old = Libc.Z(from), name = Libc.Z(to))
        {
            return Libc.renameat2(Libc.AT_FDCWD, old, Libc.AT_FDCWD, name, 0) == 0;
        }
    }

    /// <summary>Writes a file whole that nobody reads meanwhile, and that a power cut ends anyway.</summary>
    /// <param name="directory">Where it is, in which nobody else can make names.</param>
    /// <param name="name">Its name.</param>
    /// <param name="content">The bytes.</param>
    /// <param name="mode">Permission bits.</param>
    /// <param name="owner">The user and the group that it belongs to.</param>
    /// <exception cref="LinuxException">A step failed.</exception>
    public static void WriteIn(Fd directory, string name, ReadOnlySpan<byte> content, uint mode, uint owner = 0)
    {
        fixed (byte* text = Libc.Z(name), empty = "\0"u8)
        {
            using var file = new Fd((int)Libc.Check(
                Libc.openat(directory.Value, text, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_TRUNC | Libc.O_CLOEXEC | Libc.O_NOFOLLOW, mode), $"make {name}"));

            // The umask must not take from what was asked, and one that was there keeps what it had.
            Libc.Check(Libc.fchmod(file.Value, mode), $"set the mode of {name}");
            Libc.Check(Libc.fchownat(file.Value, empty, owner, owner, Libc.AT_EMPTY_PATH), $"set the owner of {name}");
            WriteAll(file, content, name);
        }
    }

    /// <summary>Flushes a directory, so that names created, renamed or removed in it survive a power cut.</summary>
    /// <param name="path">The directory.</param>
    /// <exception cref="LinuxException">It cannot be opened or flushed.</exception>
    public static void FlushDirectory(string path)
    {
        using var dir = OpenDirectory(path);
        Libc.Check(Libc.fsync(dir.Value), $"flush directory {path}");
    }

    /// <summary>Makes one directory whose name was free.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="mode">Permission bits.</param>
    /// <returns>False when something has that name.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static bool TryMakeDirectory(string path, uint mode)
    {
        fixed (byte* name = Libc.Z(path))
        {
            if (Libc.mkdirat(Libc.AT_FDCWD, name, mode) == 0)
            {
                return true;
            }

            return Libc.LastErrno == Errno.EEXIST ? false : throw Libc.Failure($"make directory {path}");
        }
    }
}
