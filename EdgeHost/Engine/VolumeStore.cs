using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>The facts of a volume, beside its data.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Created">When it was made.</param>
/// <param name="Anonymous">Whether nobody gave it a name.</param>
internal sealed record VolumeFacts(string Name, DateTimeOffset Created, bool Anonymous)
{
    /// <summary>What was said about it when it was made.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }
}

/// <summary>
/// Volumes on disk: <c>volumes/NAME/{_data,volume.json}</c>. One is made under a name that begins with <c>.new-</c> and
/// renamed when all of it is on disk, and removed by way of a name that begins with <c>.gone-</c>, so a name is always
/// whole. Nothing is kept in memory: the directories are what there is.
/// </summary>
internal sealed partial class VolumeStore : IVolumes
{
    private const string FactsName = "volume.json";
    private const string DataName = "_data";
    private const int MaximumFactsBytes = 1 << 20;
    private const int AnonymousNameLength = 64;

    private readonly string _root;
    private readonly string _viewDirectory;
    private readonly Func<string, IReadOnlyList<string>> _containersOf;
    private readonly Action<string, string, (string Name, string Value)[]> _tell;
    private readonly ILogger _log;

    // Held for what is decided about names, never while data is copied or removed.
    private readonly Lock _naming = new();

    /// <summary>Finishes or takes away what a power cut left half done.</summary>
    /// <param name="dataDirectory">Of the engine.</param>
    /// <param name="runDirectory">Of the engine.</param>
    /// <param name="containersOf">The ids of the containers that have a volume.</param>
    /// <param name="tell">Told of what happens to a volume: the action, its name, more about it.</param>
    /// <param name="log">For what an operator is to know.</param>
    internal VolumeStore(
        string dataDirectory,
        string runDirectory,
        Func<string, IReadOnlyList<string>> containersOf,
        Action<string, string, (string Name, string Value)[]> tell,
        ILogger log)
    {
        _root = RootOf(dataDirectory);
        _viewDirectory = runDirectory + "/volumes";
        _containersOf = containersOf;
        _tell = tell;
        _log = log;
        Directory.CreateDirectory(_root);
        Directory.CreateDirectory(_viewDirectory);
        OverlayView.Sweep(_viewDirectory);
        var unfinished = new List<string>();
        foreach (var path in Directory.EnumerateFileSystemEntries(_root))
        {
            var name = Path.GetFileName(path);
            if (name.StartsWith(".new-", StringComparison.Ordinal) || name.StartsWith(".gone-", StringComparison.Ordinal))
            {
                unfinished.Add(name);
            }
            else if (IsName(name) && Directory.Exists($"{path}/{FillName}"))
            {
                FinishFill(name);
            }
        }

        // Nobody sees them, and a large tree takes its time: the daemon does not wait.
        Swept = Task.Run(() => unfinished.ForEach(TryRemoveTree));
    }

    /// <summary>Where mount points may be made for a moment; a start takes away what is left there.</summary>
    internal string ViewDirectory => _viewDirectory;

    /// <summary>Done once what was left half removed is gone.</summary>
    internal Task Swept { get; }

    /// <summary>Where the data of a volume is.</summary>
    internal static string PathOf(string dataDirectory, string name) => $"{RootOf(dataDirectory)}/{name}/{DataName}";

    /// <inheritdoc/>
    public VolumeStatus Create(string? name, IReadOnlyDictionary<string, string> labels)
    {
        var anonymous = string.IsNullOrEmpty(name);
        name = anonymous ? NewAnonymousName() : name!;
        RequireName(name);
        if (Find(name) is { } there)
        {
            return there;
        }

        Publish(Stage(new VolumeFacts(name, DateTimeOffset.UtcNow, anonymous) { Labels = labels }, null), name);
        return Inspect(name);
    }

