using System.Globalization;
using System.Text;
using System.Text.Json.Serialization;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Images;

/// <summary>What lies beside a snapshot and says what it is.</summary>
internal sealed record SnapshotFacts
{
    /// <summary>Of a layer: the digest of it with all below it (OCI image-spec, config.md).</summary>
    public string? ChainId { get; init; }

    /// <summary>Of a layer: the digest of its uncompressed tar.</summary>
    public string? DiffId { get; init; }

    /// <summary>Of a layer: the chain below it; null for the lowest.</summary>
    public string? Parent { get; init; }

    /// <summary>Of a layer: whether nothing below it is seen.</summary>
    public bool OpaqueRoot { get; init; }

    /// <summary>Of a layer: bytes in its files.</summary>
    public long SizeBytes { get; init; }

    /// <summary>Of a container: its id.</summary>
    public string? ContainerId { get; init; }

    /// <summary>Of a container: its image.</summary>
    public string? ImageId { get; init; }
}

/// <summary>A snapshot that is held.</summary>
/// <param name="Directory">Its directory, with <c>fs</c> and, for a container, <c>work</c> in it.</param>
/// <param name="Facts">What it is.</param>
internal sealed record Snapshot(string Directory, SnapshotFacts Facts)
{
    internal string FileSystem => Path.Combine(Directory, "fs");

    internal string Work => Path.Combine(Directory, "work");

    /// <summary>Of a layer: what its tar had besides the files.</summary>
    internal string Record => Path.Combine(Directory, SnapshotStore.RecordName);
}

/// <summary>
/// The directories from which overlayfs is mounted: <c>N/fs</c> for a layer, <c>N/{fs,work}</c> for a container, with
/// <c>N/snapshot.json</c>, which says what it is, and for a layer <c>N/tar-record.gz</c> (<see cref="LayerTar"/>). A directory is made under a name that begins with <c>.new-</c> and renamed when
/// all of it is on disk, so a number is always whole. Numbers are short because all paths of a mount share one page.
/// <c>0/fs</c> lies below all layers of every container (<see cref="MountPoints"/>).
/// </summary>
internal sealed partial class SnapshotStore
{
    internal const string RecordName = "tar-record.gz";

    private const string FactsName = "snapshot.json";
    private const string MountPointsName = "0";

    private readonly string _directory;
    private readonly ILogger _logger;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Snapshot> _layers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Snapshot> _containers = new(StringComparer.Ordinal);
    private long _next = 1;

