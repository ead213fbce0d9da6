using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>A check under way, and the first bytes of its output.</summary>
internal sealed class ShepherdCheck : ShepherdEntry
{
    /// <summary>How much of its output is kept, as in Docker.</summary>
    internal const int MostOutput = 4096;

    private byte[]? _kept;
    private int _length;

    internal ShepherdCheck(ShepherdContainer container, PacketSocket client, int request, LaunchedProcess entering, Fd output, string directory)
        : base(container, client, request, entering)
    {
        Output = output;
        Directory = directory;
    }

    internal CheckOutcome Outcome { get; set; }

    internal Fd Output { get; }

    /// <summary>The directory of the cgroup that holds it and what it starts.</summary>
    internal string Directory { get; }

    /// <summary>When it is killed, and killed again; in ticks of <see cref="Environment.TickCount64"/>.</summary>
    internal long KillAt { get; set; }

    /// <summary>When it is read again; null while whatever comes is read at once.</summary>
    internal long? ReadAt { get; set; }

    /// <summary>When it is seen whether what it left behind is gone; null while it has not ended itself.</summary>
    internal long? LookAt { get; set; }

    /// <summary>How long it was until the last of these looks, in milliseconds.</summary>
    internal int LookAgain { get; set; }

    internal bool Truncated { get; private set; }

    internal bool Answered { get; set; }

    internal long? NextAt => Math.Min(Math.Min(ReadAt ?? KillAt, LookAt ?? KillAt), KillAt);

    internal ReadOnlySpan<byte> Kept => _kept.AsSpan(0, _length);

    /// <summary>Keeps the beginning.</summary>
    /// <returns>Whether there is room for more.</returns>
    internal bool Keep(ReadOnlySpan<byte> bytes)
    {
        _kept ??= new byte[MostOutput];
        var taken = bytes[..Math.Min(bytes.Length, MostOutput - _length)];
        taken.CopyTo(_kept.AsSpan(_length));
        _length += taken.Length;
        Truncated |= taken.Length < bytes.Length;
        return !Truncated;
    }

    public override void Dispose()
    {
        base.Dispose();
        Output.Dispose();
    }
}
