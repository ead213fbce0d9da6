using System.Diagnostics;

namespace EdgeHost.Linux;

/// <summary>
/// Lets what a program writes in small pieces, one right after the other, gather before it is read: a thread that is woken
/// for each of them takes several times the work for the same bytes. A piece that comes alone never waits. For one thread.
/// </summary>
public sealed unsafe class Gathering
{
    private const int PR_SET_TIMERSLACK = 29;
    private const int Small = 32 << 10;
    private const long WaitNanoseconds = 50_000;

    // Closer together than this is one after the other.
    private static readonly long Close = Stopwatch.Frequency / 10_000;

    private long _last;

    /// <summary>For the calling thread.</summary>
    public Gathering()
    {
        // A wait would take twice its time otherwise, and a pipe of 64 KiB be full before its end.
        _ = Libc.prctl(PR_SET_TIMERSLACK, 1);
    }

    /// <summary>Called when something was read and passed on: waits a moment if it was little, and came soon after what was before.</summary>
    /// <param name="count">How many bytes it was.</param>
    public void After(int count)
    {
        if (count < Small && Stopwatch.GetTimestamp() - _last < Close)
        {
            var time = stackalloc long[2];
            time[0] = 0;
            time[1] = WaitNanoseconds;
            _ = Libc.syscall(Nr.nanosleep, (nint)time);
        }

        _last = Stopwatch.GetTimestamp();
    }
}
