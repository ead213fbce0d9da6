using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>
/// The part that touches containers. At a kill -9 after any line below, the next start converges: before the first
/// container is stopped the journal is on disk, with what existed and what ran; without a journal nothing that ran was
/// touched; and what a start finds half done it recognises by the hash in the labels.
/// </summary>
public sealed partial class Reconciler
{
    private const int MaximumProblems = 16;

    // Of a workload that is waited for: by then it has shown that it will not stay.
    private const int MaximumEnds = 5;

    private async Task RecoverAsync(CancellationToken stop)
    {
        var journal = _store.Journal;
        if (journal is { Failure: { } failure })
        {
            LogResumedRollback(_log, journal.Target.Version);
            await RollBackAsync(journal, failure, stop).ConfigureAwait(false);
            FinishRollback(failure);
        }
        else if (journal is not null && journal.Target.Digest != Status.Digest)
        {
            LogResumed(_log, journal.Target.Version);
            try
            {
                var desired = Parse(journal.Target);
                await SwitchAsync(journal.Target, desired, journal, stop).ConfigureAwait(false);
                MarkBoot();
                return;
            }
            catch (EdgeHostException cause)
            {
                var failed = Failed(journal.Target, cause, (cause as WorkloadFailure)?.Path ?? string.Empty);
                if (_store.Journal is { Failure: null })
                {
                    await RollBackAsync(journal, failed, stop).ConfigureAwait(false);
                }

                FinishRollback(failed);
            }
        }
        else if (journal is not null)
        {
            // Cut off between the commit and the end of the journal.
            WriteIfPossible(() => _store.Journal = null);
        }

        await BringBackAsync(stop).ConfigureAwait(false);
        MarkBoot();
    }

    /// <summary>Makes what was committed last run again; what fails is reported and hinders nothing else.</summary>
    private async Task BringBackAsync(CancellationToken stop)
    {
        if (_store.Current is not { } current)
        {
            return;
        }

        DesiredState desired;
        try
        {
            desired = Parse(current);
        }
        catch (DesiredStateException refusal)
        {
            // The board shrank, or a default of before was taken away: the containers that exist are left to the engine.
            Report(refusal.Path, refusal);
            return;
        }

        Update(status => status with { Images = ImagesOf(desired) });
        NoteNewest();
        var target = desired.Workloads.Select(workload => PlannedWorkload.Create(workload, current.Images[workload.Name])).ToList();
        await TryAsync(() => MakeNetworksAsync(desired, stop)).ConfigureAwait(false);
        foreach (var action in DeploymentPlanner.PlanSwitch(target, _engine.List(), _store.Boot != _options.BootId))
        {
            await TryAsync(() => PerformAsync(current.Version, action, stop)).ConfigureAwait(false);
        }

        await RemoveUnwantedAsync(target, desired.Networks, stop).ConfigureAwait(false);
    }

    /// <summary>Switches to a target whose images are all held, or puts everything back and throws.</summary>
    /// <param name="record">What becomes current.</param>
    /// <param name="desired">The same, parsed.</param>
    /// <param name="resumed">The journal of the switch that this one goes on with.</param>
    /// <param name="stop">Cuts it off; the next start goes on.</param>
    private async Task SwitchAsync(DeploymentRecord record, DesiredState desired, JournalRecord? resumed, CancellationToken stop)
    {
        Update(status => status with { Phase = DeploymentPhase.Switching, Target = record.Version });
        NoteNewest();
        var target = desired.Workloads.Select(workload => PlannedWorkload.Create(workload, record.Images[workload.Name])).ToList();
        var observed = _engine.List();
        var ours = observed.Where(static container => PlannedWorkload.Read(container) is not null).ToList();
        var journal = resumed ?? new JournalRecord
        {
            Target = record,
            Existed = ours.Select(static container => container.Id).ToList(),
            Ran = ours.Where(static container => container.State is ContainerState.Running or ContainerState.Restarting)
                .Select(static container => container.Id).ToList(),
        };
        var plan = DeploymentPlanner.PlanSwitch(target, observed, isNewBoot: false);
        var journalled = resumed is not null;
        try
        {
            await MakeNetworksAsync(desired, stop).ConfigureAwait(false);
            foreach (var action in plan)
            {
                if (!journalled && action is DeploymentAction.Stop)
                {
                    _store.Journal = journal;
                    journalled = true;
                }

                await PerformAsync(record.Version, action, stop).ConfigureAwait(false);
            }

            // The moment from which the new version is the one that runs.
            if (_store.Current is { } before && before.Digest != record.Digest)
            {
                _store.Previous = before;
            }

            _store.Current = record;
        }
        catch (EdgeHostException cause)
        {
            await RollBackAsync(journal, Failed(record, cause, (cause as WorkloadFailure)?.Path ?? string.Empty), stop).ConfigureAwait(false);
            throw;
        }

        Finish(record, desired);
        await RemoveUnwantedAsync(target, desired.Networks, stop).ConfigureAwait(false);
        await RemoveUnneededImagesAsync(_options.KeepUnusedBytes, null, stop).ConfigureAwait(false);
    }

