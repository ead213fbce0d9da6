using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>A cgroup of the unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).</summary>
/// <remarks>
/// One that is divided holds no process itself. The container lives in <c>init</c>, which is the root of its cgroup
/// namespace and is killed as a whole for want of memory; programs that are started in it later live in <c>exec</c>, health
/// checks in <c>health</c>. All of them share the limits of the one that they are in. Its own limits stand in <c>init</c>
/// once more, because there a program looks for them.
/// </remarks>
public sealed class CgroupV2 : Cgroup
{
    private static readonly string[] Controllers = ["memory", "cpu", "pids", "cpuset", "io"];

    private const string OwnName = "init", ExecName = "exec";

    private readonly string _root;
    private readonly string _directory;
    private readonly bool _divided;
    private string? _own;

    internal CgroupV2(string root, string path, bool divided)
        : base(path)
    {
        _root = root;
        _directory = root + path;
        _divided = divided;
    }

    /// <inheritdoc/>
    public override string? BirthDirectory => Own;

    /// <inheritdoc/>
    public override bool IsDivided => Own != _directory;

    // One that an older version made, or that has no memory controller, is not divided.
    private string Own => _own ??= _divided && Directory.Exists(File_(OwnName)) ? File_(OwnName) : _directory;

    /// <inheritdoc/>
    public override IReadOnlyList<string> JoinFiles => [];

    /// <inheritdoc/>
    public override bool Exists => Directory.Exists(_directory);

