using System.CommandLine;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost ps</c>.</summary>
internal static class PsCommand
{
    private const int ShortId = 12;
    private const int ShortCommand = 20;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var all = new Option<bool>("--all", "-a") { Description = "Show all containers (default: those that run)" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print ids only" };
        var whole = new Option<bool>("--no-trunc") { Description = "Shorten nothing" };
        var filter = new Option<string[]>("--filter", "-f") { Description = "Show those that fit (name=, label=, status=, ancestor=, exited=, id=, volume=, health=)", HelpName = "key=value" };
        var last = new Option<int?>("--last", "-n") { Description = "Show the newest so many, in all states", HelpName = "number" };
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command("ps", "List containers") { all, quiet, whole, filter, last, json };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("containers/json" + EachContainer.Query(
                ("all", parsed.GetValue(all) ? "1" : null),
                ("limit", parsed.GetValue(last)?.ToString(System.Globalization.CultureInfo.InvariantCulture)),
                ("filters", Filters(parsed.GetValue(filter)!))));
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(DaemonJson.Indented(answer.RootElement.EnumerateArray()));
            }
            else if (parsed.GetValue(quiet))
            {
                foreach (var container in answer.RootElement.EnumerateArray())
                {
                    output.WriteLine(Id(container.Text("Id"), parsed.GetValue(whole)));
                }
            }
            else
            {
                Print(answer.RootElement, parsed.GetValue(whole), output);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>The filters of Docker's API from <c>key=value</c>; null without any.</summary>
    internal static string? Filters(string[] filters)
    {
        if (filters.Length == 0)
        {
            return null;
        }

        var byName = new Dictionary<string, List<string>>(StringComparer.Ordinal);
        foreach (var filter in filters)
        {
            var equals = filter.IndexOf('=', StringComparison.Ordinal);
            if (equals < 1)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"filter {filter} is not KEY=VALUE");
            }

            if (!byName.TryGetValue(filter[..equals], out var values))
            {
                byName[filter[..equals]] = values = [];
            }

            values.Add(filter[(equals + 1)..]);
        }

        using var buffer = new MemoryStream();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            foreach (var (name, values) in byName)
            {
                writer.WriteStartArray(name);
                values.ForEach(writer.WriteStringValue);
                writer.WriteEndArray();
            }

            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.ToArray());
    }

    private static void Print(JsonElement containers, bool whole, TextWriter output)
    {
        var table = new Table("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES");
        foreach (var container in containers.EnumerateArray())
        {
            var line = container.Text("Command");
            table.Add(
                Id(container.Text("Id"), whole),
                container.Text("Image"),
                $"\"{(whole || line.Length <= ShortCommand ? line : line[..(ShortCommand - 1)] + "…")}\"",
                Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(container.Number("Created")), DateTimeOffset.UtcNow),
                container.Text("Status"),
                Ports(container),
                string.Join(',', container.Texts("Names").Select(n => n.TrimStart('/'))));
        }

        table.Write(output);
    }

    /// <summary>As docker: <c>0.0.0.0:8080->80/tcp, [::]:8080->80/tcp</c>.</summary>
    private static string Ports(JsonElement container) => string.Join(", ", container.GetProperty("Ports").EnumerateArray().Select(port =>
        $"{(port.Text("IP").Contains(':', StringComparison.Ordinal) ? $"[{port.Text("IP")}]" : port.Text("IP"))}:{port.Number("PublicPort")}->{port.Number("PrivatePort")}/{port.Text("Type")}"));

    private static string Id(string id, bool whole) => whole || id.Length <= ShortId ? id : id[..ShortId];
}
