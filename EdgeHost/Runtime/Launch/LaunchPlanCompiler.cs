using System.Globalization;
using System.Runtime.InteropServices;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;
using EdgeHost.Runtime.Seccomp;

namespace EdgeHost.Runtime.Launch;

/// <summary>
/// Compiles a runtime configuration into a launch plan. A pure function: it touches nothing, and what the plan would
/// do can be printed and compared. What a configuration asks for and this version cannot do is refused here.
/// </summary>
public static class LaunchPlanCompiler
{
    /// <summary>The slots that the caller fills: standard input, output and error.</summary>
    public const int StandardSlots = 3;

    /// <summary>The path that a program is searched on when its environment gives none.</summary>
    public const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private static readonly (string Name, uint Major, uint Minor)[] DefaultDevices =
    [
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    ];

    private static readonly string[] Rlimits =
    [
        "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
    ];

    /// <summary>Compiles.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the configuration contradicts itself or lacks something;
    /// <see cref="ErrorKind.Infeasible"/> or <see cref="ErrorKind.Unsupported"/>: it asks for what this version or machine cannot do.</exception>
    public static LaunchPlan Compile(RuntimeSpec spec, LaunchTarget target)
    {
        var process = spec.Process ?? throw Invalid("process: is missing");
        RefuseUnsupported(spec, process);
        var plan = new LaunchPlan.Builder(StandardSlots);
        var namespaces = new Namespaces(spec.Linux?.Namespaces ?? []);
        plan.CloneFlags = namespaces.CloneFlags;

        foreach (var file in target.Cgroup.JoinFiles)
        {
            plan.Add(LaunchOp.JoinCgroup, text1: file);
        }

        plan.Add(LaunchOp.NewSession);
        plan.Add(LaunchOp.NewKeyring);
        foreach (var (kind, path) in namespaces.Joined)
        {
            plan.Add(LaunchOp.JoinNamespace, text1: path, a: (long)kind);
        }

        if (namespaces.NewCgroup)
        {
            // Only now: a cgroup namespace takes as its root the cgroup that the process is in.
            plan.Add(LaunchOp.Unshare, a: (long)Libc.CLONE_NEWCGROUP);
        }

        if (process.OomScoreAdj is { } adjustment)
        {
            plan.Add(LaunchOp.WriteHost, text1: "/proc/self/oom_score_adj", text2: adjustment.ToString(CultureInfo.InvariantCulture));
        }

        if (target.Fifos is { } fifos)
        {
            plan.Add(LaunchOp.OpenFifo, slot: StartSlot(plan), text1: fifos.Start);
            plan.Add(LaunchOp.OpenFifo, slot: StatusSlot(plan), text1: fifos.Status);
        }

        var root = AddRoot(plan, spec, target);
        var scratch = plan.TakeSlot();
        AddMounts(plan, spec, target, namespaces, root, scratch);
        AddDevices(plan, spec, root, scratch);
        if (namespaces.IsNew("network"))
        {
            plan.Add(LaunchOp.LoopbackUp);
        }

        AddNames(plan, spec, namespaces);
        AddSysctls(plan, spec, namespaces, root);
        AddProtection(plan, spec, root);
        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: process.Cwd, a: 1);
        if (spec.Root?.Readonly is true)
        {
            plan.Add(LaunchOp.SetMountAttributes, slot: root, a: (long)Libc.MOUNT_ATTR_RDONLY);
        }

        plan.Add(LaunchOp.Pivot, slot: root);
        AddRootPropagation(plan, spec, root);
        for (var descriptor = 0; descriptor < StandardSlots; descriptor++)
        {
            plan.Add(LaunchOp.Duplicate, slot: descriptor, a: descriptor);
        }

