using EdgeHost.Errors;

namespace EdgeHost.Linux.Archives;

/// <summary>
/// Writes a file or a tree into a tar as Docker's <c>cp</c> does: owners as numbers, hard links within the tree as links,
/// capabilities of programs, no other extended attributes, no sockets. Only what is a regular file is ever opened, and
/// no symbolic link is followed, however the tree changes meanwhile.
/// </summary>
public static class TreeArchive
{
    /// <summary>The most files with several names whose names are kept together.</summary>
    private const int MaximumRemembered = 1_000_000;

    private const int BufferBytes = 64 << 10;

    /// <summary>The most of a file that the kernel makes when it is read.</summary>
    private const int MaximumMade = 16 << 20;

    internal static readonly byte[] Capability = "security.capability"u8.ToArray();

    /// <summary>Writes a directory with all below it.</summary>
    /// <param name="directory">Its root.</param>
    /// <param name="name">What it is called in the archive; empty for names that begin with a slash.</param>
    /// <param name="tar">Gets the entries; not finished by this.</param>
    /// <param name="isLeftEmpty">Whether a directory, by its path below the root, is written without what is in it; null for none.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    /// <exception cref="EdgeHostException">Something cannot be read, or a file became shorter while it was read.</exception>
    public static void WriteDirectory(RootedDirectory directory, ReadOnlySpan<byte> name, TarWriter tar, Predicate<byte[]>? isLeftEmpty, CancellationToken cancel)
    {
        var seen = new Dictionary<string, byte[]>(StringComparer.Ordinal);
        var buffer = new byte[BufferBytes];
        var waiting = new Stack<byte[]>([[]]);
        var prefix = name.ToArray();
        while (waiting.TryPop(out var path))
        {
            cancel.ThrowIfCancellationRequested();
            using var opened = directory.TryOpenDirectoryToRead(path, out var error);
            if (opened is null)
            {
                // Gone, or something else by now: as if it had been so before.
                if (path.Length > 0 && error is Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP)
                {
                    continue;
                }

                throw new LinuxException($"open directory {RootedDirectory.Shown(path.Length > 0 ? path : prefix)}", error);
            }

            byte[] shown = path.Length > 0 ? [.. prefix, (byte)'/', .. path] : prefix;
            tar.Begin(Entry([.. shown, (byte)'/'], [], TarType.Directory, RootedDirectory.Stat(opened), 0, [], directory.Users));
            if (path.Length > 0 && isLeftEmpty?.Invoke(path) == true)
            {
                continue;
            }

            var below = new List<byte[]>();
            foreach (var (entry, _) in RootedDirectory.List(opened))
            {
                cancel.ThrowIfCancellationRequested();
                if (RootedDirectory.Stat(opened, entry) is not { } facts)
                {
                    continue;
                }

                if (facts.IsDirectory)
                {
                    below.Add(path.Length > 0 ? [.. path, (byte)'/', .. entry] : entry);
                }
                else
                {
                    WriteOther(opened, entry, [.. shown, (byte)'/', .. entry], facts, seen, buffer, tar, directory.Users, cancel);
                }
            }

            below.ForEach(waiting.Push);
        }
    }

    /// <summary>Writes what is no directory.</summary>
    /// <param name="parent">Where it is.</param>
    /// <param name="name">Its name there.</param>
    /// <param name="asName">What it is called in the archive.</param>
    /// <param name="tar">Gets the entry; not finished by this.</param>
    /// <param name="users">Whose it may be; null when it belongs to whom the kernel says.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>: it is gone; or it cannot be read.</exception>
    public static void WriteFile(Fd parent, ReadOnlySpan<byte> name, byte[] asName, TarWriter tar, MappedUsers? users, CancellationToken cancel)
    {
        var facts = RootedDirectory.Stat(parent, name) ?? throw new LinuxException($"look at {RootedDirectory.Shown(name)}", Errno.ENOENT);
        WriteOther(parent, name, asName, facts, null, new byte[BufferBytes], tar, users, cancel);
    }

