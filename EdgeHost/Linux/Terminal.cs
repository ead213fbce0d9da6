using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Terminals (tty(4), pty(7)): their size, and the user's own.</summary>
public static unsafe class Terminal
{
    /// <summary>Sets the size; the program in it is sent SIGWINCH when it is another than before.</summary>
    /// <param name="terminal">A master or a slave.</param>
    /// <param name="rows">0 to 65535.</param>
    /// <param name="columns">As above.</param>
    /// <exception cref="LinuxException">It is no terminal.</exception>
    public static void Resize(Fd terminal, int rows, int columns)
    {
        var size = stackalloc ushort[4];
        size[0] = (ushort)rows;
        size[1] = (ushort)columns;
        Libc.Check(Libc.syscall(Nr.ioctl, terminal.Value, Libc.TIOCSWINSZ, (nint)size), "set the size of a terminal");
    }

    /// <summary>The size of a terminal of this process; null when the descriptor is none.</summary>
    public static (int Rows, int Columns)? ReadSize(int descriptor)
    {
        var size = stackalloc ushort[4];
        return Libc.syscall(Nr.ioctl, descriptor, Libc.TIOCGWINSZ, (nint)size) == 0 ? (size[0], size[1]) : null;
    }

    /// <summary>Takes the master of a terminal that a program has sent before it was executed.</summary>
    /// <returns>Null when none came.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd? Take(PacketSocket socket)
    {
        var descriptors = new List<Fd>();
        _ = socket.Receive(new byte[1], descriptors);
        if (descriptors is not [var terminal])
        {
            descriptors.ForEach(static each => each.Dispose());
            return null;
        }

        Pipe.DoNotWait(terminal);
        return terminal;
    }

    /// <summary>Whether a descriptor of this process is a terminal.</summary>
    public static bool Is(int descriptor) => ReadSize(descriptor) is not null;
}

/// <summary>The user's terminal while it does something else than usual with what is typed; given back as it was.</summary>
public sealed unsafe class ChangedTerminal : IDisposable
{
    private const int TCGETS = 0x5401;
    private const int TCSETS = 0x5402;

    // asm-generic/termbits.h.
    private const uint InputFlags = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x400; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
    private const uint OutputFlags = 0x1; // OPOST
    private const uint EchoFlag = 0x8; // ECHO
    private const uint LocalFlags = 0x1 | 0x2 | EchoFlag | 0x40 | 0x8000; // ISIG ICANON ECHO ECHONL IEXTEN
    private const uint SizeAndParity = 0x30 | 0x100; // CSIZE PARENB
    private const uint EightBits = 0x30; // CS8

    // VTIME and VMIN among the characters, which come after c_line.
    private const int LeastTime = 1 + 5;
    private const int LeastBytes = 1 + 6;

    private readonly int _descriptor;
    private readonly Termios _before;

    private ChangedTerminal(int descriptor, Termios before)
    {
        _descriptor = descriptor;
        _before = before;
    }

    /// <summary>Makes a terminal of this process raw (cfmakeraw(3)): each key goes to a program elsewhere as it is typed.</summary>
    /// <returns>Null when the descriptor is no terminal.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ChangedTerminal? MakeRaw(int descriptor)
    {
        var changed = Read(descriptor, out var settings);
        settings.c_iflag &= ~InputFlags;
        settings.c_oflag &= ~OutputFlags;
        settings.c_lflag &= ~LocalFlags;
        settings.c_cflag = (settings.c_cflag & ~SizeAndParity) | EightBits;
        settings.c_line_and_cc[LeastTime] = 0;
        settings.c_line_and_cc[LeastBytes] = 1;
        changed?.Set(&settings, "make the terminal raw");
        return changed;
    }

    /// <summary>Keeps what is typed at standard input from being shown, for a password.</summary>
    /// <returns>Null when that is no terminal.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static ChangedTerminal? HideInput()
    {
        var changed = Read(0, out var settings);
        settings.c_lflag &= ~EchoFlag;
        changed?.Set(&settings, "switch the echo of the terminal off");
        return changed;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var settings = _before;
        _ = Libc.syscall(Nr.ioctl, _descriptor, TCSETS, (nint)(&settings)); // A terminal that is gone has nobody to show anything to.
    }

    private static ChangedTerminal? Read(int descriptor, out Termios settings)
    {
        fixed (Termios* into = &settings)
        {
            return Libc.syscall(Nr.ioctl, descriptor, TCGETS, (nint)into) == -1 ? null : new ChangedTerminal(descriptor, settings);
        }
    }

    private void Set(Termios* settings, string what) => Libc.Check(Libc.syscall(Nr.ioctl, _descriptor, TCSETS, (nint)settings), what);

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
