using System.Threading.Channels;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Engine;

/// <summary>Coming up: what is on disk and in the kernel is brought together, and the shepherd is listened to.</summary>
public sealed partial class ContainerEngine
{
    private static readonly TimeSpan ReconnectPause = TimeSpan.FromSeconds(1);

    private readonly Channel<ShepherdContainerStatus> _reports = Channel.CreateUnbounded<ShepherdContainerStatus>(new UnboundedChannelOptions { SingleReader = true });

    /// <summary>Finds all containers again, connects to the shepherd (starting one if there is none), and starts what must run.</summary>
    /// <exception cref="EdgeHostException">The shepherd does not come up.</exception>
    public async Task StartAsync(CancellationToken cancel)
    {
        _ranges = UserRanges.Read(_options.UserRangeFile);
        var trying = Task.WhenAll(Task.Run(TryUsers, cancel), Task.Run(LoadAppArmor, cancel));
        LimitParent();
        foreach (var record in _files.LoadAll())
        {
            _containers[record.Id] = new Container(record) { Health = record.BootId == SystemIdentity.BootId ? _files.LoadHealth(record.Id) : null };
        }

        if (!_isIndexLost)
        {
            _files.RemoveOthers(_containers.ContainsKey);
            _images.DiscardOthers(id => _containers.ContainsKey(id) || Directory.Exists(_files.DataDirectory(id)));
        }

        _networks.ProcessOf = ProcessOf;
        _networks.OnChange = (action, network) => TellOfNetwork(action, network.Id, network.Name, network.Driver, null);
        _networks.OnResolverChange = () => _ = FollowResolverAsync();

        // Before anything is started that needs the answer.
        await trying.ConfigureAwait(false);
        await ConnectAsync(cancel).ConfigureAwait(false);

        // They may have changed while no daemon was there. A turn may be long in coming, and nothing waits for this.
        _ = FollowResolverAsync();
        _ = ReadReportsAsync();
    }

    /// <summary>The daemon was told to end: from now on no policy starts a container and no shepherd is started; what runs goes on.</summary>
    public void PrepareToEnd()
    {
        if (!Volatile.Read(ref _disposed))
        {
            _ending.Cancel();
        }
    }

    /// <summary>Asks the shepherd to end all containers and itself. Their policies do not start them again until the next daemon does.</summary>
    public async Task ShutdownAsync(CancellationToken cancel)
    {
        await _ending.CancelAsync().ConfigureAwait(false);
        var shepherd = Shepherd;
        foreach (var container in _containers.Values)
        {
            // The signal that asks it to end would wait for ever.
            Thaw(container);
        }

        await shepherd.ShutdownAsync().WaitAsync(cancel).ConfigureAwait(false);
        await shepherd.Disconnected.WaitAsync(cancel).ConfigureAwait(false);
        foreach (var container in _containers.Values.Where(container => container.IsRunning))
        {
            await DeleteCgroupAsync(CgroupOf(container.Record.Id)).ConfigureAwait(false);
        }

        Cgroup.At(_cgroups, _options.CgroupRoot).TryDelete();
    }

    private void LimitParent()
    {
        var parent = Cgroup.At(_cgroups, _options.CgroupRoot);
        parent.Ensure();
        var memory = SystemMemory.TotalBytes;
        var threads = long.Parse(File.ReadAllText("/proc/sys/kernel/threads-max"), System.Globalization.CultureInfo.InvariantCulture);
        var pids = long.Parse(File.ReadAllText("/proc/sys/kernel/pid_max"), System.Globalization.CultureInfo.InvariantCulture);
        var limit = Math.Min(threads, pids);

        // In v2 swap is a limit of its own, which each container has: closed here, nobody could be given any.
        Try(new CgroupLimits { MemoryBytes = memory - Math.Min(_options.ReserveMemoryBytes, memory / 2), MemoryAndSwapBytes = _cgroups.Unified is null ? null : -1 });
        Try(new CgroupLimits { Pids = limit - Math.Min(_options.ReservePids, limit / 2) });

        void Try(CgroupLimits limits)
        {
            try
            {
                parent.Apply(limits);
            }
            catch (EdgeHostException e)
            {
                // A board without the controller still runs what needs none; a workload with such a limit is refused.
                LogNoReserve(_log, _options.CgroupRoot, e.Message);
            }
        }
    }

