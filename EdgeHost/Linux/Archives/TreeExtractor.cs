using EdgeHost.Errors;

namespace EdgeHost.Linux.Archives;

/// <summary>How a tar is written into a tree that has things in it already; the rules are those of Docker's <c>cp</c>.</summary>
public sealed class ExtractOptions
{
    /// <summary>Whether a directory may not take the place of something else, nor something else that of a directory.</summary>
    public bool KeepDirectories { get; init; }

    /// <summary>Whether what is written belongs to who writes it, in place of the owners in the archive.</summary>
    public bool LeaveOwner { get; init; }

    /// <summary>The owner of all that is written; null for those in the archive.</summary>
    public uint? Uid { get; init; }

    /// <summary>The group of all that is written; null for those in the archive.</summary>
    public uint? Gid { get; init; }

    /// <summary>Whether device nodes are made; they are refused otherwise.</summary>
    public bool Devices { get; init; }

    /// <summary>Gives names and the targets of hard links another form before they are looked at; null leaves them.</summary>
    public Func<byte[], byte[]>? Rename { get; init; }
}

/// <summary>
/// Writes the entries of a tar below a directory. Nothing that the archive says reaches outside of the root: names that
/// climb above the directory are refused, and every path is resolved by the kernel within the root, symbolic links
/// included, also while somebody changes the tree (CVE-2018-15664). No more of the archive is in memory than a piece.
/// </summary>
public sealed class TreeExtractor
{
    private const int MaximumDirectories = 1_000_000;
    private const uint OwnerMay = 0x1C0; // 0700

    private readonly RootedDirectory _root;
    private readonly byte[] _into;
    private readonly ExtractOptions _options;
    private readonly List<TarEntry> _directories = [];

    private TreeExtractor(RootedDirectory root, byte[] into, ExtractOptions options) => (_root, _into, _options) = (root, into, options);

    /// <summary>Writes all entries; the directories' times and modes last, since entries change or need them.</summary>
    /// <param name="root">Nothing outside of it is reached.</param>
    /// <param name="into">The directory below it into which is written, relative to it; it exists.</param>
    /// <param name="tar">The archive.</param>
    /// <param name="options">How.</param>
    /// <param name="cancel">Ends it in the middle; what was written until then is left.</param>
    /// <returns>Bytes in regular files.</returns>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Invalid"/>: the archive is malformed or hostile, or something else stands where it wants to
    /// write. <see cref="ErrorKind.Full"/>: the disk is.
    /// </exception>
    public static long Extract(RootedDirectory root, ReadOnlySpan<byte> into, TarReader tar, ExtractOptions options, CancellationToken cancel)
    {
        var extractor = new TreeExtractor(root, into.ToArray(), options);
        long bytes = 0;
        try
        {
            while (tar.Next() is { } entry)
            {
                cancel.ThrowIfCancellationRequested();
                bytes += entry.Size;
                try
                {
                    extractor.Write(entry, tar, cancel);
                }
                catch (LinuxException e)
                {
                    // Where something cannot be written is for who asked to know (/proc, /sys, a read-only mount), and no
                    // defect that the log would have to explain.
                    var kind = e.Kind == ErrorKind.Internal && e.Errno is not (Errno.EIO or Errno.ENOMEM or Errno.EMFILE or Errno.ENFILE) ? ErrorKind.Invalid : e.Kind;
                    throw new EdgeHostException(kind, $"{RootedDirectory.Shown(entry.Name)}: {e.Message}", e);
                }
            }

            tar.Drain();
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Corrupt)
        {
            throw new EdgeHostException(ErrorKind.Invalid, e.Message, e);
        }

        extractor.FinishDirectories();
        return bytes;
    }

    private static ReadOnlySpan<byte> DirectoryOf(ReadOnlySpan<byte> path) => path[..Math.Max(path.LastIndexOf((byte)'/'), 0)];

    private static ReadOnlySpan<byte> BaseOf(ReadOnlySpan<byte> path) => path[(path.LastIndexOf((byte)'/') + 1)..];

    private static EdgeHostException Refused(ReadOnlySpan<byte> name, string why) =>
        new(ErrorKind.Invalid, $"{RootedDirectory.Shown(name)}: {why}");

