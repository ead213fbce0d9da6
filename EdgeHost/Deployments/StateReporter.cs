using EdgeHost.Board;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;

namespace EdgeHost.Deployments;

/// <summary>Puts the reported state together from what the reconciler knows, the engine sees and the kernel counts.</summary>
public sealed class StateReporter(DeploymentOptions options, Reconciler reconciler, IContainerEngine engine, IImageStore images, BoardHealthReader? health = null)
{
    /// <summary>The state at this moment.</summary>
    /// <param name="now">The time to put into it.</param>
    /// <param name="withUse">Whether to read the kernel's counters; without them two states are equal when nothing has happened.</param>
    public ReportedState Read(DateTimeOffset now, bool withUse)
    {
        var status = reconciler.Status;
        var workloads = new SortedDictionary<string, ReportedWorkload>(StringComparer.Ordinal);
        var waiting = new List<ReportedError>();
        foreach (var container in engine.List())
        {
            if (PlannedWorkload.Read(container) is not { } ours)
            {
                continue;
            }

            // While old and new stand side by side, the one that runs is the workload.
            var isActive = container.State is ContainerState.Running or ContainerState.Restarting;
            if (isActive || !workloads.ContainsKey(ours.Workload))
            {
                workloads[ours.Workload] = Describe(container, status, ours.Workload, withUse);
            }

            if (container.AwaitedDevice is not null)
            {
                waiting.Add(new ReportedError(WordFor(ErrorKind.Infeasible), $"workloads.{ours.Workload}", container.Error));
            }
        }

        var board = withUse ? health?.Read() : null;
        return new ReportedState
        {
            Time = now,
            BootId = options.BootId,
            Deployment = Describe(status),
            Workloads = workloads,
            Board = new ReportedBoard(
                options.Capacity.MemoryBytes, options.Capacity.Cpus, SystemClock.IsSynchronized ? "synchronized" : "unsynchronized", engine.WhyHostUsers is { } why ? $"off: {why}" : "on", engine.WhyNoAppArmor is { } none ? $"off: {none}" : "on")
            {
                Health = board,
            },
            Errors = [.. Errors(status, board), .. waiting],
        };
    }

    /// <summary>A kind of failure as it stands in messages: its name in snake case.</summary>
    public static string WordFor(ErrorKind kind) => kind switch
    {
        ErrorKind.Internal => "internal",
        ErrorKind.Invalid => "invalid",
        ErrorKind.NotFound => "not_found",
        ErrorKind.Conflict => "conflict",
        ErrorKind.Infeasible => "infeasible",
        ErrorKind.Denied => "denied",
        ErrorKind.Unavailable => "unavailable",
        ErrorKind.Corrupt => "corrupt",
        ErrorKind.Full => "full",
        ErrorKind.CannotExecute => "cannot_execute",
        ErrorKind.Unsupported => "unsupported",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "not a kind of failure"),
    };

    private static ReportedDeployment Describe(DeploymentStatus status) => new()
    {
        Version = status.Version,
        Digest = status.Digest.Length == 0 ? null : status.Digest,
        Phase = status.Phase switch
        {
            DeploymentPhase.Idle => "idle",
            DeploymentPhase.Fetching => "fetching",
            DeploymentPhase.Switching => "switching",
            DeploymentPhase.RollingBack => "rolling_back",
            DeploymentPhase.Running => "running",
            DeploymentPhase.Failed => "failed",
            _ => throw new ArgumentOutOfRangeException(nameof(status), status.Phase, "not a phase"),
        },
        Target = status.Target,
        HighestVersion = status.HighestVersion,
        Failure = status.Failure is not { } failure ? null : new ReportedFailure
        {
            Version = failure.Version,
            Digest = failure.Digest,
            Outcome = failure.IsRefusal ? "refused" : "failed",
            Kind = WordFor(failure.Kind),
            Path = failure.Path.Length == 0 ? null : failure.Path,
            Reason = failure.Reason,
            Time = failure.Time,
            RetryAt = failure.RetryAt,
        },
        Notice = status.Notice,
    };

    private static List<ReportedError> Errors(DeploymentStatus status, BoardHealth? board)
    {
        var errors = status.Problems
            .Select(static problem => new ReportedError(WordFor(problem.Kind), problem.Path.Length == 0 ? null : problem.Path, problem.Reason))
            .ToList();
        if (status.Failure is { } failure)
        {
            var what = failure.Version is { } version ? $"version {version}" : "a document";
            errors.Insert(0, new ReportedError(
                WordFor(failure.Kind),
                failure.Path.Length == 0 ? null : failure.Path,
                $"{what} {(failure.IsRefusal ? "was refused" : "failed")}: {failure.Reason}; version {status.Version} runs"));
        }

        errors.AddRange((board?.Problems ?? []).Select(static problem => new ReportedError("board", null, problem.Words)));
        return errors;
    }

    private ReportedWorkload Describe(ContainerStatus container, DeploymentStatus status, string workload, bool withUse)
    {
        // Only where that name leads to the image of this container: during a switch it may be the one before or after.
        var named = status.Images.GetValueOrDefault(workload);
        var isNamed = named is not null && images.Find(named)?.Id.ToString() == container.ImageId;
        var stats = withUse && container.State == ContainerState.Running ? ReadStats(container.Id) : null;
        var limits = container.Spec.Limits;
        return new ReportedWorkload
        {
            Image = isNamed ? named! : container.Spec.Image,
            ImageDigest = images.Find(container.ImageId)?.ManifestDigest.ToString() ?? container.ImageId,
            Container = container.Id,
            State = container.State switch
            {
                ContainerState.Created => "created",
                ContainerState.Running => "running",
                ContainerState.Restarting => container.AwaitedDevice is null ? "restarting" : "waiting",
                ContainerState.Removing => "removing",
                ContainerState.Exited => "exited",
                ContainerState.Dead => "dead",
                _ => throw new ArgumentOutOfRangeException(nameof(container), container.State, "not a state"),
            },
            Health = container.Health?.Word ?? "none",
            Restarts = container.RestartCount,
            ExitCode = container.ExitCode,
            OomKilled = container.OomKilled,
            StartedAt = container.StartedAt,
            FinishedAt = container.FinishedAt,
            Error = container.Error.Length == 0 ? null : container.Error,
            Limits = new ReportedLimits(
                stats?.MemoryLimitBytes ?? limits.MemoryBytes,
                (stats?.NanoCpus ?? limits.NanoCpus) / 1_000_000_000m,
                stats?.PidsLimit ?? limits.Pids,
                limits.CpusetCpus),
            Use = stats is null ? null : new ReportedUse(
                stats.MemoryBytes,
                Seconds(stats.CpuNanoseconds),
                Seconds(stats.CpuThrottledNanoseconds),
                stats.OomKills,
                stats.Pids),
        };
    }

    private ContainerStats? ReadStats(string id)
    {
        try
        {
            return engine.ReadStats(id);
        }
        catch (EdgeHostException ended) when (ended.Kind is ErrorKind.NotFound or ErrorKind.Conflict)
        {
            // It ended since it was listed; its end is an event, and the next report says so.
            return null;
        }
    }

    private static decimal Seconds(long nanoseconds) => decimal.Round(nanoseconds / 1_000_000_000m, 3);
}
