using System.CommandLine;
using System.Globalization;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary><c>edgehost system df</c>.</summary>
internal static class SystemDfCommand
{
    private const int ShortId = 12;
    private const int ShortCommand = 20;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var verbose = new Option<bool>("--verbose", "-v") { Description = "Show each image, container and volume" };
        var list = new Listing(
            "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
            new("Type", "TYPE", (u, _) => u.Text("Type")),
            new("TotalCount", "TOTAL", (u, _) => u.Text("TotalCount")),
            new("Active", "ACTIVE", (u, _) => u.Text("Active")),
            new("Size", "SIZE", (u, _) => u.Text("Size")),
            new("Reclaimable", "RECLAIMABLE", (u, _) => u.Text("Reclaimable")));
        var command = new Command("df", "Show what is used of the disk") { verbose };
        list.AddTo(command, filters: null);
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed);
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("system/df");
            var output = parsed.InvocationConfiguration.Output;
            if (list.IsJson(parsed))
            {
                output.WriteLine(answer.RootElement.GetRawText());
            }
            else if (parsed.GetValue(verbose))
            {
                PrintEach(answer.RootElement, output);
            }
            else
            {
                list.Print(parsed, printer, Sums(answer.RootElement));
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static List<JsonElement> Sums(JsonElement usage)
    {
        var lines = new List<JsonElement>();
        long total = 0, active = 0, used = 0, size = usage.Number("LayersSize");
        foreach (var image in All(usage, "Images"))
        {
            total++;
            active += image.Number("Containers") > 0 ? 1 : 0;
            used += image.Number("Containers") > 0 ? image.Number("Size") - image.Number("SharedSize") : 0;
        }

        Add("Images");
        foreach (var container in All(usage, "Containers"))
        {
            total++;
            size += container.Number("SizeRw");
            active += Runs(container) ? 1 : 0;
            used += Runs(container) ? container.Number("SizeRw") : 0;
        }

        Add("Containers");
        foreach (var volume in All(usage, "Volumes"))
        {
            var data = volume.Member("UsageData");
            total++;
            size += data.Number("Size");
            active += data.Number("RefCount") > 0 ? 1 : 0;
            used += data.Number("RefCount") > 0 ? data.Number("Size") : 0;
        }

        Add("Local Volumes");
        Add("Build Cache");
        return lines;

        void Add(string type)
        {
            var free = size - used;
            lines.Add(DaemonJson.Made(json =>
            {
                json.WriteString("Type", type);
                json.WriteString("TotalCount", total.ToString(CultureInfo.InvariantCulture));
                json.WriteString("Active", active.ToString(CultureInfo.InvariantCulture));
                json.WriteString("Size", Pruning.Size(size));
                json.WriteString("Reclaimable", size > 0 ? $"{Pruning.Size(free)} ({free * 100 / size}%)" : Pruning.Size(free));
            }));
            (total, active, used, size) = (0, 0, 0, 0);
        }
    }

    private static void PrintEach(JsonElement usage, TextWriter output)
    {
        output.WriteLine("Images space usage:\n");
        var table = new Table("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS");
        foreach (var image in All(usage, "Images"))
        {
            var reference = image.Texts("RepoTags").FirstOrDefault() ?? "<none>:<none>";
            var colon = reference.LastIndexOf(':');
            table.Add(
                reference[..colon],
                reference[(colon + 1)..],
                image.Text("Id")["sha256:".Length..][..ShortId],
                Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(image.Number("Created")), DateTimeOffset.UtcNow),
                Pruning.Size(image.Number("Size")),
                Pruning.Size(image.Number("SharedSize")),
                Pruning.Size(image.Number("Size") - image.Number("SharedSize")),
                image.Number("Containers").ToString(CultureInfo.InvariantCulture));
        }

        table.Write(output);
        output.WriteLine("\nContainers space usage:\n");
        table = new Table("CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES");
        foreach (var container in All(usage, "Containers"))
        {
            var line = container.Text("Command");
            table.Add(
                container.Text("Id")[..ShortId],
                container.Text("Image"),
                $"\"{(line.Length <= ShortCommand ? line : line[..(ShortCommand - 1)] + "…")}\"",
                VolumesOf(container).ToString(CultureInfo.InvariantCulture),
                Pruning.Size(container.Number("SizeRw")),
                Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(container.Number("Created")), DateTimeOffset.UtcNow),
                container.Text("Status"),
                string.Join(',', container.Texts("Names").Select(each => each.TrimStart('/'))));
        }

        table.Write(output);
        output.WriteLine("\nLocal Volumes space usage:\n");
        table = new Table("VOLUME NAME", "LINKS", "SIZE");
        foreach (var volume in All(usage, "Volumes"))
        {
            table.Add(volume.Text("Name"), volume.Member("UsageData").Number("RefCount").ToString(CultureInfo.InvariantCulture), Pruning.Size(volume.Member("UsageData").Number("Size")));
        }

        table.Write(output);
        output.WriteLine("\nBuild cache usage: 0B\n");
    }

    private static int VolumesOf(JsonElement container)
    {
        var count = 0;
        foreach (var mount in All(container, "Mounts"))
        {
            count += mount.Text("Type") == "volume" ? 1 : 0;
        }

        return count;
    }

    private static bool Runs(JsonElement container) => container.Text("State") is "running" or "paused" or "restarting";

    private static JsonElement.ArrayEnumerator All(JsonElement element, string name) => element.Member(name) is { ValueKind: JsonValueKind.Array } array ? array.EnumerateArray() : default;
}
