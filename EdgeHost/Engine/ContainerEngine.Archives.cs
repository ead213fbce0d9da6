using System.Text;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;

namespace EdgeHost.Engine;

/// <summary>Copying files in and out.</summary>
public sealed partial class ContainerEngine : IContainerArchives
{
    // What every start mounts, and makes the places for.
    private static readonly string[] PlacesOfAll = ["/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/sys"];

    // As the kernel (path_resolution(7)).
    private const int MostLinks = 40;

    /// <inheritdoc/>
    public IContainerArchives Archives => this;

    /// <inheritdoc/>
    async Task<ContainerPathStatus> IContainerArchives.InspectAsync(string container, string path, CancellationToken cancel)
    {
        var (found, whole) = (Find(container), Whole(path));
        using var root = await OpenRootAsync(found, cancel).ConfigureAwait(false);
        using var place = Place(root, whole, found.Record, path, out var status);
        return status;
    }

    /// <inheritdoc/>
    async Task<ContainerArchive> IContainerArchives.OpenAsync(string container, string path, CancellationToken cancel)
    {
        var (found, whole) = (Find(container), Whole(path));
        var root = await OpenRootAsync(found, cancel).ConfigureAwait(false);
        try
        {
            var archive = new OpenArchive(root, Place(root, whole, found.Record, path, out var status), whole, status);
            Tell(found.Record, "archive-path", ("path", path));
            return archive;
        }
        catch
        {
            root.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    async Task IContainerArchives.ExtractAsync(string container, string path, Stream archive, bool keepDirectories, bool toUser, CancellationToken cancel)
    {
        var (found, whole) = (Find(container), Whole(path));
        await WriteAsync(
            found,
            (root, record) =>
            {
                var into = Encoding.UTF8.GetBytes(whole.Trim('/'));
                using (var directory = root.TryOpenDirectory(into, out var error))
                {
                    if (directory is null)
                    {
                        throw error == Errno.ENOTDIR ? new EdgeHostException(ErrorKind.Invalid, "extraction point is not a directory") : NotThere(error, record, path);
                    }
                }

                RequireWritable(record.Spec, Evaluate(root, whole));
                var user = toUser && (record.Effective ?? record.Spec).User is { Length: > 0 } asked ? UserOf(record, asked) : null;
                Extract(root, into, archive, new ExtractOptions { KeepDirectories = keepDirectories, Uid = user?.Uid, Gid = user?.Gid }, cancel);
            },
            cancel).ConfigureAwait(false);
        Tell(found.Record, "extract-to-dir", ("path", path));
    }

    /// <inheritdoc/>
    IReadOnlyList<TreeChange> IContainerArchives.Changes(string container, CancellationToken cancel)
    {
        if (_images.FindContainer(Find(container).Record.Id) is not { } snapshot)
        {
            return [];
        }

        using var upper = RootedDirectory.Open(snapshot.UpperDirectory);
        using var below = snapshot.LowerDirectories.Count == 0 ? null : OverlayView.Open(snapshot.LowerDirectories, _volumes.ViewDirectory);
        return TreeChanges.Of(upper, below, PlacesOfAll, cancel);
    }

    private static void Extract(RootedDirectory root, byte[] into, Stream archive, ExtractOptions options, CancellationToken cancel)
    {
        try
        {
            using var plain = Compression.Open(archive);
            TreeExtractor.Extract(root, into, new TarReader(plain, null), options, cancel);
        }
        catch (Exception e) when (Compression.IsDamage(e))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the archive cannot be decompressed: {e.Message}", e);
        }
    }

    /// <summary>As Go's path.Clean of the path beneath the root, but a slash or a slash and a dot at its end stay: they ask for what a link leads to.</summary>
    private static string Whole(string path)
    {
        if (path.Length == 0 || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.Invalid, path.Length == 0 ? "no path: the query needs path=" : "a path cannot have a zero byte in it");
        }

        var parts = new List<string>();
        foreach (var part in path.Split('/'))
        {
            if (part == "..")
            {
                parts.RemoveRange(Math.Max(parts.Count - 1, 0), Math.Min(parts.Count, 1));
            }
            else if (part is not ("" or "."))
            {
                parts.Add(part);
            }
        }

        var whole = "/" + string.Join('/', parts);
        var separator = whole.Length > 1 ? "/" : string.Empty;
        return path == "." || path.EndsWith("/.", StringComparison.Ordinal) ? $"{whole}{separator}." : path.EndsWith('/') ? whole + separator : whole;
    }

    /// <summary>The last part of a whole path, as Go's filepath.Base.</summary>
    private static string NameOf(string whole) => whole == "/" ? "/" : whole.TrimEnd('/')[(whole.TrimEnd('/').LastIndexOf('/') + 1)..];

