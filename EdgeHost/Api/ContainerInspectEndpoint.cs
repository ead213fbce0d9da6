using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Images;
using EdgeHost.Oci;

namespace EdgeHost.Api;

/// <summary><c>GET /containers/{id}/json</c>, in the shape that Docker's own clients read.</summary>
internal sealed class ContainerInspectEndpoint(IContainerEngine engine, IImageStore images, ApiOptions options)
{
    internal void Map(ApiRouter router) => router.Map("GET", "/containers/*/json", exchange =>
    {
        var container = engine.Inspect(exchange.Values[0]);
        var view = View(container, options.DataDirectory, engine.Execs.RunningIn(exchange.Values[0]), engine.AppArmorOf(container.Spec));
        view.Config.ExposedPorts = NetworkViews.ExposedOf(container, images);
        if (exchange.Query.Flag("size"))
        {
            view.SizeRw = ContainerListEndpoint.Measured(() => engine.MeasureBytes(container.Id, exchange.Aborted));
            view.SizeRootFs = view.SizeRw + (images.Find(container.ImageId)?.SizeBytes ?? 0);
        }

        return exchange.JsonAsync(200, view, DockerJson.Out.ContainerView);
    });

    internal static List<MountPointView> MountPoints(ContainerSpec spec, string dataDirectory) => spec.Mounts
        .Where(m => m.Kind != ContainerMountKind.Tmpfs)
        .Select(m => new MountPointView(
            m.Kind == ContainerMountKind.Bind ? "bind" : "volume",
            m.Kind == ContainerMountKind.Volume ? m.Source : string.Empty,
            m.Kind == ContainerMountKind.Bind ? m.Source : VolumeStore.PathOf(dataDirectory, m.Source),
            m.Target,
            m.Kind == ContainerMountKind.Volume ? "local" : string.Empty,
            (m.ReadOnly ? "ro" : string.Empty) + (m.HostIds ? (m.ReadOnly ? "," : string.Empty) + "idmap=none" : string.Empty),
            !m.ReadOnly,
            m.Kind == ContainerMountKind.Bind ? "rprivate" : string.Empty))
        .ToList();

    internal static ContainerView View(ContainerStatus container, string dataDirectory, IReadOnlyList<string> execs, string? appArmor)
    {
        var spec = container.Effective;
        return new ContainerView
        {
            Id = container.Id,
            Created = DockerTime.Format(container.Created),
            Path = container.Arguments.Count > 0 ? container.Arguments[0] : string.Empty,
            Args = container.Arguments.Skip(1).ToList(),
            State = new ContainerStateView
            {
                Status = ContainerListEndpoint.StateWord(container),
                Running = container.State is ContainerState.Running or ContainerState.Restarting,
                Paused = container.Paused,
                Restarting = container.State == ContainerState.Restarting,
                OOMKilled = container.OomKilled,
                Dead = container.State == ContainerState.Dead,
                Pid = container.Pid,
                ExitCode = ContainerWords.ExitCode(container),
                Error = container.Error,
                StartedAt = DockerTime.Format(container.StartedAt),
                FinishedAt = DockerTime.Format(container.FinishedAt),
                Health = container.Health,
            },
            Image = container.ImageId,
            Name = "/" + container.Name,
            AppArmorProfile = appArmor ?? string.Empty,
            ExecIDs = execs.Count > 0 ? [.. execs] : null,
            RestartCount = container.RestartCount,
            HostConfig = HostConfig(container, spec),
            Mounts = MountPoints(spec, dataDirectory),
            Config = new ContainerConfigView
            {
                Hostname = spec.Hostname ?? container.Id[..12],
                User = spec.User ?? string.Empty,
                AttachStdin = spec.InputOnce,
                Tty = spec.Terminal,
                OpenStdin = spec.OpenInput,
                StdinOnce = spec.InputOnce,
                Env = spec.Environment.ToList(),
                Cmd = spec.Command?.ToList(),
                Entrypoint = spec.Entrypoint?.ToList(),
                Image = spec.Image,
                Volumes = container.AnonymousVolumes.Count == 0 ? null : spec.Mounts
                    .Where(m => container.AnonymousVolumes.Contains(m.Source))
                    .ToDictionary(m => m.Target, _ => new EmptyView(), StringComparer.Ordinal),
                WorkingDir = spec.WorkingDirectory ?? string.Empty,
                Labels = new Dictionary<string, string>(spec.Labels),
                StopSignal = spec.StopSignal,
                Healthcheck = spec.Health,
                StopTimeout = spec.StopGrace is { } grace ? (int)grace.TotalSeconds : null,
            },
            NetworkSettings = NetworkViews.SettingsOf(container),
        };
    }

