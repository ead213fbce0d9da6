using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>What it says in the log.</summary>
/// <remarks>In one file: what is generated of them has a fixed order within a file only.</remarks>
public sealed partial class NetworkHost
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "published ports of container {Container} are not held: {Reason}")]
    private static partial void LogNotHeld(ILogger log, string container, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "switched on for networks, and left on: {Names}")]
    private static partial void LogSwitched(ILogger log, string names);

    [LoggerMessage(Level = LogLevel.Warning, Message = "table inet {Table} of nftables was changed by {By} and was written anew")]
    private static partial void LogTableLost(ILogger log, string table, string by);

    [LoggerMessage(Level = LogLevel.Error, Message = "table inet {Table} of nftables was changed by {By} {Times} times within a minute, and is left so until the next container starts or ends; end that program, or let it leave this table alone")]
    private static partial void LogTableQuarrel(ILogger log, string table, string by, int times);

    [LoggerMessage(Level = LogLevel.Warning, Message = "network {Network}: interface {Interface} belongs to a connect or a start that was never finished, and was removed")]
    private static partial void LogStray(ILogger log, string network, string @interface);

    [LoggerMessage(Level = LogLevel.Error, Message = "bridge {Bridge} or a port of it was changed by another program {Times} times within a minute, and is left so until the next container starts; end that program, or let it leave this interface alone")]
    private static partial void LogLinkQuarrel(ILogger log, string bridge, int times);

    [LoggerMessage(Level = LogLevel.Error, Message = "container {Container} has lost its interface {Interface} {Times} times within a minute, and is left without until it is started again")]
    private static partial void LogInterfaceQuarrel(ILogger log, string container, string @interface, int times);

    [LoggerMessage(Level = LogLevel.Error, Message = "container {Container} is left without its interface {Interface}: {Reason}")]
    private static partial void LogNotRenewed(ILogger log, string container, string @interface, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "another program drops what is forwarded: chain {Chain} has rules of ours by now that let {Bridges} through")]
    private static partial void LogLetThrough(ILogger log, string chain, string bridges);

    [LoggerMessage(Level = LogLevel.Error, Message = "rules of ours in chain {Chain} were changed by another program {Times} times within a minute, and are left so for a minute; until then containers may not reach out")]
    private static partial void LogForwardQuarrel(ILogger log, string chain, int times);

    [LoggerMessage(Level = LogLevel.Error, Message = "another program drops what is forwarded, and chain {Chain} cannot let our networks through: {Reason}")]
    private static partial void LogNotLetThrough(ILogger log, string chain, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "network {Network}: another program has taken parts of bridge {Bridge} away; put back: {What}")]
    private static partial void LogMended(ILogger log, string network, string bridge, string what);

    [LoggerMessage(Level = LogLevel.Warning, Message = "this machine has a route to {Route}, and network {Network} is {Subnets}: of the addresses that are in both, only one side is reached; make the network anew with another --subnet, or let the other program (a VPN?) use another range")]
    private static partial void LogClash(ILogger log, string route, string network, string subnets);

    [LoggerMessage(Level = LogLevel.Warning, Message = "network {Network} was {Was}; this machine has by now a route to {Route}, so it is {Now} from here on")]
    private static partial void LogGaveWay(ILogger log, string network, string was, string route, string now);

    [LoggerMessage(Level = LogLevel.Warning, Message = "containers of network bridge can look up no names of the world: {Why}; it is taken over as soon as it names a server, or give them --dns")]
    private static partial void LogNoServers(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Information, Message = "containers of network bridge can look up names again")]
    private static partial void LogServers(ILogger log);

    [LoggerMessage(Level = LogLevel.Warning, Message = "bridges and rules stay in the kernel: {Reason}")]
    private static partial void LogNotRemoved(ILogger log, string reason);
}
