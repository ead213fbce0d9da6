using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;
using EdgeHost.Runtime.Seccomp;

namespace EdgeHost.Engine;

/// <summary>Turns what was asked for into the runtime configuration that Docker would make of it. Touches nothing.</summary>
internal static class RuntimeSpecBuilder
{
    private static readonly string[] Masked =
    [
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
        "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
    ];

    private static readonly string[] ReadOnly = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

    // As in the network namespaces that have networks (HostSettings.PrepareSandbox): the right to these ports is one over
    // the namespace, and who joins it later may have other users than those that it belongs to.
    private static readonly Dictionary<string, string> SandboxSettings = new(StringComparer.Ordinal)
    {
        ["net.ipv4.ip_unprivileged_port_start"] = "0",
        ["net.ipv4.ping_group_range"] = "0 2147483647",
    };

    internal static RuntimeSpec Build(ContainerRecord record, ImageConfig image, ContainerUser user, HostDevices devices, IReadOnlyList<RuntimeMount> mounts, string? userNamespace, string? networkNamespace, IReadOnlyList<string> secrets, string? appArmor, bool terminal)
    {
        var spec = record.Spec;
        var hostname = HostnameOf(record);
        var capabilities = CapabilitiesOf(spec);
        var names = Linux.Capabilities.NamesOf(capabilities);
        var workingDirectory = spec.WorkingDirectory is { Length: > 0 } given ? given : image.Config.WorkingDir;
        return new RuntimeSpec
        {
            OciVersion = "1.1.0",
            Hostname = hostname,
            Root = new RuntimeRoot { Readonly = spec.ReadOnlyRoot },
            Mounts = [.. DefaultMounts(spec.Privileged ? "rw" : "ro"), .. mounts],
            Process = new RuntimeProcess
            {
                User = new RuntimeUser { Uid = user.Uid, Gid = user.Gid, AdditionalGids = user.AdditionalGids },
                Args = record.Arguments,
                Terminal = terminal,
                Env = EnvironmentOf(image.Config.Env.Concat(spec.Environment).Concat(secrets), hostname, user, terminal),
                Cwd = workingDirectory.Length > 0 ? workingDirectory : "/",
                NoNewPrivileges = !spec.Privileged,
                OomScoreAdj = 0,
                ApparmorProfile = appArmor,

                // A user other than root starts without capabilities, as after an exec in Docker.
                Capabilities = new RuntimeCapabilities
                {
                    Bounding = names,
                    Effective = user.Uid == 0 ? names : [],
                    Permitted = user.Uid == 0 ? names : [],
                },
            },
            Linux = new RuntimeLinux
            {
                Namespaces = [.. NamespacesOf(record, userNamespace, networkNamespace)],
                UidMappings = MapOf(record),
                GidMappings = MapOf(record),
                Sysctl = spec.Network == NetworkMode.None ? SandboxSettings : null,
                Devices = devices.Nodes,
                MaskedPaths = spec.Privileged ? null : Masked,
                ReadonlyPaths = spec.Privileged ? null : ReadOnly,
                Seccomp = spec.Privileged ? null : DefaultSeccomp.For(capabilities),
            },
        };
    }

    /// <summary>The configuration of one more process of a container, whose record names the program in the place of its own.</summary>
    /// <param name="record">The container.</param>
    /// <param name="images">Where its image and files are.</param>
    /// <param name="secrets">Variables that only its processes are told.</param>
    /// <param name="appArmor">The profile that confines the container.</param>
    /// <param name="privileged">Whether the process has all capabilities that a container can have.</param>
    /// <param name="terminal">Whether it has a terminal.</param>
    internal static RuntimeSpec BuildFor(ContainerRecord record, IImageStore images, IReadOnlyList<string> secrets, string? appArmor, bool privileged, bool terminal)
    {
        var image = images.Find(record.ImageId) ?? throw new EdgeHostException(ErrorKind.Infeasible, $"image {record.ImageId} of container {record.Name} is gone; load or pull it again");
        var snapshot = images.Prepare(record.ImageId, record.Id, durable: ContainerFiles.IsDurable(record));
        var user = ContainerUser.Find(record.Spec.User ?? image.Config.Config.User, [snapshot.UpperDirectory, .. snapshot.LowerDirectories]);
        var spec = Build(record, image.Config, user, HostDevices.None, [], null, null, secrets, appArmor, terminal);
        if (!privileged)
        {
            return spec;
        }

        // Of what this daemon has itself: it may live in a container, too.
        var names = Linux.Capabilities.NamesOf(Linux.Capabilities.Own & ~Linux.Capabilities.Mknod);
        return spec with { Process = spec.Process! with { Capabilities = new RuntimeCapabilities { Bounding = names, Effective = names, Permitted = names } } };
    }

    internal static string HostnameOf(ContainerRecord record) => record.Spec.Hostname is { Length: > 0 } given
        ? given
        : record.Spec.Network == NetworkMode.Host ? Environment.MachineName : record.Id[..12];

    /// <summary>What the cgroup is to hold from the start on.</summary>
    internal static CgroupLimits LimitsOf(ContainerSpec spec, HostDevices devices) => LimitsOf(spec.Limits) with
    {
        Blocks = BlockRate.Find(spec.Limits),
        Devices = devices.Rules,
        RequiresDevices = !spec.Privileged && (devices.Nodes.Count > 0 || spec.DeviceRules.Count > 0 || MayMakeNodes(spec)),
    };

