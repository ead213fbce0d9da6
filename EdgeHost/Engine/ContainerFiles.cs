using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Logger;
using EdgeHost.State;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>
/// Containers on disk, in three places: a file in the data directory for those that must survive a power cut, a file
/// in the run directory for all of this boot, and rows in the database for all. Files win over rows.
/// </summary>
internal sealed partial class ContainerFiles
{
    private const int MaximumRecordBytes = 1 << 20;
    private const string Gone = ".gone-";

    private readonly EngineOptions _options;
    private readonly StateTable<ContainerRecord> _table;
    private readonly ILogger _log;

    internal ContainerFiles(EngineOptions options, StateDatabase state, ILogger log)
    {
        _options = options;
        _log = log;
        _table = state.Table("containers", EngineJson.Default.ContainerRecord);
        Directory.CreateDirectory(options.DataDirectory + "/containers");
        Directory.CreateDirectory(options.RunDirectory + "/containers");

        // The run directory is for everybody; what containers are told is to be read in them alone, by whatever user runs there.
        File.SetUnixFileMode(options.RunDirectory + "/containers", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(options.RunDirectory + "/rootfs");
        foreach (var root in (ReadOnlySpan<string>)[options.RunDirectory, options.DataDirectory])
        {
            foreach (var left in Directory.EnumerateDirectories(root + "/containers", Gone + "*"))
            {
                Afterwards.Add(() => RemoveGone(left));
            }
        }

        try
        {
            LogBudget.Set(options.DataDirectory + "/containers", options.LogTotalBytes);
        }
        catch (EdgeHostException e)
        {
            // A full disk, for one: what is kept of logs is not worth the start.
            LogNoBudget(log, e.Message);
        }
    }

    internal string DataDirectory(string id) => $"{_options.DataDirectory}/containers/{id}";

    internal string RunDirectory(string id) => $"{_options.RunDirectory}/containers/{id}";

    /// <summary>Where each container mounts its root, in its own mount namespace.</summary>
    internal string MountPoint => _options.RunDirectory + "/rootfs";

    internal string LogDirectory(string id) => $"{_options.DataDirectory}/containers/{id}/log";

    /// <summary>Whether a container must be on disk before it is acknowledged.</summary>
    internal static bool IsDurable(ContainerRecord record) => record.Spec.Restart.Kind != RestartKind.No;

    /// <summary>Writes a container that is new or whose facts have changed.</summary>
    internal void SaveFacts(ContainerRecord record)
    {
        Directory.CreateDirectory(LogDirectory(record.Id));
        if (IsDurable(record))
        {
            CheckedFile.Write(FactsFile(record.Id), JsonSerializer.SerializeToUtf8Bytes(record, EngineJson.Default.ContainerRecord));
            Files.FlushDirectory(_options.DataDirectory + "/containers");
        }
        else if (File.Exists(FactsFile(record.Id)))
        {
            // It had a restart policy once: what is written there would win.
            DurableFile.Remove(FactsFile(record.Id));
        }

        SaveProgress(record);
    }

    /// <summary>Writes how far a container is: at once for this boot, with the next batch for later ones.</summary>
    internal void SaveProgress(ContainerRecord record)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(record, EngineJson.Default.ContainerRecord);
        try
        {
            DurableFile.WriteVolatile(RunFile(record.Id), json);
        }
        catch (LinuxException e) when (e.Errno == Errno.ENOENT)
        {
            Directory.CreateDirectory(RunDirectory(record.Id));
            DurableFile.WriteVolatile(RunFile(record.Id), json);
        }

        _table.Upsert(record.Id, record, json);
    }

    /// <summary>Writes what is known of a container's health, for daemons of this boot.</summary>
    internal void SaveHealth(string id, ContainerHealth health) =>
        DurableFile.WriteVolatile(HealthFile(id), JsonSerializer.SerializeToUtf8Bytes(health, EngineJson.Default.ContainerHealth));

    /// <summary>What was known of it in this boot; null when nothing was.</summary>
    internal ContainerHealth? LoadHealth(string id)
    {
        try
        {
            return ReadPlain(HealthFile(id), MaximumRecordBytes) is { } bytes ? JsonSerializer.Deserialize(bytes, EngineJson.Default.ContainerHealth) : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            LogDamaged(_log, HealthFile(id), e.Message);
            return null;
        }
    }

    /// <summary>From here on a lost power brings it back no more; the next start takes away what it still had.</summary>
    internal void Forget(ContainerRecord record)
    {
        if (File.Exists(FactsFile(record.Id)))
        {
            DurableFile.Remove(FactsFile(record.Id));
        }
    }

    /// <summary>Removes all traces of a container that was forgotten; its layer and volumes are gone by then.</summary>
    internal void Remove(ContainerRecord record)
    {
        // Out of sight at once; what they hold goes on its own time, or with the next start.
        PutAside(_options.RunDirectory, record.Id);
        PutAside(_options.DataDirectory, record.Id);
        _table.Delete(record.Id);
    }

    /// <summary>Removes what a lost power has left of containers that were being made or removed. What has facts that cannot be read stays.</summary>
    internal void RemoveOthers(Predicate<string> isThere)
    {
        foreach (var directory in Directory.GetDirectories(_options.DataDirectory + "/containers"))
        {
            var id = Path.GetFileName(directory);
            if (!id.StartsWith('.') && !isThere(id) && !File.Exists(FactsFile(id)))
            {
                PutAside(_options.DataDirectory, id);
            }
        }
    }

