using System.Text.Json.Serialization;

namespace EdgeHost.Oci;

/// <summary>
/// The configuration of a container (OCI runtime-spec 1.1, config.md and config-linux.md), as a bundle's
/// <c>config.json</c> holds it. Immutable; a property that the file does not give is null.
/// </summary>
public sealed record RuntimeSpec
{
    /// <summary>The version of the specification.</summary>
    public string? OciVersion { get; init; }

    /// <summary>The root file system.</summary>
    public RuntimeRoot? Root { get; init; }

    /// <summary>Mounts, in order.</summary>
    public IReadOnlyList<RuntimeMount>? Mounts { get; init; }

    /// <summary>The process.</summary>
    public RuntimeProcess? Process { get; init; }

    /// <summary>The host name; needs a uts namespace.</summary>
    public string? Hostname { get; init; }

    /// <summary>The NIS domain name; needs a uts namespace.</summary>
    public string? Domainname { get; init; }

    /// <summary>What only Linux has.</summary>
    public RuntimeLinux? Linux { get; init; }

    /// <summary>Hooks; kept as received.</summary>
    public Dictionary<string, System.Text.Json.JsonElement>? Hooks { get; init; }

    /// <summary>Annotations.</summary>
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }
}

/// <summary>The root file system (config.md, "Root").</summary>
public sealed class RuntimeRoot
{
    /// <summary>Absolute, or relative to the bundle.</summary>
    public string? Path { get; init; }

    /// <summary>Whether it is read-only inside.</summary>
    public bool Readonly { get; init; }
}

/// <summary>A mount (config.md, "Mounts").</summary>
public sealed class RuntimeMount
{
    /// <summary>The path inside.</summary>
    public string? Destination { get; init; }

    /// <summary>The type of file system; <c>bind</c> or empty with a bind option is a bind mount.</summary>
    public string? Type { get; init; }

    /// <summary>The source; for a bind mount absolute or relative to the bundle.</summary>
    public string? Source { get; init; }

    /// <summary>Options in the words of mount(8).</summary>
    public IReadOnlyList<string>? Options { get; init; }
}

/// <summary>The process (config.md, "Process").</summary>
public sealed record RuntimeProcess
{
    /// <summary>Whether it wants a terminal.</summary>
    public bool Terminal { get; init; }

    /// <summary>The user.</summary>
    public RuntimeUser? User { get; init; }

    /// <summary>Program and arguments.</summary>
    public IReadOnlyList<string>? Args { get; init; }

    /// <summary>Variables as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string>? Env { get; init; }

    /// <summary>The absolute working directory.</summary>
    public string? Cwd { get; init; }

    /// <summary>The capability sets.</summary>
    public RuntimeCapabilities? Capabilities { get; init; }

    /// <summary>Resource limits of the process.</summary>
    public IReadOnlyList<RuntimeRlimit>? Rlimits { get; init; }

    /// <summary>Whether execve may not gain privileges.</summary>
    public bool NoNewPrivileges { get; init; }

    /// <summary>The AppArmor profile.</summary>
    public string? ApparmorProfile { get; init; }

    /// <summary>The SELinux label.</summary>
    public string? SelinuxLabel { get; init; }

    /// <summary>-1000 to 1000.</summary>
    public int? OomScoreAdj { get; init; }
}

/// <summary>The user of a process.</summary>
public sealed class RuntimeUser
{
    /// <summary>User id.</summary>
    public uint Uid { get; init; }

    /// <summary>Group id.</summary>
    public uint Gid { get; init; }

    /// <summary>The umask; null is 022.</summary>
    public uint? Umask { get; init; }

    /// <summary>Supplementary groups.</summary>
    public IReadOnlyList<uint>? AdditionalGids { get; init; }
}

/// <summary>Capability sets, each a list of names as in <c>CAP_CHOWN</c>.</summary>
public sealed class RuntimeCapabilities
{
    /// <summary>The bounding set.</summary>
    public IReadOnlyList<string>? Bounding { get; init; }

    /// <summary>The effective set.</summary>
    public IReadOnlyList<string>? Effective { get; init; }

    /// <summary>The inheritable set.</summary>
    public IReadOnlyList<string>? Inheritable { get; init; }

    /// <summary>The permitted set.</summary>
    public IReadOnlyList<string>? Permitted { get; init; }

    /// <summary>The ambient set.</summary>
    public IReadOnlyList<string>? Ambient { get; init; }
}

/// <summary>A resource limit (prlimit(2)).</summary>
public sealed class RuntimeRlimit
{
    /// <summary>As in <c>RLIMIT_NOFILE</c>.</summary>
    public string? Type { get; init; }

    /// <summary>The soft limit.</summary>
    public ulong Soft { get; init; }

    /// <summary>The hard limit.</summary>
    public ulong Hard { get; init; }
}

/// <summary>What only Linux has (config-linux.md).</summary>
public sealed record RuntimeLinux
{
    /// <summary>Namespaces to make or to join.</summary>
    public IReadOnlyList<RuntimeNamespace>? Namespaces { get; init; }

    /// <summary>User ids inside and outside.</summary>
    public IReadOnlyList<RuntimeIdMapping>? UidMappings { get; init; }

