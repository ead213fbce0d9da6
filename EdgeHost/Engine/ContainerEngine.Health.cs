using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Launch;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Engine;

/// <summary>
/// Health checks: when one is due, and what is thought of a container then. The shepherd runs them. What is thought is
/// kept in a file of this boot, so that nothing is written to a disk however often a container is checked.
/// </summary>
public sealed partial class ContainerEngine
{
    // USER_HZ, in which a process's start is counted.
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(1.0 / TicksPerSecond);

    // After a restart of the daemon many checks may be due at once: they come within this time.
    private static readonly TimeSpan Spread = TimeSpan.FromSeconds(1);

    private int _saidNoChecks;

    /// <summary>Forgets what was thought of a container before a start; its results are kept, as in Docker.</summary>
    private void BeginHealth(Container container)
    {
        if ((container.Record.Effective ?? container.Record.Spec).Health is { IsOn: true })
        {
            lock (container.Checking)
            {
                SetHealth(container, new ContainerHealth(HealthState.Starting, 0, container.Health?.Log ?? []));
            }
        }
    }

    /// <summary>Begins to check a container that runs, if it is to be checked and is not already.</summary>
    /// <param name="container">The container.</param>
    /// <param name="started">Whether it was started just now; otherwise the next check is due when it was before.</param>
    private void StartHealth(Container container, bool started)
    {
        var record = container.Record;
        if ((record.Effective ?? record.Spec).Health is not { IsOn: true } check || !container.IsRunning || record.Paused || _ended.IsCancellationRequested)
        {
            return;
        }

        lock (container.Checking)
        {
            if (container.Monitor is not null)
            {
                return;
            }

            if (container.Health is null)
            {
                SetHealth(container, new ContainerHealth(HealthState.Starting, 0, []));
            }

            var monitor = new HealthMonitor(_ended);
            container.Monitor = monitor;
            monitor.Ended = MonitorAsync(container, monitor, check, started ? null : container.Health);
        }
    }

    /// <summary>Checks it no more; one that is under way is killed, and gone when this ends.</summary>
    private async Task StopHealthAsync(Container container)
    {
        HealthMonitor monitor;
        lock (container.Checking)
        {
            if (container.Monitor is null)
            {
                return;
            }

            monitor = container.Monitor;
            container.Monitor = null;
            monitor.Stop();

            // As in Docker: what is not checked is not healthy. Its events tell why, so none is told of this.
            SetHealth(container, container.Health!.As(HealthState.Unhealthy, container.Health.FailingStreak));
        }

        await monitor.Ended.ConfigureAwait(false);
    }

    private async Task MonitorAsync(Container container, HealthMonitor monitor, HealthCheck check, ContainerHealth? goOn)
    {
        // The caller holds a lock, and is owed nothing of this.
        await Task.Yield();
        try
        {
            var pause = HealthRules.PauseOf(check, container.Health!.State, SinceStart(container));
            if (goOn is { Log: [.., var last] })
            {
                pause = LeftOf(pause, last.End);
            }

            while (true)
            {
                await Task.Delay(pause, monitor.Stopped).ConfigureAwait(false);
                var sinceStart = SinceStart(container);
                if (await CheckAsync(container, monitor, check).ConfigureAwait(false) is { } result)
                {
                    Take(container, monitor, result, check, sinceStart);
                }

                pause = HealthRules.PauseOf(check, container.Health.State, SinceStart(container));
            }
        }
        catch (OperationCanceledException) when (monitor.Stopped.IsCancellationRequested)
        {
            // Stopped, paused, ended, or the daemon ends.
        }
        catch (Exception e)
        {
            LogHealthDefect(_log, e, container.Record.Name);
        }
        finally
        {
            lock (container.Checking)
            {
                if (container.Monitor == monitor)
                {
                    container.Monitor = null;
                }

                monitor.Dispose();
            }
        }
    }