    private static HostConfigView HostConfig(ContainerStatus container, ContainerSpec spec) => new()
    {
        Binds = spec.Mounts
            .Where(m => m.Kind is ContainerMountKind.Bind || (m.Kind == ContainerMountKind.Volume && !container.AnonymousVolumes.Contains(m.Source)))
            .Select(m => $"{m.Source}:{m.Target}:{(m.ReadOnly ? "ro" : "rw")}{(m.NoCopy ? ",nocopy" : string.Empty)}{(m.HostIds ? ",idmap=none" : string.Empty)}")
            .ToList(),
        Tmpfs = spec.Mounts
            .Where(m => m.Kind == ContainerMountKind.Tmpfs)
            .ToDictionary(m => m.Target, m => m.Options ?? string.Empty, StringComparer.Ordinal),
        LogConfig = new LogConfigView("json-file", LogOptions.Of(spec)),
        NetworkMode = NetworkViews.ModeOf(spec),
        PortBindings = NetworkViews.BindingsOf(spec),
        PublishAllPorts = spec.PublishAll,
        Dns = [.. spec.Dns],
        DnsSearch = [.. spec.DnsSearch],
        DnsOptions = [.. spec.DnsOptions],
        ExtraHosts = spec.ExtraHosts.Count > 0 ? [.. spec.ExtraHosts] : null,
        Memory = spec.Limits.MemoryBytes ?? 0,
        // Memory and swap together: swap is closed behind the limit.
        MemorySwap = spec.Limits.MemoryAndSwapBytes ?? spec.Limits.MemoryBytes ?? 0,
        MemoryReservation = spec.Limits.MemoryReservationBytes ?? 0,
        NanoCpus = spec.Limits.NanoCpus ?? 0,
        PidsLimit = spec.Limits.Pids,
        CpusetCpus = spec.Limits.CpusetCpus ?? string.Empty,
        BlkioDeviceReadBps = RatesOf(spec.Limits, 0),
        BlkioDeviceWriteBps = RatesOf(spec.Limits, 1),
        BlkioDeviceReadIOps = RatesOf(spec.Limits, 2),
        BlkioDeviceWriteIOps = RatesOf(spec.Limits, 3),
        RestartPolicy = new RestartPolicyView(
            spec.Restart.Kind switch
            {
                RestartKind.Always => "always",
                RestartKind.OnFailure => "on-failure",
                RestartKind.UnlessStopped => "unless-stopped",
                _ => "no",
            },
            spec.Restart.MaximumRetryCount),
        AutoRemove = spec.AutoRemove,
        Init = spec.Init ? true : null,
        ConsoleSize = [spec.TerminalRows, spec.TerminalColumns],
        ReadonlyRootfs = spec.ReadOnlyRoot,
        Privileged = spec.Privileged,
        SecurityOpt = [.. spec.Privileged ? Array.Empty<string>() : ["no-new-privileges"], .. spec.AppArmor is { } profile ? [$"apparmor={profile}"] : Array.Empty<string>()],
        UsernsMode = spec.Users switch { UserNamespaceMode.Auto => "auto", UserNamespaceMode.Host => "host", _ => string.Empty },
        Devices = [.. spec.Devices.Select(DeviceOf)],
        DeviceCgroupRules = spec.DeviceRules.Count > 0 ? spec.DeviceRules.ToList() : null,
        CapAdd = spec.AddCapabilities.Count > 0 ? spec.AddCapabilities.ToList() : null,
        CapDrop = spec.DropCapabilities.Count > 0 ? spec.DropCapabilities.ToList() : null,
    };

