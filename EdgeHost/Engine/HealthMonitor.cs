using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Engine;

/// <summary>The checks of one container from a start, an unpause or the daemon's own start on, until it ends or is paused.</summary>
internal sealed class HealthMonitor : IDisposable
{
    private readonly CancellationTokenSource _stop;

    internal HealthMonitor(CancellationToken ended)
    {
        _stop = CancellationTokenSource.CreateLinkedTokenSource(ended);
        Stopped = _stop.Token;
    }

    /// <summary>Still good when its source is gone.</summary>
    internal CancellationToken Stopped { get; }

    /// <summary>Ends when nothing of it is under way any more.</summary>
    internal Task Ended { get; set; } = Task.CompletedTask;

    /// <summary>What is executed, made once for all checks; null before the first.</summary>
    internal Fd? Plan { get; set; }

    /// <summary>Where it is executed.</summary>
    internal CgroupEntry? Entry { get; set; }

    internal void Stop() => _stop.Cancel();

    public void Dispose()
    {
        _stop.Dispose();
        Plan?.Dispose();
    }
}
