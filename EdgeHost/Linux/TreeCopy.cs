using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// Copies a tree that an image has filled: owner, mode, times, extended attributes, symbolic and hard links, fifos.
/// Device nodes are left out, since nothing limits their use where the copy is mounted; sockets are nobody's any more.
/// Both sides are reached through descriptors of their roots, so no link in the tree leads out of it.
/// </summary>
public static unsafe class TreeCopy
{
    /// <summary>The most directories that a tree may have, and the most files with several names whose names are kept together.</summary>
    private const int MaximumRemembered = 1_000_000;

    private const int BufferBytes = 64 << 10;

    /// <summary>Copies what is in a directory, and gives the target the directory's own attributes.</summary>
    /// <param name="from">The root in which <paramref name="path"/> is resolved, symbolic links included.</param>
    /// <param name="path">Relative to that root.</param>
    /// <param name="to">An empty directory, on a file system that keeps extended attributes.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    /// <returns>False when there is no such directory; nothing was done then.</returns>
    /// <exception cref="LinuxException">A step failed, <see cref="ErrorKind.Full"/> for want of space; what was copied until then is left.</exception>
    public static bool Run(RootedDirectory from, ReadOnlySpan<byte> path, RootedDirectory to, CancellationToken cancel)
    {
        var top = from.TryOpenDirectory(path, out var error);
        if (top is null)
        {
            return error is Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP or Errno.ENAMETOOLONG
                ? false
                : throw new LinuxException($"open {RootedDirectory.Shown(path)} in the image", error);
        }

        using var source = RootedDirectory.Over(top, RootedDirectory.Shown(path));
        var waiting = new Stack<byte[]>([[]]);
        var directories = new List<(byte[] Path, long Seconds, uint Nanoseconds)>();
        var named = new Dictionary<ulong, byte[]>();
        var buffer = new byte[BufferBytes];
        while (waiting.TryPop(out var directory))
        {
            cancel.ThrowIfCancellationRequested();
            using var read = OpenDirectory(source, directory);
            using var write = OpenDirectory(to, directory);
            var facts = RootedDirectory.Stat(read);
            CopyOwnAttributes(read, write);
            if (directories.Count == MaximumRemembered)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"{source.Path} in the image has more than {MaximumRemembered} directories");
            }

            directories.Add((directory, facts.ModifiedSeconds, facts.ModifiedNanoseconds));
            foreach (var (name, _) in RootedDirectory.List(read))
            {
                cancel.ThrowIfCancellationRequested();
                if (RootedDirectory.Stat(read, name) is not { } entry)
                {
                    continue;
                }

                byte[] below = directory.Length == 0 ? name : [.. directory, (byte)'/', .. name];
                if (entry.IsDirectory)
                {
                    Require(RootedDirectory.TryMakeDirectory(write, name), name);
                    waiting.Push(below);
                }
                else
                {
                    CopyOther(to, read, write, name, below, entry, named, buffer);
                }
            }
        }

        // What is made in a directory changes its time.
        foreach (var (directory, seconds, nanoseconds) in directories)
        {
            using var written = OpenDirectory(to, directory);
            RootedDirectory.SetModified(written, seconds, nanoseconds, directory);
        }

        return true;
    }

    /// <summary>Gives a directory the owner, the mode and the extended attributes of another.</summary>
    /// <param name="from">Open for reading.</param>
    /// <param name="to">Open for reading.</param>
    public static void CopyOwnAttributes(Fd from, Fd to)
    {
        var facts = RootedDirectory.Stat(from);
        RootedDirectory.SetOwnerAndMode(to, facts.Uid, facts.Gid, facts.Mode, "."u8);
        CopyAttributes(from, to);
    }

    private static void CopyOther(
        RootedDirectory to, Fd read, Fd write, byte[] name, byte[] path, FileFacts entry, Dictionary<ulong, byte[]> named, byte[] buffer)
    {
        if (entry.IsFile)
        {
            if (entry.Links > 1 && named.TryGetValue(entry.Inode, out var first))
            {
                var slash = first.AsSpan().LastIndexOf((byte)'/');
                using var parent = OpenDirectory(to, first.AsSpan(0, Math.Max(slash, 0)));
                Require(RootedDirectory.TryLink(parent, first.AsSpan(slash + 1), write, name) == Errno.None, name);
                return;
            }

            CopyFile(read, write, name, entry, buffer);
            if (entry.Links > 1 && named.Count < MaximumRemembered)
            {
                named[entry.Inode] = path;
            }

            return;
        }

        if (entry.IsSymbolicLink)
        {
            Require(RootedDirectory.TryMakeSymbolicLink(write, name, RootedDirectory.ReadSymbolicLink(read, name)), name);
        }
        else if (entry.IsFifo)
        {
            Require(RootedDirectory.TryMakeNode(write, name, entry.Mode, 0, 0), name);
        }
        else
        {
            return;
        }

        RootedDirectory.SetOwner(write, name, entry.Uid, entry.Gid);
        RootedDirectory.SetModified(write, name, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
    }

    private static void CopyFile(Fd read, Fd write, byte[] name, FileFacts entry, byte[] buffer)
    {
        using var source = RootedDirectory.OpenNamedFile(read, name);
        var made = RootedDirectory.TryCreateFile(write, name);
        Require(made is not null, name);
        using var target = made!;
        fixed (byte* start = buffer)
        {
            while (true)
            {
                var count = Libc.read(source.Value, start, buffer.Length);
                if (count == -1 && Libc.LastErrno == Errno.EINTR)
                {
                    continue;
                }

                if (Libc.Check(count, $"read {RootedDirectory.Shown(name)}") == 0)
                {
                    break;
                }

                Files.WriteAll(target, buffer.AsSpan(0, (int)count), RootedDirectory.Shown(name));
            }
        }

        // A change of the owner takes setuid and capabilities away, so they come after it.
        RootedDirectory.SetOwnerAndMode(target, entry.Uid, entry.Gid, entry.Mode, name);
        CopyAttributes(source, target);
        RootedDirectory.SetModified(target, entry.ModifiedSeconds, entry.ModifiedNanoseconds, name);
    }

    private static void CopyAttributes(Fd source, Fd target)
    {
        foreach (var attribute in RootedDirectory.ListAttributes(source))
        {
            // These steer overlayfs itself.
            if (attribute.AsSpan().StartsWith("trusted.overlay."u8) || attribute.AsSpan().StartsWith("user.overlay."u8)
                || RootedDirectory.GetAttribute(source, attribute) is not { } value)
            {
                continue;
            }

            // Others are kept where the file system takes them, as in an image's layer; a program without its
            // capabilities would fail where nobody looks.
            var error = RootedDirectory.TrySetAttribute(target, attribute, value);
            if (error is Errno.ENOSPC or Errno.EDQUOT || (error != Errno.None && attribute.AsSpan().SequenceEqual("security.capability"u8)))
            {
                throw new LinuxException($"set attribute {RootedDirectory.Shown(attribute)}", error);
            }
        }
    }

    private static Fd OpenDirectory(RootedDirectory root, ReadOnlySpan<byte> path) =>
        root.TryOpenDirectoryToRead(path, out var error)
        ?? throw new LinuxException($"open directory {RootedDirectory.Shown(path)} in {root.Path}", error);

    private static void Require(bool done, byte[] name)
    {
        if (!done)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"{RootedDirectory.Shown(name)} was there before it was copied: somebody else writes into the target");
        }
    }
}