        AddProcess(plan, process, target, spec.Linux?.Seccomp);
        return plan.Build();
    }

    // Fixed, so that a plan with fifos differs from one without in nothing else.
    private static int StartSlot(LaunchPlan.Builder plan) => plan.CallerSlots;

    private static int StatusSlot(LaunchPlan.Builder plan) => plan.CallerSlots + 1;

    private static EdgeHostException Invalid(string message) => new(ErrorKind.Invalid, message);

    private static void RefuseUnsupported(RuntimeSpec spec, RuntimeProcess process)
    {
        if (process.Args is not { Count: > 0 } || process.Args[0].Length == 0)
        {
            throw Invalid("process.args: is empty; give the program to run");
        }

        if (process.Cwd is not { Length: > 0 } || process.Cwd[0] != '/')
        {
            throw Invalid($"process.cwd: \"{process.Cwd}\" is not an absolute path");
        }

        if (process.Terminal)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "process.terminal: terminals are not in this version; set it to false");
        }

        if (spec.Hooks is { } hooks && hooks.Values.Any(list => list.ValueKind == System.Text.Json.JsonValueKind.Array && list.GetArrayLength() > 0))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "hooks: not in this version; take them out");
        }

        RefuseText(process.ApparmorProfile is "unconfined" ? null : process.ApparmorProfile, "process.apparmorProfile");
        RefuseText(process.SelinuxLabel, "process.selinuxLabel");
        RefuseText(spec.Linux?.MountLabel, "linux.mountLabel");
        RefuseObject(spec.Linux?.IntelRdt, "linux.intelRdt");
        RefuseObject(spec.Linux?.Personality, "linux.personality");
        RefuseObject(spec.Linux?.TimeOffsets, "linux.timeOffsets");
        if (spec.Linux?.UidMappings is { Count: > 0 } || spec.Linux?.GidMappings is { Count: > 0 })
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "linux.uidMappings: user namespaces are not in this version; take them out");
        }

        static void RefuseText(string? value, string name)
        {
            if (!string.IsNullOrEmpty(value))
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"{name}: \"{value}\" is not in this version; take it out");
            }
        }

        static void RefuseObject(System.Text.Json.JsonElement? value, string name)
        {
            if (value is { ValueKind: System.Text.Json.JsonValueKind.Object })
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"{name}: is not in this version; take it out");
            }
        }
    }

    private static int AddRoot(LaunchPlan.Builder plan, RuntimeSpec spec, LaunchTarget target)
    {
        // The two fifo slots are always set aside.
        _ = plan.TakeSlot();
        _ = plan.TakeSlot();
        var root = plan.TakeSlot();
        plan.Add(LaunchOp.Propagation, a: (long)(Libc.MS_REC | Libc.MS_PRIVATE));
        if (target.Overlay is { } overlay)
        {
            // Relative to their common directory, so that many layers fit into the one page that mount(2) takes.
            var common = CommonDirectory([.. overlay.Lower, overlay.Upper, overlay.Work]);
            plan.Add(LaunchOp.OpenHost, slot: root, text1: overlay.MountPoint);
            plan.Add(LaunchOp.ChangeDirectory, text1: common);
            var lower = string.Join(':', overlay.Lower.Select(layer => Escape(Path.GetRelativePath(common, layer))));
            var data = $"lowerdir={lower},upperdir={Escape(Path.GetRelativePath(common, overlay.Upper))},workdir={Escape(Path.GetRelativePath(common, overlay.Work))}";
            if (System.Text.Encoding.UTF8.GetByteCount(data) > 4095)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"the image has {overlay.Lower.Count} layers, whose names do not fit into one mount; build it with fewer layers");
            }

            // A layer may carry device nodes, and nothing limits their use yet: in a root from layers none can be opened.
            plan.Add(LaunchOp.MountByData, slot: root, text1: "overlay", text2: "overlay", text3: data, a: (long)Libc.MS_NODEV);
            plan.Add(LaunchOp.OpenHost, slot: root, text1: overlay.MountPoint);
            return root;
        }

        if (spec.Root?.Path is not { Length: > 0 } given)
        {
            throw Invalid("root.path: is missing");
        }

        // A root must be a mount for pivot_root: it is bound to itself.
        var path = Path.GetFullPath(given, target.Bundle);
        plan.Add(LaunchOp.OpenHost, slot: root, text1: path);
        plan.Add(LaunchOp.Bind, slot: root, text1: path, c: 1);
        plan.Add(LaunchOp.OpenHost, slot: root, text1: path);
        return root;

        static string Escape(string path) => path
            .Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace(":", "\\:", StringComparison.Ordinal)
            .Replace(",", "\\,", StringComparison.Ordinal);
    }

    private static string CommonDirectory(IReadOnlyList<string> paths)
    {
        var common = Path.GetDirectoryName(paths[0]) ?? "/";
        foreach (var path in paths)
        {
            while (common != "/" && !path.StartsWith(common + "/", StringComparison.Ordinal))
            {
                common = Path.GetDirectoryName(common) ?? "/";
            }
        }

        return common;
    }

    private static void AddMounts(LaunchPlan.Builder plan, RuntimeSpec spec, LaunchTarget target, Namespaces namespaces, int root, int scratch)
    {
        foreach (var mount in spec.Mounts ?? [])
        {
            var destination = mount.Destination is { Length: > 0 } given
                ? given[0] == '/' ? given : "/" + given
                : throw Invalid("mounts: a destination is missing");
            var options = MountOptions.Parse(mount);
            if (options.Bind)
            {
                AddBind(plan, mount, options, target, destination, root, scratch);
            }
            else if (mount.Type == "cgroup")
            {
                AddCgroupMounts(plan, options, target, namespaces, destination, root, scratch);
            }
            else
            {
                var type = mount.Type is { Length: > 0 } ? mount.Type : throw Invalid($"mounts: {destination}: the type is missing");
                plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: 1);
                AddMount(plan, type, mount.Source ?? type, options.Data, options.Set, scratch);
            }

            if (options.Propagation != 0)
            {
                plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination);
                plan.Add(LaunchOp.SetMountAttributes, slot: scratch, c: (long)options.Propagation);
            }
        }
    }

    private static void AddMount(LaunchPlan.Builder plan, string type, string source, IReadOnlyList<string> data, ulong attributes, int slot) =>
        plan.AddRaw(LaunchOp.Mount, slot, -1, plan.Put(type), plan.Put(source), data.Count == 0 ? -1 : plan.PutList(data), (long)attributes, 0, 0);

    private static void AddBind(LaunchPlan.Builder plan, RuntimeMount mount, MountOptions options, LaunchTarget target, string destination, int root, int scratch)
    {
        if (mount.Source is not { Length: > 0 } source)
        {
            throw Invalid($"mounts: {destination}: the source of a bind mount is missing");
        }

        if (options.Data.Count > 0)
        {
            throw Invalid($"mounts: {destination}: a bind mount takes no option \"{options.Data[0]}\"");
        }

        source = Path.GetFullPath(source, target.Bundle);

        // A mount point of the same kind is made where it is missing; what cannot be seen now is a directory.
        var isFile = File.Exists(source);
        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: isFile ? 2 : 1);
        plan.Add(LaunchOp.Bind, slot: scratch, text1: source, a: (long)options.Set, b: (long)options.Clear, c: options.Recursive || options.RecursiveAttributes ? 1 : 0);
    }

    private static void AddCgroupMounts(LaunchPlan.Builder plan, MountOptions options, LaunchTarget target, Namespaces namespaces, string destination, int root, int scratch)
    {
        const ulong safe = Libc.MOUNT_ATTR_NOSUID | Libc.MOUNT_ATTR_NODEV | Libc.MOUNT_ATTR_NOEXEC;
        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: 1);
        if (target.CgroupMounts.Unified is { } unified)
        {
            if (namespaces.NewCgroup)
            {
                AddMount(plan, "cgroup2", "cgroup", [], options.Set | safe, scratch);
            }
            else
            {
                plan.Add(LaunchOp.Bind, slot: scratch, text1: unified + target.Cgroup.CgroupPath, a: (long)(options.Set | safe));
            }

            return;
        }

        AddMount(plan, "tmpfs", "cgroup", ["mode=755", "size=64k"], safe, scratch);
        foreach (var (hierarchy, controllers) in target.CgroupMounts.V1
            .GroupBy(pair => pair.Value, pair => pair.Key)
            .OrderBy(group => group.Key, StringComparer.Ordinal)
            .Select(group => (group.Key, group.Order(StringComparer.Ordinal).ToList())))
        {
            var own = hierarchy + target.Cgroup.CgroupPath;
            if (!target.Cgroup.JoinFiles.Any(file => Path.GetDirectoryName(file) == own))
            {
                // Not limited there: the container is in somebody else's cgroup, which it is not shown.
                continue;
            }

            plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: $"{destination}/{Path.GetFileName(hierarchy)}", a: 1);
            if (namespaces.NewCgroup)
            {
                AddMount(plan, "cgroup", "cgroup", controllers, options.Set | safe, scratch);
            }
            else
            {
                plan.Add(LaunchOp.Bind, slot: scratch, text1: own, a: (long)(options.Set | safe));
            }
        }

        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination);
        plan.Add(LaunchOp.SetMountAttributes, slot: scratch, a: (long)Libc.MOUNT_ATTR_RDONLY);
    }

    private static void AddDevices(LaunchPlan.Builder plan, RuntimeSpec spec, int root, int scratch)
    {
        // A /dev that was bound from the host has its own nodes.
        if ((spec.Mounts ?? []).Any(mount => mount.Destination?.TrimEnd('/') == "/dev" && MountOptions.Parse(mount).Bind))
        {
            return;
        }

        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: "/dev", a: 1);
        foreach (var (name, major, minor) in DefaultDevices)
        {
            plan.Add(LaunchOp.MakeNode, slot: scratch, text1: name, a: Libc.S_IFCHR | 0x1B6, b: Device(major, minor));
        }

        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "fd", text2: "/proc/self/fd");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stdin", text2: "/proc/self/fd/0");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stdout", text2: "/proc/self/fd/1");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stderr", text2: "/proc/self/fd/2");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "ptmx", text2: "pts/ptmx");
        foreach (var device in spec.Linux?.Devices ?? [])
        {
            var path = device.Path is { Length: > 1 } given && given[0] == '/' && given[^1] != '/'
                ? given
                : throw Invalid($"linux.devices: path \"{device.Path}\" is not absolute");
            if (DefaultDevices.Any(known => path == "/dev/" + known.Name))
            {
                continue;
            }

            var kind = device.Type switch
            {
                "c" or "u" => Libc.S_IFCHR,
                "b" => Libc.S_IFBLK,
                "p" => Libc.S_IFIFO,
                _ => throw Invalid($"linux.devices: {path}: type \"{device.Type}\" is not c, b, u or p"),
            };
            plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: Path.GetDirectoryName(path), a: 1);
            plan.Add(
                LaunchOp.MakeNode,
                slot: scratch,
                text1: Path.GetFileName(path),
                a: kind | (device.FileMode & 0xFFF ?? 0x1B6),
                b: kind == Libc.S_IFIFO ? 0 : Device((uint)device.Major, (uint)device.Minor),
                c: (device.Uid ?? 0) | ((long)(device.Gid ?? 0) << 32));
        }
    }

    // makedev(3).
    private static long Device(uint major, uint minor) =>
        ((long)(major & 0xFFFFF000) << 32) | ((long)(major & 0xFFF) << 8) | ((long)(minor & 0xFFFFFF00) << 12) | (minor & 0xFF);

    private static void AddNames(LaunchPlan.Builder plan, RuntimeSpec spec, Namespaces namespaces)
    {
        if (!string.IsNullOrEmpty(spec.Hostname))
        {
            RequireNamespace(namespaces, "uts", "hostname");
            plan.Add(LaunchOp.SetHostname, text1: spec.Hostname);
        }

        if (!string.IsNullOrEmpty(spec.Domainname))
        {
            RequireNamespace(namespaces, "uts", "domainname");
            plan.Add(LaunchOp.SetDomainname, text1: spec.Domainname);
        }
    }

    private static void RequireNamespace(Namespaces namespaces, string kind, string name)
    {
        if (!namespaces.Has(kind))
        {
            throw Invalid($"{name}: would change the host's; add a {kind} namespace");
        }
    }

    private static void AddSysctls(LaunchPlan.Builder plan, RuntimeSpec spec, Namespaces namespaces, int root)
    {
        foreach (var (name, value) in spec.Linux?.Sysctl ?? new Dictionary<string, string>())
        {
            var kind = name switch
            {
                _ when name.StartsWith("net.", StringComparison.Ordinal) => "network",
                "kernel.domainname" or "kernel.hostname" => "uts",
                "kernel.msgmax" or "kernel.msgmnb" or "kernel.msgmni" or "kernel.sem" or "kernel.shmall" or "kernel.shmmax"
                    or "kernel.shmmni" or "kernel.shm_rmid_forced" => "ipc",
                _ when name.StartsWith("fs.mqueue.", StringComparison.Ordinal) => "ipc",
                _ => throw Invalid($"linux.sysctl: {name} belongs to no namespace and would change the host"),
            };
            RequireNamespace(namespaces, kind, $"linux.sysctl: {name}");
            plan.Add(LaunchOp.WriteProc, slot2: root, text1: "/proc/sys/" + name.Replace('.', '/'), text2: value);
        }
    }

    private static void AddProtection(LaunchPlan.Builder plan, RuntimeSpec spec, int root)
    {
        foreach (var path in spec.Linux?.ReadonlyPaths ?? [])
        {
            plan.Add(LaunchOp.MakeReadOnly, slot2: root, text1: path);
        }

        if (spec.Linux?.MaskedPaths is { Count: > 0 } masked)
        {
            // The host's own device: one inside could have been put there by the image.
            var device = plan.TakeSlot();
            plan.Add(LaunchOp.OpenHost, slot: device, text1: "/dev/null");
            foreach (var path in masked)
            {
                plan.Add(LaunchOp.Mask, slot: device, slot2: root, text1: path);
            }
        }
    }

    private static void AddRootPropagation(LaunchPlan.Builder plan, RuntimeSpec spec, int root)
    {
        var propagation = spec.Linux?.RootfsPropagation switch
        {
            null or "" or "private" or "rprivate" => 0UL,
            "slave" => Libc.MS_SLAVE,
            "rslave" => Libc.MS_SLAVE | Libc.MS_REC,
            "shared" => Libc.MS_SHARED,
            "rshared" => Libc.MS_SHARED | Libc.MS_REC,
            "unbindable" or "runbindable" => Libc.MS_UNBINDABLE,
            var other => throw Invalid($"linux.rootfsPropagation: \"{other}\" is not known"),
        };
        if (propagation != 0)
        {
            plan.Add(LaunchOp.SetMountAttributes, slot: root, c: (long)propagation);
        }
    }

    private static void AddProcess(LaunchPlan.Builder plan, RuntimeProcess process, LaunchTarget target, RuntimeSeccomp? seccomp)
    {
        foreach (var limit in process.Rlimits ?? [])
        {
            var resource = Array.IndexOf(Rlimits, limit.Type);
            if (resource < 0)
            {
                throw Invalid($"process.rlimits: \"{limit.Type}\" is not known");
            }

            if (limit.Soft > limit.Hard)
            {
                throw Invalid($"process.rlimits: {limit.Type}: the soft limit {limit.Soft} is above the hard limit {limit.Hard}");
            }

            plan.Add(LaunchOp.SetRlimit, a: resource, b: (long)limit.Soft, c: (long)limit.Hard);
        }

        var sets = CapabilitySets.From(process.Capabilities);
        var user = process.User ?? new RuntimeUser();
        plan.Add(LaunchOp.ChangeDirectory, text1: process.Cwd);
        if (process.NoNewPrivileges)
        {
            plan.Add(LaunchOp.NoNewPrivileges);
        }

        if (target.Fifos is null)
        {
            plan.Add(LaunchOp.CloseFrom, a: 3);
        }

        // Without no_new_privs a filter needs CAP_SYS_ADMIN to be loaded, so it comes before the capabilities go.
        if (!process.NoNewPrivileges)
        {
            AddSeccomp();
        }

        plan.Add(LaunchOp.KeepCapabilities, a: 1);
        plan.Add(LaunchOp.LimitBounding, a: (long)sets.Bounding);
        var groups = (user.AdditionalGids ?? []).ToArray();
        plan.AddRaw(LaunchOp.SetGroups, -1, -1, plan.PutBytes(MemoryMarshal.AsBytes<uint>(groups)), -1, -1, groups.Length, 0, 0);
        plan.Add(LaunchOp.SetGid, a: user.Gid);
        plan.Add(LaunchOp.SetUid, a: user.Uid);
        plan.Add(LaunchOp.KeepCapabilities, a: 0);
        plan.Add(LaunchOp.SetCapabilities, a: (long)sets.Effective, b: (long)sets.Permitted, c: (long)sets.Inheritable);
        plan.Add(LaunchOp.SetAmbient, a: (long)sets.Ambient);
        plan.Add(LaunchOp.SetUmask, a: user.Umask ?? 0x12);
        plan.Add(LaunchOp.ResetSignals);
        if (target.Fifos is not null)
        {
            plan.Add(LaunchOp.WaitForStart, slot: StatusSlot(plan), slot2: StartSlot(plan));
            plan.Add(LaunchOp.CloseFrom, a: 3);
        }

        if (process.NoNewPrivileges)
        {
            AddSeccomp();
        }

        var args = process.Args!;
        var environment = process.Env ?? [];
        plan.AddRaw(
            LaunchOp.Execute, -1, -1, plan.PutList(Candidates(args[0], environment)), plan.PutTable([.. args]), plan.PutTable([.. environment]), 0, args.Count, environment.Count);

        void AddSeccomp()
        {
            if (seccomp is not null)
            {
                var filter = SeccompFilter.Compile(seccomp);
                plan.AddRaw(LaunchOp.LoadSeccomp, -1, -1, plan.PutBytes(filter.ToBytes()), -1, -1, filter.Count, filter.Flags, 0);
            }
        }
    }

    private static IEnumerable<string> Candidates(string program, IReadOnlyList<string> environment)
    {
        if (program.Contains('/', StringComparison.Ordinal))
        {
            return [program];
        }

        var path = environment.LastOrDefault(variable => variable.StartsWith("PATH=", StringComparison.Ordinal))?[5..] ?? DefaultPath;
        return path.Split(':').Select(directory => directory.Length == 0 ? "./" + program : $"{directory}/{program}");
    }
}