    /// <summary>Finds what is there, and removes what was never finished.</summary>
    internal SnapshotStore(string directory, ILogger logger)
    {
        _directory = directory;
        _logger = logger;
        Directory.CreateDirectory(directory);
        var unfinished = new List<string>();
        foreach (var path in Directory.EnumerateDirectories(directory))
        {
            var name = Path.GetFileName(path);
            if (name == MountPointsName)
            {
                continue;
            }

            if (!long.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            {
                LogUnfinished(logger, path);
                unfinished.Add(name);
                continue;
            }

            _next = Math.Max(_next, number + 1);
            var facts = FactsFile.Read(Path.Combine(path, FactsName), SnapshotJson.Default.SnapshotFacts, out var problem);
            if (facts?.ChainId is { } chain)
            {
                _layers[chain] = new Snapshot(path, facts);
            }
            else if (facts?.ContainerId is { } container)
            {
                _containers[container] = new Snapshot(path, facts);
            }
            else if (new FileInfo(Path.Combine(path, FactsName)) is not { Exists: true, Length: > 0 }
                || !Directory.Exists(Path.Combine(path, "fs"))
                || !Directory.EnumerateFileSystemEntries(Path.Combine(path, "fs")).Any())
            {
                // A container's layer that was made without waiting for the disk, in the moments before a power cut: what was
                // written first has not reached the disk, whatever else of it has.
                LogUnfinished(logger, path);
                unfinished.Add(name);
            }
            else
            {
                // Perhaps a container's only copy of its data: left for a person to look at.
                LogUnknown(logger, path, problem ?? $"{FactsName} is missing");
            }
        }

        // Nobody sees them, and a large tree takes its time: the daemon does not wait.
        Swept = Task.Run(() =>
        {
            foreach (var name in unfinished)
            {
                TryRemoveTree(name);
            }
        });
    }

    /// <summary>Done once what was never finished is removed.</summary>
    internal Task Swept { get; }

    /// <summary>
    /// A layer of what every container gets something mounted on, so that a start need not make it in the container's
    /// own layer, on the disk; what an image has of it is above. Null where there is no room for it.
    /// </summary>
    internal string? MountPoints
    {
        get
        {
            lock (_gate)
            {
                return field ??= MakeMountPoints();
            }
        }
    }

    internal string DirectoryPath => _directory;

    internal Snapshot? FindLayer(string chainId)
    {
        lock (_gate)
        {
            return _layers.GetValueOrDefault(chainId);
        }
    }

    internal Snapshot? FindContainer(string containerId)
    {
        lock (_gate)
        {
            return _containers.GetValueOrDefault(containerId);
        }
    }

    internal IReadOnlyList<Snapshot> Layers()
    {
        lock (_gate)
        {
            return [.. _layers.Values];
        }
    }

    internal IReadOnlyList<Snapshot> Containers()
    {
        lock (_gate)
        {
            return [.. _containers.Values];
        }
    }

    /// <summary>Makes an empty directory to unpack a layer into.</summary>
    /// <returns>Its name, for <see cref="Commit"/> or <see cref="RemoveTree"/>.</returns>
    internal string Stage()
    {
        var name = $".new-{Guid.NewGuid():n}";
        Directory.CreateDirectory(Path.Combine(_directory, name, "fs"));
        return name;
    }

    internal string StagedRecord(string name) => Path.Combine(_directory, name, RecordName);

    internal string StagedFileSystem(string name) => Path.Combine(_directory, name, "fs");

    /// <summary>Makes a staged layer visible once it is on disk.</summary>
    internal Snapshot Commit(string staged, SnapshotFacts facts)
    {
        File.WriteAllBytes(Path.Combine(_directory, staged, FactsName), FactsFile.Encode(facts, SnapshotJson.Default.SnapshotFacts));
        using (var root = RootedDirectory.Open(_directory))
        {
            // One flush for all files of the layer: a flush for each is slower by far with thousands of small ones.
            root.FlushFileSystem();
        }

        lock (_gate)
        {
            if (_layers.TryGetValue(facts.ChainId!, out var there))
            {
                RemoveTree(staged);
                return there;
            }

            var snapshot = new Snapshot(Publish(staged), facts);
            _layers[facts.ChainId!] = snapshot;
            return snapshot;
        }
    }

    /// <summary>Makes the writable layer of a container.</summary>
    /// <param name="facts">With the container's id.</param>
    /// <param name="topmost">The layer below, whose root's owner and mode become those of the container's root; null without layers.</param>
    /// <param name="durable">Whether it is on disk before this returns.</param>
    internal Snapshot AddContainer(SnapshotFacts facts, Snapshot? topmost, bool durable)
    {
        lock (_gate)
        {
            if (_containers.TryGetValue(facts.ContainerId!, out var there))
            {
                return there;
            }

            // Without waiting for the disk there is no moment from which it is whole for good, and no name to wait under.
            var name = durable ? $".new-{Guid.NewGuid():n}" : (_next++).ToString(CultureInfo.InvariantCulture);
            var path = Path.Combine(_directory, name);
            Make(path);
            try
            {
                Make(path + "/fs");
                Make(path + "/work");
                using (var upper = Files.OpenDirectory(path + "/fs"))
                {
                    if (topmost is not null)
                    {
                        using var below = Files.OpenDirectory(topmost.FileSystem);
                        var attributes = RootedDirectory.Stat(below);
                        RootedDirectory.SetOwnerAndMode(upper, attributes.Uid, attributes.Gid, attributes.Mode, "/"u8);
                    }
                    else
                    {
                        RootedDirectory.SetOwnerAndMode(upper, 0, 0, 0x1ED, "/"u8);
                    }
                }

                if (durable)
                {
                    FactsFile.Write(Path.Combine(path, FactsName), facts, SnapshotJson.Default.SnapshotFacts);
                    path = Publish(name);
                }
                else
                {
                    using var directory = Files.OpenDirectoryForPaths(path);
                    Files.WriteIn(directory, FactsName, FactsFile.Encode(facts, SnapshotJson.Default.SnapshotFacts), 0x1A4);
                }

                var snapshot = new Snapshot(path, facts);
                _containers[facts.ContainerId!] = snapshot;
                return snapshot;
            }
            catch
            {
                RemoveTree(name);
                throw;
            }
        }
    }

    private string? MakeMountPoints()
    {
        var path = Path.Combine(_directory, MountPointsName);
        if (Directory.Exists(path))
        {
            return Path.Combine(path, "fs");
        }

        string? staged = null;
        try
        {
            staged = Stage();
            var root = StagedFileSystem(staged);
            foreach (var name in (string[])["dev", "etc", "proc", "sys"])
            {
                Make(Path.Combine(root, name));
            }

            foreach (var name in (string[])["", "dev", "etc", "proc", "sys"])
            {
                File.SetUnixFileMode(Path.Combine(root, name), (UnixFileMode)0x1ED);
            }

            using (var etc = Files.OpenDirectoryForPaths(Path.Combine(root, "etc")))
            {
                foreach (var name in (string[])["hostname", "hosts", "resolv.conf"])
                {
                    Files.WriteIn(etc, name, [], 0x1A4);
                }
            }

            // Where a power cut takes some of it, a container makes that in its own layer.
            foreach (var part in (string[])[root + "/etc", root, Path.Combine(_directory, staged)])
            {
                Files.FlushDirectory(part);
            }

            Directory.Move(Path.Combine(_directory, staged), path);
            Files.FlushDirectory(_directory);
            return Path.Combine(path, "fs");
        }
        catch (Exception e) when (e is LinuxException or IOException or UnauthorizedAccessException)
        {
            LogNoMountPoints(_logger, path, e.Message);
            if (staged is not null)
            {
                TryRemoveTree(staged);
            }

            return null;
        }
    }

    private static void Make(string directory)
    {
        if (!Files.TryMakeDirectory(directory, 0x1ED))
        {
            throw new EdgeHost.Errors.EdgeHostException(EdgeHost.Errors.ErrorKind.Internal, $"{directory} is there already");
        }
    }

    /// <summary>Takes a snapshot away from everybody's sight.</summary>
    /// <returns>What is to be given to <see cref="RemoveTree"/>; the next start does it otherwise.</returns>
    internal string Detach(Snapshot snapshot)
    {
        lock (_gate)
        {
            if (snapshot.Facts.ChainId is { } chain)
            {
                _layers.Remove(chain);
            }
            else
            {
                _containers.Remove(snapshot.Facts.ContainerId!);
            }

            var gone = $".gone-{Guid.NewGuid():n}";
            Directory.Move(snapshot.Directory, Path.Combine(_directory, gone));
            return gone;
        }
    }

    internal void TryRemoveTree(string name)
    {
        try
        {
            RemoveTree(name);
        }
        catch (LinuxException e)
        {
            LogStuck(_logger, name, e.Message);
        }
    }

    internal void RemoveTree(string name)
    {
        using var directory = Files.OpenDirectory(_directory);
        RootedDirectory.Remove(directory, Encoding.UTF8.GetBytes(name));
    }

    private string Publish(string staged)
    {
        var path = Path.Combine(_directory, (_next++).ToString(CultureInfo.InvariantCulture));
        Directory.Move(Path.Combine(_directory, staged), path);
        Files.FlushDirectory(_directory);
        return path;
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Removing {Path}, which was never finished")]
    private static partial void LogUnfinished(ILogger logger, string path);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Name} cannot be removed: {Reason}; the next start tries again")]
    private static partial void LogStuck(ILogger logger, string name, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Path} cannot be made: {Reason}; mount points are made in each container's own layer")]
    private static partial void LogNoMountPoints(ILogger logger, string path, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Snapshot {Path} is left as it is, but not used: {Problem}")]
    private static partial void LogUnknown(ILogger logger, string path, string problem);
}

[JsonSourceGenerationOptions(GenerationMode = JsonSourceGenerationMode.Metadata, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(SnapshotFacts))]
internal sealed partial class SnapshotJson : JsonSerializerContext;