    /// <summary>Group ids inside and outside.</summary>
    public IReadOnlyList<RuntimeIdMapping>? GidMappings { get; init; }

    /// <summary>Device nodes beside the default ones.</summary>
    public IReadOnlyList<RuntimeDevice>? Devices { get; init; }

    /// <summary>The cgroup, absolute from the hierarchy's root or relative to ours.</summary>
    public string? CgroupsPath { get; init; }

    /// <summary>Limits.</summary>
    public RuntimeResources? Resources { get; init; }

    /// <summary>Kernel parameters that belong to the container's namespaces.</summary>
    public IReadOnlyDictionary<string, string>? Sysctl { get; init; }

    /// <summary>The system call filter.</summary>
    public RuntimeSeccomp? Seccomp { get; init; }

    /// <summary>Propagation of the root mount.</summary>
    public string? RootfsPropagation { get; init; }

    /// <summary>Paths that are hidden.</summary>
    public IReadOnlyList<string>? MaskedPaths { get; init; }

    /// <summary>Paths that are read-only.</summary>
    public IReadOnlyList<string>? ReadonlyPaths { get; init; }

    /// <summary>The SELinux label of mounts.</summary>
    public string? MountLabel { get; init; }

    /// <summary>Intel RDT; kept to be refused.</summary>
    public System.Text.Json.JsonElement? IntelRdt { get; init; }

    /// <summary>The execution domain; kept to be refused.</summary>
    public System.Text.Json.JsonElement? Personality { get; init; }

    /// <summary>Offsets of a time namespace; kept to be refused.</summary>
    public System.Text.Json.JsonElement? TimeOffsets { get; init; }
}

/// <summary>A namespace to make, or with a path to join.</summary>
public sealed class RuntimeNamespace
{
    /// <summary><c>pid</c>, <c>network</c>, <c>mount</c>, <c>ipc</c>, <c>uts</c>, <c>user</c>, <c>cgroup</c>, <c>time</c>.</summary>
    public string? Type { get; init; }

    /// <summary>The file of an existing one.</summary>
    public string? Path { get; init; }
}

/// <summary>A range of ids.</summary>
public sealed class RuntimeIdMapping
{
    /// <summary>The first id inside.</summary>
    [JsonPropertyName("containerID")]
    public uint ContainerId { get; init; }

    /// <summary>The first id outside.</summary>
    [JsonPropertyName("hostID")]
    public uint HostId { get; init; }

    /// <summary>How many.</summary>
    public uint Size { get; init; }
}

/// <summary>A device node.</summary>
public sealed class RuntimeDevice
{
    /// <summary>The path inside.</summary>
    public string? Path { get; init; }

    /// <summary><c>c</c>, <c>b</c>, <c>u</c> or <c>p</c>.</summary>
    public string? Type { get; init; }

    /// <summary>The major number.</summary>
    public long Major { get; init; }

    /// <summary>The minor number.</summary>
    public long Minor { get; init; }

    /// <summary>Permission bits; null is 0666.</summary>
    public uint? FileMode { get; init; }

    /// <summary>The owner.</summary>
    public uint? Uid { get; init; }

    /// <summary>The group.</summary>
    public uint? Gid { get; init; }
}

/// <summary>Limits (config-linux.md, "Control groups").</summary>
public sealed class RuntimeResources
{
    /// <summary>Device rules.</summary>
    public IReadOnlyList<RuntimeDeviceRule>? Devices { get; init; }

    /// <summary>Memory.</summary>
    public RuntimeMemory? Memory { get; init; }

    /// <summary>CPU.</summary>
    public RuntimeCpu? Cpu { get; init; }

    /// <summary>Processes and threads.</summary>
    public RuntimePids? Pids { get; init; }

    /// <summary>Block I/O; kept to be refused.</summary>
    [JsonPropertyName("blockIO")]
    public System.Text.Json.JsonElement? BlockIo { get; init; }

    /// <summary>Huge pages; kept to be refused.</summary>
    public System.Text.Json.JsonElement? HugepageLimits { get; init; }

    /// <summary>Network classes; kept to be refused.</summary>
    public System.Text.Json.JsonElement? Network { get; init; }

    /// <summary>RDMA; kept to be refused.</summary>
    public System.Text.Json.JsonElement? Rdma { get; init; }

    /// <summary>Files of cgroup v2 and their content.</summary>
    public IReadOnlyDictionary<string, string>? Unified { get; init; }
}

/// <summary>A device rule.</summary>
public sealed class RuntimeDeviceRule
{
    /// <summary>Whether it allows.</summary>
    public bool Allow { get; init; }

    /// <summary><c>a</c>, <c>c</c> or <c>b</c>.</summary>
    public string? Type { get; init; }

    /// <summary>The major number; null for all.</summary>
    public long? Major { get; init; }

    /// <summary>The minor number; null for all.</summary>
    public long? Minor { get; init; }

    /// <summary>Of <c>rwm</c>.</summary>
    public string? Access { get; init; }
}

/// <summary>Limits of memory, in bytes; -1 is none.</summary>
public sealed class RuntimeMemory
{
    /// <summary>Of memory.</summary>
    public long? Limit { get; init; }

