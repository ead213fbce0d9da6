using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>Whether a container does its work, by the checks so far, in Docker's words.</summary>
public enum HealthState
{
    /// <summary>No check has passed yet, and not too many have failed.</summary>
    Starting,

    /// <summary>The last check that counted passed.</summary>
    Healthy,

    /// <summary>Too many have failed in a row; or it is not checked now, because it is paused or does not run.</summary>
    Unhealthy,
}

/// <summary>What came of one check.</summary>
/// <param name="start">When it began.</param>
/// <param name="end">When it ended.</param>
/// <param name="exitCode">0 is healthy; -1 when it took too long or could not be run.</param>
/// <param name="output">The beginning of what it wrote, or why it could not be run.</param>
public sealed class HealthResult(DateTimeOffset start, DateTimeOffset end, int exitCode, string output)
{
    /// <summary>When it began.</summary>
    public DateTimeOffset Start { get; } = start;

    /// <summary>When it ended.</summary>
    public DateTimeOffset End { get; } = end;

    /// <summary>0 is healthy; -1 when it took too long or could not be run.</summary>
    public int ExitCode { get; } = exitCode;

    /// <summary>The beginning of what it wrote, at most 4096 bytes and a mark; or why it could not be run.</summary>
    public string Output { get; } = output;
}

/// <summary>The health of a container that has a check.</summary>
/// <param name="state">What is thought of it.</param>
/// <param name="failingStreak">How many checks in a row have failed.</param>
/// <param name="log">The last results, the oldest first; at most <see cref="MostResults"/>.</param>
[JsonConverter(typeof(ContainerHealthConverter))]
public sealed class ContainerHealth(HealthState state, int failingStreak, IReadOnlyList<HealthResult> log)
{
    /// <summary>How many results are kept, as in Docker.</summary>
    public const int MostResults = 5;

    /// <summary>What is thought of it.</summary>
    public HealthState State { get; } = state;

    /// <summary>How many checks in a row have failed.</summary>
    public int FailingStreak { get; } = failingStreak;

    /// <summary>The last results, the oldest first.</summary>
    public IReadOnlyList<HealthResult> Log { get; } = log;

    /// <summary>The state in Docker's words.</summary>
    public string Word => State switch
    {
        HealthState.Starting => "starting",
        HealthState.Healthy => "healthy",
        _ => "unhealthy",
    };

    /// <summary>The same results under another state.</summary>
    internal ContainerHealth As(HealthState state, int failingStreak) => new(state, failingStreak, Log);
}

/// <summary>Docker's <c>State.Health</c>, by hand: it is one shape of the API, and the file of this boot.</summary>
internal sealed class ContainerHealthConverter : JsonConverter<ContainerHealth>
{
    /// <inheritdoc/>
    public override ContainerHealth Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        using var document = JsonDocument.ParseValue(ref reader);
        var health = document.RootElement;
        var log = new List<HealthResult>();
        foreach (var result in health.GetProperty("Log").EnumerateArray())
        {
            log.Add(new HealthResult(
                result.GetProperty("Start").GetDateTimeOffset(), result.GetProperty("End").GetDateTimeOffset(), result.GetProperty("ExitCode").GetInt32(), result.GetProperty("Output").GetString() ?? string.Empty));
        }

        var state = health.GetProperty("Status").GetString() switch
        {
            "starting" => HealthState.Starting,
            "healthy" => HealthState.Healthy,
            _ => HealthState.Unhealthy,
        };
        return new ContainerHealth(state, health.GetProperty("FailingStreak").GetInt32(), log);
    }

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, ContainerHealth value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        writer.WriteString("Status", value.Word);
        writer.WriteNumber("FailingStreak", value.FailingStreak);
        writer.WriteStartArray("Log");
        foreach (var result in value.Log)
        {
            writer.WriteStartObject();
            writer.WriteString("Start", result.Start);
            writer.WriteString("End", result.End);
            writer.WriteNumber("ExitCode", result.ExitCode);
            writer.WriteString("Output", result.Output);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}

