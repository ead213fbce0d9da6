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
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command("df", "Show what is used of the disk") { verbose, json };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("system/df");
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(answer.RootElement.GetRawText());
            }
            else if (parsed.GetValue(verbose))
            {
                PrintEach(answer.RootElement, output);
            }
            else
            {
                PrintSums(answer.RootElement, output);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static void PrintSums(JsonElement usage, TextWriter output)
    {
        var table = new Table("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE");
        var images = All(usage, "Images").ToList();
        var layers = usage.Number("LayersSize");
        Add("Images", images.Count, images.Count(IsUsed), layers, layers - images.Where(IsUsed).Sum(each => each.Number("Size") - each.Number("SharedSize")));
        var containers = All(usage, "Containers").ToList();
        Add("Containers", containers.Count, containers.Count(Runs), containers.Sum(each => each.Number("SizeRw")), containers.Where(each => !Runs(each)).Sum(each => each.Number("SizeRw")));
        var volumes = All(usage, "Volumes").Select(each => each.Member("UsageData")).ToList();
        Add("Local Volumes", volumes.Count, volumes.Count(each => each.Number("RefCount") > 0), volumes.Sum(each => each.Number("Size")), volumes.Where(each => each.Number("RefCount") == 0).Sum(each => each.Number("Size")));
        Add("Build Cache", 0, 0, 0, 0);
        table.Write(output);

        void Add(string type, int total, int active, long size, long free) => table.Add(
            type,
            total.ToString(CultureInfo.InvariantCulture),
            active.ToString(CultureInfo.InvariantCulture),
            Pruning.Size(size),
            size > 0 ? $"{Pruning.Size(free)} ({free * 100 / size}%)" : Pruning.Size(free));

        static bool IsUsed(JsonElement image) => image.Number("Containers") > 0;
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
                All(container, "Mounts").Count(each => each.Text("Type") == "volume").ToString(CultureInfo.InvariantCulture),
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

    private static bool Runs(JsonElement container) => container.Text("State") is "running" or "paused" or "restarting";

    private static IEnumerable<JsonElement> All(JsonElement element, string name) => element.Member(name) is { ValueKind: JsonValueKind.Array } array ? array.EnumerateArray() : [];
}
