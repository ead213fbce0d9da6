using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>What <c>run</c> takes of health checks, in docker's words.</summary>
internal sealed class HealthRunOptions
{
    private Option<string?> Cmd { get; } = new("--health-cmd") { Description = "Check its health by this line, given to its shell", HelpName = "line" };

    private Option<string?> Interval { get; } = new("--health-interval") { Description = "Time between two checks (30s)", HelpName = "duration" };

    private Option<string?> Timeout { get; } = new("--health-timeout") { Description = "How long a check may take (30s)", HelpName = "duration" };

    private Option<string?> StartPeriod { get; } = new("--health-start-period") { Description = "How long failures do not count after its start (0s)", HelpName = "duration" };

    private Option<string?> StartInterval { get; } = new("--health-start-interval") { Description = "Time between two checks during the start period (5s)", HelpName = "duration" };

    private Option<int?> Retries { get; } = new("--health-retries") { Description = "Failures in a row that make it unhealthy (3)", HelpName = "number" };

    private Option<bool> Off { get; } = new("--no-healthcheck") { Description = "Do not check it, whatever the image says" };

    internal IEnumerable<Option> All => [Cmd, Interval, Timeout, StartPeriod, StartInterval, Retries, Off];

    /// <summary>Writes <c>Healthcheck</c>, when any of it is given.</summary>
    /// <exception cref="EdgeHostException">A value that will not do, or options that exclude each other.</exception>
    internal void Write(Utf8JsonWriter json, ParseResult parsed)
    {
        var line = parsed.GetValue(Cmd);
        var retries = parsed.GetValue(Retries) ?? 0;
        var interval = Time(parsed, Interval);
        var timeout = Time(parsed, Timeout);
        var startPeriod = Time(parsed, StartPeriod);
        var startInterval = Time(parsed, StartInterval);
        var given = !string.IsNullOrEmpty(line) || retries != 0 || interval != 0 || timeout != 0 || startPeriod != 0 || startInterval != 0;
        var off = parsed.GetValue(Off);
        if (off && given)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "--no-healthcheck conflicts with --health-* options");
        }

        if (retries < 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "--health-retries cannot be negative");
        }

        if (!off && !given)
        {
            return;
        }

        json.WriteStartObject("Healthcheck");
        if (off || !string.IsNullOrEmpty(line))
        {
            json.WriteStartArray("Test");
            json.WriteStringValue(off ? "NONE" : "CMD-SHELL");
            if (!off)
            {
                json.WriteStringValue(line);
            }

            json.WriteEndArray();
        }

        json.WriteNumber("Interval", interval);
        json.WriteNumber("Timeout", timeout);
        json.WriteNumber("StartPeriod", startPeriod);
        json.WriteNumber("StartInterval", startInterval);
        json.WriteNumber("Retries", retries);
        json.WriteEndObject();
    }

    private static long Time(ParseResult parsed, Option<string?> option)
    {
        if (parsed.GetValue(option) is not { } text)
        {
            return 0;
        }

        return Humanly.ParseDuration(option.Name, text) is >= 0 and var nanoseconds
            ? nanoseconds
            : throw new EdgeHostException(ErrorKind.Invalid, $"{option.Name} cannot be negative");
    }
}
