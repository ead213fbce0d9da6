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
public static partial class LaunchPlanCompiler
{
    /// <summary>The slots that the caller fills: standard input, output and error.</summary>
    public const int StandardSlots = 3;

    /// <summary>The path that a program is searched on when its environment gives none.</summary>
    public const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

    private static readonly string[] Rlimits =
    [
        "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC", "RLIMIT_NOFILE",
        "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
    ];

    private static volatile CompiledFilter? _lastFilter;

    /// <summary>Compiles.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the configuration contradicts itself or lacks something;
    /// <see cref="ErrorKind.Infeasible"/> or <see cref="ErrorKind.Unsupported"/>: it asks for what this version or machine cannot do.</exception>
    public static LaunchPlan Compile(RuntimeSpec spec, LaunchTarget target)
    {
        var process = spec.Process ?? throw Invalid("process: is missing");
        RefuseUnsupported(spec, process);
        if (process.Terminal && target.TerminalSize is null)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "process.terminal: nobody here takes a terminal; set it to false");
        }

        var plan = new LaunchPlan.Builder(StandardSlots);
        var namespaces = new Namespaces(spec.Linux?.Namespaces ?? []);
        // The two fifo slots are always set aside.
        _ = plan.TakeSlot();
        _ = plan.TakeSlot();
        var users = TakeUsers(plan, spec, namespaces, target);

        foreach (var file in target.Cgroup?.JoinFiles ?? [])
        {
            plan.Add(LaunchOp.JoinCgroup, text1: file);
        }

        plan.Add(LaunchOp.NewSession);
        plan.Add(LaunchOp.NewKeyring);
        foreach (var (kind, path) in namespaces.Joined)
        {
            plan.Add(LaunchOp.JoinNamespace, text1: path, a: (long)kind);
        }

        plan.CloneFlags = namespaces.CloneFlags;
        if (users is { Network: >= 0 and var network })
        {
            plan.CloneFlags &= ~Libc.CLONE_NEWNET;
            plan.Add(LaunchOp.EnterProcess, slot: network, a: (long)Libc.CLONE_NEWNET);
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

        AddProfile(plan, process);
        if (target.Fifos is { } fifos)
        {
            plan.Add(LaunchOp.OpenFifo, slot: StartSlot(plan), text1: fifos.Start);
            plan.Add(LaunchOp.OpenFifo, slot: StatusSlot(plan), text1: fifos.Status);
        }

        var root = AddRoot(plan, spec, target, users);
        var scratch = plan.TakeSlot();
        AddMounts(plan, spec, target, namespaces, root, scratch, users);
        AddDevices(plan, spec, root, scratch, users);
        if (namespaces.IsNew("network") || target.LoopbackUp)
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

        if (process.Terminal)
        {
            AddTerminal(plan, spec, process, users?.Maps, target.TerminalSize!.Value);
            plan.Add(LaunchOp.ControlTerminal);
        }

        var init = -1;
        if (target.Init)
        {
            init = plan.TakeSlot();
            plan.AddRaw(LaunchOp.OpenInit, init, -1, plan.PutBytes(LaunchInit.Program), -1, -1, LaunchInit.Program.Length, 0, 0);
        }

        AddProcess(plan, process, target, spec.Linux?.Seccomp, users, init);
        return plan.Build();
    }

    // Everything that takes rights over the host is done before it is joined: only then can layers be mapped and mounts
    // be made by which nothing of the host can be changed from inside.
    private static Users? TakeUsers(LaunchPlan.Builder plan, RuntimeSpec spec, Namespaces namespaces, LaunchTarget target)
    {
        if (IdMaps.Of(spec, namespaces) is not { } maps)
        {
            return null;
        }

        var slot = plan.TakeSlot();
        if (namespaces.User is { } path)
        {
            plan.Add(LaunchOp.OpenNamespace, slot: slot, text1: path);
            return new Users(maps, slot, -1);
        }

        var network = target.OwnsNetwork && namespaces.IsNew("network") ? plan.TakeSlot() : -1;
        plan.Add(LaunchOp.MakeUserNamespace, slot: slot, slot2: network, text1: maps.Users, text2: maps.Groups);
        return new Users(maps, slot, network);
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

        if (spec.Hooks is { } hooks && hooks.Values.Any(list => list.ValueKind == System.Text.Json.JsonValueKind.Array && list.GetArrayLength() > 0))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "hooks: not in this version; take them out");
        }

        if (process.ApparmorProfile?.Any(static c => char.IsControl(c) || char.IsWhiteSpace(c)) == true)
        {
            throw Invalid("process.apparmorProfile: is no name of a profile");
        }

        RefuseText(process.SelinuxLabel, "process.selinuxLabel");
        RefuseText(spec.Linux?.MountLabel, "linux.mountLabel");
        RefuseObject(spec.Linux?.IntelRdt, "linux.intelRdt");
        RefuseObject(spec.Linux?.Personality, "linux.personality");
        RefuseObject(spec.Linux?.TimeOffsets, "linux.timeOffsets");
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

    // Said while the host's procfs is there, which alone can be trusted; it counts from the exec on.
    private static void AddProfile(LaunchPlan.Builder plan, RuntimeProcess process)
    {
        if (process.ApparmorProfile is { Length: > 0 } profile and not AppArmor.Unconfined)
        {
            plan.Add(LaunchOp.WriteHost, text1: AppArmor.OnExec, text2: "exec " + profile);
        }
    }

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
            plan.Add(LaunchOp.WriteProc, slot2: root, text1: "sys/" + name.Replace('.', '/'), text2: value);
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
            null or "" or "private" or "rprivate" => FollowsHost(spec) ? Libc.MS_PRIVATE : 0UL,
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

    private static void AddProcess(LaunchPlan.Builder plan, RuntimeProcess process, LaunchTarget target, RuntimeSeccomp? seccomp, Users? users, int init)
    {
        AddRlimits(plan, process);
        if (target.GivesStreams)
        {
            GiveStreams(plan, process, users?.Maps);
        }

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
            AddSeccomp(plan, seccomp);
        }

        if (users is not null)
        {
            plan.Add(LaunchOp.JoinUserNamespace, slot: users.Slot);
        }

        AddCredentials(plan, process);
        plan.Add(LaunchOp.ResetSignals);
        if (target.Fifos is not null)
        {
            plan.Add(LaunchOp.WaitForStart, slot: StatusSlot(plan), slot2: StartSlot(plan));
            plan.Add(LaunchOp.CloseFrom, a: 3);
        }

        if (process.NoNewPrivileges)
        {
            AddSeccomp(plan, seccomp);
        }

        AddExecute(plan, process, init);
    }

    // Who opens /dev/stdout anew needs a right to the pipe itself.
    private static void GiveStreams(LaunchPlan.Builder plan, RuntimeProcess process, IdMaps? maps)
    {
        var user = process.User ?? new RuntimeUser();
        var (uid, gid) = maps is null
            ? (user.Uid, user.Gid)
            : (maps.ToHostUser(user.Uid, "process.user.uid"), maps.ToHostGroup(user.Gid, "process.user.gid"));
        if (uid != 0)
        {
            for (var descriptor = 0; descriptor < StandardSlots; descriptor++)
            {
                plan.Add(LaunchOp.GivePipe, slot: descriptor, a: uid, b: gid);
            }
        }
    }

    private static void AddRlimits(LaunchPlan.Builder plan, RuntimeProcess process)
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
    }

    private static void AddCredentials(LaunchPlan.Builder plan, RuntimeProcess process)
    {
        var sets = CapabilitySets.From(process.Capabilities);
        var user = process.User ?? new RuntimeUser();
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
    }

    private static void AddSeccomp(LaunchPlan.Builder plan, RuntimeSeccomp? seccomp)
    {
        if (seccomp is not null)
        {
            // The same one again and again is compiled once.
            var last = _lastFilter;
            if (last is null || !ReferenceEquals(last.Source, seccomp))
            {
                var made = SeccompFilter.Compile(seccomp);
                _lastFilter = last = new CompiledFilter(seccomp, made.ToBytes(), made.Count, made.Flags);
            }

            plan.AddRaw(LaunchOp.LoadSeccomp, -1, -1, plan.PutBytes(last.Bytes), -1, -1, last.Count, last.Flags, 0);
        }
    }

    private static void AddExecute(LaunchPlan.Builder plan, RuntimeProcess process, int init = -1)
    {
        IReadOnlyList<string> args = init < 0 ? process.Args! : [LaunchInit.Name, string.Empty, .. process.Args!];
        var environment = process.Env ?? [];
        plan.AddRaw(
            init < 0 ? LaunchOp.Execute : LaunchOp.ExecuteWithInit, init, -1, plan.PutList(Candidates(process.Args![0], environment)), plan.PutTable([.. args]), plan.PutTable([.. environment]), 0, args.Count, environment.Count);
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

    private sealed class CompiledFilter(RuntimeSeccomp source, byte[] bytes, int count, uint flags)
    {
        internal RuntimeSeccomp Source => source;

        internal byte[] Bytes => bytes;

        internal int Count => count;

        internal uint Flags => flags;
    }

    /// <summary>The container's users.</summary>
    private sealed class Users(IdMaps maps, int slot, int network)
    {
        /// <summary>Which of the host's they are.</summary>
        internal IdMaps Maps { get; } = maps;

        /// <summary>The slot of their namespace.</summary>
        internal int Slot { get; } = slot;

        /// <summary>The slot of the network namespace that belongs to it; -1 where it is not made by the launch.</summary>
        internal int Network { get; } = network;
    }
}
