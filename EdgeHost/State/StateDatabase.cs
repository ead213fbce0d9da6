using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;
using EdgeHost.Linux;
using LiteDB;
using LiteDB.Engine;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace EdgeHost.State;

/// <summary>
/// The index and the history of the host: tables of JSON rows in one LiteDB file, read whole when it is opened, written
/// in batches. Everything in it can be rebuilt from facts that lie elsewhere on disk, so a damaged file is put aside and
/// a new one made; each row carries a checksum, because LiteDB's pages have none. Nothing is written while nothing changes.
/// </summary>
/// <remarks>
/// All rows stand in one collection, <c>{_id: "table/id", json, sum}</c>. The file itself is <c>state.db</c> and its log
/// <c>state-log.db</c> (moved into the file when it reaches 1 MiB and at the end).
/// </remarks>
public sealed partial class StateDatabase : IDisposable, IAsyncDisposable
{
    /// <summary>The version of the layout that this program writes.</summary>
    public const int SchemaVersion = 1;

    private const string Collection = "rows";
    private const string SchemaRow = "schema/version";
    private const int MaximumIdBytes = 512;
    private const int MaximumRowBytes = 1 << 20;
    private const long CheckpointBytes = 1 << 20;
    private const int CopiesKeptAside = 3;

    private static readonly TimeSpan BatchDelay = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(1);

    private readonly string _path;
    private readonly ILogger _logger;

    // Held while the engine is used; never taken while _gate is held.
    private readonly Lock _engineGate = new();
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _closing = new();
    private readonly HashSet<string> _opened = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _stored;
    private Dictionary<string, string?> _pending = new(StringComparer.Ordinal);
    private Task _batch = Task.CompletedTask;
    private bool _batchRunning;
    private DatabaseFiles _files;
    private LiteEngine? _engine;
    private bool _closed;

    private StateDatabase(string path, ILogger logger, DatabaseFiles files, LiteEngine engine, Dictionary<string, string> stored, StateReport report)
    {
        _path = path;
        _logger = logger;
        _files = files;
        _engine = engine;
        _stored = stored;
        Report = report;
    }

    /// <summary>How it was found when it was opened.</summary>
    public StateReport Report { get; }

    /// <summary>Opens a database, or makes it. A damaged one is put aside as <c>state.db.damaged-TIME</c> (the last three are kept).</summary>
    /// <param name="path">The file; its directory exists.</param>
    /// <param name="logger">Told of failing batches.</param>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Conflict"/>: another process has it open. <see cref="ErrorKind.Full"/>, <see cref="ErrorKind.Denied"/>,
    /// <see cref="ErrorKind.Internal"/>: the disk or its permissions.
    /// </exception>
    public static StateDatabase Open(string path, ILogger? logger = null)
    {
        logger ??= NullLogger.Instance;
        var files = DatabaseFiles.Open(path);
        try
        {
            var report = new StateReport(files.IsNew ? StateOutcome.Created : StateOutcome.Opened);
            if (TryRead(files, out var engine, out var stored, out var outcome, out var reason))
            {
                return new StateDatabase(path, logger, files, engine, stored, report);
            }

            var aside = files.PutAside(outcome);
            LogPutAside(logger, path, reason, aside);
            files = DatabaseFiles.Open(path);
            return TryRead(files, out engine, out stored, out _, out var again)
                ? new StateDatabase(path, logger, files, engine, stored, new StateReport(outcome, aside, reason))
                : throw new EdgeHostException(ErrorKind.Internal, $"state database {path}: a new one cannot be made: {again}");
        }
        catch
        {
            files.Dispose();
            throw;
        }
    }

