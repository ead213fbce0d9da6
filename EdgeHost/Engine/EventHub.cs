using System.Runtime.CompilerServices;
using System.Threading.Channels;
using EdgeHost.Errors;

namespace EdgeHost.Engine;

/// <summary>
/// Tells everybody who watches what happens; one who does not keep up is let go. The last events are kept, as in Docker
/// 256 of them and only in memory.
/// </summary>
internal sealed class EventHub
{
    private const int MaximumBehind = 1024;
    private const int Kept = 256;

    private readonly Lock _lock = new();
    private readonly List<Channel<EngineEvent>> _watchers = [];
    private readonly Queue<EngineEvent> _past = new(Kept);

    internal void Tell(EngineEvent what)
    {
        lock (_lock)
        {
            if (_past.Count == Kept)
            {
                _past.Dequeue();
            }

            _past.Enqueue(what);
            _watchers.RemoveAll(watcher =>
            {
                if (watcher.Writer.TryWrite(what))
                {
                    return false;
                }

                watcher.Writer.TryComplete(new EdgeHostException(ErrorKind.Unavailable, $"this reader of events fell {MaximumBehind} behind and was ended"));
                return true;
            });
        }
    }

    internal IReadOnlyList<EngineEvent> Past(DateTimeOffset since, DateTimeOffset until)
    {
        lock (_lock)
        {
            return [.. _past.Where(each => each.Time >= since && each.Time <= until)];
        }
    }

    internal IAsyncEnumerable<EngineEvent> WatchAsync(CancellationToken cancel)
    {
        var channel = Channel.CreateBounded<EngineEvent>(MaximumBehind);
        lock (_lock)
        {
            _watchers.Add(channel);
        }

        return ReadAsync(channel, cancel);
    }

    private async IAsyncEnumerable<EngineEvent> ReadAsync(Channel<EngineEvent> channel, [EnumeratorCancellation] CancellationToken cancel)
    {
        try
        {
            await foreach (var what in channel.Reader.ReadAllAsync(cancel).ConfigureAwait(false))
            {
                yield return what;
            }
        }
        finally
        {
            lock (_lock)
            {
                _watchers.Remove(channel);
            }
        }
    }
}
