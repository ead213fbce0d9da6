using System.Globalization;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary><c>GET /containers/{id}/stats</c>: once a second, each with the reading before it, or once.</summary>
internal sealed class ContainerStatsEndpoint(IContainerEngine engine)
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(1);
    private static readonly byte[] LineEnd = "\n"u8.ToArray();

    internal void Map(ApiRouter router) => router.Map("GET", "/containers/*/stats", StatsAsync);

    private async Task StatsAsync(ApiExchange exchange)
    {
        var container = engine.Inspect(exchange.Values[0]);
        var oneShot = exchange.Query.Flag("one-shot");
        if (!exchange.Query.Flag("stream", otherwise: true))
        {
            // Without one-shot Docker reads twice, so that the client can say how busy it is.
            var before = oneShot ? null : Read(container.Id);
            if (before is not null)
            {
                await Task.Delay(Every, exchange.Aborted);
            }

            await exchange.JsonAsync(200, View(container, Read(container.Id), before), DockerJson.Out.StatsView);
            return;
        }

        var body = await exchange.StreamAsync(200, "application/json");
        using var timer = new PeriodicTimer(Every);
        Reading? last = null;
        do
        {
            Reading? now;
            try
            {
                now = Read(container.Id);
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
            {
                // Removed: the stream ends.
                return;
            }

            if (!await DockerJson.WriteLineAsync(body, View(container, now, last), DockerJson.Out.StatsView, LineEnd, exchange.Aborted))
            {
                return;
            }

            last = now;
        }
        while (await timer.WaitForNextTickAsync(exchange.Aborted));
    }

    /// <summary>Null when it does not run: Docker answers with zeros then.</summary>
    private Reading? Read(string id)
    {
        if (engine.Inspect(id).State != ContainerState.Running)
        {
            return null;
        }

        try
        {
            return new Reading(engine.ReadStats(id), HostCounters.CpuNanoseconds());
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Conflict)
        {
            // It ended between the two looks.
            return null;
        }
    }

    private static StatsView View(ContainerStatus container, Reading? now, Reading? before) => new()
    {
        Read = DockerTime.Format(now?.Container.ReadAt),
        PreRead = DockerTime.Format(before?.Container.ReadAt),
        PidsStats = new PidsStatsView(now?.Container.Pids, now?.Container.PidsLimit),
        BlkioStats = now is null ? [] : new() { ["io_service_bytes_recursive"] = Blocks(now.Container) },
        CpuStats = Cpu(now),
        PreCpuStats = Cpu(before),
        MemoryStats = now is null
            ? new MemoryStatsView()
            : new MemoryStatsView
            {
                Usage = now.Container.MemoryBytes,
                Limit = now.Container.MemoryLimitBytes ?? HostCounters.MemoryBytes(),
                FailCount = now.Container.OomKills,
                // Both of cgroup's names for it: clients subtract the one that they find.
                Stats = new Dictionary<string, long>
                {
                    ["inactive_file"] = now.Container.InactiveFileBytes,
                    ["total_inactive_file"] = now.Container.InactiveFileBytes,
                },
            },
        Networks = now is null || container.Spec.Network is not (NetworkMode.Bridge or NetworkMode.Container) ? null : NetworkCounters.Read(container.Pid),
        Name = "/" + container.Name,
        Id = container.Id,
    };

    private static List<BlockView> Blocks(ContainerStats stats)
    {
        var views = new List<BlockView>();
        foreach (var device in stats.Blocks)
        {
            views.Add(new BlockView(device.Major, device.Minor, "read", device.ReadBytes));
            views.Add(new BlockView(device.Major, device.Minor, "write", device.WrittenBytes));
        }

        return views;
    }

    private static CpuStatsView Cpu(Reading? reading) => reading is null
        ? new CpuStatsView()
        : new CpuStatsView
        {
            Usage = new CpuUsageView(
                reading.Container.CpuNanoseconds,
                reading.Container.CpuSystemNanoseconds,
                reading.Container.CpuUserNanoseconds),
            SystemUsage = reading.HostNanoseconds,
            OnlineCpus = Environment.ProcessorCount,
            Throttling = new ThrottlingView(
                reading.Container.CpuPeriods,
                reading.Container.CpuThrottledPeriods,
                reading.Container.CpuThrottledNanoseconds),
        };

    private sealed record Reading(ContainerStats Container, long HostNanoseconds);
}

/// <summary>What went through the interfaces of a container's network namespace, as the kernel shows it to its processes (proc(5), /proc/net/dev).</summary>
internal static class NetworkCounters
{
    // The columns behind the name: eight for what came in, eight for what went out.
    private static readonly string[] Names =
    [
        "rx_bytes", "rx_packets", "rx_errors", "rx_dropped", "", "", "", "",
        "tx_bytes", "tx_packets", "tx_errors", "tx_dropped", "", "", "", "",
    ];

