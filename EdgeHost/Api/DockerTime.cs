using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary>Times as Docker's API writes and reads them.</summary>
internal static class DockerTime
{
    /// <summary>What stands for "never".</summary>
    internal const string Never = "0001-01-01T00:00:00Z";

    /// <summary>RFC 3339 with nanoseconds, in UTC.</summary>
    internal static string Format(DateTimeOffset? time) => time is { } t
        ? t.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'00Z'", CultureInfo.InvariantCulture)
        : Never;

    /// <summary>Nanoseconds since 1970.</summary>
    internal static long Nanoseconds(DateTimeOffset time) => (time.UtcTicks - DateTime.UnixEpoch.Ticks) * 100;

    /// <summary>Parses <c>1136073845</c>, <c>1136073845.000000001</c>, RFC 3339, or a duration back from now (<c>10m</c>, <c>1h30m</c>). 0 and nothing are null.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: none of these.</exception>
    internal static DateTimeOffset? Parse(string name, string? text, DateTimeOffset now)
    {
        if (string.IsNullOrEmpty(text) || text == "0")
        {
            return null;
        }

        if (decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var seconds)
            && seconds < 253_402_300_800)
        {
            return seconds == 0 ? null : new DateTimeOffset(DateTime.UnixEpoch.AddTicks((long)(seconds * 10_000_000)), TimeSpan.Zero);
        }

        if (Duration(text) is { } back)
        {
            return now - back;
        }

        return DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time)
            ? time
            : throw new EdgeHostException(ErrorKind.Invalid, $"{name}={text} is neither seconds since 1970, nor RFC 3339, nor a duration like 10m");
    }

    private static TimeSpan? Duration(string text)
    {
        var sum = 0m;
        var number = 0;
        for (var at = 0; at < text.Length; at++)
        {
            if (char.IsAsciiDigit(text[at]) || text[at] == '.')
            {
                continue;
            }

            if (!decimal.TryParse(text.AsSpan(number, at - number), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var amount))
            {
                return null;
            }

            var milli = text[at] == 'm' && at + 1 < text.Length && text[at + 1] == 's';
            var unit = text[at] switch { 'h' => 3600m, 'm' when milli => 0.001m, 'm' => 60m, 's' => 1m, _ => 0m };
            if (unit == 0m)
            {
                return null;
            }

            at += milli ? 1 : 0;
            sum += amount * unit;
            number = at + 1;
        }

        return number == text.Length && sum > 0 && sum < 3_000_000_000 ? TimeSpan.FromTicks((long)(sum * 10_000_000)) : null;
    }
}
