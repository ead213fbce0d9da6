using System.Runtime.CompilerServices;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// A directory that is the root of everything done through it. Paths are resolved by the kernel as after a chroot
/// (openat2 with RESOLVE_IN_ROOT, Linux 5.6): <c>..</c>, absolute names and symbolic links never lead out of it, also
/// while somebody changes the tree. Every verb then acts on one name in a directory that is held open, and follows no
/// symbolic link there. Names are bytes, as they are for the kernel.
/// </summary>
public sealed unsafe class RootedDirectory : IDisposable
{
    /// <summary>The longest name, in bytes.</summary>
    public const int MaximumName = 255;

    /// <summary>The longest path, in bytes.</summary>
    public const int MaximumPath = 4095;

    // XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h.
    private const int MaximumAttribute = 64 << 10;
    private const int UsualAttribute = 4096;

    private readonly Fd _root;

    private RootedDirectory(Fd root, string path, MappedUsers? users) => (_root, Path, Users) = (root, path, users);

    /// <summary>Where it is on the host.</summary>
    public string Path { get; }

    /// <summary>The descriptor of the root, for verbs on names directly in it.</summary>
    public Fd Root => _root;

    /// <summary>Whose files are in it; null when they belong to whom the kernel says.</summary>
    internal MappedUsers? Users { get; }

    /// <summary>Opens a directory as a root.</summary>
    /// <param name="path">On the host.</param>
    /// <exception cref="LinuxException">It cannot be opened.</exception>
    public static RootedDirectory Open(string path) => new(Files.OpenDirectory(path), path, null);

    /// <summary>Makes a directory that is held already a root.</summary>
    /// <param name="root">Closed with this.</param>
    /// <param name="path">What it is called in errors.</param>
    /// <param name="users">Whose files are in it, where they are seen from outside of a user namespace.</param>
    public static RootedDirectory Over(Fd root, string path, MappedUsers? users = null) => new(root, path, users);

    /// <inheritdoc/>
    public void Dispose() => _root.Dispose();

    /// <summary>Opens a directory below the root, following symbolic links inside it.</summary>
    /// <param name="path">Relative to the root; empty for the root itself.</param>
    /// <param name="error">What the kernel said when it returned null.</param>
    /// <returns>A descriptor for paths only; null when it cannot be opened.</returns>
    public Fd? TryOpenDirectory(ReadOnlySpan<byte> path, out Errno error) =>
        TryOpen(path.IsEmpty ? "."u8 : path, Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC, out error);

    /// <summary>Opens whatever is at a path below the root, following symbolic links inside it, also one at its end.</summary>
    /// <inheritdoc cref="TryOpenDirectory"/>
    public Fd? TryOpenPath(ReadOnlySpan<byte> path, out Errno error) =>
        TryOpen(path.IsEmpty ? "."u8 : path, Libc.O_PATH | Libc.O_CLOEXEC, out error);

    /// <summary>Opens a directory below the root to list it or to write its attributes; a symbolic link at the end of the path is refused.</summary>
    /// <inheritdoc cref="TryOpenDirectory"/>
    public Fd? TryOpenDirectoryToRead(ReadOnlySpan<byte> path, out Errno error) =>
        TryOpen(path.IsEmpty ? "."u8 : path, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_NOFOLLOW | Libc.O_CLOEXEC, out error);

    /// <summary>Opens a directory that is held for paths only once more, to list it or to write its attributes.</summary>
    public static Fd Reopen(Fd directory)
    {
        fixed (byte* self = "."u8)
        {
            return new Fd((int)Libc.Check(
                Libc.openat(directory.Value, self, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC), "open a directory again"));
        }
    }

    /// <summary>Reads what the kernel knows of what is open.</summary>
    public static FileFacts Stat(Fd file)
    {
        byte empty = 0;
        Libc.statx_t result;
        Libc.Check(
            Libc.statx(file.Value, &empty, Libc.AT_EMPTY_PATH | Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, &result), "look at an open file");
        return Facts(result);
    }

    /// <summary>Reads what the kernel knows of a name; null when there is none.</summary>
    public static FileFacts? Stat(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        if (!Terminate(name, buffer, MaximumName))
        {
            return null;
        }

        Libc.statx_t result;
        if (Libc.statx(parent.Value, buffer, Libc.AT_SYMLINK_NOFOLLOW, Libc.STATX_BASIC_STATS, &result) == -1)
        {
            return Libc.LastErrno is Errno.ENOENT or Errno.ENOTDIR ? null : throw Libc.Failure($"look at {Shown(name)}");
        }

        return Facts(result);
    }