    /// <summary>Opens a table; once for each name.</summary>
    /// <param name="name">Lower-case letters, digits and <c>-</c>.</param>
    /// <param name="type">How a row is read and written.</param>
    public StateTable<T> Table<T>(string name, JsonTypeInfo<T> type)
        where T : class
    {
        if (name.Length == 0 || name == "schema" || name.AsSpan().ContainsAnyExcept("abcdefghijklmnopqrstuvwxyz0123456789-"))
        {
            throw new ArgumentException($"\"{name}\" is no name for a table", nameof(name));
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            if (!_opened.Add(name))
            {
                throw new ArgumentException($"table {name} is open already", nameof(name));
            }

            var prefix = name + "/";
            var mine = _stored.Where(row => row.Key.StartsWith(prefix, StringComparison.Ordinal)).ToList();
            foreach (var (key, _) in mine)
            {
                _stored.Remove(key);
            }

            return new StateTable<T>(this, name, type, mine.Select(row => KeyValuePair.Create(row.Key[prefix.Length..], row.Value)));
        }
    }

    /// <summary>Returns once every change made before the call is on disk.</summary>
    /// <exception cref="EdgeHostException">It could not be written (<see cref="ErrorKind.Full"/> and the like); it stays pending and is tried again.</exception>
    public Task FlushAsync()
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
        }

        return Task.Run(WritePending);
    }

    /// <summary>Writes what is pending and closes the file.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_closed)
            {
                return;
            }

            _closed = true;
        }

        _closing.Cancel();
        try
        {
            WritePending();
        }
        finally
        {
            lock (_engineGate)
            {
                CloseEngine();
                _files.Dispose();
            }

            _closing.Dispose();
        }
    }

    /// <inheritdoc cref="Dispose"/>
    public async ValueTask DisposeAsync() => await Task.Run(Dispose).ConfigureAwait(false);

    internal void Change(string table, string id, string? json, Action apply)
    {
        if (id.Length == 0 || Encoding.UTF8.GetByteCount(id) > MaximumIdBytes)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"state table {table}: an id has 1 to {MaximumIdBytes} bytes, not {Encoding.UTF8.GetByteCount(id)}");
        }

        if (json is not null && Encoding.UTF8.GetByteCount(json) > MaximumRowBytes)
        {
            throw new EdgeHostException(
                ErrorKind.Invalid,
                $"state table {table}: row {id} has {Encoding.UTF8.GetByteCount(json)} bytes, more than {MaximumRowBytes}");
        }

        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            apply();
            _pending[$"{table}/{id}"] = json;
            if (!_batchRunning)
            {
                _batchRunning = true;
                _batch = Task.Run(WriteBatchesAsync);
            }
        }
    }

    private async Task WriteBatchesAsync()
    {
        var delay = BatchDelay;
        while (true)
        {
            try
            {
                await Task.Delay(delay, _closing.Token).ConfigureAwait(false);
                WritePending();
                delay = BatchDelay;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (EdgeHostException e)
            {
                delay = delay * 2 < LongestRetry ? delay * 2 : LongestRetry;
                LogBatchFailed(_logger, _path, e.Message, delay.TotalSeconds);
            }

            lock (_gate)
            {
                if (_pending.Count == 0)
                {
                    _batchRunning = false;
                    return;
                }
            }
        }
    }

    private void WritePending()
    {
        lock (_engineGate)
        {
            Dictionary<string, string?> batch;
            lock (_gate)
            {
                if (_pending.Count == 0)
                {
                    return;
                }

                batch = _pending;
                _pending = new Dictionary<string, string?>(StringComparer.Ordinal);
            }

            try
            {
                Write(batch);
            }
            catch (Exception e)
            {
                lock (_gate)
                {
                    foreach (var (key, json) in batch)
                    {
                        _pending.TryAdd(key, json);
                    }
                }

                // After an I/O error the engine has closed itself, and what its memory holds is not what the file holds.
                CloseEngine();
                throw InWords(e, _path);
            }
        }
    }

    private void Write(Dictionary<string, string?> batch)
    {
        if (_engine is null)
        {
            _files.Dispose();
            _files = DatabaseFiles.Open(_path);
            _engine = StartEngine(_files);
        }

        _engine.BeginTrans();
        var kept = batch.Where(row => row.Value is not null).Select(row => Document(row.Key, row.Value!)).ToList();
        if (kept.Count > 0)
        {
            _engine.Upsert(Collection, kept, BsonAutoId.ObjectId);
        }

        var gone = batch.Where(row => row.Value is null).Select(row => new BsonValue(row.Key)).ToList();
        if (gone.Count > 0)
        {
            _engine.Delete(Collection, gone);
        }

        _engine.Commit();
        _files.Log.Flush();
        if (_files.Log.Length >= CheckpointBytes)
        {
            _engine.Checkpoint();
            _files.Log.Flush();
        }
    }

    private void CloseEngine()
    {
        var engine = _engine;
        _engine = null;
        engine?.Dispose();
    }

    private static LiteEngine StartEngine(DatabaseFiles files) => new(new EngineSettings
    {
        DataStream = files.Data,
        LogStream = files.Log,
        TempStream = new MemoryStream(),

        // The default compares without case: two ids that differ in it would be one row.
        Collation = Collation.Binary,
    });

    /// <summary>Reads all rows. False, with the reason, when the file cannot be trusted.</summary>
    private static bool TryRead(
        DatabaseFiles files, out LiteEngine engine, out Dictionary<string, string> stored, out StateOutcome outcome, out string reason)
    {
        engine = null!;
        stored = new Dictionary<string, string>(StringComparer.Ordinal);
        outcome = StateOutcome.Damaged;
        reason = string.Empty;
        if (files.Data.Length == 0 && files.Log.Length > 0)
        {
            reason = "its log is there but the file itself is empty";
            return false;
        }

        // LiteDB would cut the stump off and go on with a new file.
        if (files.Data.Length is > 0 and < 8192)
        {
            reason = $"it ends after {files.Data.Length} bytes";
            return false;
        }

        var started = false;
        try
        {
            engine = StartEngine(files);
            started = true;
            using (var reader = engine.Query(Collection, new Query()))
            {
                while (reader.Read())
                {
                    var row = reader.Current.AsDocument;
                    var (key, json) = (row["_id"].AsString, row["json"].AsString);
                    if (row["sum"].AsString != Sum(key, json))
                    {
                        reason = $"row {key} does not have its checksum";
                        break;
                    }

                    stored.Add(key, json);
                }
            }

            if (reason.Length == 0 && stored.Remove(SchemaRow, out var version))
            {
                var found = int.Parse(version, CultureInfo.InvariantCulture);
                if (found > SchemaVersion)
                {
                    outcome = StateOutcome.Newer;
                    reason = $"its schema has version {found}, this program knows up to {SchemaVersion}";
                }
            }
            else if (reason.Length == 0)
            {
                if (stored.Count > 0)
                {
                    reason = "it has rows but no schema version";
                }
                else
                {
                    engine.Upsert(Collection, [Document(SchemaRow, SchemaVersion.ToString(CultureInfo.InvariantCulture))], BsonAutoId.ObjectId);
                    files.Log.Flush();
                }
            }
        }
        catch (IOException e) when (IsFull(e))
        {
            throw InWords(e, files.Path);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // Whatever LiteDB stumbles over in a damaged file, from its own exception to a null reference, means damage.
            reason = $"{e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}";
        }

        if (reason.Length == 0)
        {
            return true;
        }

        if (started)
        {
            // Not disposed: that would move the damaged log into the file that is kept for the diagnosis.
            engine = null!;
        }

        return false;
    }

    private static BsonDocument Document(string key, string json) => new()
    {
        ["_id"] = key,
        ["json"] = json,
        ["sum"] = Sum(key, json),
    };

    private static string Sum(string key, string json)
    {
        Span<byte> hash = stackalloc byte[32];
        SHA256.HashData(Encoding.UTF8.GetBytes($"{key}\n{json}"), hash);
        return Convert.ToHexStringLower(hash[..8]);
    }

    // ENOSPC and EDQUOT, as .NET hands them on.
    private static bool IsFull(IOException e) => e.HResult is (int)Errno.ENOSPC or (int)Errno.EDQUOT;

    private static EdgeHostException InWords(Exception e, string path) => e switch
    {
        EdgeHostException known => known,
        IOException io when IsFull(io) => new EdgeHostException(ErrorKind.Full, $"state database {path}: no space left on the disk", e),
        UnauthorizedAccessException => new EdgeHostException(ErrorKind.Denied, $"state database {path}: {e.Message}", e),
        _ => new EdgeHostException(ErrorKind.Internal, $"state database {path}: {e.Message.ReplaceLineEndings(" ")}", e),
    };

    [LoggerMessage(Level = LogLevel.Warning, Message = "State database {Path} cannot be used ({Reason}); it is kept as {Aside}, and a new one is filled from the facts on disk")]
    private static partial void LogPutAside(ILogger logger, string path, string reason, string aside);

    [LoggerMessage(Level = LogLevel.Error, Message = "State database {Path} cannot be written ({Reason}); next try in {Seconds} s")]
    private static partial void LogBatchFailed(ILogger logger, string path, string reason, double seconds);

    /// <summary>The two files of the database, held exclusively (flock).</summary>
    private sealed class DatabaseFiles : IDisposable
    {
        private readonly string _logPath;

        private DatabaseFiles(string path, string logPath, FlushedStream data, FlushedStream log)
        {
            Path = path;
            _logPath = logPath;
            Data = data;
            Log = log;
            IsNew = data.Length == 0 && log.Length == 0;
        }

        internal string Path { get; }

        internal FlushedStream Data { get; }

        internal FlushedStream Log { get; }

        internal bool IsNew { get; }

        public void Dispose()
        {
            Data.Dispose();
            Log.Dispose();
        }

        internal static DatabaseFiles Open(string path)
        {
            var directory = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!;
            var logPath = System.IO.Path.Combine(
                directory, System.IO.Path.GetFileNameWithoutExtension(path) + "-log" + System.IO.Path.GetExtension(path));
            var data = OpenOne(path);
            try
            {
                var log = OpenOne(logPath);
                Files.FlushDirectory(directory);
                return new DatabaseFiles(path, logPath, new FlushedStream(data, isLog: false), new FlushedStream(log, isLog: true));
            }
            catch
            {
                data.Dispose();
                throw;
            }
        }

        /// <summary>Renames both files while they are still locked, then lets them go.</summary>
        /// <returns>The new name of the data file.</returns>
        internal string PutAside(StateOutcome outcome)
        {
            var word = outcome == StateOutcome.Newer ? "newer" : "damaged";
            var aside = $"{Path}.{word}-{DateTime.UtcNow.ToString("yyyyMMdd'T'HHmmss'.'fffffff'Z'", CultureInfo.InvariantCulture)}";
            var directory = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;
            File.Move(Path, aside);
            File.Move(_logPath, aside + "-log");
            foreach (var old in Directory.GetFiles(directory, $"{System.IO.Path.GetFileName(Path)}.{word}-*")
                .Where(name => !name.EndsWith("-log", StringComparison.Ordinal))
                .OrderDescending(StringComparer.Ordinal)
                .Skip(CopiesKeptAside))
            {
                File.Delete(old);
                File.Delete(old + "-log");
            }

            Files.FlushDirectory(directory);
            Dispose();
            return aside;
        }

        private static FileStream OpenOne(string path)
        {
            try
            {
                return new FileStream(path, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate,
                    Access = FileAccess.ReadWrite,
                    Share = FileShare.None,
                    BufferSize = 0,
                    UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                });
            }
            catch (IOException e) when (e.HResult == (int)Errno.EAGAIN)
            {
                throw new EdgeHostException(
                    ErrorKind.Conflict, $"state database {path} is open in another process: is a second daemon running on this data directory?", e);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw InWords(e, path);
            }
        }
    }
}