    private static JsonElement RatesOf(ResourceLimits limits, int kind)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(64);
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartArray();
            foreach (var text in limits.BlockRates ?? [])
            {
                var parsed = BlockRate.Parse(text);
                if (parsed.Kind == kind)
                {
                    json.WriteStartObject();
                    json.WriteString("Path", parsed.Path);
                    json.WriteNumber("Rate", parsed.Rate);
                    json.WriteEndObject();
                }
            }

            json.WriteEndArray();
        }

        using var document = JsonDocument.Parse(buffer.WrittenMemory);
        return document.RootElement.Clone();
    }

    private static Dictionary<string, string> DeviceOf(string device)
    {
        var (source, path, access) = HostDevices.Parse(device);
        return new Dictionary<string, string> { ["PathOnHost"] = source, ["PathInContainer"] = path, ["CgroupPermissions"] = access };
    }
}

/// <summary>A container, whole.</summary>
internal sealed class ContainerView
{
    public required string Id { get; init; }

    public required string Created { get; init; }

    public required string Path { get; init; }

    public required List<string> Args { get; init; }

    public required ContainerStateView State { get; init; }

    public required string Image { get; init; }

    public string ResolvConfPath { get; init; } = string.Empty;

    public string HostnamePath { get; init; } = string.Empty;

    public string HostsPath { get; init; } = string.Empty;

    public string LogPath { get; init; } = string.Empty;

    public required string Name { get; init; }

    public int RestartCount { get; init; }

    public string Driver { get; init; } = "overlayfs";

    public string Platform { get; init; } = "linux";

    public string MountLabel { get; init; } = string.Empty;

    public string ProcessLabel { get; init; } = string.Empty;

    public string AppArmorProfile { get; init; } = string.Empty;

    public List<string>? ExecIDs { get; init; }

    public required HostConfigView HostConfig { get; init; }

    public GraphDriverView GraphDriver { get; init; } = new("overlayfs", null);

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? SizeRw { get; set; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? SizeRootFs { get; set; }

    public required List<MountPointView> Mounts { get; init; }

    public required ContainerConfigView Config { get; init; }

    public required NetworkSettingsView NetworkSettings { get; init; }
}

/// <summary>The state of a container.</summary>
internal sealed class ContainerStateView
{
    public required string Status { get; init; }

    public bool Running { get; init; }

    public bool Paused { get; init; }

    public bool Restarting { get; init; }

    public bool OOMKilled { get; init; }

    public bool Dead { get; init; }

    public int Pid { get; init; }

    public int ExitCode { get; init; }

    public required string Error { get; init; }

    public required string StartedAt { get; init; }

    public required string FinishedAt { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ContainerHealth? Health { get; init; }
}

/// <summary>What was asked for that depends on the host.</summary>
internal sealed class HostConfigView
{
    public required List<string> Binds { get; init; }

    public string ContainerIDFile { get; init; } = string.Empty;

    // Clients read logs only of drivers that they know to keep them; docker-py knows json-file and journald.
    public required LogConfigView LogConfig { get; init; }

    public required string NetworkMode { get; init; }

    public Dictionary<string, List<PortBindingView>?> PortBindings { get; init; } = [];

    public required RestartPolicyView RestartPolicy { get; init; }

    public bool AutoRemove { get; init; }

    public string VolumeDriver { get; init; } = string.Empty;

    public List<string>? VolumesFrom { get; init; }

    public bool? Init { get; init; }

    public int[] ConsoleSize { get; init; } = [0, 0];

    public List<string>? CapAdd { get; init; }

    public List<string>? CapDrop { get; init; }

