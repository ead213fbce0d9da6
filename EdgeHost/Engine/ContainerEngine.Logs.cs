using System.Threading.Channels;
using EdgeHost.Errors;
using EdgeHost.Runtime.Logger;

namespace EdgeHost.Engine;

/// <summary>Reading what containers wrote.</summary>
public sealed partial class ContainerEngine
{
    private const int WatchMilliseconds = 500;
    private const int MostOnTheWay = 16;

    /// <summary>How long after an end its mark in the log is waited for: a full disk may have kept the logger from setting it.</summary>
    private const int MarkMilliseconds = 5000;

    /// <inheritdoc/>
    public IAsyncEnumerable<LogRecord> ReadLogsAsync(string container, LogQuery query, CancellationToken cancel) =>
        new LogEnumerable(Find(container), _files.LogDirectory, query, cancel);

    /// <summary>
    /// A reader takes its place when it is first asked for something, and reads on a thread of its own, so that neither
    /// a slow disk nor a slow reader holds up anything else.
    /// </summary>
    private sealed class LogEnumerable(Container container, Func<string, string> directoryOf, LogQuery query, CancellationToken cancel) : IAsyncEnumerable<LogRecord>
    {
        public IAsyncEnumerator<LogRecord> GetAsyncEnumerator(CancellationToken cancellationToken = default)
        {
            var directory = directoryOf(container.Record.Id);
            Directory.CreateDirectory(directory);

            // The watch comes before the look, so that nothing falls between them; ends are counted from here.
            var watch = query.Follow ? new LogWatch(directory) : null;
            // As they are, records are passed on one by one: those on the way, the one in use and one ahead.
            var ring = query.Raw ? new byte[]?[MostOnTheWay + 4] : null;
            var reader = query.FromNextRun || query.FromEnd ? LogReader.AtEnd(directory, ring) : new LogReader(directory) { Ring = ring };
            var ends = container.Ends;
            if (query.Follow)
            {
                container.CountFollower(1);
            }

            return Read(watch, reader, ends, directory, CancellationTokenSource.CreateLinkedTokenSource(cancel, cancellationToken)).GetAsyncEnumerator(CancellationToken.None);
        }

        private async IAsyncEnumerable<LogRecord> Read(LogWatch? watch, LogReader reader, int ends, string directory, CancellationTokenSource stop)
        {
            using var stopping = stop;
            var channel = Channel.CreateBounded<LogRecord>(new BoundedChannelOptions(MostOnTheWay) { SingleReader = true, SingleWriter = true });
            var thread = new Thread(() => Pump(channel.Writer, watch, reader, ends, directory, stop.Token), 256 << 10) { IsBackground = true, Name = "logs" };
            thread.Start();
            try
            {
                await foreach (var record in channel.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
                {
                    yield return record;
                }

                stop.Token.ThrowIfCancellationRequested();
            }
            finally
            {
                await stop.CancelAsync().ConfigureAwait(false);
            }
        }

        private void Pump(ChannelWriter<LogRecord> writer, LogWatch? watch, LogReader reader, int ends, string directory, CancellationToken stop)
        {
            try
            {
                using (watch)
                using (reader)
                {
                    var lines = new LineSplitter(query);
                    // A reader of the next run stands at the end already: there is nothing before it to leave out.
                    if (query.Tail is { } tail && !query.FromNextRun)
                    {
                        lines.Skip = Math.Max(0, CountLines(directory) - tail);
                        lines.Remaining = query.Follow ? int.MaxValue : tail;
                    }

                    var endOfRunSeen = 0;
                    long? overSince = null;
                    while (true)
                    {
                        // Looked at before the log is: an end that is seen here has all its output in the log by its mark.
                        var over = IsOver(ends);
                        var late = query.Until is { } until && DateTimeOffset.UtcNow > until;
                        while (reader.TryRead(out var entry))
                        {
                            if (reader.Missed && watch is not null)
                            {
                                throw new EdgeHostException(ErrorKind.Unavailable, "the reader is too slow: what it had not read yet was given up, because the log is full");
                            }

                            endOfRunSeen = entry.Stream == 0 ? 1 : 0;
                            if (!lines.Push(entry, record => Write(writer, record, stop)))
                            {
                                break;
                            }
                        }

                        overSince = over ? overSince ?? Environment.TickCount64 : null;
                        var given = overSince is { } since && Environment.TickCount64 - since > MarkMilliseconds;
                        if (stop.IsCancellationRequested || watch is null || lines.Past || late || given || (over && (endOfRunSeen > 0 || NothingRan(ends))))
                        {
                            lines.Flush(record => Write(writer, record, stop));
                            break;
                        }

                        watch.Wait(over ? 20 : query.Until is { } end ? (int)Math.Clamp((end - DateTimeOffset.UtcNow).TotalMilliseconds + 1, 1, WatchMilliseconds) : WatchMilliseconds);
                    }
                }

                writer.TryComplete();
            }
            catch (OperationCanceledException)
            {
                writer.TryComplete();
            }
            catch (Exception e)
            {
                writer.TryComplete(e);
            }
            finally
            {
                if (query.Follow)
                {
                    container.CountFollower(-1);
                }
            }
        }

        private bool IsOver(int ends) => container.Removed || (query.FromNextRun
            ? container.Ends > ends
            : container.Record.State is not (ContainerState.Running or ContainerState.Restarting));

        // A start that failed, or a container that never ran, has no mark in its log.
        private bool NothingRan(int ends) => container.Removed || container.Record.Error.Length > 0 || container.Record.StartedAt is null
            || (!query.FromNextRun && container.Ends == ends);

        private static void Write(ChannelWriter<LogRecord> writer, LogRecord record, CancellationToken stop)
        {
            // The thread is ours to hold: a slow reader holds up its own reading only.
            while (!writer.TryWrite(record))
            {
                if (!writer.WaitToWriteAsync(stop).AsTask().GetAwaiter().GetResult())
                {
                    throw new OperationCanceledException(stop);
                }
            }
        }

        private int CountLines(string directory)
        {
            using var reader = new LogReader(directory);
            var lines = new LineSplitter(query);
            var count = 0;
            while (reader.TryRead(out var entry) && lines.Push(entry, _ => count++))
            {
            }

            lines.Flush(_ => count++);
            return count;
        }
    }
}