    private async Task ConnectAsync(CancellationToken cancel)
    {
        var shepherd = await ShepherdClient.ConnectAsync(_options.RunDirectory, status => _reports.Writer.TryWrite(status), mayStart: !_options.ExternalShepherd, cancel).ConfigureAwait(false);
        _shepherd = shepherd;
        Interlocked.Exchange(ref _connected, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
        var found = 0;
        var due = new List<Container>();
        try
        {
            var held = (await shepherd.ListAsync().WaitAsync(cancel).ConfigureAwait(false)).ToDictionary(status => status.Id, StringComparer.Ordinal);
            foreach (var status in held.Values)
            {
                found += await AdoptAsync(status).ConfigureAwait(false) ? 1 : 0;
            }

            foreach (var container in _containers.Values)
            {
                if (!held.ContainsKey(container.Record.Id))
                {
                    if (await FindUnheldAsync(container).ConfigureAwait(false))
                    {
                        due.Add(container);
                    }
                }
            }
        }
        catch
        {
            shepherd.Dispose();
            throw;
        }

        _networks.Restore();
        _ = StartInOrderAsync(due);

        // Only now: who called this tries again by itself when it failed, and two must not.
        _ = WatchShepherdAsync(shepherd);
        LogFound(_log, _containers.Count, found, shepherd.Pid);
    }

    /// <summary>Takes over what the shepherd holds.</summary>
    /// <returns>Whether it runs.</returns>
    private async Task<bool> AdoptAsync(ShepherdContainerStatus status)
    {
        if (!_containers.TryGetValue(status.Id, out var container))
        {
            // Nobody knows what it is any more: it was being removed, or its files are gone.
            LogUnknown(_log, status.Id, status.Pid);
            if (status.Exit is null)
            {
                await Shepherd.SignalAsync(status.Id, Signals.SIGKILL).ConfigureAwait(false);
            }
            else
            {
                await DeleteCgroupAsync(CgroupOf(status.Id)).ConfigureAwait(false);
                await Shepherd.AcknowledgeAsync(status.Id, status.Pid).ConfigureAwait(false);
            }

            return false;
        }

        if (container.Record.Pid != status.Pid || !container.IsRunning)
        {
            // The daemon that started it ended before it could write that down.
            if (container.Record.State is ContainerState.Exited && container.Record.FinishedAt is not null && status.Exit is not null)
            {
                await Shepherd.AcknowledgeAsync(status.Id, status.Pid).ConfigureAwait(false);
                return false;
            }

            Change(
                container,
                record => record with { State = ContainerState.Running, Pid = status.Pid, StartTime = status.StartTime, StartedAt = DateTimeOffset.UtcNow, ExitCode = null, FinishedAt = null, OomKilled = false, Error = string.Empty },
                began: true);
        }

        if (status.Exit is not null)
        {
            _reports.Writer.TryWrite(status);
            return false;
        }

        // The kernel knows: a daemon may have ended between freezing it and writing that down.
        var frozen = CgroupOf(status.Id).IsFrozen;
        if (container.Record.Paused != frozen)
        {
            Change(container, record => record with { Paused = frozen });
        }

        if (container.Record.Sandbox is { } sandbox)
        {
            _networks.Adopt(status.Id, sandbox, NameServersOf(container.Record));
        }

        StartHealth(container, started: false);
        return true;
    }

    /// <summary>A container that the shepherd does not hold: how it ended may be known, what is left of it is cleared away.</summary>
    /// <returns>Whether its policy starts it now.</returns>
    private async Task<bool> FindUnheldAsync(Container container)
    {
        var record = container.Record;
        var newBoot = record.BootId != SystemIdentity.BootId;
        var wasRunning = record.State is ContainerState.Running or ContainerState.Restarting;
        using var turn = await container.TakeTurnAsync(CancellationToken.None).ConfigureAwait(false);
        if (record.State == ContainerState.Running)
        {
            var exit = newBoot ? null : _files.ReadExit(record);
            LogLost(_log, record.Name, exit is null ? "how it ended nobody saw" : $"it ended with {exit.Value.ExitCode}");
            await EndRunAsync(container, exit?.ExitCode, exit?.At ?? DateTimeOffset.UtcNow).ConfigureAwait(false);
        }
        else if (CgroupOf(record.Id).Exists)
        {
            await DeleteCgroupAsync(CgroupOf(record.Id)).ConfigureAwait(false);
        }

        // After a boot also one that was only seen created: that it was started may have been in a batch that was not written.
        if (record.Spec.AutoRemove && (wasRunning || newBoot))
        {
            await RemoveAsync(container, removeAnonymousVolumes: true, PatienceAtItsEnd).ConfigureAwait(false);
            return false;
        }

        if (RestartDecision.AtStart(container.Record, wasRunning, newBoot))
        {
            Change(container, was => was with { State = ContainerState.Restarting });
            return true;
        }

        if (container.Record.State == ContainerState.Restarting)
        {
            Change(container, was => was with { State = ContainerState.Exited });
        }

        return false;
    }

    /// <summary>Starts what ran, one after the other; one that fails is tried again by its policy and holds up none.</summary>
    private async Task StartInOrderAsync(List<Container> due)
    {
        var pending = new Dictionary<string, CancellationTokenSource>(StringComparer.Ordinal);
        foreach (var container in due)
        {
            // At once for all, so that each can be called off by hand before its turn.
            var own = CancellationTokenSource.CreateLinkedTokenSource(_ended);
            container.PendingRestart = own;
            container.RestartDelay = RestartBackOff.First;
            pending[container.Record.Id] = own;
        }

        // As they were started the last time.
        foreach (var container in StartOrder.Sort(due.OrderBy(static container => container.Record.StartedAt ?? container.Record.Created), static container => container.Record.Spec.Labels))
        {
            await RestartLaterAsync(container, Task.CompletedTask, isRestart: true, pending[container.Record.Id].Token).ConfigureAwait(false);
        }
    }

    private async Task ReadReportsAsync()
    {
        await foreach (var status in _reports.Reader.ReadAllAsync().ConfigureAwait(false))
        {
            // Each in its own time: one that is slow to clear away holds up no other.
            _ = HandleAsync(status);
        }
    }

    private async Task HandleAsync(ShepherdContainerStatus status)
    {
        try
        {
            if (status.Exit is null || !_containers.TryGetValue(status.Id, out var container))
            {
                await AdoptAsync(status).ConfigureAwait(false);
            }
            else
            {
                await TakeExitAsync(container, status).ConfigureAwait(false);
            }
        }
        catch (EdgeHostException e) when (e.Kind is ErrorKind.NotFound or ErrorKind.Unavailable)
        {
            LogReportLater(_log, status.Id, e.Message);
        }
        catch (Exception e)
        {
            LogDefect(_log, e, status.Id);
        }
    }

    private async Task WatchShepherdAsync(ShepherdClient shepherd)
    {
        await shepherd.Disconnected.ConfigureAwait(false);
        try
        {
            if (shepherd.IsEnding && !_ended.IsCancellationRequested)
            {
                // Whoever ends the whole board or service tells this daemon too, in the next moment; a shepherd that was
                // started in between would outlive it, with containers that nobody wants any more.
                LogShepherdEnded(_log, shepherd.Pid);
                await Task.Delay(ReconnectPause, _ended).ConfigureAwait(false);
            }

            while (!_ended.IsCancellationRequested)
            {
                LogShepherdGone(_log, shepherd.Pid);
                try
                {
                    await ConnectAsync(_ended).ConfigureAwait(false);
                    return;
                }
                catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
                {
                    LogShepherdNotBack(_log, e.Message);
                }

                await Task.Delay(ReconnectPause, _ended).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // The daemon ends: the next one connects, or starts a shepherd.
        }
    }
}
