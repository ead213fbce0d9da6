using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>A container while the daemon lives: its record, its turn-taking, and who waits for it.</summary>
internal sealed class Container : IDisposable
{
    private readonly Lock _lock = new();
    private TaskCompletionSource _changed = New();
    private ContainerRecord _record;
    private ContainerHealth? _health;

    internal Container(ContainerRecord record) => _record = record;

    /// <summary>Held by whoever starts, ends or removes it; readers need none.</summary>
    internal SemaphoreSlim Turn { get; } = new(1, 1);

    /// <summary>Held while the record is read, changed and written: a stop marks it while an end is taken down.</summary>
    internal Lock Writing { get; } = new();

    internal ContainerRecord Record
    {
        get
        {
            lock (_lock)
            {
                return _record;
            }
        }
    }

    /// <summary>How often its program was started in this daemon's life, failed starts included.</summary>
    internal int Runs { get; private set; }

    /// <summary>How often a run has ended, or a start has failed.</summary>
    internal int Ends { get; private set; }

    /// <summary>How many of its ends are events already: who ended it tells of that after them.</summary>
    internal int EndsTold { get; private set; }

    internal bool Removed { get; private set; }

    /// <summary>How many follow its output now.</summary>
    internal int Followers { get; private set; }

    /// <summary>Those who wait at its streams for the next run; also the lock of them and of <see cref="IsLaunching"/>.</summary>
    internal List<PendingAttach> Attaching { get; } = [];

    /// <summary>Whether a run is about to begin, for which nobody can be added to <see cref="Attaching"/> any more.</summary>
    internal bool IsLaunching { get; set; }

    /// <summary>Ends the wait for the next start by policy.</summary>
    internal CancellationTokenSource? PendingRestart { get; set; }

    /// <summary>The device that its next start waits for; null when it waits for none.</summary>
    internal string? AwaitedDevice { get; set; }

    /// <summary>How long the next start by policy waits.</summary>
    internal TimeSpan RestartDelay { get; set; } = RestartBackOff.First;

    /// <summary>How often in this run the kernel killed a program that was started beside its own, for want of memory.</summary>
    internal long OomKillsBeside { get; set; }

    /// <summary>
    /// Its mounts, held while it runs: the kernel does not tell of the end of who is the last in a mount namespace before it
    /// has taken it apart, for which it writes everything to the disk that its root lies on.
    /// </summary>
    internal Fd? Mounts { get; set; }

    /// <summary>Done once nothing is mounted any more of the run before.</summary>
    internal Task Unmounted { get; set; } = Task.CompletedTask;

    internal bool IsRunning => Record.State == ContainerState.Running;

    /// <summary>Held while <see cref="Monitor"/> and <see cref="Health"/> are changed.</summary>
    internal Lock Checking { get; } = new();

    /// <summary>Its checks; null while it is not checked.</summary>
    internal HealthMonitor? Monitor { get; set; }

    /// <summary>What its checks have told; null when it was never checked.</summary>
    internal ContainerHealth? Health { get => Volatile.Read(ref _health); set => Volatile.Write(ref _health, value); }

    internal ContainerStatus Status => Record.ToStatus() with { Health = Health, AwaitedDevice = AwaitedDevice };

    /// <summary>Puts another record in place and wakes who waits.</summary>
    internal void Set(ContainerRecord record, bool began = false, bool ended = false, bool removed = false)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            _record = record;
            Runs += began ? 1 : 0;
            Ends += ended ? 1 : 0;
            Removed |= removed;
            changed = _changed;
            _changed = New();
        }

        changed.SetResult();
    }

    /// <summary>Counts somebody who follows its output, or no more.</summary>
    internal void CountFollower(int change)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            Followers += change;
            changed = _changed;
            _changed = New();
        }

        changed.SetResult();
    }

    /// <summary>The events of its last end were told.</summary>
    internal void SetEndsTold()
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            EndsTold = Ends;
            changed = _changed;
            _changed = New();
        }

        changed.SetResult();
    }

    /// <summary>Waits until something is so; looks again at each change.</summary>
    internal async Task WaitUntilAsync(Func<Container, bool> condition, CancellationToken cancel)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                changed = _changed.Task;
            }

            if (condition(this))
            {
                return;
            }

            await changed.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    internal async Task<IDisposable> TakeTurnAsync(CancellationToken cancel)
    {
        await Turn.WaitAsync(cancel).ConfigureAwait(false);
        if (Removed)
        {
            Turn.Release();
            throw new EdgeHostException(ErrorKind.NotFound, $"No such container: {Record.Name}");
        }

        return new TurnEnd(Turn);
    }

    public void Dispose()
    {
        PendingRestart?.Dispose();
        Mounts?.Dispose();
        Turn.Dispose();
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private sealed class TurnEnd(SemaphoreSlim turn) : IDisposable
    {
        public void Dispose() => turn.Release();
    }
}

/// <summary>How long a start by policy waits: 100 ms, doubled each time up to a minute; after ten seconds of running it begins anew.</summary>
internal static class RestartBackOff
{
    internal static readonly TimeSpan First = TimeSpan.FromMilliseconds(100);

    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Healthy = TimeSpan.FromSeconds(10);

    internal static TimeSpan Next(TimeSpan delay) => delay * 2 < Longest ? delay * 2 : Longest;

    internal static TimeSpan After(TimeSpan ran, TimeSpan delay) => ran >= Healthy ? First : delay;
}
