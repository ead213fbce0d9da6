using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Oci;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Deployments;

/// <summary>
/// Brings the board to its desired state and keeps it there across crashes. Documents are decided on at once
/// (<see cref="OfferAsync"/>: on disk or refused when it returns) and carried out by one loop: everything is fetched and
/// verified first, then only what changed is switched, and a workload that cannot be started puts all of them back.
/// It touches only containers that carry its labels.
/// </summary>
public sealed partial class Reconciler : IAsyncDisposable
{
    private readonly DeploymentOptions _options;
    private readonly IContainerEngine _engine;
    private readonly IImageStore _images;
    private readonly ILogger<Reconciler> _log;
    private readonly TimeProvider _time;
    private readonly DeploymentStore _store;
    private readonly SemaphoreSlim _offers = new(1, 1);
    private readonly SemaphoreSlim _work = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private CancellationTokenSource? _fetch;
    private DeploymentStatus _status;
    private string _acceptedDigest = string.Empty;

    // The newest document when the switch under way began.
    private string _switchedFor = string.Empty;
    private DefaultLimits _defaults;
    private string? _allowedDevices;
    private Task _loop = Task.CompletedTask;

    /// <summary>Opens the store; nothing happens before <see cref="StartAsync"/>.</summary>
    /// <exception cref="EdgeHostException">The directory cannot be made or read.</exception>
    public Reconciler(
        DeploymentOptions options, IContainerEngine engine, IImageStore images, ILogger<Reconciler> log, TimeProvider? time = null)
    {
        _options = options;
        _engine = engine;
        _images = images;
        _log = log;
        _time = time ?? TimeProvider.System;
        _defaults = options.Defaults;
        _allowedDevices = options.AllowedDevices;
        _store = new DeploymentStore(options.Directory, (failure, aside) => LogDamaged(_log, failure.Message, aside));

        var current = _store.Current;
        var accepted = _store.Accepted;
        var failure = _store.Failure;
        if (accepted is null && current is not null)
        {
            // The record of what was accepted is damaged or from an older version: what runs was accepted for certain.
            accepted = current;
        }

        _acceptedDigest = accepted?.Digest ?? string.Empty;
        _status = new DeploymentStatus
        {
            Version = current?.Version ?? 0,
            Digest = current?.Digest ?? string.Empty,
            HighestVersion = accepted?.Version ?? 0,
            Failure = failure,
            Phase = PhaseOf(current?.Digest, accepted?.Digest, failure),
        };
    }

    /// <summary>Where the tests pull the plug.</summary>
    internal Action? BeforeWrite
    {
        set => _store.BeforeWrite = value;
    }

    /// <summary>Raised after each change of <see cref="Status"/>, on the thread that made it.</summary>
    public event Action? Changed;

    /// <summary>Raised while images are fetched, at most ten times a second.</summary>
    public event Action<DeploymentProgress>? Progressed;

    /// <summary>Takes other limits for workloads that name none; for documents that are accepted from now on.</summary>
    public void UseDefaults(DefaultLimits defaults) => Volatile.Write(ref _defaults, defaults);

    /// <summary>Takes other devices that workloads may ask for; for documents that are offered from now on.</summary>
    public void UseDevices(string? allowed) => Volatile.Write(ref _allowedDevices, allowed);

    /// <summary>The deployment as it is at this moment.</summary>
    public DeploymentStatus Status => Volatile.Read(ref _status);

    /// <summary>Begins: finishes a switch that was cut off, brings back the last deployment (without broker or registry), and goes on with what was accepted.</summary>
    public Task StartAsync(CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        _loop = Task.Run(() => RunAsync(_stop.Token), cancel);
        return Task.CompletedTask;
    }

    /// <summary>Ends with the loop; faulted when a defect ended it.</summary>
    public Task Completion => _loop;