    /// <inheritdoc/>
    public IReadOnlyList<VolumeStatus> List()
    {
        var found = new List<VolumeStatus>();
        foreach (var path in Directory.EnumerateFileSystemEntries(_root))
        {
            var name = Path.GetFileName(path);
            if (!IsName(name))
            {
                continue;
            }

            try
            {
                if (Find(name) is { } volume)
                {
                    found.Add(volume);
                }
            }
            catch (EdgeHostException e)
            {
                // One that cannot be used must not hide the others.
                LogUnusable(_log, e.Message);
            }
        }

        return [.. found.OrderBy(volume => volume.Name, StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public VolumeStatus Inspect(string name) =>
        Find(name) ?? throw new EdgeHostException(ErrorKind.NotFound, $"get {name}: no such volume");

    /// <inheritdoc/>
    public void Remove(string name)
    {
        RequireName(name);
        if (!Path.Exists($"{_root}/{name}") && !IsDangling(name))
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"get {name}: no such volume");
        }

        if (!TryRemove(name, container: null, out var users))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"remove {name}: volume is in use - [{string.Join(", ", users)}]");
        }
    }

    /// <inheritdoc/>
    public VolumePruning Prune(Func<VolumeStatus, bool> fits, CancellationToken cancel)
    {
        var removed = new List<string>();
        var bytes = 0L;
        foreach (var volume in List().Where(volume => volume.Containers.Count == 0 && fits(volume)))
        {
            var size = MeasureBytes(volume.Name, cancel);
            if (TryRemove(volume.Name, container: null, out _))
            {
                removed.Add(volume.Name);
                bytes += size;
            }
        }

        _tell("prune", string.Empty, [("reclaimed", bytes.ToString(System.Globalization.CultureInfo.InvariantCulture))]);
        return new VolumePruning(removed, bytes);
    }

    /// <inheritdoc/>
    public long MeasureBytes(string name, CancellationToken cancel) => TreeSize.Of(Inspect(name).Directory, cancel);

    /// <summary>A name for a volume that nobody named.</summary>
    internal static string NewAnonymousName() => RandomNumberGenerator.GetHexString(AnonymousNameLength, lowercase: true);

    /// <summary>The directory of a volume that a container is to get, made empty where nothing of that name is left.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not a name; <see cref="ErrorKind.Corrupt"/>: something else stands there.</exception>
    internal string Ensure(string name) =>
        (Find(name) ?? Create(name, new Dictionary<string, string>())).Directory;

    /// <summary>Removes a volume that was made for a container alone, unless another one has it as well. Not there: no error.</summary>
    internal void RemoveWith(string name, string container) => TryRemove(name, container, out _);

    /// <summary>Refuses what is no name.</summary>
    internal static void RequireName(string name)
    {
        if (!IsName(name))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"volume name \"{name}\" must be letters, digits, _, . and -, beginning with a letter or digit; a path must begin with /");
        }
    }

    private static string RootOf(string dataDirectory) => dataDirectory + "/volumes";

    private static bool IsName(string name) =>
        name.Length is > 0 and <= 255 && char.IsAsciiLetterOrDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-');

    private bool IsDangling(string name) => new FileInfo($"{_root}/{name}").LinkTarget is not null;

    /// <summary>A volume; null when nothing has that name.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Corrupt"/>: a file or a symbolic link stands where its directories are to be.</exception>
    private VolumeStatus? Find(string name)
    {
        RequireName(name);
        using var root = Files.OpenDirectory(_root);
        switch (RootedDirectory.Stat(root, Encoding.ASCII.GetBytes(name)))
        {
            case null:
                return null;
            case { IsDirectory: false }:
                throw new EdgeHostException(ErrorKind.Corrupt, $"volume {name}: {_root}/{name} is not a directory but something else, and is not followed; move it away, or remove the volume");
        }

        using (var directory = RootedDirectory.OpenNamedDirectory(root, Encoding.ASCII.GetBytes(name)))
        {
            var data = RootedDirectory.Stat(directory, Encoding.ASCII.GetBytes(DataName));
            if (data is not { IsDirectory: true })
            {
                // Removed between the two looks?
                return Directory.Exists($"{_root}/{name}")
                    ? throw new EdgeHostException(ErrorKind.Corrupt, $"volume {name}: its data, {_root}/{name}/{DataName}, {(data is null ? "is gone" : "is not a directory but something else, and is not followed")}; put a directory back, or remove the volume")
                    : null;
            }
        }

        var facts = ReadFacts(name);
        return new VolumeStatus(name, $"{_root}/{name}/{DataName}", facts.Created, facts.Anonymous, facts.Labels ?? new Dictionary<string, string>(), _containersOf(name));
    }

    private VolumeFacts ReadFacts(string name)
    {
        var file = $"{_root}/{name}/{FactsName}";
        lock (_naming)
        {
            string why;
            try
            {
                if (CheckedFile.Read(file, MaximumFactsBytes) is { } bytes
                    && JsonSerializer.Deserialize(bytes, EngineJson.Default.VolumeFacts) is { } facts
                    && facts.Name == name)
                {
                    return facts;
                }

                why = File.Exists(file) ? "it is of another volume" : "it is missing";
            }
            catch (Exception e) when (e is JsonException or EdgeHostException { Kind: ErrorKind.Corrupt })
            {
                why = e.Message;
            }

            if (File.Exists(file))
            {
                CheckedFile.SetAside(file);
            }

            // The data is what counts, and it is there. Its labels are lost.
            var rebuilt = new VolumeFacts(
                name,
                new DateTimeOffset(Directory.GetCreationTimeUtc($"{_root}/{name}/{DataName}"), TimeSpan.Zero),
                name.Length == AnonymousNameLength && name.All(char.IsAsciiHexDigitLower));
            CheckedFile.Write(file, JsonSerializer.SerializeToUtf8Bytes(rebuilt, EngineJson.Default.VolumeFacts));
            LogRebuilt(_log, name, file, why);
            return rebuilt;
        }
    }

    /// <summary>Makes a volume whole under a name that nobody sees.</summary>
    private string Stage(VolumeFacts facts, Func<RootedDirectory, bool>? fill)
    {
        var staged = $".new-{Guid.NewGuid():n}";
        try
        {
            var data = $"{_root}/{staged}/{DataName}";
            Files.TryMakeDirectory($"{_root}/{staged}", 0x1ED);
            Files.TryMakeDirectory(data, 0x1ED);
            using (var directory = RootedDirectory.Open(data))
            {
                RootedDirectory.SetOwnerAndMode(directory.Root, 0, 0, 0x1ED, "/"u8);
                if (fill?.Invoke(directory) == true)
                {
                    // One flush for all files: one for each is slower by far with thousands of small ones.
                    directory.FlushFileSystem();
                }
            }

            CheckedFile.Write($"{_root}/{staged}/{FactsName}", JsonSerializer.SerializeToUtf8Bytes(facts, EngineJson.Default.VolumeFacts));
            return staged;
        }
        catch
        {
            TryRemoveTree(staged);
            throw;
        }
    }

    /// <summary>Gives a staged volume its name.</summary>
    /// <returns>False when the name was taken meanwhile; what was staged is gone then.</returns>
    private bool Publish(string staged, string name)
    {
        lock (_naming)
        {
            using var root = Files.OpenDirectory(_root);
            if (RootedDirectory.Stat(root, Encoding.ASCII.GetBytes(name)) is null)
            {
                RootedDirectory.Rename(root, Encoding.ASCII.GetBytes(staged), Encoding.ASCII.GetBytes(name));
                Files.FlushDirectory(_root);
                _tell("create", name, []);
                return true;
            }
        }

        TryRemoveTree(staged);
        return false;
    }

    /// <summary>Takes a volume away unless somebody has it; a container that is being removed itself does not count.</summary>
    private bool TryRemove(string name, string? container, out IReadOnlyList<string> users)
    {
        string gone;
        lock (_naming)
        {
            // A container is known before it asks for its volumes: one that is made now finds the name free, and makes its own.
            users = [.. _containersOf(name).Where(user => user != container)];
            if (users.Count > 0)
            {
                return false;
            }

            using var root = Files.OpenDirectory(_root);
            if (RootedDirectory.Stat(root, Encoding.ASCII.GetBytes(name)) is null)
            {
                return true;
            }

            gone = $".gone-{Guid.NewGuid():n}";
            RootedDirectory.Rename(root, Encoding.ASCII.GetBytes(name), Encoding.ASCII.GetBytes(gone));
            Files.FlushDirectory(_root);
        }

        TryRemoveTree(gone);
        _tell("destroy", name, []);
        return true;
    }

    private void TryRemoveTree(string name)
    {
        try
        {
            using var root = Files.OpenDirectory(_root);
            RootedDirectory.Remove(root, Encoding.ASCII.GetBytes(name));
        }
        catch (LinuxException e)
        {
            LogStuck(_log, $"{_root}/{name}", e.Message);
        }
    }
}