/// <summary>Docker's rules of health checks. Pure.</summary>
internal static class HealthRules
{
    private static readonly TimeSpan DefaultInterval = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan DefaultStartInterval = TimeSpan.FromSeconds(5);
    private const int DefaultRetries = 3;

    // As long as a timer of .NET runs, which is for ever.
    private static readonly TimeSpan Longest = TimeSpan.FromDays(24);
    private static readonly TimeSpan Shortest = TimeSpan.FromMilliseconds(1);

    internal static TimeSpan TimeoutOf(HealthCheck check) => Time(check.Timeout, DefaultTimeout);

    /// <summary>How long after the end of a check, or after the start, the next one begins.</summary>
    internal static TimeSpan PauseOf(HealthCheck check, HealthState state, TimeSpan sinceStart) =>
        state == HealthState.Starting && sinceStart < StartPeriodOf(check) ? Time(check.StartInterval, DefaultStartInterval) : Time(check.Interval, DefaultInterval);

    /// <summary>What is run.</summary>
    /// <param name="check">The check, which is on.</param>
    /// <param name="shell">The image's shell; empty for the usual one.</param>
    internal static IReadOnlyList<string> ArgumentsOf(HealthCheck check, IReadOnlyList<string> shell) =>
        check.Test[0] == HealthCheck.ShellCommand ? [.. shell.Count > 0 ? shell : ["/bin/sh", "-c"], .. check.Test.Skip(1)] : [.. check.Test.Skip(1)];

    /// <summary>The health after one more result.</summary>
    /// <param name="before">The health before.</param>
    /// <param name="result">The result.</param>
    /// <param name="check">The check.</param>
    /// <param name="sinceStart">How long the container had run when the check began.</param>
    internal static ContainerHealth After(ContainerHealth before, HealthResult result, HealthCheck check, TimeSpan sinceStart)
    {
        List<HealthResult> log = [.. before.Log.TakeLast(ContainerHealth.MostResults - 1), result];
        if (result.ExitCode == 0)
        {
            return new ContainerHealth(HealthState.Healthy, 0, log);
        }

        if (before.State == HealthState.Starting && sinceStart < StartPeriodOf(check))
        {
            return new ContainerHealth(HealthState.Starting, before.FailingStreak, log);
        }

        var streak = before.FailingStreak + 1;
        return new ContainerHealth(IsTooMany(streak, check) ? HealthState.Unhealthy : before.State, streak, log);
    }

    /// <summary>Whether so many failures after each other mean that a container is unhealthy.</summary>
    internal static bool IsTooMany(int failures, HealthCheck check) => failures >= (check.Retries > 0 ? check.Retries : DefaultRetries);

    /// <summary>The words of a check that took too long.</summary>
    internal static string TookTooLong(TimeSpan timeout, string output) =>
        $"Health check exceeded timeout ({Duration(timeout)}){(output.Length > 0 ? ": " : string.Empty)}{output}";

    // As Go prints durations: 1m30s, 2.5s, 300ms.
    internal static string Duration(TimeSpan time)
    {
        if (time < TimeSpan.FromSeconds(1))
        {
            return string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:0.####}ms");
        }

        var hours = (long)time.TotalHours;
        var minutes = hours > 0 || time.Minutes > 0 ? string.Create(CultureInfo.InvariantCulture, $"{time.Minutes}m") : string.Empty;
        return string.Create(CultureInfo.InvariantCulture, $"{(hours > 0 ? $"{hours}h" : string.Empty)}{minutes}{(time.Ticks % TimeSpan.TicksPerMinute) / (decimal)TimeSpan.TicksPerSecond:0.#######}s");
    }

    private static TimeSpan StartPeriodOf(HealthCheck check) => Time(check.StartPeriod, TimeSpan.Zero);

    private static TimeSpan Time(long nanoseconds, TimeSpan otherwise)
    {
        if (nanoseconds <= 0)
        {
            return otherwise;
        }

        var time = TimeSpan.FromTicks(nanoseconds / 100);
        return time < Shortest ? Shortest : time > Longest ? Longest : time;
    }
}
