using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>Signals by name or number (signal(7), the numbers of x86 and ARM).</summary>
internal static class SignalName
{
    private static readonly string[] Names =
    [
        "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
        "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];

    /// <summary>Parses <c>SIGTERM</c>, <c>term</c>, <c>15</c> or <c>RTMIN+3</c>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: no such signal.</exception>
    internal static int Parse(string text)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            return number is >= 1 and <= 64 ? number : throw Unknown(text);
        }

        var name = text.ToUpperInvariant();
        name = name.StartsWith("SIG", StringComparison.Ordinal) ? name[3..] : name;
        var index = Array.IndexOf(Names, name);
        if (index > 0)
        {
            return index;
        }

        // glibc keeps 32 and 33 for itself, so that a program's RTMIN is 34.
        return name switch
        {
            "RTMIN" => 34,
            "RTMAX" => 64,
            _ when name.StartsWith("RTMIN+", StringComparison.Ordinal) && Offset(name) is >= 0 and <= 30 and var up => 34 + up,
            _ when name.StartsWith("RTMAX-", StringComparison.Ordinal) && Offset(name) is >= 0 and <= 30 and var down => 64 - down,
            "IOT" => 6,
            "CLD" => 17,
            "POLL" => 29,
            _ => throw Unknown(text),
        };
    }

    private static int Offset(string name) =>
        int.TryParse(name.AsSpan(6), NumberStyles.None, CultureInfo.InvariantCulture, out var offset) ? offset : -1;

    private static EdgeHostException Unknown(string text) => new(ErrorKind.Invalid, $"invalid signal: {text}");
}