    internal static CgroupLimits LimitsOf(ResourceLimits limits) => new()
    {
        MemoryBytes = limits.MemoryBytes,
        MemoryAndSwapBytes = limits.MemoryAndSwapBytes,
        MemoryReservationBytes = limits.MemoryReservationBytes,
        CpuQuotaMicroseconds = limits.NanoCpus is { } cpus ? cpus / 10_000 : null,
        CpusetCpus = limits.CpusetCpus,
        Pids = limits.Pids,
    };

    internal static IReadOnlyList<string> ArgumentsOf(ContainerSpec spec, ImageConfig image)
    {
        var entrypoint = spec.Entrypoint ?? image.Config.Entrypoint;
        var command = spec.Command ?? (spec.Entrypoint is null ? image.Config.Cmd : []);
        List<string> arguments = [.. entrypoint, .. command];
        return arguments.Count > 0
            ? arguments
            : throw new EdgeHostException(ErrorKind.Invalid, $"no command specified: image {spec.Image} has none, so give one");
    }

    private static bool MayMakeNodes(ContainerSpec spec) =>
        spec.AddCapabilities.Any(name => name.Equals("ALL", StringComparison.OrdinalIgnoreCase) || name.EndsWith("MKNOD", StringComparison.OrdinalIgnoreCase));

    private static ulong CapabilitiesOf(ContainerSpec spec)
    {
        if (spec.Privileged)
        {
            // Whatever else is said of them, as with Docker.
            return Linux.Capabilities.Own & Linux.Capabilities.All;
        }

        var set = Apply(CapabilitySets.Default, spec.AddCapabilities, add: true);
        set = spec.DropCapabilities.Any(name => name.Equals("ALL", StringComparison.OrdinalIgnoreCase))
            ? Apply(0, spec.AddCapabilities.Where(name => !name.Equals("ALL", StringComparison.OrdinalIgnoreCase)), add: true)
            : Apply(set, spec.DropCapabilities, add: false);
        return MayMakeNodes(spec) ? set : set & ~Linux.Capabilities.Mknod;
    }

    private static ulong Apply(ulong set, IEnumerable<string> names, bool add)
    {
        foreach (var name in names)
        {
            ulong bits;
            if (name.Equals("ALL", StringComparison.OrdinalIgnoreCase))
            {
                bits = Linux.Capabilities.All;
            }
            else if (!Linux.Capabilities.TryParse(name, out bits))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"capability \"{name}\" is not known");
            }

            set = add ? set | bits : set & ~bits;
        }

        return set;
    }

    private static List<string> EnvironmentOf(IEnumerable<string> given, string hostname, ContainerUser user, bool terminal)
    {
        List<string> variables = ["PATH=" + LaunchPlanCompiler.DefaultPath, "HOSTNAME=" + hostname, .. terminal ? ["TERM=xterm"] : Array.Empty<string>(), "HOME=" + user.Home];
        foreach (var variable in given)
        {
            var name = variable.Split('=', 2)[0] + "=";
            variables.RemoveAll(each => each.StartsWith(name, StringComparison.Ordinal));
            if (variable.Contains('=', StringComparison.Ordinal))
            {
                variables.Add(variable);
            }
        }

        return variables;
    }

    private static IReadOnlyList<RuntimeIdMapping>? MapOf(ContainerRecord record) =>
        record.FirstUser is { } first ? [new RuntimeIdMapping { ContainerId = 0, HostId = first, Size = UserRanges.Size }] : null;

    private static IEnumerable<RuntimeNamespace> NamespacesOf(ContainerRecord record, string? userNamespace, string? networkNamespace)
    {
        if (record.FirstUser is not null)
        {
            yield return new RuntimeNamespace { Type = "user", Path = userNamespace };
        }

        foreach (var kind in (string[])["mount", "pid", "ipc", "uts", "cgroup"])
        {
            yield return new RuntimeNamespace { Type = kind };
        }

        if (record.Spec.Network != NetworkMode.Host)
        {
            yield return new RuntimeNamespace { Type = "network", Path = networkNamespace };
        }
    }

    private static IEnumerable<RuntimeMount> DefaultMounts(string access) =>
    [
        new() { Destination = "/proc", Type = "proc", Source = "proc", Options = ["nosuid", "noexec", "nodev"] },
        new() { Destination = "/dev", Type = "tmpfs", Source = "tmpfs", Options = ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        new() { Destination = "/dev/pts", Type = "devpts", Source = "devpts", Options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        new() { Destination = "/sys", Type = "sysfs", Source = "sysfs", Options = ["nosuid", "noexec", "nodev", access] },
        new() { Destination = "/sys/fs/cgroup", Type = "cgroup", Source = "cgroup", Options = [access, "nosuid", "noexec", "nodev"] },
        new() { Destination = "/dev/mqueue", Type = "mqueue", Source = "mqueue", Options = ["nosuid", "noexec", "nodev"] },
        new() { Destination = "/dev/shm", Type = "tmpfs", Source = "shm", Options = ["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"] },
    ];
}
