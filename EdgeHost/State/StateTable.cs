using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;

namespace EdgeHost.State;

/// <summary>
/// The rows of one table, all in memory. A change is seen at once and is on disk with the next batch; who must not lose
/// it waits for <see cref="UpsertDurablyAsync"/> or <see cref="StateDatabase.FlushAsync"/>. Any thread may call.
/// </summary>
/// <typeparam name="T">The row.</typeparam>
public sealed class StateTable<T>
    where T : class
{
    private readonly StateDatabase _database;
    private readonly string _name;
    private readonly JsonTypeInfo<T> _type;
    private readonly ConcurrentDictionary<string, T> _rows = new(StringComparer.Ordinal);
    private readonly List<string> _unreadable = [];

    internal StateTable(StateDatabase database, string name, JsonTypeInfo<T> type, IEnumerable<KeyValuePair<string, string>> stored)
    {
        _database = database;
        _name = name;
        _type = type;
        foreach (var (id, json) in stored)
        {
            try
            {
                _rows[id] = JsonSerializer.Deserialize(json, type) ?? throw new JsonException("null");
            }
            catch (JsonException e)
            {
                _unreadable.Add($"{name}/{id}: {e.Message}");
            }
        }
    }

    /// <summary>The rows at this moment, by id.</summary>
    public IReadOnlyDictionary<string, T> Rows => _rows;

    /// <summary>Rows that are stored but are no <typeparamref name="T"/>, each in words. They stay until they are written or deleted.</summary>
    public IReadOnlyList<string> Unreadable => _unreadable;

    /// <summary>One row, or null.</summary>
    public T? Find(string id) => _rows.GetValueOrDefault(id);

    /// <summary>Puts a row in place of the one with the same id; on disk with the next batch.</summary>
    /// <param name="id">At most 512 bytes of UTF-8.</param>
    /// <param name="row">At most 1 MiB as JSON; it is read now and may change later.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the id or the row is too large.</exception>
    public void Upsert(string id, T row) => Put(id, row, JsonSerializer.Serialize(row, _type));

    /// <summary>As <see cref="Upsert(string, T)"/>, of a row that was written as JSON for another place already.</summary>
    public void Upsert(string id, T row, ReadOnlySpan<byte> json) => Put(id, row, System.Text.Encoding.UTF8.GetString(json));

    private void Put(string id, T row, string json) => _database.Change(_name, id, json, () => _rows[id] = row);

    /// <summary>Puts a row in place, and returns once it is on disk.</summary>
    /// <inheritdoc cref="Upsert(string, T)" path="/param|/exception"/>
    public Task UpsertDurablyAsync(string id, T row)
    {
        Upsert(id, row);
        return _database.FlushAsync();
    }

    /// <summary>Takes a row away, from the disk with the next batch. Not there: no error.</summary>
    public void Delete(string id) => _database.Change(_name, id, null, () => _rows.TryRemove(id, out _));
}