    /// <summary>Creates a file that was not there.</summary>
    /// <returns>The descriptor, open for writing; null when the name is taken.</returns>
    /// <exception cref="LinuxException">It cannot be created.</exception>
    public static Fd? TryCreateFile(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "create");
        var fd = Libc.openat(
            parent.Value, buffer, Libc.O_WRONLY | Libc.O_CREAT | Libc.O_EXCL | Libc.O_NOFOLLOW | Libc.O_CLOEXEC, 0x180);
        return fd >= 0 ? new Fd(fd) : Taken(name, "create") ? null : throw new InvalidOperationException();
    }

    /// <summary>Makes a directory that was not there, with mode 0755.</summary>
    /// <returns>False when the name is taken.</returns>
    public static bool TryMakeDirectory(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "make directory");
        return Libc.mkdirat(parent.Value, buffer, 0x1ED) == 0 || !Taken(name, "make directory");
    }

    /// <summary>Makes a symbolic link that was not there; its target is not looked at.</summary>
    /// <returns>False when the name is taken.</returns>
    public static bool TryMakeSymbolicLink(Fd parent, ReadOnlySpan<byte> name, ReadOnlySpan<byte> target)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "make symbolic link");
        fixed (byte* targetName = Whole(target, "make symbolic link"))
        {
            return Libc.symlinkat(targetName, parent.Value, buffer) == 0 || !Taken(name, "make symbolic link");
        }
    }

    /// <summary>Makes a device node or a fifo that was not there.</summary>
    /// <param name="parent">The directory.</param>
    /// <param name="name">The name in it.</param>
    /// <param name="mode">Type and permission bits; the umask does not count.</param>
    /// <param name="major">Of a device.</param>
    /// <param name="minor">Of a device.</param>
    /// <returns>False when the name is taken.</returns>
    public static bool TryMakeNode(Fd parent, ReadOnlySpan<byte> name, uint mode, uint major, uint minor)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "make node");

        // The kernel's own form (new_encode_dev), which is also that of glibc's makedev for its low 32 bits.
        ulong device = (minor & 0xff) | ((ulong)(major & 0xfff) << 8) | ((ulong)(minor & ~0xffu) << 12);
        if (Libc.mknodat(parent.Value, buffer, mode, device) == -1)
        {
            return !Taken(name, "make node");
        }

        Libc.Check(Libc.fchmodat(parent.Value, buffer, mode & 0xFFF), $"set the mode of {Shown(name)}");
        return true;
    }

    /// <summary>Gives a file another name; a symbolic link gets the name itself, not what it points at.</summary>
    /// <returns>None, EEXIST when the name is taken, or ENOENT when there is no such file.</returns>
    public static Errno TryLink(Fd fromParent, ReadOnlySpan<byte> from, Fd parent, ReadOnlySpan<byte> name)
    {
        var source = stackalloc byte[MaximumName + 1];
        var buffer = stackalloc byte[MaximumName + 1];
        Name(from, source, "link to");
        Name(name, buffer, "link");
        return Libc.linkat(fromParent.Value, source, parent.Value, buffer, 0) == 0
            ? Errno.None
            : Libc.LastErrno is Errno.EEXIST or Errno.ENOENT
                ? Libc.LastErrno
                : throw Libc.Failure($"link {Shown(name)} to {Shown(from)}");
    }

    /// <summary>Opens a regular file by its name for reading; a symbolic link is not followed, and a fifo does not block.</summary>
    public static Fd OpenNamedFile(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "open");
        return new Fd((int)Libc.Check(
            Libc.openat(parent.Value, buffer, Libc.O_RDONLY | Libc.O_NOFOLLOW | Libc.O_NONBLOCK | Libc.O_NOCTTY | Libc.O_CLOEXEC),
            $"open {Shown(name)}"));
    }

    /// <summary>Where a symbolic link points, as it is written in it.</summary>
    public static byte[] ReadSymbolicLink(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "read symbolic link");
        var target = stackalloc byte[MaximumPath + 1];
        var length = Libc.Check(Libc.readlinkat(parent.Value, buffer, target, MaximumPath + 1), $"read symbolic link {Shown(name)}");
        return new ReadOnlySpan<byte>(target, (int)length).ToArray();
    }

    /// <summary>Moves a name into another directory of the same file system.</summary>
    /// <returns>False when the name is taken there.</returns>
    public static bool TryMove(Fd fromParent, Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "move");
        return Libc.renameat2(fromParent.Value, buffer, parent.Value, buffer, Libc.RENAME_NOREPLACE) == 0 || !Taken(name, "move");
    }

    /// <summary>Gives a name in a directory another one, whose place is free.</summary>
    public static void Rename(Fd parent, ReadOnlySpan<byte> name, ReadOnlySpan<byte> newName)
    {
        var source = stackalloc byte[MaximumName + 1];
        var target = stackalloc byte[MaximumName + 1];
        Name(name, source, "rename");
        Name(newName, target, "rename to");
        Libc.Check(Libc.renameat2(parent.Value, source, parent.Value, target, Libc.RENAME_NOREPLACE), $"rename {Shown(name)} to {Shown(newName)}");
    }

    /// <summary>The names of the extended attributes of what is open; none where the file system has none.</summary>
    public static List<byte[]> ListAttributes(Fd file)
    {
        var names = new List<byte[]>();
        var buffer = new byte[UsualAttribute];
        nint length;
        while (true)
        {
            fixed (byte* start = buffer)
            {
                length = Libc.flistxattr(file.Value, start, buffer.Length);
            }

            if (length >= 0)
            {
                break;
            }

            switch (Libc.LastErrno)
            {
                case Errno.EOPNOTSUPP:
                    return names;
                case Errno.ERANGE when buffer.Length < MaximumAttribute:
                    buffer = new byte[MaximumAttribute];
                    break;
                default:
                    throw Libc.Failure("list extended attributes");
            }
        }

        for (var rest = buffer.AsSpan(0, (int)length); rest.Length > 0;)
        {
            var end = rest.IndexOf((byte)0);
            names.Add(rest[..end].ToArray());
            rest = rest[(end + 1)..];
        }

        return names;
    }

    /// <summary>Opens a directory by its name, not through a symbolic link, so that its attributes can be written.</summary>
    public static Fd OpenNamedDirectory(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "open directory");
        return new Fd((int)Libc.Check(
            Libc.openat(parent.Value, buffer, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_NOFOLLOW | Libc.O_CLOEXEC),
            $"open directory {Shown(name)}"));
    }

    /// <summary>Sets the owner of a name, of a symbolic link itself.</summary>
    public static void SetOwner(Fd parent, ReadOnlySpan<byte> name, uint uid, uint gid)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "set the owner of");
        Libc.Check(Libc.fchownat(parent.Value, buffer, uid, gid, Libc.AT_SYMLINK_NOFOLLOW), $"set the owner of {Shown(name)}");
    }

    /// <summary>Sets the times of a name, of a symbolic link itself.</summary>
    public static void SetModified(Fd parent, ReadOnlySpan<byte> name, long seconds, uint nanoseconds)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "set the time of");
        var times = stackalloc Libc.timespec64[2];
        times[0] = times[1] = new Libc.timespec64 { tv_sec = seconds, tv_nsec = nanoseconds };
        Libc.Check(Libc.utimensat(parent.Value, buffer, times, Libc.AT_SYMLINK_NOFOLLOW), $"set the time of {Shown(name)}");
    }

    /// <summary>Sets owner and mode of what is open. The mode comes last: a change of the owner takes setuid away.</summary>
    public static void SetOwnerAndMode(Fd file, uint uid, uint gid, uint mode, ReadOnlySpan<byte> name)
    {
        byte empty = 0;
        Libc.Check(Libc.fchownat(file.Value, &empty, uid, gid, Libc.AT_EMPTY_PATH), $"set the owner of {Shown(name)}");
        Libc.Check(Libc.fchmod(file.Value, mode & 0xFFF), $"set the mode of {Shown(name)}");
    }

    /// <summary>Sets the times of what is open (not for a descriptor made for paths only).</summary>
    public static void SetModified(Fd file, long seconds, uint nanoseconds, ReadOnlySpan<byte> name)
    {
        var times = stackalloc Libc.timespec64[2];
        times[0] = times[1] = new Libc.timespec64 { tv_sec = seconds, tv_nsec = nanoseconds };
        Libc.Check(Libc.utimensat(file.Value, null, times, 0), $"set the time of {Shown(name)}");
    }

    /// <summary>Sets an extended attribute of what is open.</summary>
    /// <returns>None, or why the file system or the kernel does not take it (ENOTSUP, EPERM, EINVAL and so on).</returns>
    public static Errno TrySetAttribute(Fd file, ReadOnlySpan<byte> attribute, ReadOnlySpan<byte> value)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        if (!Terminate(attribute, buffer, MaximumName))
        {
            return Errno.ERANGE;
        }

        fixed (byte* start = value)
        {
            var nothing = stackalloc byte[1];
            return Libc.fsetxattr(file.Value, buffer, start == null ? nothing : start, value.Length, 0) == 0 ? Errno.None : Libc.LastErrno;
        }
    }

    /// <summary>Reads an extended attribute of what is open; null when it has none of that name.</summary>
    public static byte[]? GetAttribute(Fd file, ReadOnlySpan<byte> attribute)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        if (!Terminate(attribute, buffer, MaximumName))
        {
            return null;
        }

        for (var value = new byte[UsualAttribute]; ; value = new byte[MaximumAttribute])
        {
            fixed (byte* start = value)
            {
                var count = Libc.fgetxattr(file.Value, buffer, start, value.Length);
                if (count >= 0)
                {
                    return value[..(int)count];
                }
            }

            if (Libc.LastErrno != Errno.ERANGE || value.Length == MaximumAttribute)
            {
                return null;
            }
        }
    }

    /// <summary>Asks the kernel to begin writing what was written, without waiting: the flush at the end then finds little to do.</summary>
    public static void BeginWriteback(Fd file) =>
        _ = Libc.sync_file_range(file.Value, 0, 0, Libc.SYNC_FILE_RANGE_WRITE); // Advice: some file systems do not have it.

    /// <summary>Writes all that is dirty in the file system of a directory to the disk.</summary>
    /// <exception cref="LinuxException">Something could not be written.</exception>
    public void FlushFileSystem() => Libc.Check(Libc.syncfs(_root.Value), $"flush the file system of {Path}");

    /// <summary>Removes a name with everything below it; no symbolic link is followed. Not there: no error.</summary>
    /// <remarks>
    /// Directories found inside are first moved up beside it, so that the depth of a hostile tree costs neither
    /// stack nor descriptors.
    /// </remarks>
    public static void Remove(Fd parent, ReadOnlySpan<byte> name)
    {
        var buffer = stackalloc byte[MaximumName + 1];
        Name(name, buffer, "remove");
        if (Libc.unlinkat(parent.Value, buffer, 0) == 0 || Libc.LastErrno == Errno.ENOENT)
        {
            return;
        }

        if (Libc.LastErrno != Errno.EISDIR)
        {
            throw Libc.Failure($"remove {Shown(name)}");
        }

        if (Libc.unlinkat(parent.Value, buffer, Libc.AT_REMOVEDIR) == 0)
        {
            return;
        }

        if (Libc.LastErrno is not (Errno.ENOTEMPTY or Errno.EEXIST))
        {
            throw Libc.Failure($"remove directory {Shown(name)}");
        }

        var waiting = new Stack<byte[]>();
        waiting.Push(name.ToArray());
        var prefix = $".edgehost-removing-{Environment.ProcessId}-{Environment.CurrentManagedThreadId}-";
        var counter = 0;
        while (waiting.TryPeek(out var next))
        {
            using var directory = OpenNamedDirectory(parent, next);
            var moved = false;
            foreach (var (entry, isDirectory) in List(directory))
            {
                Name(entry, buffer, "remove");
                if (!isDirectory && (Libc.unlinkat(directory.Value, buffer, 0) == 0 || Libc.LastErrno == Errno.ENOENT))
                {
                    continue;
                }

                if (Libc.unlinkat(directory.Value, buffer, Libc.AT_REMOVEDIR) == 0)
                {
                    continue;
                }

                var up = Libc.Z(prefix + counter++);
                fixed (byte* target = up)
                {
                    Libc.Check(Libc.renameat2(directory.Value, buffer, parent.Value, target, 0), $"move {Shown(entry)} to remove it");
                }

                waiting.Push(up[..^1]);
                moved = true;
            }

            if (moved)
            {
                continue;
            }

            Name(next, buffer, "remove");
            Libc.Check(Libc.unlinkat(parent.Value, buffer, Libc.AT_REMOVEDIR), $"remove directory {Shown(next)}");
            waiting.Pop();
        }
    }

    /// <summary>The names in a directory that is open for reading, without <c>.</c> and <c>..</c>.</summary>
    public static List<(byte[] Name, bool IsDirectory)> List(Fd directory)
    {
        var names = new List<(byte[], bool)>();
        var buffer = new byte[32768];
        fixed (byte* start = buffer)
        {
            while (true)
            {
                var count = Libc.Check(Libc.getdents64(directory.Value, start, buffer.Length), "list a directory");
                if (count == 0)
                {
                    return names;
                }

                // struct linux_dirent64: ino 8, off 8, reclen 2, type 1, name.
                for (var at = 0; at < count;)
                {
                    var length = *(ushort*)(start + at + 16);
                    var type = start[at + 18];
                    var name = new ReadOnlySpan<byte>(start + at + 19, length - 19);
                    name = name[..name.IndexOf((byte)0)];
                    if (!name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8))
                    {
                        names.Add((name.ToArray(), type == 4));
                    }

                    at += length;
                }
            }
        }
    }

    /// <summary>A name or a path in words: what is no UTF-8 or no printable character becomes a question mark.</summary>
    public static string Shown(ReadOnlySpan<byte> name)
    {
        var text = Encoding.UTF8.GetString(name.Length > 200 ? name[..200] : name);
        return string.Create(text.Length, text, static (span, value) =>
        {
            for (var i = 0; i < value.Length; i++)
            {
                span[i] = char.IsControl(value[i]) || value[i] == '\uFFFD' ? '?' : value[i];
            }
        }) + (name.Length > 200 ? "…" : string.Empty);
    }

    private static FileFacts Facts(in Libc.statx_t result) => new(
        result.stx_mode,
        result.stx_uid,
        result.stx_gid,
        (long)result.stx_size,
        result.stx_nlink,
        result.stx_rdev_major,
        result.stx_rdev_minor,
        result.stx_mtime_sec,
        result.stx_mtime_nsec,
        result.stx_ino)
    { Device = ((ulong)result.stx_dev_major << 32) | result.stx_dev_minor };

    private Fd? TryOpen(ReadOnlySpan<byte> path, int flags, out Errno error)
    {
        var buffer = stackalloc byte[MaximumPath + 1];
        if (!Terminate(path, buffer, MaximumPath))
        {
            error = Errno.ENAMETOOLONG;
            return null;
        }

        var how = new Libc.open_how { flags = (ulong)flags, resolve = Libc.RESOLVE_IN_ROOT | Libc.RESOLVE_NO_MAGICLINKS };
        while (true)
        {
            var fd = Libc.openat2(_root.Value, buffer, &how);
            if (fd >= 0)
            {
                error = Errno.None;
                return new Fd(fd);
            }

            error = Libc.LastErrno;

            // EAGAIN: a ".." was met while somebody renamed something anywhere (openat2(2)); the kernel asks to try again.
            if (error is not (Errno.EAGAIN or Errno.EINTR))
            {
                return null;
            }
        }
    }

    private static bool Taken(ReadOnlySpan<byte> name, string verb) =>
        Libc.LastErrno == Errno.EEXIST ? true : throw Libc.Failure($"{verb} {Shown(name)}");

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Name(ReadOnlySpan<byte> name, byte* buffer, string verb)
    {
        if (name.IsEmpty || name.IndexOf((byte)'/') >= 0 || name.SequenceEqual("."u8) || name.SequenceEqual(".."u8))
        {
            throw new LinuxException($"{verb} \"{Shown(name)}\"", Errno.EINVAL);
        }

        if (!Terminate(name, buffer, MaximumName))
        {
            throw new LinuxException($"{verb} {Shown(name)}", name.Length > MaximumName ? Errno.ENAMETOOLONG : Errno.EINVAL);
        }
    }

    private static byte[] Whole(ReadOnlySpan<byte> text, string verb)
    {
        if (text.IsEmpty || text.Length > MaximumPath || text.IndexOf((byte)0) >= 0)
        {
            throw new LinuxException($"{verb} to {Shown(text)}", text.Length > MaximumPath ? Errno.ENAMETOOLONG : Errno.EINVAL);
        }

        var terminated = new byte[text.Length + 1];
        text.CopyTo(terminated);
        return terminated;
    }

    private static bool Terminate(ReadOnlySpan<byte> text, byte* buffer, int maximum)
    {
        if (text.Length > maximum || text.IndexOf((byte)0) >= 0)
        {
            return false;
        }

        text.CopyTo(new Span<byte>(buffer, maximum));
        buffer[text.Length] = 0;
        return true;
    }
}
