using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;
using EdgeHost.Runtime.Shepherd;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>Starting, stopping, and what happens at an end.</summary>
public sealed partial class ContainerEngine
{
    private static readonly TimeSpan DefaultGrace = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan NextShepherdPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan KillPatience = TimeSpan.FromSeconds(10);

    /// <inheritdoc/>
    public async Task<bool> StartAsync(string container, CancellationToken cancel)
    {
        var found = Find(container);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        if (found.Record.Paused)
        {
            throw new EdgeHostException(ErrorKind.Conflict, "cannot start a paused container, try unpause instead");
        }

        if (found.IsRunning)
        {
            return false;
        }

        CancelRestart(found);
        found.RestartDelay = RestartBackOff.First;
        await LaunchAsync(found, record => record with { StoppedByHand = false, RestartCount = 0 }).ConfigureAwait(false);
        return true;
    }

    /// <inheritdoc/>
    public async Task<bool> StopAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel)
    {
        var found = Find(container);
        var record = found.Record;
        if (!found.IsRunning)
        {
            // A stop also ends the waiting for the next start.
            using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
            if (!found.IsRunning)
            {
                var waited = found.AwaitedDevice is not null;
                CancelRestart(found);
                if (found.Record.State == ContainerState.Restarting || (found.Record.Spec.Restart.Kind != RestartKind.No && !found.Record.StoppedByHand && found.Record.State == ContainerState.Exited))
                {
                    // One that waited for a device ends as if it had run, so that nobody takes its end for one that was missed.
                    var restarted = found.Record.State == ContainerState.Restarting;
                    Change(found, was => was with { State = ContainerState.Exited, StoppedByHand = true, ExitCode = waited ? 0 : was.ExitCode, Error = waited ? string.Empty : was.Error });
                    if (restarted)
                    {
                        Tell(found.Record, "stop");
                    }
                }

                return false;
            }
        }

        await EndAsync(found, signal ?? record.StopSignal, grace ?? record.Spec.StopGrace ?? DefaultGrace, byHand: true, cancel).ConfigureAwait(false);
        Tell(found.Record, "stop");
        return true;
    }

    /// <inheritdoc/>
    public async Task KillAsync(string container, int signal, CancellationToken cancel)
    {
        var found = Find(container);
        if (!found.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"cannot kill container: {container}: container {found.Record.Id} is not running");
        }

        // A kill by hand is a stop by hand, as with Docker: its policy does not start it again.
        if (signal == Signals.SIGKILL || signal == found.Record.StopSignal)
        {
            Change(found, record => record with { StoppedByHand = true });
        }

        await SignalAsync(found.Record.Id, signal).WaitAsync(cancel).ConfigureAwait(false);
        if (signal == Signals.SIGKILL || signal == found.Record.StopSignal)
        {
            // It is to end, and cannot while it is held; any other signal waits until it goes on.
            Thaw(found);
        }

        Tell(found.Record, "kill", ("signal", signal.ToString(CultureInfo.InvariantCulture)));
    }

    /// <inheritdoc/>
    public async Task RestartAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel)
    {
        await StopAsync(container, signal, grace, cancel).ConfigureAwait(false);
        await StartAsync(container, cancel).ConfigureAwait(false);
        Tell(Find(container).Record, "restart");
    }

    /// <inheritdoc/>
    public async Task<int?> WaitAsync(string container, WaitCondition condition, CancellationToken cancel)
    {
        var found = Find(container);
        var ends = found.Ends;
        switch (condition)
        {
            case WaitCondition.NextExit:
                await found.WaitUntilAsync(each => each.Ends > ends || each.Removed, cancel).ConfigureAwait(false);
                break;
            case WaitCondition.Removed:
                await found.WaitUntilAsync(each => each.Removed, cancel).ConfigureAwait(false);
                break;
            default:
                await found.WaitUntilAsync(each => each.Record.State is not (ContainerState.Running or ContainerState.Restarting) || each.Removed, cancel).ConfigureAwait(false);
                break;
        }

        return found.Record.ExitCode ?? (found.Record.State == ContainerState.Created ? 0 : null);
    }

    /// <summary>Starts the program of a container whose turn is held. Everything is undone when that fails.</summary>
    private async Task LaunchAsync(Container container, Func<ContainerRecord, ContainerRecord> change)
    {
        var record = container.Record;
        if (HostDevices.FindMissing(record.Spec) is { } missing)
        {
            WaitForDevice(container, missing, change);
            return;
        }

        container.AwaitedDevice = null;
        Cgroup? cgroup = null;
        Task<MadeNamespaces>? making = null;
        var limiting = Task.CompletedTask;
        var attaching = TakeAttaching(container);
        try
        {
            if (_whyNoLayers is not null)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, _whyNoLayers);
            }

            if (record.FirstUser is not null && WhyNoUsers is { } why)
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"it was made with a user namespace, and containers cannot have one on this host any more: {why}; make it anew");
            }

            // While the shepherd makes them, everything is done here that needs none.
            making = BeginNamespaces(record);

            // Two roots over the same layer at once would not be the same.
            await container.Unmounted.ConfigureAwait(false);
            var image = _images.Find(record.ImageId) ?? throw new EdgeHostException(ErrorKind.NotFound, $"image {record.ImageId} of container {record.Name} is gone; load or pull it again");
            var snapshot = _images.Prepare(record.ImageId, record.Id, durable: ContainerFiles.IsDurable(record));
            var devices = HostDevices.Find(record.Spec);
            var limits = RuntimeSpecBuilder.LimitsOf(record.Spec, devices);
            var own = cgroup = CgroupOf(record.Id);

            // On another CPU, where there is one: version 1 has eight directories to make.
            limiting = Task.Run(() =>
            {
                own.Create();
                own.Apply(limits);
            });
            var user = ContainerUser.Find(
                record.Spec.User ?? image.Config.Config.User, [snapshot.UpperDirectory, .. snapshot.LowerDirectories]);
            var directory = _files.RunDirectory(record.Id);

            // One that was only created, in another boot, has none in this.
            Files.TryMakeDirectory(directory, 0x1ED);
            var root = _files.MountPoint;
            var made = making is null ? null : await making.ConfigureAwait(false);
            using var place = PlaceInNetworks(container, made);
            record = container.Record;
            var secrets = _options.Secrets?.Of(container.Status);
            List<RuntimeMount> mounts =
            [
                .. place.FilesOf is { } other ? NetworkFiles.Share(_files.RunDirectory(other)) : NetworkFiles.Write(record, directory),
                .. record.Spec.Mounts.Select(mount => MountOf(mount, record.FirstUser is not null)),
            ];
            if (secrets is not null)
            {
                mounts.Add(Tell(directory, secrets));
            }

            var spec = RuntimeSpecBuilder.Build(record, image.Config, user, devices, mounts, made is null ? null : PathOf(made.User), place.Path, secrets?.Environment ?? [], AppArmorOf(record.Spec), record.Spec.Terminal);
            var plan = LaunchPlanCompiler.Compile(spec, new LaunchTarget
            {
                Bundle = directory,
                Overlay = new OverlayRoot(root, snapshot.Below, snapshot.UpperDirectory, snapshot.WorkDirectory),
                CgroupMounts = _cgroups,
                Cgroup = cgroup,
                Init = record.Spec.Init,
                TerminalSize = record.Spec.TerminalRows | (record.Spec.TerminalColumns << 16),
                OwnsNetwork = Shepherd.MakesNetworks,
                LoopbackUp = record.Spec.Network == NetworkMode.None,
                GivesStreams = Shepherd.Version >= Runtime.Shepherd.Shepherd.VersionWithUsers,
            });
            await limiting.ConfigureAwait(false);
            if (cgroup.Remark is { } remark)
            {
                LogRemark(_log, record.Name, remark);
            }

            var (pid, startTime) = await Shepherd.LaunchAsync(
                record.Id,
                plan,
                cgroup.BirthDirectory,
                LogLimits.PolicyOf(_files.LogDirectory(record.Id), record.Spec, _options),
                record.StopSignal,
                record.Spec.StopGrace ?? DefaultGrace,
                StreamsOf(record.Spec, attaching)).ConfigureAwait(false);
            HoldMounts(container, pid);
            await EndAttachingAsync(container, attaching, runs: true).ConfigureAwait(false);
            BeginHealth(container);
            Change(
                container,
                was => change(was) with
                {
                    State = ContainerState.Running,
                    Started = true,
                    Pid = pid,
                    StartTime = startTime,
                    StartedAt = DateTimeOffset.UtcNow,
                    FinishedAt = null,
                    ExitCode = null,
                    OomKilled = false,
                    Error = string.Empty,
                },
                began: true);
            _networks.Started(record.Id);
            Tell(container.Record, "start");
            StartHealth(container, started: true);
        }
        catch (Exception e)
        {
            // Whatever it was, a defect included: what is half made is taken back.
            await EndAttachingAsync(container, attaching, runs: false).ConfigureAwait(false);
            LetMountsGo(container);
            _networks.Disconnect(record.Id);
            await limiting.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (cgroup is not null)
            {
                await DeleteCgroupAsync(cgroup).ConfigureAwait(false);
            }

            var exitCode = e is EdgeHostException { Kind: ErrorKind.CannotExecute }
                ? e.Message.Contains("not found", StringComparison.Ordinal) ? 127 : 126
                : 128;
            Change(
                container,
                was => change(was) with { State = was.State is ContainerState.Created ? ContainerState.Created : ContainerState.Exited, ExitCode = exitCode, Error = e.Message, Pid = 0, Sandbox = null },
                ended: true);
            TellOfNetworks("disconnect", record.Id, record.Sandbox);
            container.SetEndsTold();
            if (record.Spec.AutoRemove)
            {
                await RemoveAsync(container, removeAnonymousVolumes: true, PatienceAtItsEnd).ConfigureAwait(false);
            }

            if (e is EdgeHostException)
            {
                throw;
            }

            throw new EdgeHostException(ErrorKind.Internal, $"start of container {record.Name}: {e.Message}", e);
        }
        finally
        {
            LetGo(making);
            if (making is not null)
            {
                PrepareNamespaces();
            }
        }
    }

    // What is of the host in it must be free once it has ended: then its end is not told before.
    private static void HoldMounts(Container container, int pid)
    {
        var ofHost = false;
        foreach (var mount in container.Record.Spec.Mounts)
        {
            ofHost |= mount.Kind == ContainerMountKind.Bind;
        }

        container.Mounts = ofHost ? null : Processes.TryOpenMounts(pid);
    }

    private static void LetMountsGo(Container container)
    {
        if (container.Mounts is { } mounts)
        {
            container.Mounts = null;
            container.Unmounted = Afterwards.Add(mounts.Dispose);
        }
    }

    private static LaunchStreams StreamsOf(ContainerSpec spec, List<PendingAttach> attaching)
    {
        var taps = new List<LaunchTap>();
        foreach (var pending in attaching)
        {
            if (pending.Output is not null)
            {
                taps.Add(new LaunchTap(1, pending.Output));
            }

            if (pending.Error is not null)
            {
                taps.Add(new LaunchTap(2, pending.Error));
            }
        }

        return new LaunchStreams { Terminal = spec.Terminal, Input = spec.OpenInput, Init = spec.Init, Taps = taps };
    }

    /// <summary>Puts a file that a container is told in the run directory; its directory lets nobody else of the host to it.</summary>
    private static RuntimeMount Tell(string directory, StartSecrets secrets)
    {
        var file = directory + "/secrets";
        DurableFile.WriteVolatile(file, secrets.Content.Span, 0x124);
        return new RuntimeMount { Destination = secrets.File, Type = "bind", Source = file, Options = ["bind", "ro"] };
    }

    private RuntimeMount MountOf(ContainerMount mount, bool mapIds)
    {
        switch (mount.Kind)
        {
            case ContainerMountKind.Tmpfs:
                string[] given = mount.Options?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];
                return new RuntimeMount
                {
                    Destination = mount.Target,
                    Type = "tmpfs",
                    Source = "tmpfs",
                    Options = ["nosuid", "nodev", "noexec", .. mount.ReadOnly ? ["ro"] : Array.Empty<string>(), .. given],
                };
            default:
                var source = mount.Kind == ContainerMountKind.Volume ? _volumes.Ensure(mount.Source) : mount.Source;
                if (!Path.Exists(source) && !(mount.MakesSource == true && TryMakeSource(source)))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"bind source path does not exist: {source}");
                }

                return new RuntimeMount { Destination = mount.Target, Type = "bind", Source = source, Options = ["rbind", mount.ReadOnly ? "rro" : "rw", .. mapIds && !mount.HostIds ? ["idmap"] : Array.Empty<string>()] };
        }
    }

    private static bool TryMakeSource(string source)
    {
        try
        {
            Directory.CreateDirectory(source, (UnixFileMode)0x1ED);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"bind source path {source} does not exist and cannot be made: {e.Message}", e);
        }
    }

    /// <summary>Sends a signal; when the shepherd dies in this moment, by the next one, which takes its containers back.</summary>
    private async Task SignalAsync(string id, int signal)
    {
        var next = _connected.Task;
        var shepherd = Shepherd;
        try
        {
            await shepherd.SignalAsync(id, signal).ConfigureAwait(false);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Unavailable)
        {
            if (await Task.WhenAny(next, Task.Delay(NextShepherdPatience)).ConfigureAwait(false) != next)
            {
                throw;
            }

            await Shepherd.SignalAsync(id, signal).ConfigureAwait(false);
        }
    }

    /// <summary>Asks a container to end, kills it after a while, and returns once its end was taken down.</summary>
    private async Task EndAsync(Container container, int signal, TimeSpan grace, bool byHand, CancellationToken cancel)
    {
        var ends = container.Ends;
        if (byHand)
        {
            Change(container, record => record with { StoppedByHand = true });
        }

        try
        {
            await SignalAsync(container.Record.Id, signal).ConfigureAwait(false);
            Thaw(container);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Conflict)
        {
            // It has ended by itself; its end is on the way.
        }

        if (signal != Signals.SIGKILL && !await EndedWithinAsync(grace).ConfigureAwait(false))
        {
            try
            {
                await SignalAsync(container.Record.Id, Signals.SIGKILL).ConfigureAwait(false);
                Thaw(container);
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.Conflict)
            {
                // As above.
            }
        }

        if (!await EndedWithinAsync(KillPatience).ConfigureAwait(false))
        {
            throw new EdgeHostException(ErrorKind.Internal, $"container {container.Record.Name} (pid {container.Record.Pid}) did not end {KillPatience.TotalSeconds:0} s after it was killed; a device or file system may hang");
        }

        async Task<bool> EndedWithinAsync(TimeSpan time)
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            limit.CancelAfter(time);
            try
            {
                await container.WaitUntilAsync(each => each.EndsTold > ends || each.Removed, limit.Token).ConfigureAwait(false);
                return true;
            }
            catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
            {
                return false;
            }
        }
    }

    /// <summary>Takes an end down: what the kernel counted, the record, then the shepherd may forget it; then what its policy says.</summary>
    private async Task TakeExitAsync(Container container, ShepherdContainerStatus status)
    {
        using var turn = await container.TakeTurnAsync(CancellationToken.None).ConfigureAwait(false);
        var exit = status.Exit!;
        if (container.Record.Pid != status.Pid || !container.IsRunning)
        {
            // Taken down before, by a daemon that could not say so any more, and perhaps not clear away either.
            if (!container.IsRunning)
            {
                await DeleteCgroupAsync(CgroupOf(status.Id)).ConfigureAwait(false);
            }

            await Shepherd.AcknowledgeAsync(status.Id, status.Pid).ConfigureAwait(false);
            return;
        }

        await EndRunAsync(container, exit.ExitCode, exit.At).ConfigureAwait(false);
        await Shepherd.AcknowledgeAsync(status.Id, status.Pid).ConfigureAwait(false);
        await AfterEndAsync(container).ConfigureAwait(false);
    }

    /// <summary>Writes the end of a run down and clears the cgroup away; the turn is held.</summary>
    private async Task EndRunAsync(Container container, int? exitCode, DateTimeOffset at)
    {
        await StopHealthAsync(container).ConfigureAwait(false);
        LetMountsGo(container);
        var cgroup = CgroupOf(container.Record.Id);
        var oom = cgroup.ReadOomKills() > (cgroup.IsDivided ? 0 : container.OomKillsBeside);
        container.OomKillsBeside = 0;
        var sandbox = container.Record.Sandbox;
        _networks.Disconnect(container.Record.Id);
        var ran = at - (container.Record.StartedAt ?? at);
        container.RestartDelay = RestartBackOff.After(ran, container.RestartDelay);
        var again = RestartDecision.AfterExit(container.Record with { ExitCode = exitCode }) && !container.Record.Spec.AutoRemove;
        Change(
            container,
            record => record with { State = again ? ContainerState.Restarting : ContainerState.Exited, Paused = false, Pid = 0, ExitCode = exitCode, FinishedAt = at, OomKilled = oom, Sandbox = null },
            ended: true);
        if (oom)
        {
            Tell(container.Record, "oom");
        }

        Tell(container.Record, "die", ("exitCode", exitCode?.ToString(CultureInfo.InvariantCulture) ?? "unknown"));
        TellOfNetworks("disconnect", container.Record.Id, sandbox);
        container.SetEndsTold();

        // Who waits for the end need not wait for this, and who starts or removes the container next does.
        await DeleteCgroupAsync(cgroup).ConfigureAwait(false);
    }

    private async Task AfterEndAsync(Container container)
    {
        if (container.Record.Spec.AutoRemove)
        {
            try
            {
                await RemoveAsync(container, removeAnonymousVolumes: true, PatienceAtItsEnd).ConfigureAwait(false);
            }
            catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
            {
                LogNotRemoved(_log, container.Record.Name, e.Message);
            }
        }
        else if (container.Record.State == ContainerState.Restarting)
        {
            ScheduleRestart(container);
        }
    }

    private void ScheduleRestart(Container container)
    {
        var delay = container.RestartDelay;
        container.RestartDelay = RestartBackOff.Next(delay);
        var pending = CancellationTokenSource.CreateLinkedTokenSource(_ended);
        container.PendingRestart = pending;
        _ = RestartLaterAsync(container, Task.Delay(delay, pending.Token), isRestart: true, pending.Token);
    }

    /// <summary>Puts the start of a container off until a device is there; its turn is held.</summary>
    private void WaitForDevice(Container container, string missing, Func<ContainerRecord, ContainerRecord> change)
    {
        var pending = CancellationTokenSource.CreateLinkedTokenSource(_ended);
        var arrived = ArriveAsync(container.Record.Spec, missing, pending.Token);
        container.PendingRestart = pending;
        container.AwaitedDevice = missing;

        // Without the code of an end before: it is not one, when the next daemon asks whether to start it.
        Change(container, was => change(was) with { State = ContainerState.Restarting, ExitCode = null, Error = $"waits for device {missing}, which is not there" });
        LogWaits(_log, container.Record.Name, missing);
        Tell(container.Record, "wait", ("device", missing));
        _ = RestartLaterAsync(container, arrived, isRestart: false, pending.Token);
    }

    /// <summary>Done when a device is not the one any more that is missed.</summary>
    private async Task ArriveAsync(ContainerSpec spec, string missing, CancellationToken cancel)
    {
        for (var next = _arrivals.Next(); HostDevices.FindMissing(spec) == missing; next = _arrivals.Next())
        {
            await next.WaitAsync(cancel).ConfigureAwait(false);
        }
    }

    private async Task RestartLaterAsync(Container container, Task when, bool isRestart, CancellationToken cancel)
    {
        try
        {
            await when.ConfigureAwait(false);
            using var turn = await container.TakeTurnAsync(cancel).ConfigureAwait(false);
            if (cancel.IsCancellationRequested || container.Record.State != ContainerState.Restarting)
            {
                return;
            }

            try
            {
                await LaunchAsync(container, record => record with { RestartCount = record.RestartCount + (isRestart ? 1 : 0) }).ConfigureAwait(false);
            }
            catch (EdgeHostException e)
            {
                // A shepherd that ends is said once, by whom it told; each of its containers would say it again and again.
                LogNotRestarted(_log, e.Kind == ErrorKind.Unavailable ? LogLevel.Debug : LogLevel.Warning, container.Record.Name, e.Message);
                if (RestartDecision.AfterExit(container.Record))
                {
                    Change(container, record => record with { State = ContainerState.Restarting });
                    ScheduleRestart(container);
                }
            }
        }
        catch (Exception e) when (e is OperationCanceledException or EdgeHostException { Kind: ErrorKind.NotFound })
        {
            // Stopped, started or removed by hand meanwhile.
        }
    }

    private static void CancelRestart(Container container)
    {
        container.PendingRestart?.Cancel();
        container.PendingRestart = null;
        container.AwaitedDevice = null;
    }

    private async Task DeleteCgroupAsync(Cgroup cgroup)
    {
        // The kernel lets go of the last process a moment after it was reaped. One that hangs in it for good must not
        // keep everything else about its container waiting; the next start says that the cgroup is taken.
        var until = Environment.TickCount64 + (long)KillPatience.TotalMilliseconds;
        for (var pause = 1; !cgroup.TryDelete(); pause = Math.Min(pause * 2, 100))
        {
            if (Environment.TickCount64 > until)
            {
                LogCgroupLeft(_log, cgroup.CgroupPath, string.Join(", ", cgroup.ReadPids()));
                return;
            }

            cgroup.Kill();
            await Task.Delay(pause).ConfigureAwait(false);
        }
    }
}
