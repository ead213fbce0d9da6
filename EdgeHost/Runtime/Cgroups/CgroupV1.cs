using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>A cgroup in each controller of v1 (Documentation/admin-guide/cgroup-v1).</summary>
public sealed class CgroupV1 : Cgroup
{
    private static readonly string[] Controllers = ["memory", "cpu", "cpuacct", "cpuset", "pids", "freezer", "blkio", "devices"];

    private readonly Dictionary<string, string> _directories = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _roots = new(StringComparer.Ordinal);

    internal CgroupV1(CgroupMounts mounts, string path)
        : base(path)
    {
        foreach (var controller in Controllers)
        {
            if (mounts.V1.TryGetValue(controller, out var root))
            {
                _roots[controller] = root;
                _directories[controller] = root + path;
            }
        }
    }

    /// <inheritdoc/>
    public override string? BirthDirectory => null;

    /// <inheritdoc/>
    // The child of a clone has one thread, and a thread that moves itself does not take the lock that all forks of the
    // board share: through cgroup.procs the first join waits for an RCU grace period, 10 to 20 ms.
    public override IReadOnlyList<string> JoinFiles => [.. _directories.Values.Distinct().Select(directory => directory + "/tasks")];

    /// <inheritdoc/>
    public override bool Exists => _directories.Values.Any(Directory.Exists);

