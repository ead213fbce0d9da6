using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>What it says in the log.</summary>
/// <remarks>In one file: what is generated of them has a fixed order within a file only.</remarks>
public sealed partial class ContainerEngine
{
    [LoggerMessage(Level = LogLevel.Information, Message = "containers are confined by no AppArmor profile: {Why}")]
    private static partial void LogNoAppArmor(ILogger log, string why);

    [LoggerMessage(Message = "board: {What}: {Words}")]
    private static partial void LogBoard(ILogger log, LogLevel level, string what, string words);

    [LoggerMessage(Level = LogLevel.Error, Message = "no container can start: {Why}")]
    private static partial void LogNoLayers(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "health checks pause: the shepherd (process {Pid}) was started by an older version and speaks protocol {Version}, which has none; they begin when it was ended and started again")]
    private static partial void LogNoChecks(ILogger log, int pid, int version);

    [LoggerMessage(Level = LogLevel.Warning, Message = "what is known of the health of container {Name} is not kept for the next daemon: {Why}")]
    private static partial void LogHealthNotKept(ILogger log, string name, string why);

    [LoggerMessage(Level = LogLevel.Critical, Message = "internal error: container {Name} is checked no more")]
    private static partial void LogHealthDefect(ILogger log, Exception defect, string name);

    [LoggerMessage(Level = LogLevel.Warning, Message = "container {Name} keeps the name servers that it has: {Reason}")]
    private static partial void LogResolverNotFollowed(ILogger log, string name, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "all containers together are not limited in {Root}: {Why}")]
    private static partial void LogNoReserve(ILogger log, string root, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Count} containers, {Running} of them running; the shepherd is process {Pid}")]
    private static partial void LogFound(ILogger log, int count, int running, int pid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "container {Id} (process {Pid}) is in no file: it is ended")]
    private static partial void LogUnknown(ILogger log, string id, int pid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "container {Name} runs no more: {How}")]
    private static partial void LogLost(ILogger log, string name, string how);

    [LoggerMessage(Level = LogLevel.Information, Message = "the report on container {Id} is left for later: {Why}")]
    private static partial void LogReportLater(ILogger log, string id, string why);

    [LoggerMessage(Level = LogLevel.Critical, Message = "internal error while taking down what happened to container {Id}")]
    private static partial void LogDefect(ILogger log, Exception defect, string id);

    [LoggerMessage(Level = LogLevel.Information, Message = "the shepherd (process {Pid}) was told to end, and has ended all containers")]
    private static partial void LogShepherdEnded(ILogger log, int pid);

    [LoggerMessage(Level = LogLevel.Error, Message = "the shepherd (process {Pid}) is gone; another one is started")]
    private static partial void LogShepherdGone(ILogger log, int pid);

    [LoggerMessage(Level = LogLevel.Error, Message = "no shepherd: {Why}")]
    private static partial void LogShepherdNotBack(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "container {Name}: {Remark}")]
    private static partial void LogRemark(ILogger log, string name, string remark);

    [LoggerMessage(Level = LogLevel.Information, Message = "container {Name} waits for device {Device}, which is not there")]
    private static partial void LogWaits(ILogger log, string name, string device);

    [LoggerMessage(Message = "container {Name} was not started again: {Why}")]
    private static partial void LogNotRestarted(ILogger log, LogLevel level, string name, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "cgroup {Path} is left behind: processes {Pids} cannot be killed; a device or file system may hang")]
    private static partial void LogCgroupLeft(ILogger log, string path, string pids);

    [LoggerMessage(Level = LogLevel.Error, Message = "container {Name} was not removed at its end: {Why}")]
    private static partial void LogNotRemoved(ILogger log, string name, string why);

    [LoggerMessage(Message = "containers have the host's users unless they ask for their own: {Why}")]
    private static partial void LogHostUsers(ILogger log, LogLevel level, string why);

    [LoggerMessage(Level = LogLevel.Warning, Message = "containers get users of their own, though this host could not be asked whether it can do that: {Why}")]
    private static partial void LogUsersUntried(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "container {Name} has the host's users: {Right} is asked for, which means nothing in a user namespace")]
    private static partial void LogNeedsHostUsers(ILogger log, string name, string right);
}
