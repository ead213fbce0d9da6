using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>A moment as people write it: seconds since 1970, a date with a time, or how long ago (<c>42m</c>, <c>1h30m</c>).</summary>
internal static class MomentText
{
    /// <summary>As seconds since 1970, which every version of Docker's API reads; null for nothing.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: none of the forms.</exception>
    internal static string? Parse(string option, string? text, DateTimeOffset now)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        if (decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out _))
        {
            return text;
        }

        var moment = Duration(text) is { } back ? now - back
            : DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeLocal, out var time) ? time
            : throw new EdgeHostException(ErrorKind.Invalid, $"{option} {text}: not a time like 2026-01-02T13:23:37Z, nor a duration like 42m");
        return ((moment.UtcTicks - DateTime.UnixEpoch.Ticks) / (decimal)TimeSpan.TicksPerSecond).ToString("0.0000000", CultureInfo.InvariantCulture);
    }

    private static TimeSpan? Duration(string text)
    {
        var sum = TimeSpan.Zero;
        var start = 0;
        for (var at = 0; at < text.Length; at++)
        {
            if (char.IsAsciiDigit(text[at]) || text[at] == '.')
            {
                continue;
            }

            if (!double.TryParse(text.AsSpan(start, at - start), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount))
            {
                return null;
            }

            var milliseconds = text.AsSpan(at).StartsWith("ms", StringComparison.Ordinal);
            double? seconds = text[at] switch { 'd' => 86400, 'h' => 3600, 'm' when milliseconds => 0.001, 'm' => 60, 's' => 1, _ => null };
            if (seconds is null)
            {
                return null;
            }

            sum += TimeSpan.FromSeconds(amount * seconds.Value);
            at += milliseconds ? 1 : 0;
            start = at + 1;
        }

        return start == text.Length ? sum : null;
    }
}
