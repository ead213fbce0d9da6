using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>Something that is mounted into a view of a container.</summary>
/// <param name="source">On the host: a directory or a file.</param>
/// <param name="target">Where, from the container's root on.</param>
/// <param name="readOnly">Whether it cannot be written.</param>
public sealed class ViewMount(string source, string target, bool readOnly)
{
    /// <summary>On the host: a directory or a file.</summary>
    public string Source { get; } = source;

    /// <summary>Where, from the container's root on.</summary>
    public string Target { get; } = target;

    /// <summary>Whether it cannot be written.</summary>
    public bool ReadOnly { get; } = readOnly;
}

/// <summary>
/// Several layers seen as a container sees them (whiteouts, opaque directories and all), read-only and without a
/// place among the host's mounts: it is taken out of them at once, and lives as long as it is held open.
/// </summary>
public static unsafe class OverlayView
{
    // mount(2) copies one page of options.
    private const int MaximumOptions = 4095;

    /// <summary>Opens the view. Needs CAP_SYS_ADMIN when there is more than one layer.</summary>
    /// <param name="layers">Absolute directories, the topmost first; at least one.</param>
    /// <param name="directory">Where a mount point may be made for a moment; it exists.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: too many layers for one mount; or a step failed.</exception>
    public static RootedDirectory Open(IReadOnlyList<string> layers, string directory)
    {
        // overlayfs wants two layers when nothing can be written.
        if (layers.Count == 1)
        {
            return RootedDirectory.Open(layers[0]);
        }

        var options = "lowerdir=" + string.Join(':', layers.Select(Escape));
        if (Encoding.UTF8.GetByteCount(options) > MaximumOptions)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"the image has {layers.Count} layers, whose names do not fit into one mount; build it with fewer layers");
        }

        var point = $"{directory}/view-{Guid.NewGuid():n}";
        Directory.CreateDirectory(point);
        try
        {
            fixed (byte* type = "overlay\0"u8, target = Libc.Z(point), data = Libc.Z(options))
            {
                Libc.Check(
                    Libc.syscall(Nr.mount, (nint)type, (nint)target, (nint)type, (nint)(Libc.MS_RDONLY | Libc.MS_NOSUID | Libc.MS_NODEV | Libc.MS_NOEXEC), (nint)data),
                    $"mount the {layers.Count} layers of an image on {point}");
            }

            try
            {
                return RootedDirectory.Open(point);
            }
            finally
            {
                Detach(point);
            }
        }
        finally
        {
            Directory.Delete(point);
        }
    }

    /// <summary>
    /// Opens a container's file system as it is while the container does not run: its layers with what it has written,
    /// and its volumes and binds in their places. Needs CAP_SYS_ADMIN. A clone of the tree is held, in no mount namespace,
    /// so that nobody but the holder of this sees it.
    /// </summary>
    /// <param name="layers">Absolute directories beneath what the container has written, the topmost first.</param>
    /// <param name="upper">What it has written; absolute.</param>
    /// <param name="work">The work directory of overlayfs, for a view that is written into, whose places for mounts are made; null for one that is only read.</param>
    /// <param name="mounts">In the order in which they are to be mounted.</param>
    /// <param name="directory">Where a mount point may be made for a moment; it exists.</param>
    /// <returns>Null when the place of a mount is not there, and the view is only read.</returns>
    /// <exception cref="EdgeHostException">As for <see cref="Open"/>; the place of a mount is something else.</exception>
    public static RootedDirectory? TryOpenContainer(IReadOnlyList<string> layers, string upper, string? work, IReadOnlyList<ViewMount> mounts, string directory)
    {
        var options = layers.Count == 0 ? string.Empty
            : work is null ? "lowerdir=" + string.Join(':', layers.Prepend(upper).Select(Escape))
            : $"lowerdir={string.Join(':', layers.Select(Escape))},upperdir={Escape(upper)},workdir={Escape(work)}";
        if (Encoding.UTF8.GetByteCount(options) > MaximumOptions)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"the image has {layers.Count} layers, whose names do not fit into one mount; build it with fewer layers");
        }

        var point = $"{directory}/view-{Guid.NewGuid():n}";
        Directory.CreateDirectory(point);
        try
        {
            const ulong Harmless = Libc.MS_NOSUID | Libc.MS_NODEV | Libc.MS_NOEXEC;
            fixed (byte* type = "overlay\0"u8, target = Libc.Z(point), data = Libc.Z(options), only = Libc.Z(upper))
            {
                Libc.Check(
                    layers.Count == 0
                        ? Libc.syscall(Nr.mount, (nint)only, (nint)target, 0, (nint)Libc.MS_BIND)
                        : Libc.syscall(Nr.mount, (nint)type, (nint)target, (nint)type, (nint)(Harmless | (work is null ? Libc.MS_RDONLY : 0)), (nint)data),
                    $"mount the layers of a container on {point}");
            }

            try
            {
                fixed (byte* target = Libc.Z(point))
                {
                    Libc.Check(Libc.syscall(Nr.mount, 0, (nint)target, 0, (nint)Libc.MS_PRIVATE), $"make the mount on {point} private");
                }

                using var root = RootedDirectory.Open(point);
                foreach (var mount in mounts)
                {
                    if (!TryMount(root, mount, make: work is not null))
                    {
                        return null;
                    }
                }

                fixed (byte* whole = Libc.Z(point))
                {
                    return RootedDirectory.Over(new Fd((int)Libc.Check(
                        Libc.syscall(Nr.open_tree, Libc.AT_FDCWD, (nint)whole, (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | Libc.AT_RECURSIVE)),
                        "hold the file system of a container")), string.Empty);
                }
            }
            finally
            {
                Detach(point);
            }
        }
        finally
        {
            Directory.Delete(point);
        }
    }

    /// <summary>The root of a container that runs, with all that is mounted there.</summary>
    /// <param name="pid">Its first process.</param>
    /// <param name="startTime">When that was started, so that no later process of the same number is taken for it.</param>
    /// <param name="users">Its users; null when they are the host's.</param>
    /// <returns>Null when it has ended.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static RootedDirectory? TryOpenProcess(int pid, long startTime, MappedUsers? users)
    {
        fixed (byte* path = Libc.Z($"/proc/{pid}/root"))
        {
            var fd = Libc.openat(Libc.AT_FDCWD, path, Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
            if (fd == -1)
            {
                return Libc.LastErrno is Errno.ENOENT or Errno.ESRCH ? null : throw Libc.Failure($"open the root of process {pid}");
            }

            var root = RootedDirectory.Over(new Fd(fd), string.Empty, users);

            // Asked after it was opened: it is that process's if it still is now.
            if (Processes.TryReadStartTime(pid) == startTime)
            {
                return root;
            }

            root.Dispose();
            return null;
        }
    }

    private static bool TryMount(RootedDirectory root, ViewMount mount, bool make)
    {
        var path = Encoding.UTF8.GetBytes(mount.Target.Trim('/'));
        fixed (byte* source = Libc.Z(mount.Source))
        {
            using var tree = new Fd((int)Libc.Check(
                Libc.syscall(Nr.open_tree, Libc.AT_FDCWD, (nint)source, (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | Libc.AT_RECURSIVE)), $"open {mount.Source}"));

            // Private, or what is unmounted here later would be unmounted on the host, too.
            var attributes = new Libc.mount_attr { attr_set = mount.ReadOnly ? Libc.MOUNT_ATTR_RDONLY : 0, propagation = Libc.MS_PRIVATE };
            byte nothing = 0;
            Libc.Check(
                Libc.syscall(Nr.mount_setattr, tree.Value, (nint)(&nothing), Libc.AT_EMPTY_PATH | Libc.AT_RECURSIVE, (nint)(&attributes), sizeof(Libc.mount_attr)),
                $"set the attributes of a mount of {mount.Source}");
            var isDirectory = RootedDirectory.Stat(tree).IsDirectory;
            using var place = root.TryOpenPath(path, out var error) ?? (make && error == Errno.ENOENT ? MakePlace(root, path, isDirectory) : null);
            if (place is null)
            {
                return !make && error == Errno.ENOENT ? false : throw new LinuxException($"find the place of a mount, {mount.Target}, in a container", error);
            }

            Libc.Check(
                Libc.syscall(Nr.move_mount, tree.Value, (nint)(&nothing), place.Value, (nint)(&nothing), (nint)(Libc.MOVE_MOUNT_F_EMPTY_PATH | Libc.MOVE_MOUNT_T_EMPTY_PATH)),
                $"mount {mount.Source} at {mount.Target} of a container");
            return true;
        }
    }

    /// <summary>Makes what a start of the container would make.</summary>
    private static Fd? MakePlace(RootedDirectory root, byte[] path, bool isDirectory)
    {
        for (var end = 0; end < path.Length; end++)
        {
            var slash = path.AsSpan(end).IndexOf((byte)'/');
            var start = end;
            end = slash < 0 ? path.Length : end + slash;
            using var parent = root.TryOpenDirectory(path.AsSpan(0, Math.Max(start - 1, 0)), out var error)
                ?? throw new LinuxException($"open directory {RootedDirectory.Shown(path.AsSpan(0, Math.Max(start - 1, 0)))} of a container", error);
            var name = path.AsSpan(start, end - start);
            if (name.IsEmpty)
            {
                continue;
            }

            if (isDirectory || end < path.Length)
            {
                RootedDirectory.TryMakeDirectory(parent, name);
            }
            else
            {
                RootedDirectory.TryCreateFile(parent, name)?.Dispose();
            }
        }

        return root.TryOpenPath(path, out _);
    }

    /// <summary>Takes away what a daemon left that ended in the middle of <see cref="Open"/>.</summary>
    /// <param name="directory">As given to it.</param>
    public static void Sweep(string directory)
    {
        foreach (var point in Directory.EnumerateDirectories(directory, "view-*").ToList())
        {
            fixed (byte* target = Libc.Z(point))
            {
                // EINVAL: not mounted, which is what is wanted.
                if (Libc.syscall(Nr.umount2, (nint)target, Libc.MNT_DETACH) == -1 && Libc.LastErrno != Errno.EINVAL)
                {
                    throw Libc.Failure($"unmount {point}");
                }
            }

            Directory.Delete(point);
        }
    }

    private static void Detach(string point)
    {
        fixed (byte* target = Libc.Z(point))
        {
            Libc.Check(Libc.syscall(Nr.umount2, (nint)target, Libc.MNT_DETACH), $"unmount {point}");
        }
    }

    private static string Escape(string path) => path
        .Replace("\\", "\\\\", StringComparison.Ordinal)
        .Replace(":", "\\:", StringComparison.Ordinal)
        .Replace(",", "\\,", StringComparison.Ordinal);
}
