using System.Globalization;
using System.Runtime.InteropServices;
using EdgeHost.Engine;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary><c>/_ping</c>, <c>/version</c>, <c>/info</c>.</summary>
internal sealed class SystemEndpoints(IContainerEngine engine, IImageStore images, ApiOptions options)
{
    internal void Map(ApiRouter router)
    {
        router.Map("GET", "/_ping", PingAsync);
        router.Map("HEAD", "/_ping", PingAsync);
        router.Map("GET", "/version", VersionAsync);
        router.Map("GET", "/info", InfoAsync);
    }

    private static Task PingAsync(ApiExchange exchange)
    {
        exchange.SetHeader("Cache-Control", "no-cache, no-store, must-revalidate");
        exchange.SetHeader("Pragma", "no-cache");
        return exchange.BytesAsync(200, "text/plain; charset=utf-8", "OK"u8.ToArray());
    }

    private static Task VersionAsync(ApiExchange exchange)
    {
        var details = new Dictionary<string, string>
        {
            ["ApiVersion"] = ApiRouter.ApiVersion,
            ["Arch"] = Architecture,
            ["KernelVersion"] = Kernel,
            ["MinAPIVersion"] = ApiRouter.OldestApiVersion,
            ["Os"] = "linux",
        };
        return exchange.JsonAsync(
            200,
            new VersionView(
                new NameView($"EdgeHost {ProductVersion.Text}"),
                [new ComponentView("Engine", ProductVersion.Text, details)],
                ProductVersion.Text,
                ApiRouter.ApiVersion,
                ApiRouter.OldestApiVersion,
                string.Empty,
                string.Empty,
                "linux",
                Architecture,
                Kernel,
                string.Empty),
            DockerJson.Out.VersionView);
    }

    private Task InfoAsync(ApiExchange exchange)
    {
        var containers = engine.List();
        var running = containers.Count(c => c.State is ContainerState.Running or ContainerState.Restarting);
        var unified = File.Exists("/sys/fs/cgroup/cgroup.controllers");
        return exchange.JsonAsync(
            200,
            new InfoView
            {
                ID = MachineId(),
                Containers = containers.Count,
                ContainersRunning = running - containers.Count(c => c.Paused),
                ContainersPaused = containers.Count(c => c.Paused),
                ContainersStopped = containers.Count - running,
                Images = images.List().Count,
                SystemTime = DockerTime.Format(DateTimeOffset.UtcNow),
                KernelVersion = Kernel,
                OperatingSystem = OperatingSystem(),
                OSVersion = OsRelease("VERSION_ID"),
                Architecture = Architecture switch { "amd64" => "x86_64", "arm64" => "aarch64", _ => "armv7l" },
                NCPU = Environment.ProcessorCount,
                MemTotal = HostCounters.MemoryBytes(),
                DockerRootDir = options.DataDirectory,
                Labels = options.Labels.ToList(),
                Name = Environment.MachineName,
                ServerVersion = ProductVersion.Text,
                CgroupVersion = unified ? "2" : "1",
                SecurityOptions = ["name=seccomp,profile=builtin", "name=no-new-privileges", "name=cgroupns", .. engine.WhyHostUsers is null ? ["name=userns"] : Array.Empty<string>(), .. engine.WhyNoAppArmor is null ? ["name=apparmor"] : Array.Empty<string>()],
                UserNamespaces = engine.WhyHostUsers is { } why ? $"off: {why}" : "on",
                AppArmor = engine.WhyNoAppArmor is { } none ? $"off: {none}" : "on",
            },
            DockerJson.Out.InfoView);
    }

    internal static string Architecture => RuntimeInformation.ProcessArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => "amd64",
        System.Runtime.InteropServices.Architecture.Arm64 => "arm64",
        _ => "arm",
    };

    private static string Kernel => File.ReadAllText("/proc/sys/kernel/osrelease").Trim();

    private static string OperatingSystem() => OsRelease("PRETTY_NAME") is { Length: > 0 } name ? name : "Linux";

    private static string OsRelease(string key)
    {
        if (!File.Exists("/etc/os-release"))
        {
            return string.Empty;
        }

        foreach (var line in File.ReadLines("/etc/os-release"))
        {
            if (line.StartsWith(key + "=", StringComparison.Ordinal))
            {
                return line[(key.Length + 1)..].Trim('"');
            }
        }

        return string.Empty;
    }

    private static string MachineId() => File.Exists("/etc/machine-id") ? File.ReadAllText("/etc/machine-id").Trim() : Environment.MachineName;
}

/// <summary>The host's own counters, for what Docker's answers put beside a container's.</summary>
internal static class HostCounters
{
    // USER_HZ, fixed at 100 in the kernel's interface on every architecture that we run on.
    private const long NanosecondsPerTick = 10_000_000;

    /// <summary>The memory of the host, in bytes.</summary>
    internal static long MemoryBytes()
    {
        foreach (var line in File.ReadLines("/proc/meminfo"))
        {
            if (line.StartsWith("MemTotal:", StringComparison.Ordinal))
            {
                return long.Parse(line.AsSpan(9).TrimEnd("kB ").Trim(), NumberStyles.None, CultureInfo.InvariantCulture) * 1024;
            }
        }

        return 0;
    }