    /// <summary>Ends the loop. A switch under way is cut off and finished by the next start; no container is stopped.</summary>
    public async Task StopAsync(CancellationToken cancel)
    {
        await _stop.CancelAsync().ConfigureAwait(false);

        // How it ended, if not by this, was logged, and is for whoever watches Completion.
        await _loop.WaitAsync(cancel).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None).ConfigureAwait(false);
        _stop.Dispose();
        _offers.Dispose();
        _work.Dispose();
    }

    /// <summary>
    /// Decides on a document. When this returns <see cref="DeploymentDecision.Accepted"/>, it survives a pulled plug;
    /// a refusal is in <see cref="Status"/>. Never throws for what is in the document.
    /// </summary>
    /// <param name="bytes">The document; empty when the retained message was deleted, which changes nothing.</param>
    /// <param name="cancel">Gives up waiting for an earlier offer.</param>
    public async Task<DeploymentDecision> OfferAsync(ReadOnlyMemory<byte> bytes, CancellationToken cancel)
    {
        await _offers.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            return Decide(bytes);
        }
        finally
        {
            _offers.Release();
        }
    }

    private DeploymentDecision Decide(ReadOnlyMemory<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            LogEmptied(_log, Status.Version);
            Update(static status => status with
            {
                Notice = $"the desired state was emptied; nothing changes (version {status.Version} stays). A document without workloads removes them",
            });
            return DeploymentDecision.Unchanged;
        }

        var digest = Digest.OfSha256(bytes.Span).ToString();
        if (digest == _acceptedDigest || (Status.Failure is { IsRefusal: false } failed && digest == failed.Digest))
        {
            Update(static status => status.Notice is null ? status : status with { Notice = null });
            return DeploymentDecision.Unchanged;
        }

        // One that was refused is judged anew each time it comes: other defaults, a newer EdgeHost or a disk with room may take it.
        DesiredState desired;
        try
        {
            // A copy: the caller's buffer may be the network's.
            var defaults = Volatile.Read(ref _defaults);
            desired = DesiredStateParser.Parse(bytes.ToArray(), _options.Capacity, defaults);
            RefuseStale(desired);

            // Of what was accepted before another configuration it is not asked again.
            AllowedDevices.Require(desired, Volatile.Read(ref _allowedDevices));
            _store.Accepted = new DeploymentRecord { Version = desired.Version, Digest = digest, Document = desired.Bytes.ToArray(), Defaults = defaults };
        }
        catch (DesiredStateException refusal)
        {
            return Refuse(new DeploymentFailure(
                refusal.Version, digest, IsRefusal: true, refusal.Kind, refusal.Path, refusal.Message, _time.GetUtcNow()));
        }
        catch (LinuxException failure)
        {
            return Refuse(new DeploymentFailure(
                null, digest, IsRefusal: true, failure.Kind, string.Empty, $"the document cannot be kept: {failure.Message}", _time.GetUtcNow()));
        }

        LogAccepted(_log, desired.Version, digest, desired.Workloads.Count);
        lock (_lock)
        {
            _acceptedDigest = digest;

            // Within the lock, because its owner disposes it once it is no longer here; what waits for it runs elsewhere.
            _ = _fetch?.CancelAsync();
        }

        Update(status => status with { HighestVersion = desired.Version, Target = desired.Version, Notice = null });
        Wake();
        return DeploymentDecision.Accepted;
    }

    private void RefuseStale(DesiredState desired)
    {
        var highest = Status.HighestVersion;
        if (desired.Version > highest)
        {
            return;
        }

        var reason = desired.Version == highest
            ? $"version {desired.Version} was accepted before with other bytes ({_acceptedDigest}); a change needs version {highest + 1} or higher"
            : $"version {desired.Version} is lower than {highest}, the highest one accepted; a change needs version {highest + 1} or higher";
        throw new DesiredStateException(ErrorKind.Conflict, "version", reason, desired.Version);
    }

    private DeploymentDecision Refuse(DeploymentFailure failure)
    {
        // The retained message comes with every connection: the same refusal is said again, but neither logged nor written.
        if (Status.Failure is not { IsRefusal: true } before || before with { Time = failure.Time } != failure)
        {
            LogRefused(_log, failure.Version, failure.Digest, failure.Reason, Status.Version);
            Keep(failure);
        }

        Update(status => status with { Failure = failure, Notice = null });
        return DeploymentDecision.Refused;
    }

    private async Task RunAsync(CancellationToken stop)
    {
        TimeSpan? retry = null;
        try
        {
            await RecoverAsync(stop).ConfigureAwait(false);
            while (true)
            {
                if (NextTarget() is { } target)
                {
                    retry = await DeployAsync(target, retry, stop).ConfigureAwait(false);
                }
                else
                {
                    retry = null;
                }

                _ = await _work.WaitAsync(retry is { } delay ? Jitter(delay) : Timeout.InfiniteTimeSpan, stop).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            LogStopped(_log);
        }
        catch (Exception defect)
        {
            LogDefect(_log, defect);
            Update(static status => status with
            {
                Problems = [.. status.Problems.TakeLast(15), new DeploymentProblem(string.Empty, ErrorKind.Internal, "the reconciler ended; see the log, and restart the daemon")],
            });
            throw;
        }
    }

    private DeploymentRecord? NextTarget()
    {
        var status = Status;
        string digest;
        lock (_lock)
        {
            digest = _acceptedDigest;
        }

        if (digest.Length == 0 || digest == status.Digest)
        {
            return null;
        }

        if (status.Failure is { IsRefusal: false } failure && failure.Digest == digest && failure.Kind != ErrorKind.Unavailable)
        {
            return null;
        }

        return _store.Accepted;
    }

    /// <summary>Carries out an accepted document.</summary>
    /// <returns>After which delay to try again; null for not before the next document.</returns>
    private async Task<TimeSpan?> DeployAsync(DeploymentRecord target, TimeSpan? lastDelay, CancellationToken stop)
    {
        using var superseded = CancellationTokenSource.CreateLinkedTokenSource(stop);
        lock (_lock)
        {
            if (_acceptedDigest != target.Digest)
            {
                return TimeSpan.Zero;
            }

            _fetch = superseded;
        }

        DeploymentFailure failure;
        try
        {
            Update(status => status with { Phase = DeploymentPhase.Fetching, Target = target.Version });
            var desired = Parse(target);
            var images = await FetchAsync(desired, superseded.Token).ConfigureAwait(false);
            lock (_lock)
            {
                _fetch = null;
            }

            await SwitchAsync(target with { Images = images }, desired, null, stop).ConfigureAwait(false);
            return null;
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            LogSuperseded(_log, target.Version);
            return TimeSpan.Zero;
        }
        catch (DesiredStateException refusal)
        {
            failure = Failed(target, refusal, refusal.Path);
        }
        catch (WorkloadFailure blame)
        {
            failure = Failed(target, blame, blame.Path);
        }
        catch (EdgeHostException other)
        {
            failure = Failed(target, other, string.Empty);
        }
        finally
        {
            lock (_lock)
            {
                _fetch = null;
            }
        }

        TimeSpan? delay = null;
        if (failure.Kind == ErrorKind.Unavailable)
        {
            delay = lastDelay is { } last && last > TimeSpan.Zero
                ? TimeSpan.FromTicks(Math.Min(last.Ticks * 2, _options.MaximumRetryDelay.Ticks))
                : _options.RetryDelay;
            failure = failure with { RetryAt = _time.GetUtcNow() + delay };
        }

        LogFailed(_log, target.Version, failure.Reason, Status.Version);
        Keep(failure);
        Update(status => status with { Phase = DeploymentPhase.Failed, Target = null, Failure = failure });
        return delay;
    }

    private async Task<Dictionary<string, string>> FetchAsync(DesiredState desired, CancellationToken cancel)
    {
        foreach (var pull in DeploymentPlanner.PlanFetch(desired, image => _images.Find(image) is not null))
        {
            try
            {
                LogPulling(_log, pull.Image, desired.Version);
                await PullAsync(pull, desired, cancel).ConfigureAwait(false);
            }
            catch (EdgeHostException failure)
            {
                throw new WorkloadFailure($"workloads.{pull.Workload}.image", failure);
            }
        }

        var images = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var workload in desired.Workloads)
        {
            cancel.ThrowIfCancellationRequested();
            var image = _images.Find(workload.Container.Image) ?? throw new WorkloadFailure(
                $"workloads.{workload.Name}.image",
                new EdgeHostException(ErrorKind.NotFound, $"{workload.Container.Image} is not on this board, and pull_policy is never; load it or change the policy"));
            images.Add(workload.Name, image.Id.ToString());
        }

        return images;
    }

    private async Task PullAsync(DeploymentAction.Pull pull, DesiredState desired, CancellationToken cancel)
    {
        var progress = new PullRelay(this, desired.Version, pull);
        try
        {
            await _images.PullForDeploymentAsync(pull.Image, progress, cancel).ConfigureAwait(false);
        }
        catch (EdgeHostException full) when (full.Kind == ErrorKind.Full)
        {
            // What is kept for going back is worth less than going on.
            if (!await RemoveUnneededImagesAsync(0, desired, cancel).ConfigureAwait(false))
            {
                throw;
            }

            await _images.PullForDeploymentAsync(pull.Image, progress, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Lets images go that deployments brought, beyond those that run, those before them, and those of a document that is carried out.</summary>
    /// <returns>Whether there were any.</returns>
    private async Task<bool> RemoveUnneededImagesAsync(long keepBytes, DesiredState? coming, CancellationToken cancel)
    {
        var needed = new HashSet<string>(StringComparer.Ordinal);
        foreach (var record in new[] { _store.Current, _store.Previous })
        {
            needed.UnionWith(record is null ? [] : record.Images.Values);
        }

        foreach (var workload in coming?.Workloads ?? [])
        {
            if (_images.Find(workload.Container.Image) is { } held)
            {
                needed.Add(held.Id.ToString());
            }
        }

        try
        {
            var removed = await _images.RemoveUnneededAsync(keepBytes, needed, cancel).ConfigureAwait(false);
            foreach (var image in removed)
            {
                LogImageRemoved(_log, image.References.Count > 0 ? image.References[0] : image.Id.ToString(), image.SizeBytes);
            }

            return removed.Count > 0;
        }
        catch (EdgeHostException failure)
        {
            LogProblem(_log, $"images of deployments of before stay: {failure.Message}");
            return false;
        }
    }

    private DesiredState Parse(DeploymentRecord record) =>
        DesiredStateParser.Parse(record.Document, _options.Capacity, record.Defaults ?? Volatile.Read(ref _defaults));

    private DeploymentFailure Failed(DeploymentRecord target, EdgeHostException failure, string path) => new(
        target.Version, target.Digest, IsRefusal: false, failure.Kind, path, failure.Message, _time.GetUtcNow());

    private void Keep(DeploymentFailure failure) => WriteIfPossible(() => _store.Failure = failure);

    /// <summary>Writes what may be lost at worst (on a full disk): the next start then does again what was done.</summary>
    private void WriteIfPossible(Action write)
    {
        try
        {
            write();
        }
        catch (LinuxException notWritten)
        {
            LogNotKept(_log, notWritten.Message);
        }
    }

    private void Wake()
    {
        lock (_lock)
        {
            if (_work.CurrentCount == 0)
            {
                _work.Release();
            }
        }
    }

    private void Update(Func<DeploymentStatus, DeploymentStatus> change)
    {
        lock (_lock)
        {
            var changed = change(_status);
            if (ReferenceEquals(changed, _status))
            {
                return;
            }

            Volatile.Write(ref _status, changed);
        }

        Changed?.Invoke();
    }

    private static DeploymentPhase PhaseOf(string? current, string? accepted, DeploymentFailure? failure) =>
        failure is { IsRefusal: false } && failure.Digest == accepted && accepted != current ? DeploymentPhase.Failed
        : current is null ? DeploymentPhase.Idle
        : DeploymentPhase.Running;

    // A fleet that lost its registry must not come back as one wave.
    private static TimeSpan Jitter(TimeSpan delay) => delay * (0.8 + (Random.Shared.NextDouble() * 0.4));

    /// <summary>A failure with the workload that is to blame.</summary>
    private sealed class WorkloadFailure(string path, EdgeHostException cause)
        : EdgeHostException(cause.Kind, $"{path}: {cause.Message}", cause)
    {
        internal string Path => path;
    }

    private sealed class PullRelay(Reconciler owner, long version, DeploymentAction.Pull pull) : IProgress<PullProgress>
    {
        public void Report(PullProgress value) => owner.Progressed?.Invoke(new DeploymentProgress(
            version, pull.Workload, pull.Image, value.Phase, value.Layer, value.DoneBytes, value.TotalBytes));
    }
}
