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
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON; once" };
        var command = new Command("stats", "Show what containers use") { once, all, json, containers };
        command.SetAction(async parsed =>
        {
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
                if (parsed.GetValue(json))
                {
                    output.WriteLine(DaemonJson.Indented(now.Values));
                    return ExitCode.Ok;
                }

                if (!parsed.GetValue(once) && !Console.IsOutputRedirected)
                {
                    output.Write(ClearScreen);
                }

                Print(before, now, output);
                before = now;
            }
            while (!parsed.GetValue(once));
            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<Dictionary<string, JsonElement>> ReadAsync(DaemonClient client, string[] named, bool all)
    {
        IReadOnlyList<string> names = named;
        if (names.Count == 0)
        {
            using var list = await client.GetAsync("containers/json" + (all ? "?all=1" : string.Empty));
            names = list.RootElement.EnumerateArray().Select(c => c.Text("Id")).ToList();
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

    private static void Print(Dictionary<string, JsonElement> before, Dictionary<string, JsonElement> now, TextWriter output)
    {
        var table = new Table("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS");
        foreach (var (name, stats) in now)
        {
            var memory = stats.Member("memory_stats");
            var details = memory.Member("stats");
            var cache = details.Member("inactive_file").ValueKind == JsonValueKind.Number ? details.Number("inactive_file") : details.Number("total_inactive_file");
            var used = Math.Max(0, memory.Number("usage") - cache);
            var limit = memory.Number("limit");
            var id = stats.Text("id");
            table.Add(
                id.Length > 12 ? id[..12] : name,
                stats.Text("name").TrimStart('/'),
                Percent(Cpu(before.GetValueOrDefault(name), stats)),
                $"{Humanly.Memory(used)} / {Humanly.Memory(limit)}",
                Percent(limit > 0 ? 100.0 * used / limit : 0),
                stats.Member("pids_stats").Number("current").ToString(CultureInfo.InvariantCulture));
        }

        table.Write(output);
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
