using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>How far the board's clock can be believed.</summary>
public static unsafe class SystemClock
{
    private const int TIME_ERROR = 5;

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
