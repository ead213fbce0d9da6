using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary><c>edgehost events</c>.</summary>
internal static class EventsCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var filter = new Option<string[]>("--filter", "-f") { Description = "Show those that fit (type=, event=, container=, image=, label=)", HelpName = "key=value" };
        var since = new Option<string?>("--since") { Description = "Begin with those since this time, or this long ago", HelpName = "time" };
        var until = new Option<string?>("--until") { Description = "End at this time", HelpName = "time" };
        var format = DocumentTemplate.Option();
        var json = new Option<bool>("--json") { Description = "Print a JSON object for each" };
        var command = new Command("events", "Show what happens, as it happens") { filter, since, until, format, json };
        command.SetAction(async parsed =>
        {
            var template = DocumentTemplate.Of(parsed.GetValue(format));
            using var client = DaemonClient.For(parsed);
            using var response = await client.SendAsync(HttpMethod.Get, "events" + EachContainer.Query(
                ("filters", PsCommand.Filters(parsed.GetValue(filter)!)),
                ("since", MomentText.Parse("--since", parsed.GetValue(since), DateTimeOffset.UtcNow)),
                ("until", MomentText.Parse("--until", parsed.GetValue(until), DateTimeOffset.UtcNow))));
            using var lines = new StreamReader(await response.Content.ReadAsStreamAsync());
            while (await lines.ReadLineAsync() is { } line)
            {
                if (line.Length > 0)
                {
                    parsed.InvocationConfiguration.Output.WriteLine(parsed.GetValue(json) ? line : Words(line, template));
                }
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static string Words(string line, DocumentTemplate? template)
    {
        using var document = JsonDocument.Parse(line);
        var happened = document.RootElement;
        if (template is not null)
        {
            return template.Text(happened);
        }

        var nanoseconds = happened.Number("timeNano");
        var time = DateTimeOffset.UnixEpoch.AddTicks(nanoseconds / 100).ToLocalTime();
        var actor = happened.Member("Actor");
        var attributes = actor.Member("Attributes") is { ValueKind: JsonValueKind.Object } members
            ? string.Join(", ", members.EnumerateObject().OrderBy(m => m.Name, StringComparer.Ordinal).Select(m => $"{m.Name}={m.Value}"))
            : string.Empty;
        return $"{time.ToString("yyyy-MM-dd'T'HH:mm:ss.fffffff'00'zzz", CultureInfo.InvariantCulture)} {happened.Text("Type")} {happened.Text("Action")} {actor.Text("ID")} ({attributes})";
    }
}
