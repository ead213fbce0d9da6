using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>What a cgroup is asked to hold. Null is not asked; a limit that is asked for is held or refused, never dropped.</summary>
public sealed record CgroupLimits
{
    /// <summary>Memory in bytes.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Memory and swap together in bytes. Null with a memory limit closes swap: the same as <see cref="MemoryBytes"/>. -1 is no limit.</summary>
    public long? MemoryAndSwapBytes { get; init; }

    /// <summary>The soft limit in bytes.</summary>
    public long? MemoryReservationBytes { get; init; }

    /// <summary>Of cgroup v1 only, 0 to 100.</summary>
    public long? Swappiness { get; init; }

    /// <summary>Microseconds of CPU time per period, at least 1000.</summary>
    public long? CpuQuotaMicroseconds { get; init; }

    /// <summary>The period in microseconds, 1000 to 1,000,000.</summary>
    public long CpuPeriodMicroseconds { get; init; } = 100_000;

    /// <summary>The weight as v1 has it, 2 to 262144.</summary>
    public long? CpuShares { get; init; }

    /// <summary>CPUs, as in <c>0-2,4</c>.</summary>
    public string? CpusetCpus { get; init; }

    /// <summary>Memory nodes.</summary>
    public string? CpusetMems { get; init; }

    /// <summary>Processes and threads.</summary>
    public long? Pids { get; init; }

    /// <summary>How much of disks may be used.</summary>
    public IReadOnlyList<BlockLimit> Blocks { get; init; } = [];

    /// <summary>The devices that may be used. They are set once, before anything is in the cgroup.</summary>
    public DeviceRules? Devices { get; init; }

    /// <summary>Whether it is refused, and not only remarked, that this kernel cannot hold <see cref="Devices"/>.</summary>
    public bool RequiresDevices { get; init; } = true;

    /// <summary>Files of cgroup v2 and their content, written as they are.</summary>
    public IReadOnlyDictionary<string, string> Unified { get; init; } = new Dictionary<string, string>();

    /// <summary>The limits of a runtime configuration.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: a limit that this version cannot hold.</exception>
    public static CgroupLimits From(RuntimeResources? resources)
    {
        if (resources is null)
        {
            return new CgroupLimits { Devices = DeviceRules.Default };
        }

        Refuse(resources.HugepageLimits is { ValueKind: System.Text.Json.JsonValueKind.Array } huge && huge.GetArrayLength() > 0, "hugepageLimits");
        Refuse(resources.Network is { ValueKind: System.Text.Json.JsonValueKind.Object }, "network");
        Refuse(resources.Rdma is { ValueKind: System.Text.Json.JsonValueKind.Object }, "rdma");
        var memory = resources.Memory;
        Refuse(memory?.Kernel is > 0, "memory.kernel");
        Refuse(memory?.KernelTcp is > 0, "memory.kernelTCP");
        Refuse(memory?.DisableOomKiller is true, "memory.disableOOMKiller");
        var cpu = resources.Cpu;
        Refuse(cpu?.Burst is > 0, "cpu.burst");
        Refuse(cpu?.RealtimeRuntime is not null and not 0, "cpu.realtimeRuntime");
        Refuse(cpu?.RealtimePeriod is > 0, "cpu.realtimePeriod");
        Refuse(cpu?.Idle is > 0, "cpu.idle");
        return new CgroupLimits
        {
            MemoryBytes = Positive(memory?.Limit),
            MemoryAndSwapBytes = memory?.Swap is 0 ? null : memory?.Swap,
            MemoryReservationBytes = Positive(memory?.Reservation),
            Swappiness = (long?)memory?.Swappiness,
            CpuQuotaMicroseconds = Positive(cpu?.Quota),
            CpuPeriodMicroseconds = cpu?.Period is > 0 and { } period ? (long)period : 100_000,
            CpuShares = cpu?.Shares is > 0 and { } shares ? (long)shares : null,
            CpusetCpus = string.IsNullOrEmpty(cpu?.Cpus) ? null : cpu.Cpus,
            CpusetMems = string.IsNullOrEmpty(cpu?.Mems) ? null : cpu.Mems,
            Pids = Positive(resources.Pids?.Limit),
            Blocks = BlockLimit.From(resources.BlockIo),
            Devices = resources.Devices is null ? DeviceRules.Default : DeviceRules.From(resources.Devices),
            Unified = resources.Unified ?? new Dictionary<string, string>(),
        };
    }

    private static long? Positive(long? value) => value is > 0 ? value : null;

    private static void Refuse(bool asked, string name)
    {
        if (asked)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"linux.resources.{name}: this version cannot hold this limit; take it out");
        }
    }
}
