using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>The board's clocks: how far the one on the wall can be believed, and the one that only goes forward.</summary>
public static unsafe class SystemClock
{
    private const int TIME_ERROR = 5;
    private const int CLOCK_BOOTTIME = 7;

    /// <summary>The time since the boot, by which the kernel dates the start of processes.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static TimeSpan SinceBoot
    {
        get
        {
            var time = stackalloc long[2];
            Libc.Check(Libc.syscall(Nr.clock_gettime, CLOCK_BOOTTIME, (nint)time), "read the clock");
            return TimeSpan.FromTicks((time[0] * TimeSpan.TicksPerSecond) + (time[1] / TimeSpan.NanosecondsPerTick));
        }
    }

    /// <summary>Whether the kernel holds the clock for synchronised: adjtimex(2), which any of chrony, ntpd and timesyncd keep up to date.</summary>
    public static bool IsSynchronized
    {
        get
        {
            // struct timex has 208 bytes on 64-bit machines; with modes = 0 the call only reads.
            Span<byte> timex = stackalloc byte[512];
            timex.Clear();
            var number = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 159 : 171;
            fixed (byte* buffer = timex)
            {
                var state = Libc.syscall(number, (nint)buffer);
                return state is >= 0 and not TIME_ERROR;
            }
        }
    }
}