    /// <summary>Reads them; null when the process has ended.</summary>
    internal static Dictionary<string, Dictionary<string, long>>? Read(int pid)
    {
        try
        {
            return Parse(File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/net/dev")));
        }
        catch (IOException)
        {
            return null;
        }
    }

    /// <summary>The interfaces but the loopback.</summary>
    internal static Dictionary<string, Dictionary<string, long>> Parse(IEnumerable<string> lines)
    {
        var networks = new Dictionary<string, Dictionary<string, long>>(StringComparer.Ordinal);
        foreach (var line in lines)
        {
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            var name = colon < 0 ? string.Empty : line[..colon].Trim();
            var values = line[(colon + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (name is "" or "lo" || values.Length < Names.Length)
            {
                continue;
            }

            var counters = networks[name] = new Dictionary<string, long>(StringComparer.Ordinal);
            for (var i = 0; i < Names.Length; i++)
            {
                if (Names[i].Length > 0)
                {
                    counters[Names[i]] = long.Parse(values[i], NumberStyles.None, CultureInfo.InvariantCulture);
                }
            }
        }

        return networks;
    }
}

/// <summary>One reading and the one before it.</summary>
internal sealed class StatsView
{
    [JsonPropertyName("read")]
    public required string Read { get; init; }

    [JsonPropertyName("preread")]
    public required string PreRead { get; init; }

    [JsonPropertyName("pids_stats")]
    public required PidsStatsView PidsStats { get; init; }

    [JsonPropertyName("blkio_stats")]
    public Dictionary<string, List<BlockView>> BlkioStats { get; init; } = [];

    [JsonPropertyName("num_procs")]
    public int NumProcs { get; init; }

    [JsonPropertyName("storage_stats")]
    public Dictionary<string, long> StorageStats { get; init; } = [];

    [JsonPropertyName("cpu_stats")]
    public required CpuStatsView CpuStats { get; init; }

    [JsonPropertyName("precpu_stats")]
    public required CpuStatsView PreCpuStats { get; init; }

    [JsonPropertyName("memory_stats")]
    public required MemoryStatsView MemoryStats { get; init; }

    [JsonPropertyName("networks")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, Dictionary<string, long>>? Networks { get; init; }

    [JsonPropertyName("name")]
    public required string Name { get; init; }

    [JsonPropertyName("id")]
    public required string Id { get; init; }
}

/// <summary>A counter of a block device.</summary>
internal sealed class BlockView(int major, int minor, string op, long value)
{
    [JsonPropertyName("major")]
    public int Major => major;

    [JsonPropertyName("minor")]
    public int Minor => minor;

    [JsonPropertyName("op")]
    public string Op => op;

    [JsonPropertyName("value")]
    public long Value => value;
}

/// <summary>Processes and threads.</summary>
internal sealed record PidsStatsView(
    [property: JsonPropertyName("current"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Current,
    [property: JsonPropertyName("limit"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] long? Limit);

/// <summary>CPU time in nanoseconds, and the host's beside it.</summary>
internal sealed class CpuStatsView
{
    [JsonPropertyName("cpu_usage")]
    public CpuUsageView Usage { get; init; } = new(0, 0, 0);

    [JsonPropertyName("system_cpu_usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long SystemUsage { get; init; }

    [JsonPropertyName("online_cpus")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public int OnlineCpus { get; init; }

    [JsonPropertyName("throttling_data")]
    public ThrottlingView Throttling { get; init; } = new(0, 0, 0);
}

/// <summary>CPU time in nanoseconds.</summary>
internal sealed record CpuUsageView(
    [property: JsonPropertyName("total_usage")] long Total,
    [property: JsonPropertyName("usage_in_kernelmode")] long Kernel,
    [property: JsonPropertyName("usage_in_usermode")] long User);

/// <summary>How often and how long the quota held it back.</summary>
internal sealed record ThrottlingView(
    [property: JsonPropertyName("periods")] long Periods,
    [property: JsonPropertyName("throttled_periods")] long ThrottledPeriods,
    [property: JsonPropertyName("throttled_time")] long ThrottledTime);

/// <summary>Memory in bytes.</summary>
internal sealed class MemoryStatsView
{
    [JsonPropertyName("usage")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Usage { get; init; }

    [JsonPropertyName("limit")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long Limit { get; init; }

    [JsonPropertyName("failcnt")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long FailCount { get; init; }

    [JsonPropertyName("stats")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, long>? Stats { get; init; }
}
