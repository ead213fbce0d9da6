using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>Signals by name and number (signal(7); the same on x86_64, arm64 and arm).</summary>
public static class Signals
{
    /// <summary>Hang-up.</summary>
    public const int SIGHUP = 1;

    /// <summary>Interrupt from the keyboard.</summary>
    public const int SIGINT = 2;

    /// <summary>Quit from the keyboard.</summary>
    public const int SIGQUIT = 3;

    /// <summary>Kill; cannot be caught.</summary>
    public const int SIGKILL = 9;

    /// <summary>For the program's own use.</summary>
    public const int SIGUSR1 = 10;

    /// <summary>For the program's own use.</summary>
    public const int SIGUSR2 = 12;

    /// <summary>Please end.</summary>
    public const int SIGTERM = 15;

    /// <summary>A child has ended.</summary>
    public const int SIGCHLD = 17;

    /// <summary>The terminal has another size.</summary>
    public const int SIGWINCH = 28;

    private const int RealTimeMinimum = 34, RealTimeMaximum = 64;

    private static readonly string[] Names =
    [
        "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT",
        "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];

    /// <summary>Parses a number, or a name with or without <c>SIG</c>, <c>RTMIN+n</c> and <c>RTMAX-n</c> included.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: no signal of Linux.</exception>
    public static int Parse(string text)
    {
        var name = text.Trim().ToUpperInvariant();
        if (int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number is >= 1 and <= RealTimeMaximum)
        {
            return number;
        }

        if (name.StartsWith("SIG", StringComparison.Ordinal))
        {
            name = name[3..];
        }

        var index = Array.IndexOf(Names, name);
        if (index > 0)
        {
            return index;
        }

        var offset = name switch
        {
            "IOT" => 6,
            "CLD" => SIGCHLD,
            "POLL" => 29,
            "RTMIN" => RealTimeMinimum,
            "RTMAX" => RealTimeMaximum,
            _ when name.StartsWith("RTMIN+", StringComparison.Ordinal) && int.TryParse(name.AsSpan(6), NumberStyles.None, CultureInfo.InvariantCulture, out var up) && up <= RealTimeMaximum - RealTimeMinimum => RealTimeMinimum + up,
            _ when name.StartsWith("RTMAX-", StringComparison.Ordinal) && int.TryParse(name.AsSpan(6), NumberStyles.None, CultureInfo.InvariantCulture, out var down) && down <= RealTimeMaximum - RealTimeMinimum => RealTimeMaximum - down,
            _ => 0,
        };
        return offset is >= 1 and <= RealTimeMaximum
            ? offset
            : throw new EdgeHostException(ErrorKind.Invalid, $"signal \"{text}\" is not known; give a name like SIGTERM or a number from 1 to {RealTimeMaximum}");
    }
}
