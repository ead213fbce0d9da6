using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>A container in the shepherd's hands, from its clone until its exit was acknowledged.</summary>
internal sealed partial class ShepherdContainer : IDisposable
{
    internal ShepherdContainer(string id, LaunchedProcess process, Fd? standardOutput, Fd? standardError, LogPolicy log, int stopSignal, int graceMilliseconds, int rank)
    {
        Id = id;
        Process = process;
        Streams = [standardOutput, standardError];
        Log = log;
        StopSignal = stopSignal;
        GraceMilliseconds = graceMilliseconds;
        Rank = rank;
    }

    internal string Id { get; }

    internal LaunchedProcess Process { get; }

    /// <summary>The reading ends of its output, kept beside the logger's so that a new logger can go on; null once the logger has seen the end.</summary>
    internal Fd?[] Streams { get; }

    internal LogPolicy Log { get; }

    internal int StopSignal { get; }

    internal int GraceMilliseconds { get; }

    /// <summary>The order of starting; stopping goes the other way.</summary>
    internal int Rank { get; }

    internal long StartTime { get; set; }

    /// <summary>Whether its program was executed.</summary>
    internal bool Running { get; set; }

    /// <summary>Whether what a successor needs lies beside its place, for when its program was executed.</summary>
    internal bool FactsAreWritten { get; set; }

    /// <summary>Whether what a successor needs has changed since it was written.</summary>
    internal bool FactsChanged { get; set; }

    internal ContainerExit? Exit { get; set; }

    /// <summary>When its exit is told at the latest, in ticks of <see cref="Environment.TickCount64"/>; null before it ends and once it was told.</summary>
    internal long? TellAt { get; set; }

    /// <summary>When it was asked to stop because all are ended, in ticks of <see cref="Environment.TickCount64"/>; null before.</summary>
    internal long? AskedAt { get; set; }

    /// <summary>When it is killed unless it has ended by then; null before it is asked and once it was killed.</summary>
    internal long? KillAt { get; set; }

    /// <summary>The logger that has its pipes; null while none has.</summary>
    internal LoggerPeer? Logger { get; set; }

    /// <summary>The logger that keeps its pipes until it hears that another has them; null where none does.</summary>
    internal LoggerPeer? ReleasedBy { get; set; }

    /// <summary>Whether a logger died that had its pipes: what it had read and not written is missing, and the log is to say so.</summary>
    internal bool HasGap { get; set; }

    /// <summary>Whether <see cref="Streams"/> is a terminal, in the place of the first.</summary>
    internal bool HasTerminal { get; init; }

    /// <summary>Where the terminal's master comes from, until the program was executed; null for pipes.</summary>
    internal PacketSocket? TerminalSocket { get; set; }

    /// <summary>The writing end of its standard input, or its terminal; null when it has none, or it was closed.</summary>
    internal Fd? Input { get; set; }

    /// <summary>Pipes that get what it writes: for each stream those that were given at the start, kept beside the logger's as <see cref="Streams"/> are.</summary>
    internal List<Fd>[] Taps { get; private init; } = [[], []];

    /// <summary>Whether the logger has all that it wrote.</summary>
    internal bool Drained => Array.TrueForAll(Streams, stream => stream is null);

    internal ShepherdContainerStatus Status => new(Id, Process.Pid, StartTime, Exit);

    /// <summary>Closes what belongs to a stream that has ended.</summary>
    internal void CloseStream(int stream)
    {
        Streams[stream]?.Dispose();
        Streams[stream] = null;
        Taps[stream].ForEach(static tap => tap.Dispose());
        Taps[stream].Clear();
    }

    public void Dispose()
    {
        Process.Dispose();
        TerminalSocket?.Dispose();
        Input?.Dispose();
        for (var stream = 0; stream < Streams.Length; stream++)
        {
            CloseStream(stream);
        }
    }
}
