using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;

namespace EdgeHost.Images;

/// <summary>What the unpacking of a layer left.</summary>
/// <param name="Bytes">Bytes in regular files.</param>
/// <param name="OpaqueRoot">Whether the layer hides everything below it.</param>
/// <param name="Implied">Directories that were needed but not in the layer: their attributes are those of the layers below.</param>
internal sealed record Unpacked(long Bytes, bool OpaqueRoot, IReadOnlyList<byte[]> Implied);

/// <summary>
/// Writes the entries of a layer (OCI image-spec, layer.md) into a directory in the form that overlayfs takes: a whiteout
/// becomes the character device 0/0, an opaque whiteout the attribute <c>trusted.overlay.opaque</c>. Nothing an archive
/// says reaches outside of the directory: absolute names land inside, names that climb above the root are refused, and
/// symbolic links in the layer are resolved inside it, by the kernel (<see cref="RootedDirectory"/>).
/// </summary>
internal sealed class LayerUnpacker : IDisposable
{
    private const int MaximumDirectories = 1_000_000;
    private const long SpaceCheckBytes = 32L << 20;
    private const int SpaceCheckEntries = 4096;
    private const long WritebackBytes = 1L << 20;
    private const long ReservedFiles = 1024;

    private static readonly byte[] OpaqueAttribute = "trusted.overlay.opaque"u8.ToArray();

    private readonly RootedDirectory _root;
    private readonly long _reservedBytes;
    private readonly Dictionary<string, byte[]> _implied = new(StringComparer.Ordinal);
    private readonly List<(byte[] Path, long Seconds, uint Nanoseconds)> _directories = [];
    private byte[]? _parentPath;
    private Fd? _parent;
    private long _bytes;
    private long _sinceCheck = long.MaxValue;
    private int _entriesSinceCheck;
    private bool _opaqueRoot;

    /// <summary>Prepares to write into a directory.</summary>
    /// <param name="root">Empty, and nobody else's.</param>
    /// <param name="reservedBytes">What stays free on the disk.</param>
    internal LayerUnpacker(RootedDirectory root, long reservedBytes) => (_root, _reservedBytes) = (root, reservedBytes);

    public void Dispose() => _parent?.Dispose();

    /// <summary>Writes all entries; the directories' times last, since every entry changes them.</summary>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Corrupt"/>: the archive is malformed or hostile. <see cref="ErrorKind.Full"/>: the disk would be.
    /// </exception>
    internal Unpacked Unpack(TarReader tar, CancellationToken cancel)
    {
        _implied[string.Empty] = [];
        while (tar.Next() is { } entry)
        {
            cancel.ThrowIfCancellationRequested();
            CheckSpace();
            try
            {
                Write(entry, tar);
            }
            catch (LinuxException e)
            {
                throw new EdgeHostException(
                    e.Kind is ErrorKind.Full ? ErrorKind.Full : e.Errno is Errno.ENAMETOOLONG or Errno.ELOOP or Errno.ENOTDIR ? ErrorKind.Corrupt : e.Kind,
                    $"entry {RootedDirectory.Shown(entry.Name)}: {e.Message}",
                    e);
            }
        }

        tar.Drain();
        for (var i = _directories.Count - 1; i >= 0; i--)
        {
            var (path, seconds, nanoseconds) = _directories[i];

            // A later entry may have put something else there.
            using var directory = _root.TryOpenDirectoryToRead(path, out _);
            if (directory is not null)
            {
                RootedDirectory.SetModified(directory, seconds, nanoseconds, path);
            }
        }

        return new Unpacked(_bytes, _opaqueRoot, [.. _implied.Values]);
    }

    /// <summary>Gives directories that a layer only implies the attributes that they have below it.</summary>
    /// <param name="root">The layer.</param>
    /// <param name="implied">The directories.</param>
    /// <param name="lower">The layers below, the topmost first.</param>
    internal static void AdoptAttributes(RootedDirectory root, IReadOnlyList<byte[]> implied, IReadOnlyList<RootedDirectory> lower)
    {
        foreach (var path in implied)
        {
            using var target = root.TryOpenDirectoryToRead(path, out _);
            if (target is null)
            {
                continue;
            }

            foreach (var layer in lower)
            {
                using var source = layer.TryOpenDirectoryToRead(path, out var error);
                if (source is not null)
                {
                    var facts = RootedDirectory.Stat(source);
                    RootedDirectory.SetOwnerAndMode(target, facts.Uid, facts.Gid, facts.Mode, path);
                    RootedDirectory.SetModified(target, facts.ModifiedSeconds, facts.ModifiedNanoseconds, path);
                    break;
                }

                if (error != Errno.ENOENT)
                {
                    // Something else, or a whiteout, hides what lies further below.
                    break;
                }
            }
        }
    }

