using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>A logger, as the shepherd holds it.</summary>
internal sealed class LoggerPeer(PacketSocket socket, int pid, LaunchedProcess? process) : IDisposable
{
    internal PacketSocket Socket { get; } = socket;

    /// <summary>Its pid; 0 where it is not known.</summary>
    internal int Pid { get; } = pid;

    /// <summary>The process that this program started; null where another did.</summary>
    internal LaunchedProcess? Process { get; } = process;

    /// <summary>Whether it was told to give back what it has, and to end.</summary>
    internal bool ToldToFinish { get; set; }

    public void Dispose()
    {
        Socket.Dispose();
        Process?.Dispose();
    }
}

/// <summary>The pipes of a run that a logger has.</summary>
internal sealed class HeldPipes(LoggerPeer logger) : IDisposable
{
    internal LoggerPeer Logger { get; } = logger;

    internal Fd?[] Streams { get; } = new Fd?[2];

    /// <summary>Those that get what comes, for each stream.</summary>
    internal List<Fd>[] Taps { get; } = [[], []];

    public void Dispose()
    {
        foreach (var descriptor in Streams.Concat(Taps[0]).Concat(Taps[1]))
        {
            descriptor?.Dispose();
        }
    }
}
