using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Deployments;

/// <summary>Reads one workload in Compose's words (compose-spec, 05-services.md), with the limits that an unattended board requires.</summary>
internal static class WorkloadParser
{
    /// <summary>Labels that begin like this are the reconciler's own.</summary>
    internal const string ReservedLabel = "io.edgehost.";

    /// <summary>The smallest CPU limit in billionths of a CPU: 1 % of one.</summary>
    internal const long MinimumNanoCpus = 10_000_000;

    private const int MaximumItems = 1024;

    /// <summary>The fields of a workload; the JSON Schema has the same ones.</summary>
    internal static readonly string[] Fields =
    [
        "image", "pull_policy", "command", "entrypoint", "environment", "volumes", "tmpfs", "network_mode", "networks", "ports", "dns",
        "dns_opt", "dns_search", "extra_hosts", "depends_on", "mem_limit", "cpus", "pids_limit", "cpuset", "restart", "user",
        "working_dir", "hostname", "read_only", "cap_add", "cap_drop", "stop_signal", "stop_grace_period", "labels", "mqtt", "healthcheck", "userns_mode", "devices",
        "device_cgroup_rules", "init", "memswap_limit", "mem_reservation", "blkio_config",
    ];

    // What people will write, told apart from a slip of the pen.
    private static readonly HashSet<string> ComposeFields = new(StringComparer.Ordinal)
    {
        "annotations", "build", "cgroup", "cgroup_parent", "configs", "container_name", "cpu_period", "cpu_quota",
        "cpu_shares", "cpu_count", "cpu_percent", "cpu_rt_period", "cpu_rt_runtime", "credential_spec", "deploy", "develop",
        "domainname", "env_file", "expose", "extends",
        "external_links", "gpus", "group_add", "ipc", "isolation", "links", "logging", "mac_address",
        "mem_swappiness", "oom_kill_disable", "oom_score_adj", "pid", "platform",
        "post_start", "pre_stop", "privileged", "profiles", "provider", "runtime", "scale", "secrets", "security_opt",
        "shm_size", "stdin_open", "storage_opt", "sysctls", "tty", "ulimits", "uts", "volumes_from",
    };

