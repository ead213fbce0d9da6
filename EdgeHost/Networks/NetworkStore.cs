using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>Networks on disk: <c>networks/NAME.json</c>, each on its own and checked; there is no other record of them.</summary>
internal sealed partial class NetworkStore
{
    private const int MaximumBytes = 64 << 10;

    private readonly string _directory;
    private readonly Dictionary<string, NetworkRecord> _records = new(StringComparer.Ordinal);

    internal NetworkStore(string dataDirectory, ILogger log)
    {
        _directory = dataDirectory + "/networks";
        Directory.CreateDirectory(_directory);
        foreach (var file in Directory.EnumerateFiles(_directory, "*.json"))
        {
            try
            {
                var record = JsonSerializer.Deserialize(CheckedFile.Read(file, MaximumBytes), NetworkJson.Default.NetworkRecord)!;
                _records[record.Name] = record;
            }
            catch (Exception e) when (e is EdgeHostException or JsonException or IOException)
            {
                // What is in it is lost, but it may help to find out why: it stays, under another name.
                File.Move(file, file + ".damaged", overwrite: true);
                LogDamaged(log, file, e.Message);
            }
        }
    }

    /// <summary>All, the oldest first.</summary>
    internal IReadOnlyList<NetworkRecord> All => [.. _records.Values.OrderBy(each => each.Created)];

    /// <summary>The network of a name, an id, or the beginning of an id that no other has.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>, or <see cref="ErrorKind.Invalid"/> when more than one begins so.</exception>
    internal NetworkRecord Find(string nameOrId)
    {
        if (_records.TryGetValue(nameOrId, out var named))
        {
            return named;
        }

        var found = nameOrId.Length == 0 ? [] : _records.Values.Where(each => each.Id.StartsWith(nameOrId, StringComparison.Ordinal)).Take(2).ToList();
        return found.Count switch
        {
            1 => found[0],
            0 => throw new EdgeHostException(ErrorKind.NotFound, $"network {nameOrId} not found"),
            _ => throw new EdgeHostException(ErrorKind.Invalid, $"network id {nameOrId} is the beginning of more than one; give more of it"),
        };
    }

    /// <summary>Whether a name is taken.</summary>
    internal bool Has(string name) => _records.ContainsKey(name);

    /// <summary>Keeps a network; it is on disk when this returns.</summary>
    internal void Add(NetworkRecord record)
    {
        CheckedFile.Write(FileOf(record), JsonSerializer.SerializeToUtf8Bytes(record, NetworkJson.Default.NetworkRecord));
        _records[record.Name] = record;
    }

    /// <summary>Forgets a network.</summary>
    internal void Remove(NetworkRecord record)
    {
        DurableFile.Remove(FileOf(record));
        _records.Remove(record.Name);
    }

    private string FileOf(NetworkRecord record) => $"{_directory}/{record.Name}.json";

    [LoggerMessage(Level = LogLevel.Error, Message = "network {File} cannot be read and was set aside as {File}.damaged: {Reason}")]
    private static partial void LogDamaged(ILogger log, string file, string reason);
}
