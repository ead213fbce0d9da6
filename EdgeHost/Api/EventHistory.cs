using EdgeHost.Engine;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Api;

/// <summary>The last events, for <c>docker events --since</c>; as in Docker, 256 of them and only in memory.</summary>
internal sealed partial class EventHistory(IContainerEngine engine, ILogger log)
{
    private const int Kept = 256;

    private readonly Queue<EngineEvent> _events = new(Kept);
    private readonly CancellationTokenSource _stop = new();
    private Task _reading = Task.CompletedTask;

    internal void Start() => _reading = ReadAsync();

    internal async Task StopAsync()
    {
        await _stop.CancelAsync();
        await _reading;
    }

    /// <summary>Those between two moments, oldest first.</summary>
    internal List<EngineEvent> Between(DateTimeOffset since, DateTimeOffset until)
    {
        lock (_events)
        {
            return _events.Where(e => e.Time >= since && e.Time <= until).ToList();
        }
    }

    private async Task ReadAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await foreach (var happened in engine.WatchAsync(_stop.Token))
                {
                    lock (_events)
                    {
                        if (_events.Count == Kept)
                        {
                            _events.Dequeue();
                        }

                        _events.Enqueue(happened);
                    }
                }

                return;
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.Unavailable)
            {
                // It fell behind; what was missed is missing from the history only.
                LogFellBehind(log, e.Message);
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "the history of events has a gap: {Reason}")]
    private static partial void LogFellBehind(ILogger log, string reason);
}
