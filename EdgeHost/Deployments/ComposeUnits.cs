using System.Globalization;
using System.Text;

namespace EdgeHost.Deployments;

/// <summary>The little languages inside Compose's values: sizes, durations, CPU lists and command lines.</summary>
public static class ComposeUnits
{
    /// <summary>Reads a size: digits, a fraction, and <c>b</c>, <c>k[b]</c>, <c>m[b]</c> or <c>g[b]</c> in powers of 1024.</summary>
    public static bool TryParseBytes(ReadOnlySpan<char> text, out long bytes)
    {
        bytes = 0;
        var end = text.LastIndexOfAnyInRange('0', '9') + 1;
        if (end == 0 || !TryParseDecimal(text[..end], out var number))
        {
            return false;
        }

        Span<char> unit = stackalloc char[2];
        if (text.Length - end > unit.Length)
        {
            return false;
        }

        var length = text[end..].ToLowerInvariant(unit);
        long? factor = unit[..length] switch
        {
            "" or "b" => 1,
            "k" or "kb" => 1L << 10,
            "m" or "mb" => 1L << 20,
            "g" or "gb" => 1L << 30,
            _ => null,
        };
        if (factor is null || number > long.MaxValue / (decimal)factor.Value)
        {
            return false;
        }

        bytes = (long)(number * factor.Value);
        return true;
    }

    /// <summary>Reads a number of CPUs as billionths, as in <c>0.5</c>.</summary>
    public static bool TryParseNanoCpus(ReadOnlySpan<char> text, out long nanoCpus)
    {
        nanoCpus = 0;
        if (!TryParseDecimal(text, out var cpus) || cpus > 1_000_000)
        {
            return false;
        }

        nanoCpus = (long)(cpus * 1_000_000_000m);
        return true;
    }

    /// <summary>Reads a duration, as in <c>1m30s</c>: units <c>us</c>, <c>ms</c>, <c>s</c>, <c>m</c>, <c>h</c>, each at most once, the largest first.</summary>
    public static bool TryParseDuration(ReadOnlySpan<char> text, out TimeSpan duration)
    {
        duration = default;
        var total = 0m;
        var lastUnit = decimal.MaxValue;
        if (text.IsEmpty)
        {
            return false;
        }

        while (!text.IsEmpty)
        {
            var digits = text.IndexOfAnyExcept("0123456789.");
            if (digits <= 0 || !TryParseDecimal(text[..digits], out var number))
            {
                return false;
            }

            text = text[digits..];
            var next = text.IndexOfAny("0123456789.");
            var unit = next < 0 ? text : text[..next];
            var ticks = unit switch
            {
                "us" => TimeSpan.TicksPerMicrosecond,
                "ms" => TimeSpan.TicksPerMillisecond,
                "s" => TimeSpan.TicksPerSecond,
                "m" => TimeSpan.TicksPerMinute,
                "h" => TimeSpan.TicksPerHour,
                _ => 0L,
            };
            if (ticks == 0 || ticks >= lastUnit || number > 1_000_000)
            {
                return false;
            }

            lastUnit = ticks;
            total += number * ticks;
            text = text[unit.Length..];
        }

        if (total > TimeSpan.TicksPerDay * 365m)
        {
            return false;
        }

        duration = TimeSpan.FromTicks((long)total);
        return true;
    }

    /// <summary>Reads a list of CPUs, as in <c>0-2,4</c>: cpuset(7), "List format", without strides.</summary>
    /// <param name="text">The list.</param>
    /// <param name="highest">The highest CPU named.</param>
    public static bool TryParseCpuList(ReadOnlySpan<char> text, out int highest)
    {
        highest = -1;
        foreach (var range in text.Split(','))
        {
            var part = text[range];
            var dash = part.IndexOf('-');
            var first = dash < 0 ? part : part[..dash];
            var last = dash < 0 ? part : part[(dash + 1)..];
            if (!TryParseCpu(first, out var low) || !TryParseCpu(last, out var high) || low > high)
            {
                return false;
            }

            highest = Math.Max(highest, high);
        }

        return highest >= 0;
    }

    /// <summary>Splits a command line into words as Compose does: blanks, single and double quotes, backslashes; no variables, no shell.</summary>
    /// <param name="line">The line.</param>
    /// <returns>The words; null when a quote or backslash has no end.</returns>
    public static IReadOnlyList<string>? SplitWords(string line)
    {
        var words = new List<string>();
        var word = new StringBuilder();
        var inWord = false;
        char quote = '\0';
        for (var i = 0; i < line.Length; i++)
        {
            var c = line[i];
            if (quote == '\'' || (quote == '"' && c != '\\'))
            {
                if (c == quote)
                {
                    quote = '\0';
                }
                else
                {
                    word.Append(c);
                }

                continue;
            }

            if (c == '\\')
            {
                if (++i == line.Length)
                {
                    return null;
                }

                // Within double quotes a backslash only protects what is special there (POSIX shell, 2.2.3).
                if (quote == '"' && line[i] is not ('"' or '\\'))
                {
                    word.Append('\\');
                }

                word.Append(line[i]);
                inWord = true;
            }
            else if (quote == '\0' && c is '\'' or '"')
            {
                quote = c;
                inWord = true;
            }
            else if (char.IsWhiteSpace(c) && quote == '\0')
            {
                if (inWord)
                {
                    words.Add(word.ToString());
                    word.Clear();
                    inWord = false;
                }
            }
            else
            {
                word.Append(c);
                inWord = true;
            }
        }

        if (quote != '\0')
        {
            return null;
        }

        if (inWord)
        {
            words.Add(word.ToString());
        }

        return words;
    }

    private static bool TryParseDecimal(ReadOnlySpan<char> text, out decimal number) =>
        decimal.TryParse(text, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out number) && number >= 0;

    private static bool TryParseCpu(ReadOnlySpan<char> text, out int cpu) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out cpu) && cpu < 4096;
}