    private static EdgeHostException Refused(ReadOnlySpan<byte> name, string why) =>
        new(ErrorKind.Corrupt, $"entry {RootedDirectory.Shown(name)}: {why}");

    /// <summary>A path relative to the root, without empty parts, <c>.</c> and <c>..</c>.</summary>
    internal static byte[] Clean(byte[] name)
    {
        if (name.Length > RootedDirectory.MaximumPath)
        {
            throw Refused(name, $"its name has {name.Length} bytes, more than {RootedDirectory.MaximumPath}");
        }

        var path = new byte[name.Length];
        var length = 0;
        ReadOnlySpan<byte> rest = name;
        while (!rest.IsEmpty)
        {
            var slash = rest.IndexOf((byte)'/');
            var part = slash < 0 ? rest : rest[..slash];
            rest = slash < 0 ? [] : rest[(slash + 1)..];
            if (part.IsEmpty || part.SequenceEqual("."u8))
            {
                continue;
            }

            if (part.SequenceEqual(".."u8))
            {
                if (length == 0)
                {
                    throw Refused(name, "it climbs above the root of the layer");
                }

                length = Math.Max(0, path.AsSpan(0, length).LastIndexOf((byte)'/'));
                continue;
            }

            if (length > 0)
            {
                path[length++] = (byte)'/';
            }

            part.CopyTo(path.AsSpan(length));
            length += part.Length;
        }

        return path[..length];
    }

    internal static ReadOnlySpan<byte> DirectoryOf(ReadOnlySpan<byte> path)
    {
        var slash = path.LastIndexOf((byte)'/');
        return slash < 0 ? [] : path[..slash];
    }

    internal static ReadOnlySpan<byte> BaseOf(ReadOnlySpan<byte> path) => path[(path.LastIndexOf((byte)'/') + 1)..];

    private void Write(TarEntry entry, TarReader tar)
    {
        var path = Clean(entry.Name);
        if (path.Length == 0)
        {
            if (entry.Type != TarType.Directory)
            {
                throw Refused(entry.Name, "the root of a layer is a directory");
            }

            _implied.Remove(string.Empty);
            Decorate(_root.Root, path, entry);
            _directories.Add((path, entry.ModifiedSeconds, entry.ModifiedNanoseconds));
            return;
        }

        var name = BaseOf(path);
        if (name.StartsWith(".wh."u8))
        {
            Whiteout(path, entry);
            return;
        }

        var parent = Parent(DirectoryOf(path), entry);
        if (entry.Type == TarType.Directory)
        {
            MakeDirectory(parent, path, entry);
            return;
        }

        if (entry.Type == TarType.File)
        {
            WriteFile(parent, name, entry, tar);
            return;
        }

        for (var attempt = 0; !TryMake(parent, name, entry); attempt++)
        {
            if (attempt > 0)
            {
                throw Refused(entry.Name, "something else appears at its name again and again");
            }

            parent = Replace(parent, path, entry);
        }
    }