    /// <inheritdoc/>
    public override void Create()
    {
        if (_divided && CgroupFile.TryMake(_directory))
        {
            // Those above it were made ready when the daemon began.
            EnableControllers(Path.GetDirectoryName(_directory)!);
        }
        else if (Exists && !TryDelete())
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"cgroup {_directory} holds processes of somebody else; choose another name or end them");
        }
        else
        {
            Ensure();
        }

        if (_divided)
        {
            Divide();
        }
    }

    private void Divide()
    {
        _own = _directory;
        var handedOn = (TryRead(File_("cgroup.controllers")) ?? string.Empty).Split(' ').Intersect(Controllers, StringComparer.Ordinal).ToList();
        if (!handedOn.Contains("memory", StringComparer.Ordinal))
        {
            // Nothing is killed for want of memory, whose limit is refused.
            return;
        }

        // All at once, and while nothing is beneath it: each such write stops the forks of the board for a moment.
        CgroupFile.Write(File_("cgroup.subtree_control"), "+" + string.Join(" +", handedOn), "hand controllers on to the container's own cgroup");
        var own = File_(OwnName);
        if (!CgroupFile.TryMake(own))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"cgroup {own} was made by somebody else in this moment");
        }

        // Whoever asks for swap is given it with its limits; those without a limit have the board's, behind which none is used.
        WriteWhereThere(File_("memory.swap.max"), "0", "close swap");

        // Since Linux 4.19.
        WriteWhereThere(own + "/memory.oom.group", "1", "end the container as a whole when it is out of memory");
        _own = own;
    }

    /// <inheritdoc/>
    public override void Ensure()
    {
        var parts = CgroupPath.Split('/', StringSplitOptions.RemoveEmptyEntries);
        var directory = _root;
        foreach (var part in parts)
        {
            EnableControllers(directory);
            directory = $"{directory}/{part}";
            Directory.CreateDirectory(directory);
        }
    }

    /// <inheritdoc/>
    public override void Apply(CgroupLimits limits)
    {
        if (limits.MemoryBytes is { } memory)
        {
            // Swap is closed before memory is: no moment in which the limit leaks into it.
            ApplySwap(limits, memory);
            Hold("memory.max", Text(memory), "memory limit", held => HoldsBytes(held, memory));
        }
        else if (limits.MemoryAndSwapBytes is > 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "a limit of memory and swap needs a memory limit beside it");
        }

        if (limits.MemoryReservationBytes is { } low)
        {
            Hold("memory.low", Text(low), "memory reservation", held => HoldsBytes(held, low));
        }

        if (limits.Swappiness is not null)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, "swappiness: cgroup v2 has none; take it out");
        }

        if (limits.CpuQuotaMicroseconds is { } quota)
        {
            ApplyQuota(quota, limits.CpuPeriodMicroseconds);
        }

        if (limits.CpuShares is { } shares)
        {
            // The conversion that runc and crun use: 2..262144 to 1..10000.
            var weight = 1 + ((Math.Clamp(shares, 2, 262144) - 2) * 9999 / 262142);
            WriteAndVerify(File_("cpu.weight"), Text(weight), "CPU weight");
        }

        if (limits.CpusetCpus is { } cpus)
        {
            WriteAndVerify(File_("cpuset.cpus"), cpus, "CPUs", held => SameSet(held, cpus));
            VerifyEffective("cpuset.cpus.effective", cpus, "CPUs");
        }

        if (limits.CpusetMems is { } mems)
        {
            WriteAndVerify(File_("cpuset.mems"), mems, "memory nodes", held => SameSet(held, mems));
        }

        if (limits.Pids is { } pids)
        {
            Hold("pids.max", Text(pids), "process limit");
        }

        foreach (var block in limits.Blocks)
        {
            WriteAndVerify(
                File_("io.max"),
                $"{block.Device} {block.Setting}",
                "rate of disk",
                held => Array.Exists(held.Split('\n'), line => line.StartsWith(block.Device + " ", StringComparison.Ordinal) && line.Split(' ').Contains(block.Setting)));
        }

        if (limits.Devices is { } devices)
        {
            try
            {
                DeviceProgram.Attach(_directory, DeviceFilter.Compile(devices));
            }
            catch (LinuxException e)
            {
                RefuseDevices(limits.RequiresDevices, $"{e.Message}; the kernel needs CONFIG_CGROUP_BPF", e);
            }
        }

        foreach (var (name, value) in limits.Unified)
        {
            if (name.Contains('/', StringComparison.Ordinal))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"linux.resources.unified: \"{name}\" is not the name of a cgroup file");
            }

            if (!File.Exists(File_(name)))
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"linux.resources.unified: this kernel has no {name}");
            }

            CgroupFile.Write(File_(name), value, name);
        }
    }

    /// <inheritdoc/>
    public override void Lift(CgroupLimits limits)
    {
        Write(limits.MemoryBytes is not null, "memory.max", "max");
        Write(limits.MemoryBytes is not null, "memory.swap.max", _divided ? "0" : "max");
        Write(limits.CpuQuotaMicroseconds is not null, "cpu.max", $"max {Text(limits.CpuPeriodMicroseconds)}");
        Write(limits.CpusetCpus is not null, "cpuset.cpus", "\n");
        Write(limits.Pids is not null, "pids.max", "max");

        void Write(bool wanted, string file, string value)
        {
            if (wanted)
            {
                WriteWhereThere(File_(file), value, "take a limit away");
                if (IsDivided)
                {
                    WriteWhereThere($"{Own}/{file}", value, "take a limit away");
                }
            }
        }
    }

    /// <inheritdoc/>
    public override void Freeze()
    {
        if (!File.Exists(File_("cgroup.freeze")))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"pause: this kernel has no cgroup.freeze in {_directory} (Linux 5.2 and later has)");
        }

        CgroupFile.Write(File_("cgroup.freeze"), "1", "pause the container");
    }

    /// <inheritdoc/>
    public override void Thaw()
    {
        WriteWhereThere(File_("cgroup.freeze"), "0", "unpause the container");
    }

    /// <inheritdoc/>
    public override bool IsFrozen => ReadKey(File_("cgroup.events"), "frozen") == 1;

    /// <inheritdoc/>
    public override void Kill()
    {
        var kill = File_("cgroup.kill");
        if (File.Exists(kill))
        {
            CgroupFile.Write(kill, "1", "kill the container");
        }
        else
        {
            KillBeneath(_directory);
        }
    }

    /// <inheritdoc/>
    // No controller is handed on to it, so it costs a directory: what is in there is charged to the container itself.
    public override CgroupEntry MakeEntry(string name)
    {
        var directory = File_(name);
        _ = CgroupFile.TryMake(directory);
        return new CgroupEntry(directory, directory, []);
    }

    /// <inheritdoc/>
    public override CgroupEntry MakeExecEntry() => IsDivided ? MakeEntry(ExecName) : new CgroupEntry(_directory, _directory, []);

    /// <inheritdoc/>
    public override bool TryDelete()
    {
        if (_divided)
        {
            // As a rule there is nothing else beneath it.
            _ = CgroupFile.TryRemoveDirectory(File_(OwnName));
        }

        return RemoveBeneath(_directory);
    }

    /// <inheritdoc/>
    public override IReadOnlyList<int> ReadPids() => PidsBeneath(_directory);

    /// <inheritdoc/>
    public override long ReadOomKills() => ReadKey(Own + "/memory.events", "oom_kill");

    /// <inheritdoc/>
    public override long ReadExecOomKills() => IsDivided ? ReadKey(File_(ExecName) + "/memory.events", "oom_kill") : ReadOomKills();

    /// <inheritdoc/>
    public override CgroupStats ReadStats()
    {
        var cpuMax = (TryRead(File_("cpu.max")) ?? "max").Split(' ');
        var memory = TryReadNumber(File_("memory.max"));
        var swap = TryReadNumber(File_("memory.swap.max"));
        return new CgroupStats
        {
            MemoryBytes = TryReadNumber(File_("memory.current")) ?? 0,
            InactiveFileBytes = ReadKey(File_("memory.stat"), "inactive_file"),
            MemoryLimitBytes = memory,
            MemoryAndSwapLimitBytes = memory + swap,
            OomKills = ReadKey(File_("memory.events"), "oom_kill"),
            CpuNanoseconds = ReadKey(File_("cpu.stat"), "usage_usec") * 1000,
            CpuUserNanoseconds = ReadKey(File_("cpu.stat"), "user_usec") * 1000,
            CpuSystemNanoseconds = ReadKey(File_("cpu.stat"), "system_usec") * 1000,
            NanoCpus = cpuMax[0] == "max" ? null : long.Parse(cpuMax[0], CultureInfo.InvariantCulture) * 1_000_000_000 / long.Parse(cpuMax[1], CultureInfo.InvariantCulture),
            CpuPeriods = ReadKey(File_("cpu.stat"), "nr_periods"),
            CpuThrottledPeriods = ReadKey(File_("cpu.stat"), "nr_throttled"),
            CpuThrottledNanoseconds = ReadKey(File_("cpu.stat"), "throttled_usec") * 1000,
            Pids = TryReadNumber(File_("pids.current")) ?? 0,
            PidsLimit = TryReadNumber(File_("pids.max")),
            PidsRefused = ReadForksRefused(),
            CpusetCpus = TryRead(File_("cpuset.cpus.effective")),
            Blocks = BlockUse.Parse(TryRead(File_("io.stat"))),
        };
    }

    private void ApplyQuota(long quota, long period)
    {
        var text = $"{Text(quota)} {Text(period)}";
        WriteAndVerify(File_("cpu.max"), text, "CPU limit");
        if (IsDivided)
        {
            // It is there to be read. Two quotas whose periods begin at different times would take from each other; with
            // what may be saved up (since Linux 5.14) the inner one never holds anything back. No more than the quota may be.
            WriteWhereThere(Own + "/cpu.max.burst", "0", "CPU limit");
            CgroupFile.Write(Own + "/cpu.max", text, "CPU limit");
            WriteWhereThere(Own + "/cpu.max.burst", Text(quota), "CPU limit");
        }
    }

    private void ApplySwap(CgroupLimits limits, long memory)
    {
        var file = File_("memory.swap.max");
        var asked = limits.MemoryAndSwapBytes switch
        {
            null => 0,
            -1 => -1L,
            { } both when both >= memory => both - memory,
            { } both => throw new EdgeHostException(ErrorKind.Invalid, $"the limit of memory and swap, {both}, is below the memory limit, {memory}"),
        };
        if (!File.Exists(file))
        {
            // A kernel without CONFIG_SWAP or with swapaccount=0.
            if (BoardHasSwap && asked != -1)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, "memory limit: this board has swap but its kernel does not account it, so the limit would not hold; turn swap off (swapoff -a) or boot with swapaccount=1");
            }

            return;
        }

        if (asked == -1)
        {
            Hold("memory.swap.max", "max", "swap limit");
        }
        else
        {
            Hold("memory.swap.max", Text(asked), "swap limit", held => HoldsBytes(held, asked));
        }
    }

    private void Hold(string file, string value, string name, Func<string, bool>? holds = null)
    {
        WriteAndVerify(File_(file), value, name, holds);
        if (IsDivided)
        {
            CgroupFile.Write($"{Own}/{file}", value, name);
        }
    }

    // Before Linux 6.11 a refused fork is counted where the process is, since then where the limit is and above.
    private long ReadForksRefused()
    {
        var here = ReadKey(File_("pids.events"), "max");
        return IsDivided ? Math.Max(here, ReadKey(Own + "/pids.events", "max") + ReadKey(File_(ExecName) + "/pids.events", "max")) : here;
    }

    private void VerifyEffective(string file, string asked, string name)
    {
        var effective = TryRead(File_(file)) ?? string.Empty;
        if (!ExpandList(asked).IsSubsetOf(ExpandList(effective)))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"{name} {asked}: this board has only {effective} to give");
        }
    }

    // "No internal processes": a cgroup that holds processes cannot hand controllers on, except the root.
    private static void EnableControllers(string directory)
    {
        var available = (TryRead(directory + "/cgroup.controllers") ?? string.Empty).Split(' ');
        var enabled = (TryRead(directory + "/cgroup.subtree_control") ?? string.Empty).Split(' ');
        foreach (var controller in Controllers)
        {
            if (available.Contains(controller) && !enabled.Contains(controller))
            {
                try
                {
                    CgroupFile.Write(directory + "/cgroup.subtree_control", "+" + controller, $"hand the {controller} controller on to containers");
                }
                catch (LinuxException e) when (e.Errno == Errno.EBUSY)
                {
                    throw new EdgeHostException(
                        ErrorKind.Infeasible, $"cgroup {directory} holds processes, so it cannot hand the {controller} controller on to containers; run EdgeHost in a cgroup of its own with Delegate=yes", e);
                }
            }
        }
    }

    private string File_(string name) => $"{_directory}/{name}";

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);
}
