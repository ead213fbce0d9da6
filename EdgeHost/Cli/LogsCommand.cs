using System.CommandLine;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost logs</c>.</summary>
internal static class LogsCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var container = new Argument<string>("container");
        var follow = new Option<bool>("--follow", "-f") { Description = "Go on with what comes, until it ends" };
        var tail = new Option<string?>("--tail", "-n") { Description = "Start with the last so many lines (default \"all\")", HelpName = "number" };
        var timestamps = new Option<bool>("--timestamps", "-t") { Description = "Put the time in front of each line" };
        var since = new Option<string?>("--since") { Description = "Not before this time, or this long ago (as in 2026-01-02T13:23:37Z or 42m)", HelpName = "time" };
        var until = new Option<string?>("--until") { Description = "Not after this time, or this long ago", HelpName = "time" };
        var command = new Command("logs", "Show what a container has written") { follow, tail, timestamps, since, until, container };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var name = DaemonClient.Escape(parsed.GetValue(container)!);
            using var inspected = await client.GetAsync($"containers/{name}/json");
            using var response = await client.SendAsync(HttpMethod.Get, $"containers/{name}/logs" + EachContainer.Query(
                ("stdout", "1"),
                ("stderr", "1"),
                ("follow", parsed.GetValue(follow) ? "1" : null),
                ("tail", parsed.GetValue(tail)),
                ("timestamps", parsed.GetValue(timestamps) ? "1" : null),
                ("since", MomentText.Parse("--since", parsed.GetValue(since), DateTimeOffset.UtcNow)),
                ("until", MomentText.Parse("--until", parsed.GetValue(until), DateTimeOffset.UtcNow))));
            await using var frames = await response.Content.ReadAsStreamAsync();
            await using var output = OutputStream.StandardOutput();
            await using var error = OutputStream.StandardError();
            if (inspected.RootElement.Member("Config").Member("Tty").ValueKind == System.Text.Json.JsonValueKind.True)
            {
                // What a terminal has shown comes as it is.
                await DaemonClient.CopyAsync(frames, output);
            }
            else
            {
                await OutputFrames.CopyAsync(frames, output, error);
            }

            return ExitCode.Ok;
        });
        return command;
    }
}