    private static bool AsksForDirectory(string whole) => whole.EndsWith('/') || whole.EndsWith("/.", StringComparison.Ordinal);

    private static (byte[] Directory, byte[] Name) Split(string whole)
    {
        var slash = whole.LastIndexOf('/');
        return (Encoding.UTF8.GetBytes(whole[..slash].Trim('/')), Encoding.UTF8.GetBytes(whole[(slash + 1)..]));
    }

    /// <summary>Opens what is at a path: a directory itself, else the directory that it is in, so that it is the same when it is read.</summary>
    private static Fd Place(RootedDirectory root, string whole, ContainerRecord record, string path, out ContainerPathStatus status)
    {
        if (AsksForDirectory(whole))
        {
            var directory = root.TryOpenDirectory(Encoding.UTF8.GetBytes(whole.Trim('/')), out var error) ?? throw NotThere(error, record, path);
            status = new ContainerPathStatus(NameOf(whole), RootedDirectory.Stat(directory), string.Empty);
            return directory;
        }

        var (above, name) = Split(whole);
        var parent = root.TryOpenDirectory(above, out var failure) ?? throw NotThere(failure, record, path);
        try
        {
            var facts = RootedDirectory.Stat(parent, name) ?? throw NotThere(Errno.ENOENT, record, path);
            if (!facts.IsDirectory)
            {
                status = new ContainerPathStatus(NameOf(whole), facts, facts.IsSymbolicLink ? Evaluate(root, whole) : string.Empty);
                return parent;
            }

            var itself = RootedDirectory.OpenNamedDirectory(parent, name);
            parent.Dispose();
            status = new ContainerPathStatus(NameOf(whole), RootedDirectory.Stat(itself), string.Empty);
            return itself;
        }
        catch
        {
            parent.Dispose();
            throw;
        }
    }

    private static EdgeHostException NotThere(Errno error, ContainerRecord record, string path) => error switch
    {
        Errno.ENOENT => new EdgeHostException(ErrorKind.NotFound, $"Could not find the file {path} in container {record.Name}"),
        Errno.ENOTDIR or Errno.ELOOP or Errno.ENAMETOOLONG => new EdgeHostException(ErrorKind.Invalid, new LinuxException($"open {path} in container {record.Name}", error).Message),
        _ => new LinuxException($"open {path} in container {record.Name}", error),
    };

    /// <summary>
    /// Where a path leads when all symbolic links are followed within the root, as far as it exists. For people and for
    /// what is asked next: whatever is done at a path is resolved anew, by the kernel.
    /// </summary>
    private static string Evaluate(RootedDirectory root, string whole)
    {
        var left = new Stack<string>(whole.Split('/').Reverse());
        var done = new List<string>();
        for (var links = 0; left.TryPop(out var part);)
        {
            if (part is "" or ".")
            {
                continue;
            }

            if (part == "..")
            {
                done.RemoveRange(Math.Max(done.Count - 1, 0), Math.Min(done.Count, 1));
                continue;
            }

            using var parent = root.TryOpenDirectory(Encoding.UTF8.GetBytes(string.Join('/', done)), out _);
            var name = Encoding.UTF8.GetBytes(part);
            if (parent is null || name.Length > RootedDirectory.MaximumName || RootedDirectory.Stat(parent, name) is not { IsSymbolicLink: true } || ++links > MostLinks)
            {
                done.Add(part);
                continue;
            }

            var target = Encoding.UTF8.GetString(RootedDirectory.ReadSymbolicLink(parent, name));
            if (target.StartsWith('/'))
            {
                done.Clear();
            }

            foreach (var each in target.Split('/').Reverse())
            {
                left.Push(each);
            }
        }

        return "/" + string.Join('/', done);
    }

