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
        table.Write(output);

        void Add(string type)
        {
            var free = size - used;
            table.Add(
                type,
                total.ToString(CultureInfo.InvariantCulture),
                active.ToString(CultureInfo.InvariantCulture),
                Pruning.Size(size),
                size > 0 ? $"{Pruning.Size(free)} ({free * 100 / size}%)" : Pruning.Size(free));
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
