using System.CommandLine;
using System.Globalization;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost stop</c>.</summary>
internal static class StopCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = new Argument<string[]>("container") { Arity = ArgumentArity.ZeroOrMore };
        var all = new Option<bool>("--all", "-a") { Description = "Stop all that run, the last started first; none starts again by itself but those of --restart always, at the next boot" };
        var seconds = new Option<int?>("--time", "-t") { Description = "Seconds to wait before killing it (default: as it was created with, else 10)", HelpName = "seconds" };
        var signal = new Option<string?>("--signal", "-s") { Description = "Signal to send first", HelpName = "signal" };
        var command = new Command("stop", "Stop one or more running containers") { all, seconds, signal, containers };
        command.SetAction(async parsed =>
        {
            var names = parsed.GetValue(containers)!;
            if (parsed.GetValue(all) == names.Length > 0)
            {
                throw new EdgeHostException(ErrorKind.Invalid, names.Length > 0 ? "stop --all takes no names; leave out one or the other" : "stop needs the name of a container, or --all");
            }

            return await EachContainer.DoAsync(parsed, names.Length > 0 ? names : await RunningAsync(parsed), (client, name) =>
                client.PostAsync($"containers/{DaemonClient.Escape(name)}/stop" + EachContainer.Query(("t", parsed.GetValue(seconds)?.ToString(CultureInfo.InvariantCulture)), ("signal", parsed.GetValue(signal)))), "stopping");
        });
        return command;
    }

    /// <summary>The names of all that run or wait for a restart, the last started first.</summary>
    private static async Task<IReadOnlyList<string>> RunningAsync(ParseResult parsed)
    {
        using var client = DaemonClient.For(parsed);
        using var answer = await client.GetAsync("containers/json" + EachContainer.Query(("filters", """{"status":["running","restarting"]}""")));
        var found = new List<(DateTimeOffset Started, string Name)>();
        foreach (var container in answer.RootElement.EnumerateArray())
        {
            try
            {
                using var inspected = await client.GetAsync($"containers/{container.Text("Id")}/json");
                var started = DateTimeOffset.Parse(inspected.RootElement.Member("State").Text("StartedAt"), CultureInfo.InvariantCulture);
                found.Add((started, inspected.RootElement.Text("Name").TrimStart('/')));
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
            {
                // It has ended, and was removed with that: nothing is left to stop.
            }
        }

        return [.. found.OrderByDescending(each => each.Started).Select(each => each.Name)];
    }
}