    private bool TryMake(Fd parent, ReadOnlySpan<byte> name, TarEntry entry)
    {
        const uint Fifo = 0x1000, Character = 0x2000, Block = 0x6000;
        switch (entry.Type)
        {
            case TarType.SymbolicLink:
                if (!RootedDirectory.TryMakeSymbolicLink(parent, name, entry.LinkName))
                {
                    return false;
                }

                break;
            case TarType.HardLink:
                return TryLink(parent, name, entry);
            default:
                var type = entry.Type switch
                {
                    TarType.CharacterDevice => Character,
                    TarType.BlockDevice => Block,
                    _ => Fifo,
                };
                if (!RootedDirectory.TryMakeNode(parent, name, type | entry.Mode, entry.DeviceMajor, entry.DeviceMinor))
                {
                    return false;
                }

                break;
        }

        RootedDirectory.SetOwner(parent, name, entry.Uid, entry.Gid);
        RootedDirectory.SetModified(parent, name, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
        return true;
    }

    private bool TryLink(Fd parent, ReadOnlySpan<byte> name, TarEntry entry)
    {
        var target = Clean(entry.LinkName);
        if (target.Length == 0 || target.AsSpan().SequenceEqual(Clean(entry.Name)))
        {
            throw Refused(entry.Name, $"it is a hard link to {(target.Length == 0 ? "the root" : "itself")}");
        }

        using var targetParent = _root.TryOpenDirectory(DirectoryOf(target), out _);
        var error = targetParent is null ? Errno.ENOENT : RootedDirectory.TryLink(targetParent, BaseOf(target), parent, name);
        return error switch
        {
            Errno.None => true,
            Errno.EEXIST => false,
            _ => throw Refused(entry.Name, $"it is a hard link to {RootedDirectory.Shown(entry.LinkName)}, which is not in the same layer"),
        };
    }

    private void WriteFile(Fd parent, ReadOnlySpan<byte> name, TarEntry entry, TarReader tar)
    {
        var file = RootedDirectory.TryCreateFile(parent, name);
        if (file is null)
        {
            parent = Replace(parent, Clean(entry.Name), entry);
            file = RootedDirectory.TryCreateFile(parent, name) ?? throw Refused(entry.Name, "something else appears at its name again and again");
        }

        using (file)
        {
            long written = 0;
            while (true)
            {
                var piece = tar.NextData();
                if (piece.IsEmpty)
                {
                    break;
                }

                CheckSpace();
                Files.WriteAll(file, piece, "content");
                written += piece.Length;
                _sinceCheck += piece.Length;
            }

            _bytes += written;
            SetAttributes(file, entry);
            RootedDirectory.SetOwnerAndMode(file, entry.Uid, entry.Gid, entry.Mode, name);

            // A change of the owner takes file capabilities away.
            SetAttributes(file, entry, capabilities: true);
            RootedDirectory.SetModified(file, entry.ModifiedSeconds, entry.ModifiedNanoseconds, name);
            if (written >= WritebackBytes)
            {
                RootedDirectory.BeginWriteback(file);
            }
        }
    }

    private void MakeDirectory(Fd parent, byte[] path, TarEntry entry)
    {
        var name = BaseOf(path);
        var wasWhiteout = false;
        if (!RootedDirectory.TryMakeDirectory(parent, name))
        {
            var there = RootedDirectory.Stat(parent, name);
            if (there is not { IsDirectory: true })
            {
                wasWhiteout = there is { IsWhiteout: true };
                parent = Replace(parent, path, entry);
                RootedDirectory.TryMakeDirectory(parent, name);
            }
        }

        using var directory = RootedDirectory.OpenNamedDirectory(parent, name);
        if (wasWhiteout)
        {
            // Removed and made anew in one layer: what was below must not shine through.
            MakeOpaque(directory, path);
        }

        _implied.Remove(Key(path));
        Decorate(directory, path, entry);
        if (_directories.Count == MaximumDirectories)
        {
            throw Refused(entry.Name, $"a layer may have {MaximumDirectories} directories");
        }

        _directories.Add((path, entry.ModifiedSeconds, entry.ModifiedNanoseconds));
    }

    private void Whiteout(byte[] path, TarEntry entry)
    {
        var directory = DirectoryOf(path);
        var hidden = BaseOf(path)[".wh.".Length..];
        if (hidden.SequenceEqual(".wh..opq"u8))
        {
            if (directory.IsEmpty)
            {
                _opaqueRoot = true;
                return;
            }

            using var opaque = RootedDirectory.Reopen(Parent(directory, entry));
            MakeOpaque(opaque, directory);
            return;
        }

        if (hidden.StartsWith(".wh."u8))
        {
            // Bookkeeping of aufs: .wh..wh.plnk, .wh..wh.aufs.
            return;
        }

        if (hidden.IsEmpty || hidden.SequenceEqual("."u8) || hidden.SequenceEqual(".."u8))
        {
            throw Refused(entry.Name, "it is a whiteout of no name");
        }

        var parent = Parent(directory, entry);
        if (RootedDirectory.TryMakeNode(parent, hidden, 0x2000, 0, 0))
        {
            return;
        }

        // A whiteout hides lower layers only, never what its own layer brings (layer.md): what is here stays, and a
        // directory does not let through what was below.
        if (RootedDirectory.Stat(parent, hidden) is { IsDirectory: true })
        {
            using var kept = RootedDirectory.OpenNamedDirectory(parent, hidden);
            MakeOpaque(kept, hidden);
        }
    }

    private void Decorate(Fd directory, byte[] path, TarEntry entry)
    {
        SetAttributes(directory, entry);
        RootedDirectory.SetOwnerAndMode(directory, entry.Uid, entry.Gid, entry.Mode, path);
    }

    private static void MakeOpaque(Fd directory, ReadOnlySpan<byte> path)
    {
        var error = RootedDirectory.TrySetAttribute(directory, OpaqueAttribute, "y"u8);
        if (error != Errno.None)
        {
            throw new LinuxException($"set {Encoding.ASCII.GetString(OpaqueAttribute)} on {RootedDirectory.Shown(path)}", error);
        }
    }

    private static void SetAttributes(Fd file, TarEntry entry, bool capabilities = false)
    {
        foreach (var (attribute, value) in entry.Attributes)
        {
            // These steer overlayfs itself: a layer could redirect into others.
            if (attribute.AsSpan().StartsWith("trusted.overlay."u8) || attribute.AsSpan().StartsWith("user.overlay."u8))
            {
                continue;
            }

            var isCapability = attribute.AsSpan().SequenceEqual("security.capability"u8);
            if (isCapability != capabilities)
            {
                continue;
            }

            // Other attributes are kept where the kernel takes them (SELinux labels are of the machine that built the
            // image); a program without its capabilities would fail where nobody looks.
            var error = RootedDirectory.TrySetAttribute(file, attribute, value);
            if (error == Errno.ENOSPC || (error != Errno.None && isCapability))
            {
                throw new LinuxException($"set attribute {RootedDirectory.Shown(attribute)}", error);
            }
        }
    }

    /// <summary>Takes away what stands at a path, with everything below it.</summary>
    /// <returns>The parent, opened again: the one that was held may have been below.</returns>
    private Fd Replace(Fd parent, byte[] path, TarEntry entry)
    {
        RootedDirectory.Remove(parent, BaseOf(path));
        _parent?.Dispose();
        (_parent, _parentPath) = (null, null);
        return Parent(DirectoryOf(path), entry);
    }

    /// <summary>Opens the directory of an entry, making what is missing. It is ours, and open until the next call.</summary>
    private Fd Parent(ReadOnlySpan<byte> directory, TarEntry entry)
    {
        if (_parent is not null && directory.SequenceEqual(_parentPath))
        {
            return _parent;
        }

        var opened = _root.TryOpenDirectory(directory, out var error);
        if (opened is null)
        {
            if (error is not (Errno.ENOENT or Errno.ENOTDIR))
            {
                throw new LinuxException($"open directory {RootedDirectory.Shown(directory)}", error);
            }

            opened = MakeParents(directory, entry);
        }

        _parent?.Dispose();
        (_parent, _parentPath) = (opened, directory.ToArray());
        return opened;
    }

    private Fd MakeParents(ReadOnlySpan<byte> directory, TarEntry entry)
    {
        var current = _root.TryOpenDirectory([], out _)!;
        for (var at = 0; at < directory.Length;)
        {
            var slash = directory[at..].IndexOf((byte)'/');
            var end = slash < 0 ? directory.Length : at + slash;
            var prefix = directory[..end];
            var name = directory[at..end];
            at = end + 1;
            var next = _root.TryOpenDirectory(prefix, out _);
            if (next is null)
            {
                using (current)
                {
                    var opaque = false;
                    if (!RootedDirectory.TryMakeDirectory(current, name))
                    {
                        if (RootedDirectory.Stat(current, name) is not { IsWhiteout: true })
                        {
                            throw Refused(entry.Name, $"{RootedDirectory.Shown(prefix)} is not a directory and leads to none inside the layer");
                        }

                        RootedDirectory.Remove(current, name);
                        RootedDirectory.TryMakeDirectory(current, name);
                        opaque = true;
                    }

                    using (var made = RootedDirectory.OpenNamedDirectory(current, name))
                    {
                        RootedDirectory.SetOwnerAndMode(made, 0, 0, 0x1ED, name);
                        if (opaque)
                        {
                            MakeOpaque(made, prefix);
                        }
                    }

                    if (_implied.Count == MaximumDirectories)
                    {
                        throw Refused(entry.Name, $"a layer may have {MaximumDirectories} directories");
                    }

                    if (!opaque)
                    {
                        _implied[Key(prefix)] = prefix.ToArray();
                    }

                    next = _root.TryOpenDirectory(prefix, out var error)
                        ?? throw new LinuxException($"open directory {RootedDirectory.Shown(prefix)}", error);
                }
            }
            else
            {
                current.Dispose();
            }

            current = next;
        }

        return current;
    }

    private static string Key(ReadOnlySpan<byte> path) => Encoding.Latin1.GetString(path);

    private void CheckSpace()
    {
        if (_sinceCheck < SpaceCheckBytes && ++_entriesSinceCheck < SpaceCheckEntries)
        {
            return;
        }

        (_sinceCheck, _entriesSinceCheck) = (0, 0);
        var space = DiskSpace.Of(_root.Root, _reservedBytes + SpaceCheckBytes);
        if (space.FreeBytes < _reservedBytes + SpaceCheckBytes)
        {
            throw new EdgeHostException(
                ErrorKind.Full,
                $"{space.FreeBytes >> 20} MiB are left on the disk of {_root.Path}, of which {(_reservedBytes + SpaceCheckBytes) >> 20} MiB stay free: remove images or containers");
        }

        if (space.FreeFiles < ReservedFiles)
        {
            throw new EdgeHostException(ErrorKind.Full, $"{space.FreeFiles} inodes are left on the disk of {_root.Path}: remove images or containers");
        }
    }
}