    private static void WriteOther(
        Fd parent, ReadOnlySpan<byte> name, byte[] asName, FileFacts facts, Dictionary<string, byte[]>? seen, byte[] buffer, TarWriter tar, MappedUsers? users, CancellationToken cancel)
    {
        if (facts.IsSymbolicLink)
        {
            tar.Begin(Entry(asName, RootedDirectory.ReadSymbolicLink(parent, name), TarType.SymbolicLink, facts, 0, [], users));
        }
        else if (facts.IsFifo || facts.IsDevice)
        {
            tar.Begin(Entry(asName, [], facts.IsFifo ? TarType.Fifo : facts.IsBlockDevice ? TarType.BlockDevice : TarType.CharacterDevice, facts, 0, [], users));
        }
        else if (facts.IsFile)
        {
            if (seen is not null && facts.Links > 1)
            {
                var key = $"{facts.Device}:{facts.Inode}";
                if (seen.TryGetValue(key, out var first))
                {
                    tar.Begin(Entry(asName, first, TarType.HardLink, facts, 0, [], users));
                    return;
                }

                if (seen.Count < MaximumRemembered)
                {
                    seen[key] = asName;
                }
            }

            WriteContent(parent, name, asName, isAskedFor: seen is null, buffer, tar, users, cancel);
        }
    }

    private static void WriteContent(Fd parent, ReadOnlySpan<byte> name, byte[] asName, bool isAskedFor, byte[] buffer, TarWriter tar, MappedUsers? users, CancellationToken cancel)
    {
        using var file = RootedDirectory.OpenNamedFile(parent, name);

        // Of what is open, not of what was there a moment ago.
        var facts = RootedDirectory.Stat(file);
        if (!facts.IsFile)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"{RootedDirectory.Shown(asName)} became something else while it was copied");
        }

        if (isAskedFor && (facts.Size == 0 || facts.Size == Environment.SystemPageSize) && DiskSpace.Of(file).TotalBytes == 0)
        {
            // Of /proc and /sys: the kernel makes it when it is read, and says 0 or a page of its size.
            var made = ReadToEnd(file, asName, buffer, cancel);
            tar.Begin(Entry(asName, [], TarType.File, facts, made.Length, [], users));
            tar.Write(made);
            return;
        }

        tar.Begin(Entry(asName, [], TarType.File, facts, facts.Size, RootedDirectory.GetAttribute(file, Capability) is { } value ? [KeyValuePair.Create(Capability, users?.CapabilitiesToContainer(value) ?? value)] : [], users));
        for (var left = facts.Size; left > 0;)
        {
            cancel.ThrowIfCancellationRequested();
            var count = Files.Read(file, buffer.AsSpan(0, (int)Math.Min(left, buffer.Length)), RootedDirectory.Shown(asName));
            if (count == 0)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"{RootedDirectory.Shown(asName)} became shorter while it was copied: {left} of {facts.Size} bytes are missing");
            }

            tar.Write(buffer.AsSpan(0, count));
            left -= count;
        }
    }

    private static byte[] ReadToEnd(Fd file, byte[] asName, byte[] buffer, CancellationToken cancel)
    {
        using var content = new MemoryStream();
        while (Files.Read(file, buffer, RootedDirectory.Shown(asName)) is > 0 and var count)
        {
            cancel.ThrowIfCancellationRequested();
            content.Write(buffer, 0, count);
            if (content.Length > MaximumMade)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"{RootedDirectory.Shown(asName)} does not end within {MaximumMade >> 20} MiB");
            }
        }

        return content.ToArray();
    }

    private static TarEntry Entry(byte[] name, byte[] link, TarType type, FileFacts facts, long size, IReadOnlyList<KeyValuePair<byte[], byte[]>> attributes, MappedUsers? users) => new()
    {
        Name = name,
        LinkName = link,
        Type = type,
        Mode = facts.Mode & 0xFFF,
        Uid = users?.ToContainer(facts.Uid) ?? facts.Uid,
        Gid = users?.ToContainer(facts.Gid) ?? facts.Gid,
        Size = size,
        ModifiedSeconds = facts.ModifiedSeconds,
        ModifiedNanoseconds = 0,
        DeviceMajor = facts.DeviceMajor,
        DeviceMinor = facts.DeviceMinor,
        Attributes = attributes,
    };
}