    private byte[] PathOf(byte[] name)
    {
        if (_options.Rename is { } rename)
        {
            name = rename(name);
        }

        var parts = new List<byte[]>();
        ReadOnlySpan<byte> rest = name;
        while (!rest.IsEmpty)
        {
            var slash = rest.IndexOf((byte)'/');
            var part = slash < 0 ? rest : rest[..slash];
            rest = slash < 0 ? [] : rest[(slash + 1)..];
            if (part.SequenceEqual(".."u8))
            {
                if (parts.Count == 0)
                {
                    throw Refused(name, "it climbs above the directory that is written into");
                }

                parts.RemoveAt(parts.Count - 1);
            }
            else if (!part.IsEmpty && !part.SequenceEqual("."u8))
            {
                parts.Add(part.ToArray());
            }
        }

        if (parts.Count == 0)
        {
            return [];
        }

        using var path = new MemoryStream();
        path.Write(_into);
        foreach (var part in parts)
        {
            if (path.Length > 0)
            {
                path.WriteByte((byte)'/');
            }

            path.Write(part);
        }

        return path.ToArray();
    }

    private void Write(TarEntry entry, TarReader tar, CancellationToken cancel)
    {
        var path = PathOf(entry.Name);
        if (path.Length == 0)
        {
            // The directory that is written into, which stays as it is.
            if (entry.Type != TarType.Directory)
            {
                throw Refused(entry.Name, "it is the directory that is written into, and no directory in the archive");
            }

            return;
        }

        if (entry.Type is TarType.CharacterDevice or TarType.BlockDevice && !_options.Devices)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"{RootedDirectory.Shown(entry.Name)}: it is a device, and nothing would limit its use in a container; leave it out");
        }

        using var parent = Parent(DirectoryOf(path), entry);
        var name = BaseOf(path);
        if (RootedDirectory.Stat(parent, name) is { } there)
        {
            if (_options.KeepDirectories && there.IsDirectory != (entry.Type == TarType.Directory))
            {
                throw Refused(entry.Name, there.IsDirectory
                    ? $"cannot overwrite directory \"{_root.Path}/{RootedDirectory.Shown(path)}\" with non-directory"
                    : $"cannot overwrite non-directory \"{_root.Path}/{RootedDirectory.Shown(path)}\" with directory");
            }

            if (!(there.IsDirectory && entry.Type == TarType.Directory))
            {
                RootedDirectory.Remove(parent, name);
            }
        }

        switch (entry.Type)
        {
            case TarType.Directory:
                MakeDirectory(parent, name, path, entry);
                return;
            case TarType.File:
                WriteFile(parent, name, entry, tar, cancel);
                return;
            case TarType.SymbolicLink:
                Require(RootedDirectory.TryMakeSymbolicLink(parent, name, entry.LinkName), entry);
                break;
            case TarType.HardLink:
                Link(parent, name, entry);
                return;
            default:
                var type = entry.Type switch { TarType.CharacterDevice => Libc.S_IFCHR, TarType.BlockDevice => Libc.S_IFBLK, _ => Libc.S_IFIFO };
                Require(RootedDirectory.TryMakeNode(parent, name, type | entry.Mode, entry.DeviceMajor, entry.DeviceMinor), entry);
                break;
        }

        if (!_options.LeaveOwner)
        {
            RootedDirectory.SetOwner(parent, name, Id(_options.Uid ?? entry.Uid), Id(_options.Gid ?? entry.Gid));
        }

        RootedDirectory.SetModified(parent, name, entry.ModifiedSeconds, entry.ModifiedNanoseconds);
    }

    private void Link(Fd parent, ReadOnlySpan<byte> name, TarEntry entry)
    {
        var target = PathOf(entry.LinkName);
        using var targetParent = target.Length == 0 ? null : _root.TryOpenDirectory(DirectoryOf(target), out _);
        var error = targetParent is null ? Errno.ENOENT : RootedDirectory.TryLink(targetParent, BaseOf(target), parent, name);
        if (error == Errno.ENOENT)
        {
            throw Refused(entry.Name, $"it is a hard link to {RootedDirectory.Shown(entry.LinkName)}, which is not there");
        }

        Require(error == Errno.None, entry);
    }

    private void MakeDirectory(Fd parent, ReadOnlySpan<byte> name, byte[] path, TarEntry entry)
    {
        RootedDirectory.TryMakeDirectory(parent, name);
        using var directory = RootedDirectory.OpenNamedDirectory(parent, name);
        SetAttributes(directory, entry);

        // Open to its owner until all that is in it is written.
        SetOwnerAndMode(directory, entry, name, OwnerMay);
        if (_directories.Count == MaximumDirectories)
        {
            throw Refused(entry.Name, $"more than {MaximumDirectories} directories");
        }

        _directories.Add(new TarEntry
        {
            Name = path,
            LinkName = [],
            Type = TarType.Directory,
            Mode = entry.Mode,
            Uid = 0,
            Gid = 0,
            Size = 0,
            ModifiedSeconds = entry.ModifiedSeconds,
            ModifiedNanoseconds = entry.ModifiedNanoseconds,
            DeviceMajor = 0,
            DeviceMinor = 0,
            Attributes = [],
        });
    }

    private void WriteFile(Fd parent, ReadOnlySpan<byte> name, TarEntry entry, TarReader tar, CancellationToken cancel)
    {
        var made = RootedDirectory.TryCreateFile(parent, name);
        Require(made is not null, entry);
        using var file = made!;
        while (true)
        {
            cancel.ThrowIfCancellationRequested();
            var piece = tar.NextData();
            if (piece.IsEmpty)
            {
                break;
            }

            Files.WriteAll(file, piece, RootedDirectory.Shown(name));
        }

        SetOwnerAndMode(file, entry, name);

        // A change of the owner takes file capabilities away.
        SetAttributes(file, entry);
        RootedDirectory.SetModified(file, entry.ModifiedSeconds, entry.ModifiedNanoseconds, name);
    }

    private void SetOwnerAndMode(Fd file, TarEntry entry, ReadOnlySpan<byte> name, uint moreMode = 0) => RootedDirectory.SetOwnerAndMode(
        file,
        _options.LeaveOwner ? uint.MaxValue : Id(_options.Uid ?? entry.Uid),
        _options.LeaveOwner ? uint.MaxValue : Id(_options.Gid ?? entry.Gid),
        entry.Mode | moreMode,
        name);

    private uint Id(uint id) => _root.Users?.ToHost(id) ?? id;

    private void SetAttributes(Fd file, TarEntry entry)
    {
        foreach (var (attribute, value) in entry.Attributes)
        {
            // These steer overlayfs itself.
            if (attribute.AsSpan().StartsWith("trusted.overlay."u8) || attribute.AsSpan().StartsWith("user.overlay."u8))
            {
                continue;
            }

            // As Docker: what the file system does not have, or who copies may not set, is left out.
            var error = RootedDirectory.TrySetAttribute(
                file, attribute, _root.Users is { } users && attribute.AsSpan().SequenceEqual(TreeArchive.Capability) ? users.CapabilitiesToHost(value) : value);
            if (error is not (Errno.None or Errno.EOPNOTSUPP or Errno.EPERM))
            {
                throw new LinuxException($"set attribute {RootedDirectory.Shown(attribute)}", error);
            }
        }
    }

    /// <summary>Opens the directory of an entry, making what is missing.</summary>
    private Fd Parent(ReadOnlySpan<byte> directory, TarEntry entry)
    {
        var opened = _root.TryOpenDirectory(directory, out var error);
        if (opened is not null)
        {
            return opened;
        }

        if (error != Errno.ENOENT || directory.Length <= _into.Length)
        {
            throw new LinuxException($"open directory {RootedDirectory.Shown(directory)}", error);
        }

        for (var at = _into.Length; ;)
        {
            var slash = directory[(at + 1)..].IndexOf((byte)'/');
            var end = slash < 0 ? directory.Length : at + 1 + slash;
            using (var above = _root.TryOpenDirectory(DirectoryOf(directory[..end]), out error) ?? throw new LinuxException($"open directory {RootedDirectory.Shown(DirectoryOf(directory[..end]))}", error))
            {
                var name = BaseOf(directory[..end]);
                if (RootedDirectory.TryMakeDirectory(above, name) && !_options.LeaveOwner)
                {
                    RootedDirectory.SetOwner(above, name, Id(_options.Uid ?? 0), Id(_options.Gid ?? 0));
                }
            }

            if (end == directory.Length)
            {
                return _root.TryOpenDirectory(directory, out error)
                    ?? throw Refused(entry.Name, new LinuxException($"open its directory {RootedDirectory.Shown(directory)}", error).Message);
            }

            at = end;
        }
    }

    private void FinishDirectories()
    {
        for (var i = _directories.Count - 1; i >= 0; i--)
        {
            // A later entry may have put something else there.
            using var directory = _root.TryOpenDirectoryToRead(_directories[i].Name, out _);
            if (directory is not null)
            {
                RootedDirectory.SetModified(directory, _directories[i].ModifiedSeconds, _directories[i].ModifiedNanoseconds, _directories[i].Name);
                if ((_directories[i].Mode & OwnerMay) != OwnerMay)
                {
                    RootedDirectory.SetOwnerAndMode(directory, uint.MaxValue, uint.MaxValue, _directories[i].Mode, _directories[i].Name);
                }
            }
        }
    }

    private static void Require(bool done, TarEntry entry)
    {
        if (!done)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"{RootedDirectory.Shown(entry.Name)}: something else appears at its name while it is written");
        }
    }
}