    /// <summary>CPU time that all CPUs have spent since the boot, idle included, in nanoseconds (proc(5), /proc/stat).</summary>
    internal static long CpuNanoseconds()
    {
        using var reader = new StreamReader("/proc/stat");
        var fields = reader.ReadLine()!.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        var sum = 0L;
        // user, nice, system, idle, iowait, irq, softirq: what Docker adds up; steal and guest are not part of it.
        for (var i = 1; i <= 7; i++)
        {
            sum += long.Parse(fields[i], NumberStyles.None, CultureInfo.InvariantCulture);
        }

        return sum * NanosecondsPerTick;
    }
}

/// <summary>A name.</summary>
internal sealed record NameView(string Name);

/// <summary>A part of the answer to version.</summary>
internal sealed record ComponentView(string Name, string Version, Dictionary<string, string> Details);

/// <summary>The answer to version.</summary>
internal sealed record VersionView(
    NameView Platform,
    List<ComponentView> Components,
    string Version,
    string ApiVersion,
    string MinAPIVersion,
    string GitCommit,
    string GoVersion,
    string Os,
    string Arch,
    string KernelVersion,
    string BuildTime);

/// <summary>The answer to info. What is not there (plugins, swarm) is empty, since Docker's clients read it without asking.</summary>
internal sealed class InfoView
{
    public required string ID { get; init; }

    public int Containers { get; init; }

    public int ContainersRunning { get; init; }

    public int ContainersPaused { get; init; }

    public int ContainersStopped { get; init; }

    public int Images { get; init; }

    public string Driver { get; init; } = "overlayfs";

    public List<List<string>> DriverStatus { get; init; } = [];

    public PluginsView Plugins { get; init; } = new();

    public bool MemoryLimit { get; init; } = true;

    public bool SwapLimit { get; init; } = true;

    public bool CpuCfsPeriod { get; init; } = true;

    public bool CpuCfsQuota { get; init; } = true;

    public bool CPUShares { get; init; }

    public bool CPUSet { get; init; } = true;

    public bool PidsLimit { get; init; } = true;

    public bool IPv4Forwarding { get; init; } = true;

    public bool Debug { get; init; }

    public bool OomKillDisable { get; init; }

    public required string SystemTime { get; init; }

    public string LoggingDriver { get; init; } = "json-file";

    public string CgroupDriver { get; init; } = "cgroupfs";

    public required string CgroupVersion { get; init; }

    public required string KernelVersion { get; init; }

    public required string OperatingSystem { get; init; }

    public required string OSVersion { get; init; }

    public string OSType { get; init; } = "linux";

    public required string Architecture { get; init; }

    public int NCPU { get; init; }

    public long MemTotal { get; init; }

    public string IndexServerAddress { get; init; } = "https://index.docker.io/v1/";

    public RegistryConfigView RegistryConfig { get; init; } = new();

    public required string DockerRootDir { get; init; }

    public string HttpProxy { get; init; } = string.Empty;

    public string HttpsProxy { get; init; } = string.Empty;

    public string NoProxy { get; init; } = string.Empty;

    public required string Name { get; init; }

    public List<string> Labels { get; init; } = [];

    public bool ExperimentalBuild { get; init; }

    public required string ServerVersion { get; init; }

    public Dictionary<string, RuntimeView> Runtimes { get; init; } = new() { ["edgehost"] = new RuntimeView("edgehost") };

    public string DefaultRuntime { get; init; } = "edgehost";

    public SwarmView Swarm { get; init; } = new();

    public bool LiveRestoreEnabled { get; init; } = true;

    public string Isolation { get; init; } = string.Empty;

    public string InitBinary { get; init; } = string.Empty;

    public required List<string> SecurityOptions { get; init; }

    /// <summary>Ours: whether containers have users of their own unless they say otherwise, and why not.</summary>
    public required string UserNamespaces { get; init; }

    /// <summary>Ours: whether containers are confined by an AppArmor profile unless they say otherwise, and why not.</summary>
    public required string AppArmor { get; init; }

    public List<string> Warnings { get; init; } = [];
}

/// <summary>What could be plugged in.</summary>
internal sealed class PluginsView
{
    public List<string> Volume { get; init; } = ["local"];

    public List<string> Network { get; init; } = ["bridge", "host", "macvlan", "null"];

    public List<string> Log { get; init; } = ["json-file"];
}

/// <summary>Registries that clients should know of.</summary>
internal sealed class RegistryConfigView
{
    public List<string> InsecureRegistryCIDRs { get; init; } = [];

    public Dictionary<string, string> IndexConfigs { get; init; } = [];

    public List<string> Mirrors { get; init; } = [];
}

/// <summary>A runtime.</summary>
internal sealed record RuntimeView([property: System.Text.Json.Serialization.JsonPropertyName("path")] string Path);

/// <summary>The swarm that this host is not part of.</summary>
internal sealed class SwarmView
{
    public string NodeID { get; init; } = string.Empty;

    public string LocalNodeState { get; init; } = "inactive";

    public bool ControlAvailable { get; init; }
}