    /// <summary>Reads a workload.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="node">What stands there.</param>
    /// <param name="capacity">What the board has.</param>
    /// <param name="defaults">Limits where it gives none.</param>
    /// <param name="networks">Those of the document by key; the default one is added when this needs it.</param>
    internal static WorkloadSpec Parse(string name, JsonNode node, BoardCapacity capacity, DefaultLimits defaults, Dictionary<string, WorkloadNetwork> networks)
    {
        if (!IsName(name))
        {
            throw node.Fail("a workload's name is [a-zA-Z0-9][a-zA-Z0-9_.-]* with at most 63 characters");
        }

        string? image = null;
        string? mode = null;
        List<EndpointSpec>? endpoints = null;
        List<WorkloadDependency> dependencies = [];
        List<string>? grant = null;
        var pull = PullPolicy.Missing;
        var spec = new ContainerSpec { Image = string.Empty };
        var mounts = new List<ContainerMount>();
        var limits = new ResourceLimits { MemoryBytes = defaults.MemoryBytes, NanoCpus = defaults.NanoCpus, Pids = defaults.Pids };
        foreach (var (field, value) in node.Properties("an object"))
        {
            switch (field)
            {
                case "image":
                    image = Image(value);
                    break;
                case "pull_policy":
                    pull = value.Text("missing, always or never") switch
                    {
                        "missing" or "if_not_present" => PullPolicy.Missing,
                        "always" => PullPolicy.Always,
                        "never" => PullPolicy.Never,
                        _ => throw value.Wrong("missing, always or never"),
                    };
                    break;
                case "command":
                    spec = spec with { Command = Words(value) };
                    break;
                case "entrypoint":
                    spec = spec with { Entrypoint = Words(value) };
                    break;
                case "environment":
                    spec = spec with { Environment = Pairs(value, requireValue: true) };
                    break;
                case "labels":
                    spec = spec with { Labels = Labels(value) };
                    break;
                case "volumes":
                    mounts.AddRange(Bounded(value, "a list of volumes").Select(MountParser.Volume));
                    break;
                case "tmpfs":
                    mounts.AddRange(TextOrList(value, "a path or a list of paths").Select(MountParser.Tmpfs));
                    break;
                case "network_mode":
                    mode = NetworkModeOf(value);
                    break;
                case "networks":
                    endpoints = NetworkParser.Endpoints(value);
                    break;
                case "ports":
                    spec = spec with { Ports = NetworkParser.Ports(value) };
                    break;
                case "dns":
                    spec = spec with { Dns = NetworkParser.NameServers(value) };
                    break;
                case "dns_opt":
                    spec = spec with { DnsOptions = Names(value, "an option of the resolver") };
                    break;
                case "dns_search":
                    spec = spec with { DnsSearch = Names(value, "a search domain") };
                    break;
                case "extra_hosts":
                    spec = spec with { ExtraHosts = NetworkParser.ExtraHosts(value) };
                    break;
                case "mqtt":
                    grant = Grant(value);
                    break;
                case "depends_on":
                    dependencies = DependencyParser.Parse(value);
                    break;
                case "mem_limit":
                    limits = limits with { MemoryBytes = Memory(value, capacity) };
                    break;
                case "memswap_limit":
                    limits = limits with { MemoryAndSwapBytes = value.Kind == JsonValueKind.Number && value.RawText == "-1" ? -1 : Size(value) };
                    break;
                case "mem_reservation":
                    limits = limits with { MemoryReservationBytes = Size(value) };
                    break;
                case "cpus":
                    limits = limits with { NanoCpus = Cpus(value, capacity) };
                    break;
                case "pids_limit":
                    limits = limits with { Pids = Pids(value) };
                    break;
                case "cpuset":
                    limits = limits with { CpusetCpus = Cpuset(value, capacity) };
                    break;
                case "blkio_config":
                    limits = limits with { BlockRates = BlockRates(value) };
                    break;
                case "restart":
                    spec = spec with { Restart = Restart(value) };
                    break;
                case "user":
                    spec = spec with { User = NotEmpty(value, "a user, as in 1000:1000") };
                    break;
                case "working_dir":
                    spec = spec with { WorkingDirectory = AbsolutePath(value) };
                    break;
                case "hostname":
                    spec = spec with { Hostname = Hostname(value) };
                    break;
                case "read_only":
                    spec = spec with { ReadOnlyRoot = value.Boolean() };
                    break;
                case "init":
                    spec = spec with { Init = value.Boolean() };
                    break;
                case "userns_mode":
                    spec = spec with { Users = Users(value) };
                    break;
                case "cap_add":
                    spec = spec with { AddCapabilities = Capabilities(value) };
                    break;
                case "cap_drop":
                    spec = spec with { DropCapabilities = Capabilities(value) };
                    break;
                case "devices":
                    spec = spec with { Devices = Devices(value) };
                    break;
                case "device_cgroup_rules":
                    spec = spec with { DeviceRules = DeviceRules(value) };
                    break;
                case "stop_signal":
                    spec = spec with { StopSignal = Signal(value) };
                    break;
                case "stop_grace_period":
                    spec = spec with { StopGrace = Duration(value) };
                    break;
                case "healthcheck":
                    spec = spec with { Health = HealthCheckParser.Parse(value) };
                    break;
                default:
                    value.Unknown(ComposeFields.Contains(field) ? "a field of Compose that this version does not have" : null);
                    break;
            }
        }

        RequireLimits(node.Path, limits);
        if (mounts.GroupBy(mount => mount.Target, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw node.Fail($"two mounts on {twice.Key}");
        }

        spec = spec with
        {
            Image = image ?? throw new DesiredStateException(ErrorKind.Invalid, $"{node.Path}.image", "missing"),
            Mounts = mounts,
            Limits = limits,
        };
        if (grant is not null && mode == "none")
        {
            throw new DesiredStateException(ErrorKind.Invalid, $"{node.Path}.mqtt", "without a network (network_mode: none) no broker can be reached");
        }

        return new WorkloadSpec(name, pull, NetworkParser.Place(node, name, spec, mode, endpoints, networks)) { DependsOn = dependencies, Mqtt = grant };
    }

    private static void RequireLimits(string path, ResourceLimits limits)
    {
        if (limits.MemoryBytes is null)
        {
            throw new DesiredStateException(ErrorKind.Invalid, $"{path}.mem_limit", "missing, and the configuration has no default; give one, as in \"64m\"");
        }

        if (limits.MemoryAndSwapBytes is { } both and not -1 && both < limits.MemoryBytes)
        {
            throw new DesiredStateException(ErrorKind.Invalid, $"{path}.memswap_limit", $"{both} bytes of memory and swap together are less than mem_limit, {limits.MemoryBytes}");
        }

        if (limits.MemoryReservationBytes > limits.MemoryBytes)
        {
            throw new DesiredStateException(ErrorKind.Invalid, $"{path}.mem_reservation", $"{limits.MemoryReservationBytes} bytes are more than mem_limit, {limits.MemoryBytes}");
        }

        if (limits.NanoCpus is null)
        {
            throw new DesiredStateException(ErrorKind.Invalid, $"{path}.cpus", "missing, and the configuration has no default; give one, as in 0.5");
        }
    }

    internal static bool IsName(string name) =>
        name.Length is >= 1 and <= 63
        && char.IsAsciiLetterOrDigit(name[0])
        && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '.' or '-');

