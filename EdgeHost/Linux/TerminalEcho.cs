using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Keeps what is typed from being shown, for a password; gives the terminal back as it was.</summary>
public sealed unsafe class TerminalEcho : IDisposable
{
    private const uint EchoFlag = 8; // ECHO of c_lflag, the same on x86 and ARM (asm-generic/termbits.h)
    private const int TCGETS = 0x5401;
    private const int TCSETS = 0x5402;

    private readonly Termios _before;

    private TerminalEcho(Termios before) => _before = before;

    /// <summary>Switches it off on standard input; null when that is no terminal.</summary>
    public static TerminalEcho? Off()
    {
        Termios settings;
        if (Libc.syscall(Nr.ioctl, 0, TCGETS, (nint)(&settings)) == -1)
        {
            return null;
        }

        var echo = new TerminalEcho(settings);
        settings.c_lflag &= ~EchoFlag;
        Libc.Check(Libc.syscall(Nr.ioctl, 0, TCSETS, (nint)(&settings)), "switch the echo of the terminal off");
        return echo;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var settings = _before;
        _ = Libc.syscall(Nr.ioctl, 0, TCSETS, (nint)(&settings)); // A terminal that is gone has nobody to show anything to.
    }

    /// <summary>struct termios of the kernel (asm-generic/termbits.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Termios
    {
        internal uint c_iflag;
        internal uint c_oflag;
        internal uint c_cflag;
        internal uint c_lflag;
        internal fixed byte c_line_and_cc[20];
    }
}
