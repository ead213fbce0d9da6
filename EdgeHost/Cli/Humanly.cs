using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>Sizes and times as people write and read them, in docker's forms.</summary>
internal static class Humanly
{
    private static readonly string[] Decimal = ["B", "kB", "MB", "GB", "TB"];
    private static readonly string[] Binary = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// <summary>On disk and on the wire, as in <c>4.26MB</c>.</summary>
    internal static string Size(long bytes) => Scaled(bytes, 1000, Decimal, 3);

    /// <summary>In memory, as in <c>8MiB</c>.</summary>
    internal static string Memory(long bytes) => Scaled(bytes, 1024, Binary, 4);

    /// <summary>As in <c>5 minutes ago</c>.</summary>
    internal static string Ago(DateTimeOffset time, DateTimeOffset now)
    {
        var passed = now - time;
        var seconds = Math.Max(0, (long)passed.TotalSeconds);
        var hours = (long)Math.Round(passed.TotalHours, MidpointRounding.AwayFromZero);
        return seconds switch
        {
            < 1 => "Less than a second",
            1 => "1 second",
            < 60 => $"{seconds} seconds",
            < 120 => "About a minute",
            < 3600 => $"{seconds / 60} minutes",
            _ when hours == 1 => "About an hour",
            _ when hours < 48 => $"{hours} hours",
            _ when hours < 24 * 14 => $"{hours / 24} days",
            _ when hours < 24 * 60 => $"{hours / 24 / 7} weeks",
            _ when hours < 24 * 365 * 2 => $"{hours / 24 / 30} months",
            _ => $"{hours / 24 / 365} years",
        } + " ago";
    }

    /// <summary>Bytes from <c>64m</c>, <c>1.5g</c>, <c>512k</c>, <c>1048576</c>, with factors of 1024.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form.</exception>
    internal static long ParseSize(string option, string text)
    {
        var number = text.TrimEnd('b', 'B');
        var factor = number.Length == 0 ? 0 : char.ToLowerInvariant(number[^1]) switch
        {
            'k' => 1L << 10,
            'm' => 1L << 20,
            'g' => 1L << 30,
            't' => 1L << 40,
            _ => 1,
        };
        number = factor > 1 ? number[..^1].TrimEnd('i', 'I') : number;
        return factor > 0 && decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount) && amount * factor <= long.MaxValue
            ? (long)(amount * factor)
            : throw new EdgeHostException(ErrorKind.Invalid, $"{option} {text}: not a size like 64m, 1g or 512k");
    }

    /// <summary>Nanoseconds from a duration as Go reads it: <c>1m30s</c>, <c>1.5h</c>, <c>300ms</c>, <c>-2s</c>, <c>0</c>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not of the form, or over 292 years.</exception>
    internal static long ParseDuration(string option, string text)
    {
        var rest = text.AsSpan().TrimStart("+-");
        var sum = 0m;
        var good = rest.Length > 0 && text.Length - rest.Length <= 1;
        if (good && rest is "0")
        {
            return 0;
        }

        while (good && rest.Length > 0)
        {
            var digits = rest.IndexOfAnyExcept("0123456789.");
            var unit = digits < 0 ? [] : rest[digits..];
            var next = unit.IndexOfAny("0123456789.");
            unit = next < 0 ? unit : unit[..next];
            var factor = unit switch
            {
                "ns" => 1m,
                "us" or "µs" or "μs" => 1_000m,
                "ms" => 1_000_000m,
                "s" => 1_000_000_000m,
                "m" => 60_000_000_000m,
                "h" => 3_600_000_000_000m,
                _ => 0m,
            };
            good = factor > 0 && decimal.TryParse(rest[..Math.Max(digits, 0)], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number)
                && number < 10_000_000_000_000_000_000m && (sum += number * factor) <= long.MaxValue;
            rest = good ? rest[(digits + unit.Length)..] : rest;
        }

        return good
            ? (long)(text[0] == '-' ? -sum : sum)
            : throw new EdgeHostException(ErrorKind.Invalid, $"{option} {text}: not a duration like 30s, 1m30s or 500ms");
    }

    private static string Scaled(double value, double step, string[] units, int digits)
    {
        var unit = 0;
        while (value >= step && unit < units.Length - 1)
        {
            value /= step;
            unit++;
        }

        // As C's %.3g and %.4g, which docker's clients use.
        var whole = value < 1 ? 1 : (int)Math.Floor(Math.Log10(value)) + 1;
        return value.ToString("0." + new string('#', Math.Max(0, digits - whole)), CultureInfo.InvariantCulture) + units[unit];
    }
}