    private void PutAside(string root, string id)
    {
        var gone = $"{root}/containers/{Gone}{id}";
        if (Files.TryRename($"{root}/containers/{id}", gone))
        {
            Afterwards.Add(() => RemoveGone(gone));
        }
        else
        {
            DeleteTree($"{root}/containers/{id}");
        }
    }

    private void RemoveGone(string directory)
    {
        try
        {
            DeleteTree(directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogStuck(_log, directory, e.Message);
        }
    }

    /// <summary>
    /// All containers that are there. What is found in no file any more was removed, unless another boot wrote it; what
    /// has no directory any more was removed by any.
    /// </summary>
    internal IReadOnlyList<ContainerRecord> LoadAll()
    {
        var boot = SystemIdentity.BootId;
        var found = new Dictionary<string, ContainerRecord>(StringComparer.Ordinal);
        foreach (var row in _table.Rows.Values)
        {
            found[row.Id] = row;
        }

        var facts = Read(_options.DataDirectory, FactsFile, CheckedFile.Read);
        var running = Read(_options.RunDirectory, RunFile, ReadPlain);
        foreach (var (id, row) in found.ToArray())
        {
            var lostFacts = IsDurable(row) && !facts.ContainsKey(id);
            var lostProgress = row.BootId == boot && !running.ContainsKey(id);
            if (lostFacts || (lostProgress && !facts.ContainsKey(id)) || !Directory.Exists(DataDirectory(id)))
            {
                found.Remove(id);
                _table.Delete(id);
            }
        }

        foreach (var (id, fact) in facts)
        {
            // The row knows how far it was, unless a power cut kept its last batch from the disk: one that was written before a
            // start or a stop by hand says nothing of what came after it. The file knows what it is.
            found[id] = found.TryGetValue(id, out var row) && row.Started == fact.Started && row.StoppedByHand == fact.StoppedByHand
                ? row with { Name = fact.Name, Spec = fact.Spec, Effective = fact.Effective, ImageId = fact.ImageId, Arguments = fact.Arguments }
                : fact;
        }

        foreach (var (id, progress) in running)
        {
            if (progress.BootId == boot && (!IsDurable(progress) || facts.ContainsKey(id)))
            {
                found[id] = facts.TryGetValue(id, out var fact) ? progress with { Name = fact.Name, StoppedByHand = fact.StoppedByHand } : progress;
            }
        }

        foreach (var record in found.Values.Where(record => _table.Find(record.Id) is null))
        {
            LogRebuilt(_log, record.Name, record.Id[..12]);
            _table.Upsert(record.Id, record);
        }

        return [.. found.Values];
    }

    /// <summary>What the shepherd wrote down of an exit that nobody took.</summary>
    internal (int ExitCode, DateTimeOffset At)? ReadExit(ContainerRecord record)
    {
        var file = RunDirectory(record.Id) + "/exit";
        if (!File.Exists(file))
        {
            return null;
        }

        var words = File.ReadAllText(file).Split(' ', StringSplitOptions.TrimEntries);
        return words.Length == 4
            && int.TryParse(words[0], out var pid) && pid == record.Pid
            && long.TryParse(words[1], out var start) && start == record.StartTime
            && int.TryParse(words[2], out var code)
            && long.TryParse(words[3], out var at)
            ? (code, DateTimeOffset.FromUnixTimeMilliseconds(at))
            : null;
    }

    private string FactsFile(string id) => DataDirectory(id) + "/container.json";

    private string HealthFile(string id) => RunDirectory(id) + "/health.json";

    private string RunFile(string id) => RunDirectory(id) + "/container.json";

    private static byte[]? ReadPlain(string file, int maximum) =>
        File.Exists(file) && new FileInfo(file).Length <= maximum ? File.ReadAllBytes(file) : null;

    private static void DeleteTree(string directory)
    {
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private Dictionary<string, ContainerRecord> Read(string root, Func<string, string> file, Func<string, int, byte[]?> read)
    {
        var records = new Dictionary<string, ContainerRecord>(StringComparer.Ordinal);
        foreach (var directory in Directory.EnumerateDirectories(root + "/containers"))
        {
            var id = Path.GetFileName(directory);
            if (id.StartsWith('.'))
            {
                continue;
            }

            try
            {
                if (read(file(id), MaximumRecordBytes) is { } bytes
                    && JsonSerializer.Deserialize(bytes, EngineJson.Default.ContainerRecord) is { } record
                    && record.Id == id)
                {
                    records[id] = record;
                }
            }
            catch (Exception e) when (e is JsonException or EdgeHostException)
            {
                LogDamaged(_log, file(id), e.Message);
            }
        }

        return records;
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "container {Name} ({Id}) was taken back from its files: the database did not have it")]
    private static partial void LogRebuilt(ILogger log, string name, string id);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Directory} cannot be removed: {Why}; the next start tries again")]
    private static partial void LogStuck(ILogger log, string directory, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "the bound of all logs is as it was: {Why}")]
    private static partial void LogNoBudget(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "{File} is damaged and was passed over: {Why}")]
    private static partial void LogDamaged(ILogger log, string file, string why);
}