    /// <summary>The soft limit.</summary>
    public long? Reservation { get; init; }

    /// <summary>Of memory and swap together.</summary>
    public long? Swap { get; init; }

    /// <summary>Of kernel memory; ignored by kernels since 5.4, so refused.</summary>
    public long? Kernel { get; init; }

    /// <summary>Of TCP buffers; cgroup v1 only, refused.</summary>
    [JsonPropertyName("kernelTCP")]
    public long? KernelTcp { get; init; }

    /// <summary>0 to 100; cgroup v1 only.</summary>
    public ulong? Swappiness { get; init; }

    /// <summary>Whether the kernel must not kill; refused.</summary>
    [JsonPropertyName("disableOOMKiller")]
    public bool? DisableOomKiller { get; init; }
}

/// <summary>Limits of the CPU.</summary>
public sealed class RuntimeCpu
{
    /// <summary>The weight, 2 to 262144; 1024 is the default.</summary>
    public ulong? Shares { get; init; }

    /// <summary>Microseconds of CPU time in a period; -1 is none.</summary>
    public long? Quota { get; init; }

    /// <summary>Microseconds that may be saved up.</summary>
    public ulong? Burst { get; init; }

    /// <summary>The period in microseconds, 1000 to 1000000.</summary>
    public ulong? Period { get; init; }

    /// <summary>Real-time microseconds in a period; refused.</summary>
    public long? RealtimeRuntime { get; init; }

    /// <summary>The real-time period; refused.</summary>
    public ulong? RealtimePeriod { get; init; }

    /// <summary>CPUs, as in <c>0-2,4</c>.</summary>
    public string? Cpus { get; init; }

    /// <summary>Memory nodes.</summary>
    public string? Mems { get; init; }

    /// <summary>1 for the idle policy.</summary>
    public long? Idle { get; init; }
}

/// <summary>Limits of processes and threads.</summary>
public sealed class RuntimePids
{
    /// <summary>How many; 0 or less is none.</summary>
    public long? Limit { get; init; }
}

/// <summary>A system call filter (config-linux.md, "Seccomp").</summary>
public sealed class RuntimeSeccomp
{
    /// <summary>What happens to a call that no rule names.</summary>
    public string? DefaultAction { get; init; }

    /// <summary>The error number of a default action that gives one.</summary>
    public uint? DefaultErrnoRet { get; init; }

    /// <summary>Architectures beside the native one.</summary>
    public IReadOnlyList<string>? Architectures { get; init; }

    /// <summary>Flags of seccomp(2).</summary>
    public IReadOnlyList<string>? Flags { get; init; }

    /// <summary>The socket of a notification listener; refused.</summary>
    public string? ListenerPath { get; init; }

    /// <summary>The rules.</summary>
    public IReadOnlyList<RuntimeSyscall>? Syscalls { get; init; }
}

/// <summary>A rule for system calls.</summary>
public sealed class RuntimeSyscall
{
    /// <summary>The calls.</summary>
    public IReadOnlyList<string>? Names { get; init; }

    /// <summary>What happens.</summary>
    public string? Action { get; init; }

    /// <summary>The error number of an action that gives one.</summary>
    public uint? ErrnoRet { get; init; }

    /// <summary>Conditions, all of which must hold.</summary>
    public IReadOnlyList<RuntimeSyscallArgument>? Args { get; init; }
}

/// <summary>A condition on an argument of a system call.</summary>
public sealed class RuntimeSyscallArgument
{
    /// <summary>Which argument, 0 to 5.</summary>
    public uint Index { get; init; }

    /// <summary>The value (the mask for a masked comparison).</summary>
    public ulong Value { get; init; }

    /// <summary>The value of a masked comparison.</summary>
    public ulong ValueTwo { get; init; }

    /// <summary>The comparison, as in <c>SCMP_CMP_EQ</c>.</summary>
    public string? Op { get; init; }
}

/// <summary>What <c>state</c> prints (runtime-spec, runtime.md, "State").</summary>
public sealed class RuntimeState
{
    /// <summary>The version of the specification.</summary>
    public string OciVersion { get; init; } = "1.1.0";

    /// <summary>The container's id.</summary>
    public required string Id { get; init; }

    /// <summary><c>creating</c>, <c>created</c>, <c>running</c>, <c>stopped</c>.</summary>
    public required string Status { get; init; }

    /// <summary>The pid of its first process; absent when stopped.</summary>
    public int? Pid { get; init; }

    /// <summary>The bundle.</summary>
    public required string Bundle { get; init; }

    /// <summary>Annotations of the configuration.</summary>
    public IReadOnlyDictionary<string, string>? Annotations { get; init; }

    /// <summary>When it was created (as runc and crun tell).</summary>
    public DateTimeOffset? Created { get; init; }
}

/// <summary>JSON of the runtime specification, without reflection.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    WriteIndented = true)]
[JsonSerializable(typeof(RuntimeSpec))]
[JsonSerializable(typeof(RuntimeState))]
public sealed partial class RuntimeSpecJson : JsonSerializerContext
{
}
