using System.Text;

namespace EdgeHost.Linux;

/// <summary>A chip of GPIO lines and what its lines are called (linux/gpio.h).</summary>
public sealed unsafe class GpioChip
{
    private const nint GPIO_GET_CHIPINFO_IOCTL = unchecked((int)0x8044B401);
    private const nint GPIO_V2_GET_LINEINFO_IOCTL = unchecked((int)0xC100B405);

    private const int NameLength = 32;
    private const int ChipLines = 2 * NameLength;
    private const int LineOffset = 2 * NameLength;

    // struct gpio_v2_line_info, the longer of the two.
    private const int Longest = 256;

    private GpioChip(string label, IReadOnlyList<string> lines) => (Label, Lines) = (label, lines);

    /// <summary>What its driver calls it, as in <c>pinctrl-bcm2711</c>.</summary>
    public string Label { get; }

    /// <summary>The names of its lines, by their offsets; empty where a line has none.</summary>
    public IReadOnlyList<string> Lines { get; }

    /// <summary>Asks a chip.</summary>
    /// <param name="path">Its node.</param>
    /// <exception cref="LinuxException">It is gone, or the kernel is older than 5.10.</exception>
    public static GpioChip Read(string path)
    {
        var info = stackalloc byte[Longest];
        fixed (byte* name = Libc.Z(path))
        {
            using var chip = new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_CLOEXEC), $"open {path}"));
            Libc.Check(Libc.syscall(Nr.ioctl, chip.Value, GPIO_GET_CHIPINFO_IOCTL, (nint)info), $"ask {path} for its label");
            var label = Text(info + NameLength);
            var lines = new string[*(uint*)(info + ChipLines)];
            for (var line = 0; line < lines.Length; line++)
            {
                // What is reserved in it must be zero.
                new Span<byte>(info, Longest).Clear();
                *(uint*)(info + LineOffset) = (uint)line;
                Libc.Check(Libc.syscall(Nr.ioctl, chip.Value, GPIO_V2_GET_LINEINFO_IOCTL, (nint)info), $"ask {path} for the name of a line");
                lines[line] = Text(info);
            }

            return new GpioChip(label, lines);
        }
    }

    private static string Text(byte* name) => Encoding.UTF8.GetString(new ReadOnlySpan<byte>(name, NameLength).TrimEnd((byte)0));
}