    private void NoteNewest()
    {
        lock (_lock)
        {
            _switchedFor = _acceptedDigest;
        }
    }

    private void Finish(DeploymentRecord record, DesiredState desired)
    {
        WriteIfPossible(() => _store.Journal = null);
        if (Status.Failure is not null)
        {
            WriteIfPossible(() => _store.Failure = null);
        }

        LogRunning(_log, record.Version);
        Update(status => status with
        {
            Version = record.Version,
            Digest = record.Digest,
            Phase = DeploymentPhase.Running,
            Target = status.HighestVersion > record.Version ? status.HighestVersion : null,
            Failure = null,
            Images = ImagesOf(desired),
            Problems = [],
        });
    }

    /// <summary>Takes away what the switch made and starts what ran before it.</summary>
    private async Task RollBackAsync(JournalRecord journal, DeploymentFailure failure, CancellationToken stop)
    {
        LogRollingBack(_log, journal.Target.Version, failure.Reason);
        Update(static status => status with { Phase = DeploymentPhase.RollingBack });

        // From here on the target is not tried again, even if this is cut off.
        WriteIfPossible(() => _store.Journal = journal with { Failure = failure });
        foreach (var container in _engine.List())
        {
            if (PlannedWorkload.Read(container) is { } made && !journal.Existed.Contains(container.Id))
            {
                await TryAsync(() => PerformAsync(0, new DeploymentAction.Remove(made.Workload, container.Id), stop)).ConfigureAwait(false);
            }
        }

        foreach (var container in StartOrder.Sort(_engine.List().OrderBy(static container => container.Created), static container => container.Spec.Labels))
        {
            if (PlannedWorkload.Read(container) is { } ran && journal.Ran.Contains(container.Id))
            {
                await TryAsync(() => PerformAsync(0, new DeploymentAction.Start(ran.Workload, container.Id), stop)).ConfigureAwait(false);
            }
        }

        // What it made for itself goes; those in which a container of before is stay.
        await RemoveNetworksAsync([], stop).ConfigureAwait(false);
        Keep(failure);
        WriteIfPossible(() => _store.Journal = null);
    }

    private void FinishRollback(DeploymentFailure failure)
    {
        LogFailed(_log, failure.Version ?? 0, failure.Reason, Status.Version);
        Update(status => status with { Phase = DeploymentPhase.Failed, Target = null, Failure = failure });
    }

    private static Dictionary<string, string> ImagesOf(DesiredState desired) =>
        desired.Workloads.ToDictionary(static workload => workload.Name, static workload => workload.Container.Image, StringComparer.Ordinal);

    private async Task MakeNetworksAsync(DesiredState desired, CancellationToken stop)
    {
        try
        {
            foreach (var action in DeploymentPlanner.PlanNetworks(desired.Networks, _engine.Networks.Networks))
            {
                await PerformAsync(desired.Version, action, stop).ConfigureAwait(false);
            }
        }
        catch (DesiredStateException missing)
        {
            throw new WorkloadFailure(missing.Path, missing);
        }
    }

