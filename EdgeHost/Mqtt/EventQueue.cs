namespace EdgeHost.Mqtt;

/// <summary>Events that wait for the broker: bounded, the oldest give way, and their number is told with the next one.</summary>
internal sealed class EventQueue(int capacity)
{
    private readonly Lock _lock = new();
    private readonly Queue<EventMessage> _events = new();
    private readonly SemaphoreSlim _available = new(0, 1);
    private long _dropped;
    private bool _headIsOut;

    /// <summary>Adds an event.</summary>
    internal void Add(EventMessage happened)
    {
        lock (_lock)
        {
            if (_events.Count == capacity)
            {
                _events.Dequeue();
                _dropped++;
                _headIsOut = false;
            }

            _events.Enqueue(happened);
            Signal();
        }
    }

    /// <summary>Says that so many events were lost before they came here.</summary>
    internal void AddDropped(long count)
    {
        lock (_lock)
        {
            _dropped += count;
        }
    }

    /// <summary>Waits for the oldest event; it stays until <see cref="Acknowledge"/>.</summary>
    internal async Task<EventMessage> PeekAsync(CancellationToken cancel)
    {
        while (true)
        {
            lock (_lock)
            {
                if (_events.TryPeek(out var head))
                {
                    _headIsOut = true;
                    return _dropped == 0 ? head : head with { Dropped = _dropped };
                }
            }

            await _available.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    /// <summary>The broker has the event that <see cref="PeekAsync"/> gave.</summary>
    internal void Acknowledge(EventMessage sent)
    {
        lock (_lock)
        {
            // It may have given way to newer ones meanwhile, and then counts as dropped although it arrived: its id tells.
            if (_headIsOut)
            {
                _events.Dequeue();
            }

            _headIsOut = false;
            _dropped -= sent.Dropped ?? 0;
        }
    }

    private void Signal()
    {
        if (_available.CurrentCount == 0)
        {
            _available.Release();
        }
    }
}
