using Microsoft.Extensions.Logging;

namespace EdgeHost.Deployments;

/// <summary>What the reconciler says: one line per change of state.</summary>
public sealed partial class Reconciler
{
    [LoggerMessage(Level = LogLevel.Information, Message = "Desired state {Version} ({Digest}) accepted: {Workloads} workloads")]
    private static partial void LogAccepted(ILogger log, long version, string digest, int workloads);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Desired state {Version} ({Digest}) refused: {Reason}. Version {Running} goes on")]
    private static partial void LogRefused(ILogger log, long? version, string digest, string reason, long running);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The desired state was emptied; nothing changes, version {Running} goes on")]
    private static partial void LogEmptied(ILogger log, long running);

    [LoggerMessage(Level = LogLevel.Information, Message = "Pulling {Image} for desired state {Version}")]
    private static partial void LogPulling(ILogger log, string image, long version);

    [LoggerMessage(Level = LogLevel.Information, Message = "Desired state {Version} gives way to a newer one before anything was switched")]
    private static partial void LogSuperseded(ILogger log, long version);

    [LoggerMessage(Level = LogLevel.Information, Message = "Desired state {Version} runs")]
    private static partial void LogRunning(ILogger log, long version);

    [LoggerMessage(Level = LogLevel.Error, Message = "Desired state {Version} failed: {Reason}. Version {Running} goes on")]
    private static partial void LogFailed(ILogger log, long version, string reason, long running);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Putting back what ran before desired state {Version}: {Reason}")]
    private static partial void LogRollingBack(ILogger log, long version, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Going on with the switch to desired state {Version} that was cut off")]
    private static partial void LogResumed(ILogger log, long version);

    [LoggerMessage(Level = LogLevel.Information, Message = "Going on with putting back what ran before desired state {Version}")]
    private static partial void LogResumedRollback(ILogger log, long version);

    [LoggerMessage(Level = LogLevel.Information, Message = "Workload {Workload} started as {Container}")]
    private static partial void LogStarted(ILogger log, string workload, string container);

    [LoggerMessage(Level = LogLevel.Information, Message = "Workload {Workload}: {Container} stopped")]
    private static partial void LogStoppedContainer(ILogger log, string workload, string container);

    [LoggerMessage(Level = LogLevel.Information, Message = "Workload {Workload}: {Container} removed")]
    private static partial void LogRemoved(ILogger log, string workload, string container);

    [LoggerMessage(Level = LogLevel.Information, Message = "Image {Image} removed, which no deployment needs any more ({Bytes} bytes)")]
    private static partial void LogImageRemoved(ILogger log, string image, long bytes);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}")]
    private static partial void LogProblem(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Reason}; it was put aside as {Aside} and counts as missing")]
    private static partial void LogDamaged(ILogger log, string reason, string aside);

    [LoggerMessage(Level = LogLevel.Error, Message = "Not written down: {Reason}")]
    private static partial void LogNotKept(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The reconciler stops; what it has not finished the next start finishes")]
    private static partial void LogStopped(ILogger log);

    [LoggerMessage(Level = LogLevel.Critical, Message = "The reconciler ended by a defect")]
    private static partial void LogDefect(ILogger log, Exception defect);
}
