using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost volume create|ls|inspect|rm|prune</c>.</summary>
internal static class VolumeCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("volume", "Work with volumes")
    {
        Make(),
        List(),
        Inspect(),
        Remove(),
        Prune(),
    };

    private static Command Make()
    {
        var name = new Argument<string?>("volume") { Arity = ArgumentArity.ZeroOrOne };
        var label = new Option<string[]>("--label") { Description = "Remember this about it", HelpName = "key=value" };
        var command = new Command("create", "Make a volume") { label, name };
        command.SetAction(async parsed =>
        {
            using var buffer = new MemoryStream();
            using (var json = new Utf8JsonWriter(buffer))
            {
                json.WriteStartObject();
                json.WriteString("Name", parsed.GetValue(name) ?? string.Empty);
                json.WriteStartObject("Labels");

                // Given twice, the last one counts.
                foreach (var (key, value) in parsed.GetValue(label)!.Select(text => text.Split('=', 2)).GroupBy(parts => parts[0]).Select(same => (same.Key, same.Last() is [_, var v] ? v : string.Empty)))
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
                json.WriteEndObject();
            }

            using var client = DaemonClient.For(parsed);
            using var made = await client.PostAsync("volumes/create", buffer.ToArray());
            parsed.InvocationConfiguration.Output.WriteLine(made.RootElement.Text("Name"));
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command List()
    {
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print names only" };
        var filter = new Option<string[]>("--filter", "-f") { Description = "Show those that fit (dangling=, driver=, label=, name=)", HelpName = "key=value" };
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command("ls", "List volumes") { quiet, filter, json };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("volumes" + EachContainer.Query(("filters", PsCommand.Filters(parsed.GetValue(filter)!))));
            var output = parsed.InvocationConfiguration.Output;
            var volumes = answer.RootElement.GetProperty("Volumes").EnumerateArray();
            if (parsed.GetValue(json))
            {
                output.WriteLine(DaemonJson.Indented(volumes));
                return ExitCode.Ok;
            }

            var table = new Table("DRIVER", "VOLUME NAME");
            foreach (var volume in volumes)
            {
                if (parsed.GetValue(quiet))
                {
                    output.WriteLine(volume.Text("Name"));
                }
                else
                {
                    table.Add(volume.Text("Driver"), volume.Text("Name"));
                }
            }

            if (!parsed.GetValue(quiet))
            {
                table.Write(output);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Inspect()
    {
        var names = new Argument<string[]>("volume") { Arity = ArgumentArity.OneOrMore };
        var command = new Command("inspect", "Show all that is known of volumes, as JSON") { names };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var found = new List<JsonElement>();
            var exit = ExitCode.Ok;
            foreach (var name in parsed.GetValue(names)!)
            {
                try
                {
                    using var answer = await client.GetAsync($"volumes/{DaemonClient.Escape(name)}");
                    found.Add(answer.RootElement.Clone());
                }
                catch (EdgeHostException e) when (e.Kind is ErrorKind.NotFound or ErrorKind.Invalid or ErrorKind.Internal)
                {
                    parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                    exit = ExitCode.Failed;
                }
            }

            parsed.InvocationConfiguration.Output.WriteLine(DaemonJson.Indented(found));
            return exit;
        });
        return command;
    }

    private static Command Remove()
    {
        var names = new Argument<string[]>("volume") { Arity = ArgumentArity.OneOrMore };
        var force = new Option<bool>("--force", "-f") { Description = "No complaint about one that is not there" };
        var command = new Command("rm", "Remove one or more volumes that no container has") { force, names };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(names)!, async (client, name) =>
        {
            using var response = await client.SendAsync(
                HttpMethod.Delete, $"volumes/{DaemonClient.Escape(name)}" + EachContainer.Query(("force", parsed.GetValue(force) ? "1" : null)));
        }));
        return command;
    }

    private static Command Prune()
    {
        var all = new Option<bool>("--all", "-a") { Description = "Volumes with names too (default: anonymous ones)" };
        var filter = new Option<string[]>("--filter") { Description = "Only those that fit (label=, label!=)", HelpName = "key=value" };
        var force = new Option<bool>("--force", "-f") { Description = "Do not ask" };
        var command = new Command("prune", "Remove volumes that no container has") { all, filter, force };
        command.SetAction(async parsed =>
        {
            var output = parsed.InvocationConfiguration.Output;
            var what = parsed.GetValue(all) ? "all local volumes" : "anonymous local volumes";
            if (!parsed.GetValue(force) && !Confirm.Ask(output, $"WARNING! This will remove {what} not used by at least one container."))
            {
                return ExitCode.Failed;
            }

            // Said in any case: older versions of the API mean all of them.
            string[] filters = [.. parsed.GetValue(filter)!, $"all={(parsed.GetValue(all) ? "true" : "false")}"];
            using var client = DaemonClient.For(parsed);
            using var response = await client.SendAsync(HttpMethod.Post, "volumes/prune" + EachContainer.Query(("filters", PsCommand.Filters(filters))));
            using var pruned = await JsonDocument.ParseAsync(await response.Content.ReadAsStreamAsync());
            Confirm.Report(output, "Deleted Volumes:", pruned.RootElement.Texts("VolumesDeleted"), pruned.RootElement.Number("SpaceReclaimed"));
            return ExitCode.Ok;
        });
        return command;
    }
}
