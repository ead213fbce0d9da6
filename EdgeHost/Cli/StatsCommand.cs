using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost stats</c>.</summary>
internal static class StatsCommand
{
    private const string ClearScreen = "\x1b[H\x1b[J";

    private static readonly TimeSpan Every = TimeSpan.FromSeconds(1);

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = new Argument<string[]>("container") { Arity = ArgumentArity.ZeroOrMore };
        var once = new Option<bool>("--no-stream") { Description = "Print once, and end" };
        var all = new Option<bool>("--all", "-a") { Description = "Show those that do not run, too" };
        var list = Columns();
        var command = new Command("stats", "Show what containers use") { once, all, containers };
        list.AddTo(command, filters: null);
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed);
            using var client = DaemonClient.For(parsed);
            var output = parsed.InvocationConfiguration.Output;
            var named = parsed.GetValue(containers)!;
            var before = await ReadAsync(client, named, parsed.GetValue(all));
            using var timer = new PeriodicTimer(Every);
            do
            {
                // How busy a CPU is shows only between two readings.
                await timer.WaitForNextTickAsync();
                var now = await ReadAsync(client, named, parsed.GetValue(all));
                if (!parsed.GetValue(once) && !list.IsJson(parsed) && Screen.IsLive(output))
                {
                    output.Write(ClearScreen);
                }

                var uses = new List<JsonElement>();
                foreach (var (name, stats) in now)
                {
                    uses.Add(Use(name, before.GetValueOrDefault(name), stats));
                }

                list.Print(parsed, printer, uses, now.Values);
                before = now;
            }
            while (!parsed.GetValue(once) && !list.IsJson(parsed));
            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<Dictionary<string, JsonElement>> ReadAsync(DaemonClient client, string[] named, bool all)
    {
        IReadOnlyList<string> names = [.. named.Distinct(StringComparer.Ordinal)];
        if (names.Count == 0)
        {
            using var list = await client.GetAsync("containers/json" + (all ? "?all=1" : string.Empty));
            names = list.RootElement.EnumerateArray().Select(c => Listing.ShortId(c.Text("Id"), whole: false)).ToList();
        }

        var answers = await Task.WhenAll(names.Select(async name =>
        {
            try
            {
                using var answer = await client.GetAsync($"containers/{DaemonClient.Escape(name)}/stats?stream=0&one-shot=1");
                return (Name: name, Stats: answer.RootElement.Clone());
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound && named.Length == 0)
            {
                // Gone since the list was made.
                return (Name: name, Stats: default);
            }
        }));
        return answers.Where(a => a.Stats.ValueKind == JsonValueKind.Object).ToDictionary(a => a.Name, a => a.Stats, StringComparer.Ordinal);
    }

    private static Listing Columns() => new(
        "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
        new("Container", "CONTAINER", (u, _) => u.Text("Container")),
        new("ID", "CONTAINER ID", (u, whole) => Listing.ShortId(u.Text("ID"), whole)),
        new("Name", "NAME", (u, _) => u.Text("Name")),
        new("CPUPerc", "CPU %", (u, _) => u.Text("CPUPerc")),
        new("MemUsage", "MEM USAGE / LIMIT", (u, _) => u.Text("MemUsage")),
        new("MemPerc", "MEM %", (u, _) => u.Text("MemPerc")),
        new("NetIO", "NET I/O", (u, _) => u.Text("NetIO")),
        new("BlockIO", "BLOCK I/O", (u, _) => u.Text("BlockIO")),
        new("PIDs", "PIDS", (u, _) => u.Text("PIDs")));

    /// <summary>What docker's columns say of two readings.</summary>
    private static JsonElement Use(string name, JsonElement before, JsonElement stats) => DaemonJson.Made(json =>
    {
        var memory = stats.Member("memory_stats");
        var details = memory.Member("stats");
        var cache = details.Member("inactive_file").ValueKind == JsonValueKind.Number ? details.Number("inactive_file") : details.Number("total_inactive_file");
        var used = Math.Max(0, memory.Number("usage") - cache);
        var limit = memory.Number("limit");
        json.WriteString("Container", name);
        json.WriteString("ID", stats.Text("id") is { Length: > 0 } id ? id : name);
        json.WriteString("Name", stats.Text("name").TrimStart('/'));
        json.WriteString("CPUPerc", Percent(Cpu(before, stats)));
        json.WriteString("MemUsage", $"{Humanly.Memory(used)} / {Humanly.Memory(limit)}");
        json.WriteString("MemPerc", Percent(limit > 0 ? 100.0 * used / limit : 0));
        json.WriteString("NetIO", $"{Humanly.Size(Networks(stats, "rx_bytes"))} / {Humanly.Size(Networks(stats, "tx_bytes"))}");
        json.WriteString("BlockIO", $"{Humanly.Size(Blocks(stats, 'r'))} / {Humanly.Size(Blocks(stats, 'w'))}");
        json.WriteString("PIDs", stats.Member("pids_stats").Number("current").ToString(CultureInfo.InvariantCulture));
    });

    private static long Networks(JsonElement stats, string counter)
    {
        var sum = 0L;
        if (stats.Member("networks") is { ValueKind: JsonValueKind.Object } networks)
        {
            foreach (var network in networks.EnumerateObject())
            {
                sum += network.Value.Number(counter);
            }
        }

        return sum;
    }

    private static long Blocks(JsonElement stats, char operation)
    {
        var sum = 0L;
        if (stats.Member("blkio_stats").Member("io_service_bytes_recursive") is { ValueKind: JsonValueKind.Array } entries)
        {
            foreach (var entry in entries.EnumerateArray())
            {
                sum += entry.Text("op") is [var first, ..] && char.ToLowerInvariant(first) == operation ? entry.Number("value") : 0;
            }
        }

        return sum;
    }

    private static double Cpu(JsonElement before, JsonElement now)
    {
        var used = Total(now) - Total(before);
        var host = now.Member("cpu_stats").Number("system_cpu_usage") - before.Member("cpu_stats").Number("system_cpu_usage");
        return used > 0 && host > 0 && before.ValueKind == JsonValueKind.Object
            ? 100.0 * used / host * Math.Max(1, now.Member("cpu_stats").Number("online_cpus"))
            : 0;
    }

    private static long Total(JsonElement stats) => stats.Member("cpu_stats").Member("cpu_usage").Number("total_usage");

    private static string Percent(double value) => value.ToString("0.00", CultureInfo.InvariantCulture) + "%";
}
