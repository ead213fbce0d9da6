using System.Globalization;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary>What <c>docker ps</c> says about a container.</summary>
internal static class ContainerWords
{
    /// <summary>An exit that nobody saw is 255, Docker's own word for it.</summary>
    internal static int ExitCode(ContainerStatus container) =>
        container.ExitCode ?? (container.FinishedAt is null || container.State == ContainerState.Running ? 0 : 255);

    /// <summary>As in <c>Up 5 minutes</c>, <c>Exited (137) 2 hours ago</c>.</summary>
    internal static string Status(ContainerStatus container, DateTimeOffset now) => container.State switch
    {
        ContainerState.Created => "Created",
        ContainerState.Running => $"Up {Ago(now - (container.StartedAt ?? now))}{(container.Paused ? " (Paused)" : HealthWords(container))}",
        ContainerState.Restarting when container.AwaitedDevice is { } device => $"Waiting for {device}",
        ContainerState.Restarting => string.Create(CultureInfo.InvariantCulture, $"Restarting ({ExitCode(container)}) {Ago(now - (container.FinishedAt ?? now))} ago"),
        ContainerState.Removing => "Removal In Progress",
        ContainerState.Dead => "Dead",
        _ => string.Create(CultureInfo.InvariantCulture, $"Exited ({ExitCode(container)}) {Ago(now - (container.FinishedAt ?? now))} ago"),
    };

    private static string HealthWords(ContainerStatus container) => container.Health switch
    {
        null => string.Empty,
        { State: HealthState.Starting } => " (health: starting)",
        { } health => $" ({health.Word})",
    };

    /// <summary>The command line, with quotes where a word has spaces.</summary>
    internal static string Quoted(IReadOnlyList<string> arguments) => string.Join(
        ' ',
        arguments.Select(a => a.Length == 0 || a.AsSpan().ContainsAny(" \t\n\"'") ? $"'{a.Replace("'", "'\\''", StringComparison.Ordinal)}'" : a));

    /// <summary>A duration as docker says it (go-units HumanDuration).</summary>
    internal static string Ago(TimeSpan time)
    {
        var seconds = Math.Max(0, (long)time.TotalSeconds);
        var hours = (long)Math.Round(time.TotalHours, MidpointRounding.AwayFromZero);
        return seconds switch
        {
            < 1 => "Less than a second",
            1 => "1 second",
            < 60 => Count(seconds, "seconds"),
            < 120 => "About a minute",
            < 3600 => Count(seconds / 60, "minutes"),
            _ when hours == 1 => "About an hour",
            _ when hours < 48 => Count(hours, "hours"),
            _ when hours < 24 * 7 * 2 => Count(hours / 24, "days"),
            _ when hours < 24 * 30 * 2 => Count(hours / 24 / 7, "weeks"),
            _ when hours < 24 * 365 * 2 => Count(hours / 24 / 30, "months"),
            _ => Count((long)time.TotalHours / 24 / 365, "years"),
        };
    }

    private static string Count(long number, string unit) => string.Create(CultureInfo.InvariantCulture, $"{number} {unit}");
}