    public string CgroupnsMode { get; init; } = "private";

    public List<string> Dns { get; init; } = [];

    public List<string> DnsOptions { get; init; } = [];

    public List<string> DnsSearch { get; init; } = [];

    public List<string>? ExtraHosts { get; init; }

    public List<string>? GroupAdd { get; init; }

    public string IpcMode { get; init; } = "private";

    public string Cgroup { get; init; } = string.Empty;

    public List<string>? Links { get; init; }

    public int OomScoreAdj { get; init; }

    public string PidMode { get; init; } = string.Empty;

    public bool Privileged { get; init; }

    public bool PublishAllPorts { get; init; }

    public bool ReadonlyRootfs { get; init; }

    public required List<string> SecurityOpt { get; init; }

    public required Dictionary<string, string> Tmpfs { get; init; }

    public string UTSMode { get; init; } = string.Empty;

    public string UsernsMode { get; init; } = string.Empty;

    public long ShmSize { get; init; } = 64 * 1024 * 1024;

    public string Runtime { get; init; } = "edgehost";

    public string Isolation { get; init; } = string.Empty;

    public long CpuShares { get; init; }

    public long Memory { get; init; }

    public long NanoCpus { get; init; }

    public string CgroupParent { get; init; } = string.Empty;

    public int BlkioWeight { get; init; }

    public long CpuPeriod { get; init; }

    public long CpuQuota { get; init; }

    public long CpuRealtimePeriod { get; init; }

    public long CpuRealtimeRuntime { get; init; }

    public required string CpusetCpus { get; init; }

    public string CpusetMems { get; init; } = string.Empty;

    public required JsonElement BlkioDeviceReadBps { get; init; }

    public required JsonElement BlkioDeviceWriteBps { get; init; }

    public required JsonElement BlkioDeviceReadIOps { get; init; }

    public required JsonElement BlkioDeviceWriteIOps { get; init; }

    public List<Dictionary<string, string>> Devices { get; init; } = [];

    public List<string>? DeviceCgroupRules { get; init; }

    public List<string>? DeviceRequests { get; init; }

    public long MemoryReservation { get; init; }

    public long MemorySwap { get; init; }

    public long? MemorySwappiness { get; init; }

    public bool? OomKillDisable { get; init; }

    public long? PidsLimit { get; init; }

    public List<string>? Ulimits { get; init; }
}

/// <summary>Where the output goes.</summary>
internal sealed record LogConfigView(string Type, Dictionary<string, string> Config);

/// <summary>When it is started again.</summary>
internal sealed record RestartPolicyView(string Name, int MaximumRetryCount);

/// <summary>What the root is made of.</summary>
internal sealed record GraphDriverView(string Name, Dictionary<string, string>? Data);

/// <summary>Something mounted.</summary>
internal sealed record MountPointView(string Type, string Name, string Source, string Destination, string Driver, string Mode, bool RW, string Propagation);

/// <summary>What was asked for that does not depend on the host.</summary>
internal sealed class ContainerConfigView
{
    public required string Hostname { get; init; }

    public string Domainname { get; init; } = string.Empty;

    public required string User { get; init; }

    public bool AttachStdin { get; init; }

    public bool AttachStdout { get; init; } = true;

    public bool AttachStderr { get; init; } = true;

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, EmptyView>? ExposedPorts { get; set; }

    public bool Tty { get; init; }

    public bool OpenStdin { get; init; }

    public bool StdinOnce { get; init; }

    public required List<string> Env { get; init; }

    public List<string>? Cmd { get; init; }

    public required string Image { get; init; }

    public Dictionary<string, EmptyView>? Volumes { get; init; }

    public required string WorkingDir { get; init; }

    public List<string>? Entrypoint { get; init; }

    public List<string>? OnBuild { get; init; }

    public required Dictionary<string, string> Labels { get; init; }

    public string? StopSignal { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public HealthCheck? Healthcheck { get; init; }

    public int? StopTimeout { get; init; }
}
