using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>What the commands that remove what nobody uses have in common; questions and reports are docker's.</summary>
internal static class Pruning
{
    /// <summary>Bytes with four digits, as docker shows what it has given back and what is used; elsewhere it shows three.</summary>
    internal static string Size(long bytes)
    {
        string[] units = ["B", "kB", "MB", "GB", "TB"];
        var (value, unit) = ((double)bytes, 0);
        for (; value >= 1000 && unit < units.Length - 1; unit++)
        {
            value /= 1000;
        }

        return value.ToString("G4", System.Globalization.CultureInfo.InvariantCulture) + units[unit];
    }

    /// <summary>The option that skips the question.</summary>
    internal static Option<bool> Force() => new("--force", "-f") { Description = "Do not ask" };

    /// <summary>The option that narrows it.</summary>
    internal static Option<string[]> Filter() => new("--filter") { Description = "Only those that fit (until=, label=, label!=)", HelpName = "key=value" };

    /// <summary>Asks the daemon for one pruning and prints what it removed.</summary>
    /// <returns>The bytes that it gave back.</returns>
    internal static async Task<long> RunAsync(DaemonClient client, TextWriter output, string path, string title, string member, string[] filters)
    {
        using var response = await client.SendAsync(HttpMethod.Post, path + EachContainer.Query(("filters", PsCommand.Filters(filters))));
        using var pruned = await JsonDocument.ParseAsync(await response.Content.ReadAsStreamAsync());
        if (pruned.RootElement.Member(member) is { ValueKind: JsonValueKind.Array } removed && removed.GetArrayLength() > 0)
        {
            output.WriteLine(title);
            foreach (var each in removed.EnumerateArray())
            {
                // Images are told of as what was untagged and what was deleted.
                output.WriteLine(each.ValueKind == JsonValueKind.String ? each.GetString() : string.Join('\n', each.EnumerateObject().Select(line => $"{line.Name.ToLowerInvariant()}: {line.Value.GetString()}")));
            }

            output.WriteLine();
        }

        return pruned.RootElement.Number("SpaceReclaimed");
    }

    /// <summary>Makes a command that does one pruning.</summary>
    internal static Command Command(string description, Func<ParseResult, (string Warning, string[] Filters)> ask, string path, string title, string member, params Option[] options)
    {
        var force = Force();
        var command = new Command("prune", description) { force };
        foreach (var option in options)
        {
            command.Add(option);
        }

        command.SetAction(async parsed =>
        {
            var output = parsed.InvocationConfiguration.Output;
            var (warning, filters) = ask(parsed);
            if (!parsed.GetValue(force) && !Confirm.Ask(output, $"WARNING! This will remove {warning}."))
            {
                return ExitCode.Failed;
            }

            using var client = DaemonClient.For(parsed);
            var bytes = await RunAsync(client, output, path, title, member, filters);
            if (member != "NetworksDeleted")
            {
                // A network takes no space.
                output.WriteLine($"Total reclaimed space: {Size(bytes)}");
            }

            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>Refuses filters that a pruning does not know before anything is removed.</summary>
    internal static void Check(string[] filters, bool untilToo)
    {
        foreach (var filter in filters)
        {
            var name = filter.Split('=', 2)[0];
            if (name is not ("label" or "label!") && !(untilToo && name == "until"))
            {
                throw new EdgeHostException(ErrorKind.Invalid, name == "until" ? "the \"until\" filter is not supported with \"--volumes\"" : $"invalid filter '{name}'");
            }
        }
    }
}
