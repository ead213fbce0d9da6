using System.Text;
using System.Text.Json.Serialization.Metadata;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace EdgeHost.State;

/// <summary>
/// The index and the history of the host: tables of JSON rows in one file, read whole when it is opened, written in
/// batches. What must not be lost lies in facts elsewhere on disk, so a damaged file is put aside, and a new one made of
/// the rows that were written before the damage and of the facts. Nothing is written while nothing changes.
/// </summary>
/// <remarks>
/// The file is described in <see cref="StateFile"/>. It is rewritten when as much was added to it as it had, but at least
/// a mebibyte, and at the end: each byte is written twice at most, and the file is at most twice as long as its rows.
/// </remarks>
public sealed partial class StateDatabase : IDisposable, IAsyncDisposable
{
    /// <summary>The version of the layout that this program writes.</summary>
    public const int SchemaVersion = 1;

    private const int MaximumIdBytes = 512;
    private const int MaximumRowBytes = 1 << 20;
    private const long RewriteBytes = 1 << 20;

    private static readonly TimeSpan BatchDelay = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(1);

    private readonly string _path;
    private readonly ILogger _logger;

    // Held while the file is used; never taken while _gate is held.
    private readonly Lock _fileGate = new();
    private readonly Lock _gate = new();
    private readonly CancellationTokenSource _closing = new();
    private readonly HashSet<string> _opened = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _stored;
    private Dictionary<string, string?> _pending = new(StringComparer.Ordinal);
    private Task _batch = Task.CompletedTask;
    private bool _batchRunning;
    private readonly StateFile _file;

    // Keys of rows in the file: one that was removed before it got there is not written at all.
    private readonly HashSet<string> _written;
    private long _rewriteAt;
    private bool _closed;

    private StateDatabase(string path, ILogger logger, StateFile file, Dictionary<string, string> stored, StateReport report)
    {
        _written = new HashSet<string>(stored.Keys, StringComparer.Ordinal);
        _path = path;
        _logger = logger;
        _file = file;
        _stored = stored;
        Report = report;
        _rewriteAt = NextRewrite(file);
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
        var file = StateFile.Open(path);
        try
        {
            var stored = new Dictionary<string, string>(StringComparer.Ordinal);
            var report = new StateReport(file.IsNew ? StateOutcome.Created : StateOutcome.Opened);
            if (file.Read(stored, out var outcome) is { } reason)
            {
                var aside = file.PutAside(outcome, stored);
                LogPutAside(logger, path, reason, aside);
                report = new StateReport(outcome, aside, reason);
            }
            else if (file.CutOff is { } cutOff)
            {
                LogCutOff(logger, path, cutOff);
                report = new StateReport(StateOutcome.Opened, Reason: cutOff);
            }

            return new StateDatabase(path, logger, file, stored, report);
        }
        catch (Exception e)
        {
            file.Dispose();
            throw InWords(e, path);
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
            lock (_fileGate)
            {
                Close();
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
        lock (_fileGate)
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

                throw InWords(e, _path);
            }
        }
    }

    private void Write(Dictionary<string, string?> batch)
    {
        foreach (var (key, json) in batch)
        {
            if (json is null && !_written.Contains(key))
            {
                batch.Remove(key);
            }
        }

        if (batch.Count == 0)
        {
            return;
        }

        _file.Append(batch);
        foreach (var (key, json) in batch)
        {
            _ = json is null ? _written.Remove(key) : _written.Add(key);
        }

        if (_file.AddedBytes >= _rewriteAt)
        {
            Rewrite();
        }
    }

    /// <summary>
    /// What was overwritten goes; the rows come from the file, which has them all. When that fails the longer file is as
    /// good, and it is tried again once more was added: what it holds is not to be said lost, nor written again.
    /// </summary>
    private void Rewrite()
    {
        try
        {
            var rows = new Dictionary<string, string>(StringComparer.Ordinal);
            if (_file.Read(rows, out _) is { } reason)
            {
                throw new EdgeHostException(ErrorKind.Corrupt, $"{reason}; the next start puts it aside");
            }

            _file.Rewrite(rows);
            _rewriteAt = NextRewrite(_file);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            _rewriteAt = _file.AddedBytes + RewriteBytes;
            LogNotRewritten(_logger, _path, InWords(e, _path).Message);
        }
    }

    private static long NextRewrite(StateFile file) => Math.Max(RewriteBytes, file.RewrittenBytes);

    private void Close()
    {
        if (_file.AddedBytes > 0)
        {
            Rewrite();
        }

        _file.Dispose();
    }

    // ENOSPC and EDQUOT, as .NET hands them on.
    private static bool IsFull(IOException e) => e.HResult is (int)Errno.ENOSPC or (int)Errno.EDQUOT;

    internal static EdgeHostException InWords(Exception e, string path) => e switch
    {
        EdgeHostException known => known,
        IOException io when IsFull(io) => new EdgeHostException(ErrorKind.Full, $"state database {path}: no space left on the disk", e),
        UnauthorizedAccessException => new EdgeHostException(ErrorKind.Denied, $"state database {path}: {e.Message}", e),
        _ => new EdgeHostException(ErrorKind.Internal, $"state database {path}: {e.Message.ReplaceLineEndings(" ")}", e),
    };

    [LoggerMessage(Level = LogLevel.Warning, Message = "State database {Path} cannot be used ({Reason}); it is kept as {Aside}; a new one has the rows from before the damage, and the facts on disk")]
    private static partial void LogPutAside(ILogger logger, string path, string reason, string aside);

    [LoggerMessage(Level = LogLevel.Warning, Message = "State database {Path}: {What} and were cut off: the power was lost while they were written, or they are damaged")]
    private static partial void LogCutOff(ILogger logger, string path, string what);

    [LoggerMessage(Level = LogLevel.Error, Message = "State database {Path} cannot be written ({Reason}); next try in {Seconds} s")]
    private static partial void LogBatchFailed(ILogger logger, string path, string reason, double seconds);

    [LoggerMessage(Level = LogLevel.Warning, Message = "State database {Path} is not made shorter: {Reason}")]
    private static partial void LogNotRewritten(ILogger logger, string path, string reason);
}