    private async Task RemoveUnwantedAsync(IReadOnlyList<PlannedWorkload> target, IReadOnlyList<WorkloadNetwork> networks, CancellationToken stop)
    {
        foreach (var action in DeploymentPlanner.PlanRemoval(target, _engine.List()))
        {
            await TryAsync(() => PerformAsync(0, action, stop)).ConfigureAwait(false);
        }

        await RemoveNetworksAsync(networks, stop).ConfigureAwait(false);
    }

    private async Task RemoveNetworksAsync(IReadOnlyList<WorkloadNetwork> wanted, CancellationToken stop)
    {
        foreach (var action in DeploymentPlanner.PlanNetworkRemoval(wanted, _engine.Networks.Networks, _engine.List()))
        {
            await TryAsync(() => PerformAsync(0, action, stop)).ConfigureAwait(false);
        }
    }

    private async Task PerformAsync(long version, DeploymentAction action, CancellationToken stop)
    {
        // Between two steps is where a stop may cut in: within one, a container could be left started and unknown.
        stop.ThrowIfCancellationRequested();
        var place = string.Empty;
        try
        {
            switch (action)
            {
                case DeploymentAction.CreateNetwork { Network: var network }:
                    place = $"networks.{network.Key}";
                    _engine.Networks.Create(network.Spec with
                    {
                        Labels = new Dictionary<string, string>(network.Spec.Labels, StringComparer.Ordinal) { [PlannedWorkload.NetworkLabel] = network.Key },
                    });
                    break;
                case DeploymentAction.RemoveNetwork old:
                    place = $"networks.{old.Key}";
                    _engine.Networks.Remove(old.Name);
                    break;
                case DeploymentAction.Await wait:
                    place = $"workloads.{wait.Workload}";
                    await AwaitAsync(wait, stop).ConfigureAwait(false);
                    break;
                case DeploymentAction.Create { Workload: var workload }:
                    place = $"workloads.{workload.Workload.Name}";
                    await CreateAsync(version, workload).ConfigureAwait(false);
                    break;
                case DeploymentAction.Start start:
                    place = $"workloads.{start.Workload}";
                    await _engine.StartAsync(start.Container, CancellationToken.None).ConfigureAwait(false);
                    LogStarted(_log, start.Workload, start.Container);
                    break;
                case DeploymentAction.Stop old:
                    place = $"workloads.{old.Workload}";
                    await _engine.StopAsync(old.Container, null, CancellationToken.None).ConfigureAwait(false);
                    LogStoppedContainer(_log, old.Workload, old.Container);
                    break;
                case DeploymentAction.Remove old:
                    place = $"workloads.{old.Workload}";
                    await _engine.RemoveAsync(old.Container, force: true, removeAnonymousVolumes: true, CancellationToken.None).ConfigureAwait(false);
                    LogRemoved(_log, old.Workload, old.Container);
                    break;
                case DeploymentAction.Keep:
                case DeploymentAction.Pull:
                    break;
                default:
                    throw new InvalidOperationException($"{action.GetType().Name} is not an action of a switch");
            }
        }
        catch (EdgeHostException cause) when (cause is not WorkloadFailure)
        {
            throw new WorkloadFailure(place, cause);
        }
    }