    /// <summary>What is left of the time until the next check, of which the last daemon saw the beginning; the clock may have been set since.</summary>
    private static TimeSpan LeftOf(TimeSpan pause, DateTimeOffset last)
    {
        var left = last + pause - DateTimeOffset.UtcNow;
        return left > pause ? pause : left > TimeSpan.Zero ? left : Spread * Random.Shared.NextDouble();
    }

    /// <returns>Null when nothing was learnt of the container.</returns>
    private async Task<HealthResult?> CheckAsync(Container container, HealthMonitor monitor, HealthCheck check)
    {
        if (_shepherd is not { } shepherd || shepherd.Disconnected.IsCompleted)
        {
            return null;
        }

        if (!shepherd.CanCheck)
        {
            if (Interlocked.Exchange(ref _saidNoChecks, shepherd.Pid) != shepherd.Pid)
            {
                LogNoChecks(_log, shepherd.Pid, shepherd.Version);
            }

            return null;
        }

        var start = DateTimeOffset.UtcNow;
        try
        {
            monitor.Plan ??= PlanCheck(container, monitor, check);
            var timeout = HealthRules.TimeoutOf(check);
            var result = await shepherd.CheckAsync(container.Record.Id, monitor.Plan, monitor.Entry!, timeout, monitor.Stopped).ConfigureAwait(false);
            var output = result.Truncated ? result.Output + "..." : result.Output;
            return result.Outcome switch
            {
                CheckOutcome.Cancelled => null,
                CheckOutcome.TimedOut => new HealthResult(start, DateTimeOffset.UtcNow, -1, HealthRules.TookTooLong(timeout, output)),
                _ => new HealthResult(start, DateTimeOffset.UtcNow, result.ExitCode, output),
            };
        }
        catch (EdgeHostException e) when (e.Kind is ErrorKind.Unavailable or ErrorKind.NotFound)
        {
            // The shepherd is gone, or the container has ended: both are told in other ways.
            return null;
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            return new HealthResult(start, DateTimeOffset.UtcNow, -1, e.Message);
        }
    }

    private Fd PlanCheck(Container container, HealthMonitor monitor, HealthCheck check)
    {
        var record = container.Record;
        var image = _images.Find(record.ImageId) ?? throw new EdgeHostException(ErrorKind.Infeasible, $"image {record.ImageId} of container {record.Name} is gone; load or pull it again");
        var spec = RuntimeSpecBuilder.BuildFor(
            record with { Arguments = HealthRules.ArgumentsOf(check, image.Config.Config.Shell) }, _images, _options.Secrets?.Of(container.Status)?.Environment ?? [], AppArmorOf(record.Spec), privileged: false, terminal: false);
        monitor.Entry = CgroupOf(record.Id).MakeEntry("health");
        return SealedMemory.Create("check", LaunchPlanCompiler.CompileEnter(spec, monitor.Entry).Block.Span);
    }

    private void Take(Container container, HealthMonitor monitor, HealthResult result, HealthCheck check, TimeSpan sinceStart)
    {
        bool changed;
        lock (container.Checking)
        {
            if (monitor.Stopped.IsCancellationRequested)
            {
                return;
            }

            var after = HealthRules.After(container.Health!, result, check, sinceStart);
            changed = after.State != container.Health!.State;
            SetHealth(container, after);
        }

        if (changed)
        {
            Tell(container.Record, "health_status: " + container.Health.Word);
        }
    }

    private void SetHealth(Container container, ContainerHealth health)
    {
        container.Health = health;
        try
        {
            _files.SaveHealth(container.Record.Id, health);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            // It is only for the next daemon, and a run directory that is full is said in louder ways.
            LogHealthNotKept(_log, container.Record.Name, e.Message);
        }
    }

    // By the kernel's clock that only goes forward: a board finds out what day it is when it runs already.
    private static TimeSpan SinceStart(Container container) => SystemClock.SinceBoot - (Tick * container.Record.StartTime);
}