    private static string Image(JsonNode value)
    {
        const string Expected = "an image reference, as in docker.io/library/busybox:1.36";
        var image = value.Text(Expected);
        return image.Length is 0 or > 512 || image.Any(static c => c <= ' ' || c == 0x7F) ? throw value.Wrong(Expected) : image;
    }

    private static List<string>? Words(JsonNode value)
    {
        switch (value.Kind)
        {
            case JsonValueKind.Null:
                return null;
            case JsonValueKind.String:
                return ComposeUnits.SplitWords(value.Text("text"))?.ToList()
                    ?? throw value.Fail("a quote or a backslash without an end; give a list of words instead");
            default:
                return Bounded(value, "text or a list of words").Select(static item => Scalar(item)).ToList();
        }
    }

    private static List<string> Pairs(JsonNode value, bool requireValue)
    {
        var pairs = new List<string>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        if (value.Kind == JsonValueKind.Array)
        {
            foreach (var item in Bounded(value, "a list"))
            {
                var pair = item.Text("NAME=value");
                var equals = pair.IndexOf('=', StringComparison.Ordinal);
                if (requireValue && equals < 0)
                {
                    throw item.Fail($"{pair} has no value, and a board has no shell to take it from");
                }

                Add(item, equals < 0 ? pair : pair[..equals], equals < 0 ? string.Empty : pair[(equals + 1)..]);
            }

            return pairs;
        }

        foreach (var (name, item) in value.Properties("an object or a list of NAME=value"))
        {
            if (requireValue && item.IsNull)
            {
                throw item.Fail("has no value, and a board has no shell to take it from");
            }

            Add(item, name, item.IsNull ? string.Empty : Scalar(item));
        }

        return pairs;

        void Add(JsonNode at, string name, string text)
        {
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal) || name.Contains('\0', StringComparison.Ordinal))
            {
                throw at.Fail("a name is empty or contains = or a zero byte");
            }

            if (!names.Add(name))
            {
                throw at.Fail($"{name} is given twice");
            }

            if (names.Count > MaximumItems)
            {
                throw value.Fail($"more than {MaximumItems} items");
            }

