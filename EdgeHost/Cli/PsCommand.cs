using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost ps</c>.</summary>
internal static class PsCommand
{
    private const string Table = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var list = Containers();
        var all = new Option<bool>("--all", "-a") { Description = "Show all containers (default: those that run)" };
        var last = new Option<int?>("--last", "-n") { Description = "Show the newest so many, in all states", HelpName = "number" };
        var latest = new Option<bool>("--latest", "-l") { Description = "Show the newest, in whatever state" };
        var command = new Command("ps", "List containers") { all, last, latest };
        list.AddTo(command, "ancestor=, before=, exited=, expose=, health=, id=, label=, name=, network=, publish=, since=, status=, volume=");
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed);
            var limit = parsed.GetValue(latest) ? 1 : parsed.GetValue(last);
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("containers/json" + EachContainer.Query(
                ("all", parsed.GetValue(all) ? "1" : null),
                ("size", NeedsSize(parsed.GetValue<string?>("--format")) ? "1" : null),
                ("limit", limit?.ToString(CultureInfo.InvariantCulture)),
                ("filters", list.Filters(parsed))));
            list.Print(parsed, printer, answer.RootElement.EnumerateArray());
            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>As docker does: sizes are measured where a template shows them, since all files of a container are asked for that.</summary>
    private static bool NeedsSize(string? format) =>
        format is not null && (format.Contains(".Size", StringComparison.Ordinal) || format.Contains("{{json .}}", StringComparison.Ordinal));

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

    private static Listing Containers() => new(
        Table,
        new("ID", "CONTAINER ID", (c, whole) => Listing.ShortId(c.Text("Id"), whole)),
        new("Image", "IMAGE", (c, _) => c.Text("Image") is { Length: > 0 } image ? image : "<no image>"),
        new("Command", "COMMAND", (c, whole) => TemplateText.Quoted(Listing.Ellipsis(c.Text("Command"), 20, whole))),
        new("CreatedAt", "CREATED AT", (c, _) => Listing.Created(c)),
        new("RunningFor", "CREATED", (c, _) => Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(c.Number("Created")), DateTimeOffset.UtcNow)),
        new("Platform", "PLATFORM", (_, _) => null),
        new("Ports", "PORTS", (c, _) => PortText.Of(c)),
        new("State", "STATE", (c, _) => c.Text("State")),
        new("Status", "STATUS", (c, _) => c.Text("Status")),
        new("Size", "SIZE", (c, _) => Size(c)),
        new("Names", "NAMES", (c, _) => string.Join(',', c.Texts("Names").Select(n => n.TrimStart('/')))),
        new("Labels", "LABELS", (c, _) => Listing.Labels(c)),
        new("Mounts", "MOUNTS", (c, whole) => string.Join(',', Mounts(c).Select(m => Listing.Ellipsis(m.Text("Name") is { Length: > 0 } name ? name : m.Text("Source"), 15, whole)))),
        new("LocalVolumes", "LOCAL VOLUMES", (c, _) => Mounts(c).Where(m => m.Text("Driver") == "local").ToList().Count.ToString(CultureInfo.InvariantCulture)),
        new("Networks", "NETWORKS", (c, _) => string.Join(',', new JsonPart(c.Member("NetworkSettings").Member("Networks"), string.Empty).Names())))
    {
        IsQuietFirst = true,
    };

    private static IEnumerable<JsonElement> Mounts(JsonElement container) =>
        container.Member("Mounts") is { ValueKind: JsonValueKind.Array } mounts ? mounts.EnumerateArray() : [];

    private static string Size(JsonElement container) => container.Number("SizeRootFs") is > 0 and var whole
        ? $"{Humanly.Size(container.Number("SizeRw"))} (virtual {Humanly.Size(whole)})"
        : Humanly.Size(container.Number("SizeRw"));
}