    /// <summary>Waits for what a workload needs, however long that takes; a newer document or the end of the daemon cuts it off.</summary>
    private async Task AwaitAsync(DeploymentAction.Await wait, CancellationToken stop)
    {
        var needed = _engine.Inspect(wait.Container);
        if (needed.State == ContainerState.Restarting)
        {
            // After a boot, when its own policy is about to start it, too.
            await _engine.StartAsync(wait.Container, CancellationToken.None).ConfigureAwait(false);
        }

        if (wait.Dependency.Condition == DependencyCondition.Started)
        {
            return;
        }

        using var superseded = CancellationTokenSource.CreateLinkedTokenSource(stop);
        lock (_lock)
        {
            _fetch = superseded;
            if (_acceptedDigest != _switchedFor)
            {
                superseded.Cancel();
            }
        }

        try
        {
            if (wait.Dependency.Condition == DependencyCondition.Healthy)
            {
                await AwaitHealthAsync(wait, superseded.Token).ConfigureAwait(false);
                return;
            }

            var code = await _engine.WaitAsync(wait.Container, WaitCondition.NotRunning, superseded.Token).ConfigureAwait(false);
            if (code != 0)
            {
                throw new EdgeHostException(
                    ErrorKind.Conflict, $"it needs {wait.Dependency.On} to have ended with 0, which {(code is { } known ? $"ended with {known}" : "ended, and nobody saw how")}");
            }
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"a newer version came while it waited for {wait.Dependency.On} to {(wait.Dependency.Condition == DependencyCondition.Healthy ? "be healthy" : "end")}");
        }
        finally
        {
            lock (_lock)
            {
                _fetch = null;
            }
        }
    }

    private async Task AwaitHealthAsync(DeploymentAction.Await wait, CancellationToken cancel)
    {
        var before = _engine.Inspect(wait.Container).RestartCount;
        if (IsHealthy(wait, before))
        {
            return;
        }

        // Heard from here on, so that nothing falls between the next look and what follows.
        var events = _engine.WatchAsync(cancel);
        if (IsHealthy(wait, before))
        {
            return;
        }

        await foreach (var happened in events.ConfigureAwait(false))
        {
            if (happened.Type == "container" && IsHealthy(wait, before))
            {
                return;
            }
        }
    }

    /// <exception cref="EdgeHostException">It never will be, as things are.</exception>
    private bool IsHealthy(DeploymentAction.Await wait, int restartsBefore)
    {
        var needed = _engine.Inspect(wait.Container);
        var why = needed switch
        {
            { Effective.Health: not { IsOn: true } } => "has no health check",
            { State: not (ContainerState.Running or ContainerState.Restarting) } => "does not run",

            // One that ends is called unhealthy, too, a moment before it is called ended.
            { State: ContainerState.Running, Health: { State: HealthState.Unhealthy, FailingStreak: var failures }, Effective.Health: { } check } when HealthRules.IsTooMany(failures, check) => "is unhealthy",
            _ when needed.RestartCount - restartsBefore >= MaximumEnds => $"ended {MaximumEnds} times",
            _ => null,
        };
        return why is null
            ? needed is { State: ContainerState.Running, Health.State: HealthState.Healthy }
            : throw new EdgeHostException(ErrorKind.Conflict, $"it needs {wait.Dependency.On} to be healthy, which {why}");
    }

    private async Task CreateAsync(long version, PlannedWorkload workload)
    {
        // By its name where that still leads to the planned image, so that listings show what people know.
        var reference = workload.Workload.Container.Image;
        var image = _images.Find(reference)?.Id.ToString() == workload.ImageId ? reference : workload.ImageId;
        var id = await _engine.CreateAsync(workload.ToContainer(version, image), CancellationToken.None).ConfigureAwait(false);
        if (_engine.Inspect(id).ImageId != workload.ImageId)
        {
            // The tag moved in this very moment.
            await _engine.RemoveAsync(id, force: true, removeAnonymousVolumes: true, CancellationToken.None).ConfigureAwait(false);
            await _engine.CreateAsync(workload.ToContainer(version, workload.ImageId), CancellationToken.None).ConfigureAwait(false);
        }
    }

    private async Task TryAsync(Func<Task> perform)
    {
        try
        {
            await perform().ConfigureAwait(false);
        }
        catch (WorkloadFailure failure)
        {
            Report(failure.Path, failure);
        }
    }

    private void Report(string path, EdgeHostException failure)
    {
        LogProblem(_log, failure.Message);
        Update(status => status with
        {
            Problems = [.. status.Problems.TakeLast(MaximumProblems - 1), new DeploymentProblem(path, failure.Kind, failure.Message)],
        });
    }

    private void MarkBoot()
    {
        if (_store.Boot != _options.BootId)
        {
            WriteIfPossible(() => _store.Boot = _options.BootId);
        }
    }
}