            pairs.Add($"{name}={text}");
        }
    }

    internal static Dictionary<string, string> Labels(JsonNode value)
    {
        var labels = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var pair in Pairs(value, requireValue: false))
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            var name = pair[..equals];
            if (name.StartsWith(ReservedLabel, StringComparison.Ordinal))
            {
                throw value.Fail($"{name}: labels that begin with {ReservedLabel} are the reconciler's own");
            }

            labels.Add(name, pair[(equals + 1)..]);
        }

        return labels;
    }

    /// <summary>What a workload may do at the broker in the daemon: <c>true</c>, or an object with what it may read.</summary>
    private static List<string>? Grant(JsonNode value)
    {
        const int MaximumFilters = 32;
        if (value.Kind is JsonValueKind.True or JsonValueKind.False)
        {
            return value.Boolean() ? [] : null;
        }

        var filters = new List<string>();
        foreach (var (field, item) in value.Properties("true, or an object with subscribe"))
        {
            if (field != "subscribe")
            {
                item.Unknown();
            }

            foreach (var filter in Bounded(item, "a list of topic filters"))
            {
                const string Expected = "a topic filter beneath the device's telemetry, as in sensor/#";
                var text = filter.Text(Expected);
                filters.Add(IsFilter(text) && filters.Count < MaximumFilters ? text : throw filter.Wrong(Expected));
            }
        }

        return filters;
    }

    /// <summary>MQTT 5, section 4.7: # at the end alone, and each wildcard a level of its own. The first level names a workload.</summary>
    private static bool IsFilter(string text)
    {
        var levels = text.Split('/');
        return text.Length is > 0 and <= 256
            && !text.Any(static c => char.IsWhiteSpace(c) || char.IsControl(c))
            && levels[0] is not ("" or "#" or "+")
            && levels.Index().All(level => !level.Item.AsSpan().ContainsAny('#', '+') || level.Item == "+" || (level.Item == "#" && level.Index == levels.Length - 1));
    }

    private static string NetworkModeOf(JsonNode value)
    {
        const string Expected = "bridge, none or host";
        var mode = value.Text(Expected);
        return mode is "bridge" or "none" or "host" ? mode
            : mode.StartsWith("service:", StringComparison.Ordinal) || mode.StartsWith("container:", StringComparison.Ordinal)
                ? throw value.Fail("the network of another workload cannot be shared in this version; put both into one network", ErrorKind.Unsupported)
                : throw value.Wrong(Expected);
    }

    private static List<string> Names(JsonNode value, string expected) =>
        TextOrList(value, expected + ", or a list").Select(item => Word(item, expected)).ToList();

    internal static string Word(JsonNode value, string expected) =>
        NotEmpty(value, expected) is var text && !text.Any(static c => char.IsWhiteSpace(c) || char.IsControl(c)) ? text : throw value.Wrong(expected);

    private static long Size(JsonNode value)
    {
        const string Expected = "a size, as in \"64m\" or a number of bytes";
        var text = value.Kind == JsonValueKind.Number ? value.RawText : value.Text(Expected);
        return ComposeUnits.TryParseBytes(text, out var bytes) ? bytes : throw value.Wrong(Expected);
    }

    private static long Memory(JsonNode value, BoardCapacity capacity)
    {
        var bytes = Size(value);
        if (bytes < ResourceLimits.SmallestMemoryBytes)
        {
            throw value.Fail($"{bytes} bytes are less than the {ResourceLimits.SmallestMemoryBytes} (256 KiB) that a container needs at least");
        }

        return bytes > capacity.MemoryBytes
            ? throw value.Fail($"{bytes} bytes are more than the board has ({capacity.MemoryBytes})", ErrorKind.Infeasible)
            : bytes;
    }

    private static long Cpus(JsonNode value, BoardCapacity capacity)
    {
        const string Expected = "a number of CPUs, as in 0.5";
        var text = value.Kind == JsonValueKind.Number ? value.RawText : value.Text(Expected);
        if (!ComposeUnits.TryParseNanoCpus(text, out var nanoCpus))
        {
            throw value.Wrong(Expected);
        }

        if (nanoCpus < MinimumNanoCpus)
        {
            throw value.Fail($"{text} CPUs are less than the 0.01 that a container needs at least");
        }

        return nanoCpus > capacity.Cpus * 1_000_000_000L
            ? throw value.Fail($"{text} CPUs are more than the board has ({capacity.Cpus})", ErrorKind.Infeasible)
            : nanoCpus;
    }

    private static long Pids(JsonNode value)
    {
        // pids_max of the kernel: PID_MAX_LIMIT of a 64-bit machine.
        const long Most = 4_194_304;
        var pids = value.Integer("a number of processes");
        return pids is >= 1 and <= Most ? pids : throw value.Fail($"{pids} is not within 1 and {Most}");
    }

    private static string Cpuset(JsonNode value, BoardCapacity capacity)
    {
        const string Expected = "a list of CPUs, as in \"0-2,4\"";
        var text = value.Text(Expected);
        if (!ComposeUnits.TryParseCpuList(text, out var highest))
        {
            throw value.Wrong(Expected);
        }

        return highest >= capacity.Cpus
            ? throw value.Fail($"CPU {highest} is not there: the board has {capacity.Cpus} (0 to {capacity.Cpus - 1})", ErrorKind.Infeasible)
            : text;
    }

    private static List<string>? BlockRates(JsonNode value)
    {
        var rates = new List<string>();
        foreach (var (field, list) in value.Properties("an object"))
        {
            var kind = Array.IndexOf(["device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops"], field);
            if (kind < 0)
            {
                list.Unknown(field is "weight" or "weight_device" ? "a field of Compose that this version does not have" : null);
            }

            foreach (var item in Bounded(list, "a list of disks and their rates"))
            {
                rates.Add(BlockRateOf(item, kind));
            }
        }

        return rates.Count > 0 ? rates : null;
    }

    private static string BlockRateOf(JsonNode item, int kind)
    {
        string? path = null;
        long? rate = null;
        foreach (var (field, value) in item.Properties("an object with a path and a rate"))
        {
            switch (field)
            {
                case "path":
                    path = AbsolutePath(value);
                    break;
                case "rate":
                    rate = kind < 2 ? Size(value) : value.Integer("a number of operations");
                    break;
                default:
                    value.Unknown();
                    break;
            }
        }

        try
        {
            return BlockRate.Make(kind, path ?? throw item.Fail("path: missing"), rate ?? throw item.Fail("rate: missing"));
        }
        catch (EdgeHostException e) when (e is not DesiredStateException)
        {
            throw item.Fail(e.Message);
        }
    }

    private static RestartPolicy Restart(JsonNode value)
    {
        const string Expected = "\"no\", always, on-failure, on-failure:<times> or unless-stopped";
        const string OnFailure = "on-failure";
        var text = value.Text(Expected);
        return text switch
        {
            "no" => RestartPolicy.Never,
            "always" => new RestartPolicy(RestartKind.Always),
            "unless-stopped" => new RestartPolicy(RestartKind.UnlessStopped),
            OnFailure => new RestartPolicy(RestartKind.OnFailure),
            _ when text.StartsWith(OnFailure + ":", StringComparison.Ordinal)
                && int.TryParse(text.AsSpan(OnFailure.Length + 1), System.Globalization.NumberStyles.None, null, out var times)
                && times >= 1 => new RestartPolicy(RestartKind.OnFailure, times),
            _ => throw value.Wrong(Expected),
        };
    }

    private static UserNamespaceMode Users(JsonNode value)
    {
        const string Expected = "host, or auto";
        return value.Text(Expected) switch
        {
            "host" => UserNamespaceMode.Host,
            "auto" => UserNamespaceMode.Auto,
            _ => throw value.Wrong(Expected),
        };
    }

    private static string Hostname(JsonNode value)
    {
        const string Expected = "a host name: letters, digits, dots and dashes, at most 63 characters";
        var name = value.Text(Expected);
        return name.Length is >= 1 and <= 63 && char.IsAsciiLetterOrDigit(name[0])
            && name.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-')
            ? name
            : throw value.Wrong(Expected);
    }

    private static List<string> Capabilities(JsonNode value) => Bounded(value, "a list of capabilities").Select(static item =>
    {
        const string Expected = "a capability, as in NET_ADMIN, or ALL";
        var name = item.Text(Expected);
        return name.Length is >= 1 and <= 40 && name.All(static c => char.IsAsciiLetter(c) || c == '_') ? name : throw item.Wrong(Expected);
    }).ToList();

    private static List<string> Devices(JsonNode value)
    {
        const string Expected = "a device, as in /dev/ttyUSB0 or /dev/ttyUSB0:/dev/modem:rw";
        return Checked(value, "a list of devices", Expected, static text => HostDevices.Parse(text));
    }

    private static List<string> DeviceRules(JsonNode value)
    {
        const string Expected = "a device rule, as in c 189:* rwm";
        return Checked(value, "a list of device rules", Expected, static text => HostDevices.ParseRule(text));
    }

    private static List<string> Checked(JsonNode value, string expectedList, string expected, Action<string> parse) => Bounded(value, expectedList).Select(item =>
    {
        var text = item.Text(expected);
        try
        {
            parse(text);
            return text;
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Invalid)
        {
            throw item.Wrong(expected);
        }
    }).ToList();

    private static string Signal(JsonNode value)
    {
        const string Expected = "a signal, as in SIGTERM or 15";
        var text = value.Kind == JsonValueKind.Number ? value.RawText : value.Text(Expected);
        return text.Length is >= 1 and <= 16 && text.All(static c => char.IsAsciiLetterOrDigit(c) || c is '+' or '-')
            ? text
            : throw value.Wrong(Expected);
    }

    private static TimeSpan Duration(JsonNode value)
    {
        const string Expected = "a duration, as in \"10s\" or \"1m30s\"";
        if (!ComposeUnits.TryParseDuration(value.Text(Expected), out var duration))
        {
            throw value.Wrong(Expected);
        }

        return duration <= TimeSpan.FromHours(1) ? duration : throw value.Fail("more than 1h");
    }

    private static string AbsolutePath(JsonNode value)
    {
        var path = value.Text("an absolute path");
        return path.StartsWith('/') ? path : throw value.Wrong("an absolute path");
    }

    internal static string NotEmpty(JsonNode value, string expected) =>
        value.Text(expected) is { Length: > 0 } text ? text : throw value.Wrong(expected);

    // Compose takes numbers for text; a boolean is refused there too, since "yes" and "true" have been taken for each other.
    internal static string Scalar(JsonNode value) => value.Kind == JsonValueKind.Number ? value.RawText : value.Text("text or a number");

    internal static IEnumerable<JsonNode> TextOrList(JsonNode value, string expected) =>
        value.Kind == JsonValueKind.String ? [value] : Bounded(value, expected);

    internal static IEnumerable<JsonNode> Bounded(JsonNode value, string expected)
    {
        var count = 0;
        foreach (var item in value.Items(expected))
        {
            yield return ++count <= MaximumItems ? item : throw value.Fail($"more than {MaximumItems} items");
        }
    }
}