    /// <inheritdoc/>
    public override void Create()
    {
        // Its parent is there as a rule, and it is not.
        if (Make())
        {
            return;
        }

        if (!TryDelete())
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"cgroup {CgroupPath} holds processes of somebody else; choose another name or end them");
        }

        Ensure();
    }

    /// <inheritdoc/>
    public override void Ensure()
    {
        foreach (var (controller, directory) in _directories)
        {
            if (controller == "cpuset")
            {
                CreateCpuset(_roots[controller]);
            }
            else
            {
                Directory.CreateDirectory(directory);
            }
        }

        AccountHierarchically();
    }

    // False where some of it was there, or a parent is missing: what was made meanwhile is empty.
    private bool Make()
    {
        foreach (var (controller, directory) in _directories)
        {
            if (!CgroupFile.TryMake(directory))
            {
                return false;
            }

            // Its parent hands its CPUs and nodes on, unless it was made by somebody who did not ask for it.
            if (controller == "cpuset" && string.IsNullOrEmpty(TryRead(directory + "/cpuset.cpus")))
            {
                CreateCpuset(_roots[controller]);
            }
        }

        AccountHierarchically();
        return true;
    }

    // The children of a cgroup count against it only with use_hierarchy, the default since Linux 5.11.
    private void AccountHierarchically()
    {
        if (_directories.TryGetValue("memory", out var memory) && TryRead(memory + "/memory.use_hierarchy") == "0")
        {
            WriteAndVerify(memory + "/memory.use_hierarchy", "1", "hierarchical memory accounting");
        }
    }

    /// <inheritdoc/>
    public override void Apply(CgroupLimits limits)
    {
        if (limits.MemoryBytes is { } memory)
        {
            ApplyMemory(limits, memory);
        }
        else if (limits.MemoryAndSwapBytes is > 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "a limit of memory and swap needs a memory limit beside it");
        }

        if (limits.MemoryReservationBytes is { } soft)
        {
            WriteAndVerify(File_("memory", "memory.soft_limit_in_bytes"), Text(soft), "memory reservation", held => HoldsBytes(held, soft));
        }

        if (limits.Swappiness is { } swappiness)
        {
            WriteAndVerify(File_("memory", "memory.swappiness"), Text(swappiness), "swappiness");
        }

        if (limits.CpuQuotaMicroseconds is { } quota)
        {
            // The old quota must fit the new period and the other way round: none in between.
            CgroupFile.Write(File_("cpu", "cpu.cfs_quota_us"), "-1", "CPU limit");
            WriteAndVerify(File_("cpu", "cpu.cfs_period_us"), Text(limits.CpuPeriodMicroseconds), "CPU period");
            WriteAndVerify(File_("cpu", "cpu.cfs_quota_us"), Text(quota), "CPU limit");
        }

        if (limits.CpuShares is { } shares)
        {
            WriteAndVerify(File_("cpu", "cpu.shares"), Text(shares), "CPU weight");
        }

        if (limits.CpusetCpus is { } cpus)
        {
            WriteAndVerify(File_("cpuset", "cpuset.cpus"), cpus, "CPUs", held => SameSet(held, cpus));
        }

        if (limits.CpusetMems is { } mems)
        {
            WriteAndVerify(File_("cpuset", "cpuset.mems"), mems, "memory nodes", held => SameSet(held, mems));
        }

        if (limits.Pids is { } pids)
        {
            WriteAndVerify(File_("pids", "pids.max"), Text(pids), "process limit");
        }

        foreach (var block in limits.Blocks)
        {
            WriteAndVerify(File_("blkio", block.FileOfV1), block.LineOfV1, "rate of disk", held => held.Split('\n').Contains(block.LineOfV1));
        }

        if (limits.Devices is { } devices)
        {
            ApplyDevices(devices, limits.RequiresDevices);
        }

        if (limits.Unified.Count > 0)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, "linux.resources.unified: this board has cgroup v1; take it out or boot with systemd.unified_cgroup_hierarchy=1");
        }
    }

    /// <inheritdoc/>
    public override void Lift(CgroupLimits limits)
    {
        // Both together first: memory alone may never be above it.
        Write(limits.MemoryBytes is not null, File_("memory", "memory.memsw.limit_in_bytes"), "-1");
        Write(limits.MemoryBytes is not null, File_("memory", "memory.limit_in_bytes"), "-1");
        Write(limits.CpuQuotaMicroseconds is not null, File_("cpu", "cpu.cfs_quota_us"), "-1");
        Write(limits.Pids is not null, File_("pids", "pids.max"), "max");
        var cpus = File_("cpuset", "cpuset.cpus");
        Write(limits.CpusetCpus is not null, cpus, TryRead(Path.GetDirectoryName(Path.GetDirectoryName(cpus)) + "/cpuset.cpus") ?? string.Empty);

        static void Write(bool wanted, string file, string value)
        {
            if (wanted && File.Exists(file))
            {
                CgroupFile.Write(file, value, "take a limit away");
            }
        }
    }

    /// <inheritdoc/>
    public override void Freeze()
    {
        if (!File.Exists(File_("freezer", "freezer.state")))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, "pause: the freezer controller of cgroup v1 is not mounted (mount -t cgroup -o freezer freezer /sys/fs/cgroup/freezer)");
        }

        CgroupFile.Write(File_("freezer", "freezer.state"), "FROZEN", "pause the container");
    }

    /// <inheritdoc/>
    public override void Thaw()
    {
        WriteWhereThere(File_("freezer", "freezer.state"), "THAWED", "unpause the container");
    }

    /// <inheritdoc/>
    public override bool IsFrozen => TryRead(File_("freezer", "freezer.state")) == "FROZEN";

    /// <inheritdoc/>
    public override void Kill()
    {
        // What is frozen here does not even die.
        Thaw();
        foreach (var directory in _directories.Values.Distinct())
        {
            KillBeneath(directory);
        }
    }

    /// <inheritdoc/>
    // In one hierarchy, the cheapest, it is a directory beneath the container's; in all others it is the container's own.
    public override CgroupEntry MakeEntry(string name)
    {
        var controller = Array.Find(["freezer", "pids", "memory"], _directories.ContainsKey)
            ?? throw new EdgeHostException(ErrorKind.Infeasible, "none of the controllers freezer, pids and memory of cgroup v1 is mounted: what runs beside the container's first process could not be ended apart from it");
        var own = _directories[controller];
        var directory = $"{own}/{name}";
        Directory.CreateDirectory(directory);
        return new CgroupEntry(directory, null, [.. JoinFiles.Select(file => file == own + "/tasks" ? directory + "/tasks" : file)]);
    }

    /// <inheritdoc/>
    // The memory controller of v1 kills one process at a time, so there is nothing to set apart.
    public override CgroupEntry MakeExecEntry() => new(string.Empty, null, JoinFiles);

    /// <inheritdoc/>
    public override long ReadExecOomKills() => ReadOomKills();

    /// <inheritdoc/>
    public override bool IsDivided => false;

    /// <inheritdoc/>
    public override bool TryDelete() => _directories.Values.Distinct().ToList().TrueForAll(RemoveBeneath);

    /// <inheritdoc/>
    public override IReadOnlyList<int> ReadPids() => [.. _directories.Values.Distinct().SelectMany(PidsBeneath).Distinct()];

    /// <inheritdoc/>
    public override long ReadOomKills() =>
        _directories.TryGetValue("memory", out var directory)
            ? DeepestFirst(directory).Sum(each => ReadKey(each + "/memory.oom_control", "oom_kill"))
            : 0;

    /// <inheritdoc/>
    public override CgroupStats ReadStats()
    {
        var quota = TryReadNumber(File_("cpu", "cpu.cfs_quota_us"));
        var period = TryReadNumber(File_("cpu", "cpu.cfs_period_us")) ?? 100_000;
        var ticks = 1_000_000_000L / 100;
        return new CgroupStats
        {
            MemoryBytes = TryReadNumber(File_("memory", "memory.usage_in_bytes")) ?? 0,
            InactiveFileBytes = ReadKey(File_("memory", "memory.stat"), "total_inactive_file"),
            MemoryLimitBytes = Limited(TryReadNumber(File_("memory", "memory.limit_in_bytes"))),
            MemoryAndSwapLimitBytes = Limited(TryReadNumber(File_("memory", "memory.memsw.limit_in_bytes"))),
            OomKills = ReadOomKills(),
            CpuNanoseconds = TryReadNumber(File_("cpuacct", "cpuacct.usage")) ?? 0,
            CpuUserNanoseconds = ReadKey(File_("cpuacct", "cpuacct.stat"), "user") * ticks,
            CpuSystemNanoseconds = ReadKey(File_("cpuacct", "cpuacct.stat"), "system") * ticks,
            NanoCpus = quota is > 0 ? quota * 1_000_000_000 / period : null,
            CpuPeriods = ReadKey(File_("cpu", "cpu.stat"), "nr_periods"),
            CpuThrottledPeriods = ReadKey(File_("cpu", "cpu.stat"), "nr_throttled"),
            CpuThrottledNanoseconds = ReadKey(File_("cpu", "cpu.stat"), "throttled_time"),
            Pids = TryReadNumber(File_("pids", "pids.current")) ?? 0,
            PidsLimit = TryReadNumber(File_("pids", "pids.max")),
            PidsRefused = ReadKey(File_("pids", "pids.events"), "max"),
            CpusetCpus = TryRead(File_("cpuset", "cpuset.cpus")),
            Blocks = BlockUse.Parse(TryRead(File_("blkio", "blkio.throttle.io_service_bytes_recursive"))),
        };
    }

    // "No limit" is the largest number of pages that fits a signed 64-bit count of bytes.
    private static long? Limited(long? bytes) => bytes > 1L << 60 ? null : bytes;

    private void ApplyMemory(CgroupLimits limits, long memory)
    {
        var both = limits.MemoryAndSwapBytes ?? memory;
        if (both != -1 && both < memory)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the limit of memory and swap, {both}, is below the memory limit, {memory}");
        }

        // Memory alone may never be above both together, not even between two writes.
        var memsw = File_("memory", "memory.memsw.limit_in_bytes");
        if (TryReadNumber(memsw) is { } held && held < memory)
        {
            CgroupFile.Write(memsw, Text(both), "swap limit");
        }

        WriteAndVerify(File_("memory", "memory.limit_in_bytes"), Text(memory), "memory limit", limit => HoldsBytes(limit, memory));
        if (both == -1)
        {
            return;
        }

        if (File.Exists(memsw))
        {
            WriteAndVerify(memsw, Text(both), "swap limit", limit => HoldsBytes(limit, both));
        }
        else if (BoardHasSwap)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, "memory limit: this board has swap but its kernel does not account it, so the limit would not hold; turn swap off (swapoff -a) or boot with swapaccount=1");
        }
        else
        {
            Remark = "this kernel does not account swap (no memory.memsw); the memory limit holds because the board has no swap now";
        }
    }

    private void ApplyDevices(DeviceRules rules, bool required)
    {
        if (!_directories.ContainsKey("devices"))
        {
            RefuseDevices(required, "the devices controller of cgroup v1 is not mounted (mount -t cgroup -o devices devices /sys/fs/cgroup/devices)", null);
            return;
        }

        var exceptions = rules.Exceptions.Select(rule => rule.ToString()).ToList();
        CgroupFile.Write(File_("devices", rules.AllowsOthers ? "devices.allow" : "devices.deny"), "a", "device rules");
        CgroupFile.WriteEach(File_("devices", rules.AllowsOthers ? "devices.deny" : "devices.allow"), exceptions, "device rules");

        // Where all others are allowed the kernel does not show what is not.
        var held = (TryRead(File_("devices", "devices.list")) ?? string.Empty).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (rules.AllowsOthers ? held is not ["a *:* rwm"] : !exceptions.ToHashSet(StringComparer.Ordinal).SetEquals(held))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"device rules: the kernel holds {string.Join(", ", held)} instead of {string.Join(", ", exceptions)}");
        }
    }

    // A new cpuset is empty and takes no process until it has CPUs and nodes: each level takes its parent's, and hands
    // them on to those that are made in it.
    private void CreateCpuset(string root)
    {
        var directory = root;
        foreach (var part in CgroupPath.Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            var parent = directory;
            directory = $"{directory}/{part}";
            Directory.CreateDirectory(directory);
            foreach (var file in (ReadOnlySpan<string>)["cpuset.cpus", "cpuset.mems"])
            {
                if (string.IsNullOrEmpty(TryRead($"{directory}/{file}")))
                {
                    CgroupFile.Write($"{directory}/{file}", TryRead($"{parent}/{file}") ?? string.Empty, file);
                }
            }

            CgroupFile.Write(directory + "/cgroup.clone_children", "1", "hand CPUs on");
        }
    }

    private string File_(string controller, string name) => _directories.TryGetValue(controller, out var directory)
        ? $"{directory}/{name}"
        : $"/sys/fs/cgroup/{controller}{CgroupPath}/{name}";

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);
}