    /// <summary>Docker's own look before it writes, and its words; what the kernel refuses besides, it refuses.</summary>
    private static void RequireWritable(ContainerSpec spec, string path)
    {
        for (var i = spec.Mounts.Count - 1; i >= 0; i--)
        {
            var target = "/" + spec.Mounts[i].Target.Trim('/');
            if (path == target || path.StartsWith(target + "/", StringComparison.Ordinal))
            {
                if (spec.Mounts[i].ReadOnly)
                {
                    throw new EdgeHostException(ErrorKind.Invalid, "mounted volume is marked read-only");
                }

                return;
            }
        }

        if (spec.ReadOnlyRoot)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "container rootfs is marked read-only");
        }
    }

    private ContainerUser UserOf(ContainerRecord record, string asked)
    {
        var snapshot = _images.FindContainer(record.Id) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such container: {record.Name}");
        return ContainerUser.Find(asked, [snapshot.UpperDirectory, .. snapshot.LowerDirectories]);
    }

    private async Task WriteAsync(Container container, Action<RootedDirectory, ContainerRecord> write, CancellationToken cancel)
    {
        while (true)
        {
            using (var running = TryOpenRunning(container))
            {
                if (running is not null)
                {
                    await InThreadAsync(() =>
                    {
                        running.Users?.TakeOn();
                        write(running, container.Record);
                    }).ConfigureAwait(false);
                    return;
                }
            }

            // Its layer may be mounted once at a time: nobody starts it meanwhile.
            using var turn = await container.TakeTurnAsync(cancel).ConfigureAwait(false);
            using (var running = TryOpenRunning(container))
            {
                if (running is not null)
                {
                    // Started while we waited; its end must not have to wait for us.
                    continue;
                }
            }

            using var root = OpenStopped(container, write: true)!;
            await InThreadAsync(() => write(root, container.Record)).ConfigureAwait(false);
            return;
        }
    }

    /// <summary>Opens a container's root to be read.</summary>
    private async Task<RootedDirectory> OpenRootAsync(Container container, CancellationToken cancel)
    {
        if ((TryOpenRunning(container) ?? OpenStopped(container, write: false)) is { } root)
        {
            return root;
        }

        // The place of a mount is missing, since it has never been started, or all of it since a power cut: a start would
        // make it.
        using var turn = await container.TakeTurnAsync(cancel).ConfigureAwait(false);
        if (TryOpenRunning(container) is { } running)
        {
            return running;
        }

        OpenStopped(container, write: true)!.Dispose();
        return OpenStopped(container, write: false) ?? throw new EdgeHostException(ErrorKind.Internal, $"container {container.Record.Name}: the place of a mount cannot be made");
    }

    private static RootedDirectory? TryOpenRunning(Container container)
    {
        var record = container.Record;
        return record.State == ContainerState.Running ? OverlayView.TryOpenProcess(record.Pid, record.StartTime, record.Users) : null;
    }

    /// <summary>The file system of a container that does not run.</summary>
    /// <param name="container">Its turn is held for a view that is written into.</param>
    /// <param name="write">Whether it is written into, and what a start would make is made.</param>
    /// <returns>Null when something is missing that a start would make, and it is only read.</returns>
    private RootedDirectory? OpenStopped(Container container, bool write)
    {
        var record = container.Record;
        if (write)
        {
            // The root of its last run is over the same layer.
            container.Unmounted.Wait();
        }

        // Without the turn it may be removed meanwhile, and must not be made anew.
        var snapshot = write ? _images.Prepare(record.ImageId, record.Id, durable: ContainerFiles.IsDurable(record)) : _images.FindContainer(record.Id);
        if (snapshot is null)
        {
            return null;
        }

        var mounts = new List<ViewMount>();
        foreach (var mount in record.Spec.Mounts)
        {
            if (mount.Kind == ContainerMountKind.Tmpfs)
            {
                // What was in it went with the last run.
                continue;
            }

            var source = mount.Kind != ContainerMountKind.Volume ? mount.Source : write ? _volumes.Ensure(mount.Source) : VolumeStore.PathOf(_options.DataDirectory, mount.Source);
            if (!write && !Path.Exists(source))
            {
                return null;
            }

            mounts.Add(Path.Exists(source)
                ? new ViewMount(source, mount.Target, mount.ReadOnly)
                : throw new EdgeHostException(ErrorKind.Invalid, $"bind source path does not exist: {source}"));
        }

        return OverlayView.TryOpenContainer(snapshot.Below, snapshot.UpperDirectory, write ? snapshot.WorkDirectory : null, mounts, _volumes.ViewDirectory);
    }

    // Archives are read and written without async, by a thread that nobody else waits for and that ends with it.
    private static Task InThreadAsync(Action work) =>
        Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private sealed class OpenArchive(RootedDirectory root, Fd place, string whole, ContainerPathStatus status) : ContainerArchive
    {
        // What the kernel makes up, and the devices that a start makes: they belong to a run, as in Docker, which does
        // not see them at all. Who asks for them by name gets them.
        private static readonly string[] Made = ["/proc", "/sys", "/dev"];

        public override ContainerPathStatus Status => status;

        public override void WriteTo(Stream output, CancellationToken cancel)
        {
            var tar = new TarWriter(output);
            var name = Encoding.UTF8.GetBytes(status.Name == "/" ? string.Empty : status.Name);
            if (status.Facts.IsDirectory)
            {
                using var directory = RootedDirectory.Over(place, whole, root.Users);
                var above = Evaluate(root, whole).TrimEnd('/');
                TreeArchive.WriteDirectory(directory, name, tar, below => Made.Contains($"{above}/{Encoding.UTF8.GetString(below)}"), cancel);
            }
            else
            {
                TreeArchive.WriteFile(place, Split(whole).Name, name, tar, root.Users, cancel);
            }

            tar.Finish();
        }

        public override void Dispose()
        {
            place.Dispose();
            root.Dispose();
        }
    }
}
