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
