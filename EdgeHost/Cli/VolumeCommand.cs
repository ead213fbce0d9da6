using System.CommandLine;
using System.Globalization;
using System.Text.Json;

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
        var list = Volumes();
        var command = new Command("ls", "List volumes");
        command.Aliases.Add("list");
        list.AddTo(command, "dangling=, driver=, label=, name=");
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed);
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("volumes" + EachContainer.Query(("filters", list.Filters(parsed))));
            list.Print(parsed, printer, answer.RootElement.GetProperty("Volumes").EnumerateArray());
            return ExitCode.Ok;
        });
        return command;
    }

    private static Listing Volumes() => new(
        "table {{.Driver}}\t{{.Name}}",
        new("Name", "VOLUME NAME", (v, _) => v.Text("Name")),
        new("Driver", "DRIVER", (v, _) => v.Text("Driver")),
        new("Scope", "SCOPE", (v, _) => v.Text("Scope")),
        new("Mountpoint", "MOUNTPOINT", (v, _) => v.Text("Mountpoint")),
        new("Labels", "LABELS", (v, _) => Listing.Labels(v)),
        new("Links", "LINKS", (v, _) => v.Member("UsageData") is { ValueKind: JsonValueKind.Object } use ? use.Number("RefCount").ToString(CultureInfo.InvariantCulture) : "N/A"),
        new("Size", "SIZE", (v, _) => v.Member("UsageData") is { ValueKind: JsonValueKind.Object } use ? Humanly.Size(use.Number("Size")) : "N/A"),
        new("Group", "GROUP", (_, _) => "N/A"),
        new("Availability", "AVAILABILITY", (_, _) => "N/A"),
        new("Status", "STATUS", (_, _) => "N/A"));

    private static Command Inspect() =>
        InspectCommand.Make("volume", "Show all that is known of volumes, as JSON", (client, _, name) => client.GetAsync($"volumes/{DaemonClient.Escape(name)}"));

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
        return Pruning.Command(
            "Remove volumes that no container has",

            // Said in any case: older versions of the API mean all of them.
            parsed => ($"{(parsed.GetValue(all) ? "all" : "anonymous")} local volumes not used by at least one container", [.. parsed.GetValue(filter)!, $"all={(parsed.GetValue(all) ? "true" : "false")}"]),
            "volumes/prune",
            "Deleted Volumes:",
            "VolumesDeleted",
            all,
            filter);
    }
}
