using EdgeHost.Networks;
using EdgeHost.Oci;

namespace EdgeHost.Engine;

/// <summary>What somebody asked for: a container, in Docker's words. Immutable; nothing in it was decided by us.</summary>
public sealed record ContainerSpec
{
    /// <summary>The name, <c>[a-zA-Z0-9][a-zA-Z0-9_.-]*</c>; null lets the engine make one.</summary>
    public string? Name { get; init; }

    /// <summary>The image as the user wrote it: a reference, or an image id.</summary>
    public required string Image { get; init; }

    /// <summary>Replaces the image's entrypoint; an empty list clears it; null keeps it.</summary>
    public IReadOnlyList<string>? Entrypoint { get; init; }

    /// <summary>Replaces the image's command; null keeps it unless <see cref="Entrypoint"/> is given.</summary>
    public IReadOnlyList<string>? Command { get; init; }

    /// <summary>Variables as <c>NAME=value</c>, put over the image's.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Replaces the image's working directory.</summary>
    public string? WorkingDirectory { get; init; }

    /// <summary>Replaces the image's user: <c>name|uid[:group|gid]</c>.</summary>
    public string? User { get; init; }

    /// <summary>The host name inside; null takes the first 12 digits of the id.</summary>
    public string? Hostname { get; init; }

    /// <summary>Labels, put over the image's.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>Volumes, binds and tmpfs.</summary>
    public IReadOnlyList<ContainerMount> Mounts { get; init; } = [];

    /// <summary>Whose network it lives in.</summary>
    public NetworkMode Network { get; init; } = NetworkMode.None;

    /// <summary>The networks that it is in, for <see cref="NetworkMode.Bridge"/>; the first gives the default route.</summary>
    public IReadOnlyList<EndpointSpec> Endpoints { get; init; } = [];

    /// <summary>Name or id of the container whose network it shares, for <see cref="NetworkMode.Container"/>.</summary>
    public string? NetworkOf { get; init; }

    /// <summary>Ports that are published.</summary>
    public IReadOnlyList<PortBinding> Ports { get; init; } = [];

    /// <summary>Ports that it is said to listen at beside those of the image, as <c>80/tcp</c>: they are shown, and <see cref="PublishAll"/> publishes them.</summary>
    public IReadOnlyList<string> Exposed { get; init; } = [];

    /// <summary>Whether all ports that it or its image is said to listen at are published, at ports that are free.</summary>
    public bool PublishAll { get; init; }

    /// <summary>More lines of /etc/hosts, as <c>name:address</c>; the address <c>host-gateway</c> is the host's in its network.</summary>
    public IReadOnlyList<string> ExtraHosts { get; init; } = [];

    /// <summary>Name servers in the place of the host's.</summary>
    public IReadOnlyList<string> Dns { get; init; } = [];

    /// <summary>Search domains in the place of the host's.</summary>
    public IReadOnlyList<string> DnsSearch { get; init; } = [];

    /// <summary>Options of the resolver in the place of the host's.</summary>
    public IReadOnlyList<string> DnsOptions { get; init; } = [];

    /// <summary>What it may use at most.</summary>
    public ResourceLimits Limits { get; init; } = new();

    /// <summary>The size in bytes of one file of its output; null as for all.</summary>
    public long? LogBytes { get; init; }

    /// <summary>How many files of its output are kept; null as for all.</summary>
    public int? LogFiles { get; init; }

    /// <summary>What happens when it ends.</summary>
    public RestartPolicy Restart { get; init; } = RestartPolicy.Never;

    /// <summary>The signal that asks it to stop (<c>SIGTERM</c>, <c>TERM</c> or a number); null takes the image's, else SIGTERM.</summary>
    public string? StopSignal { get; init; }

    /// <summary>How long it may take to stop before it is killed; null means 10 s.</summary>
    public TimeSpan? StopGrace { get; init; }

    /// <summary>Whether its root file system is read-only.</summary>
    public bool ReadOnlyRoot { get; init; }

    /// <summary>Capabilities to add to the default set, with or without <c>CAP_</c>; <c>ALL</c> for all.</summary>
    public IReadOnlyList<string> AddCapabilities { get; init; } = [];

    /// <summary>Capabilities to take from the default set; <c>ALL</c> for all.</summary>
    public IReadOnlyList<string> DropCapabilities { get; init; } = [];

    /// <summary>Devices of the host that it is given, as <c>SOURCE[:PATH][:rwm]</c>; a directory stands for those in it. A source may be one of <see cref="Linux.DeviceNames"/>.</summary>
    public IReadOnlyList<string> Devices { get; init => field = value ?? []; } = []; // What an older build wrote down has none.

    /// <summary>Devices that it may use once it has a node, as <c>c 189:* rwm</c>.</summary>
    public IReadOnlyList<string> DeviceRules { get; init => field = value ?? []; } = []; // What an older build wrote down has none.

    /// <summary>How its health is checked; null as the image says, what is 0 or empty in it too.</summary>
    public HealthCheck? Health { get; init; }

    /// <summary>Whose users and groups its own are.</summary>
    public UserNamespaceMode Users { get; init; }

    /// <summary>
    /// Whether nothing is kept from it but its namespaces and limits: all rights and devices, no filter, nothing hidden or
    /// read-only. It can become the machine's root.
    /// </summary>
    public bool Privileged { get; init; }

    /// <summary>The AppArmor profile that confines it, <c>unconfined</c> for none; null takes ours where this host has AppArmor, if not <see cref="Privileged"/>.</summary>
    public string? AppArmor { get; init; }

    /// <summary>Whether a process of ours is the first in it: it hands signals on to the program, and reaps what loses its parent.</summary>
    public bool Init { get; init; }

    /// <summary>Whether it has a terminal in place of pipes.</summary>
    public bool Terminal { get; init; }

    /// <summary>The lines of the terminal at the start; 0 where they are not known.</summary>
    public int TerminalRows { get; init; }

    /// <summary>The characters in a line of the terminal at the start; 0 where they are not known.</summary>
    public int TerminalColumns { get; init; }

    /// <summary>Whether its standard input is open; otherwise it is at its end from the start.</summary>
    public bool OpenInput { get; init; }

    /// <summary>Whether its standard input ends when the first who writes to it has ended or gone.</summary>
    public bool InputOnce { get; init; }

    /// <summary>Whether it is removed, with its anonymous volumes, once it has ended.</summary>
    public bool AutoRemove { get; init; }
}

/// <summary>Whose users and groups those of a container are (user_namespaces(7)).</summary>
public enum UserNamespaceMode
{
    /// <summary>A range of its own where this host can, and nothing that it asks for needs the host's.</summary>
    Default,

    /// <summary>The host's: root inside is root of the machine, without most of its rights.</summary>
    Host,

    /// <summary>A range that no other container has: root inside is nobody of the machine.</summary>
    Auto,
}

/// <summary>Whose network a container lives in.</summary>
public enum NetworkMode
{
    /// <summary>A network namespace of its own with a loopback only.</summary>
    None,

    /// <summary>The host's network namespace.</summary>
    Host,

    /// <summary>A network namespace of its own that is in networks.</summary>
    Bridge,

    /// <summary>The network namespace of another container.</summary>
    Container,
}

/// <summary>The kind of a mount.</summary>
public enum ContainerMountKind
{
    /// <summary>A directory that EdgeHost keeps under a name.</summary>
    Volume,

    /// <summary>A path of the host.</summary>
    Bind,

    /// <summary>Memory, counted against the container's limit.</summary>
    Tmpfs,
}

/// <summary>Something mounted into a container.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Source">The volume's name (empty for an anonymous one) or the host's path; unused for tmpfs.</param>
/// <param name="Target">The absolute path inside.</param>
/// <param name="ReadOnly">Whether it cannot be written.</param>
/// <param name="Options">Mount options of a tmpfs, as in <c>size=16m,mode=1777</c>.</param>
/// <param name="NoCopy">Whether an empty volume stays empty instead of getting what the image has there.</param>
/// <param name="HostIds">Whether its files belong to the host's users in a user namespace as well, where those appear as 65534.</param>
/// <param name="MakesSource">Whether a directory of the host that is not there is made at the start.</param>
public sealed record ContainerMount(ContainerMountKind Kind, string Source, string Target, bool ReadOnly = false, string? Options = null, bool NoCopy = false, bool HostIds = false, bool? MakesSource = null);

/// <summary>What a container may use at most. Null is no limit of its own: the parent of all containers still has one.</summary>
public sealed record ResourceLimits
{
    /// <summary>The smallest memory limit in bytes, in which a static program runs where pages have 4 KiB.</summary>
    public const long SmallestMemoryBytes = 256 << 10;

    /// <summary>Memory in bytes, page cache and tmpfs included; at least <see cref="SmallestMemoryBytes"/>; the kernel rounds down to pages.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Memory and swap together in bytes, at least <see cref="MemoryBytes"/>; -1 is no limit of swap; null grants none.</summary>
    public long? MemoryAndSwapBytes { get; init; }

    /// <summary>Memory in bytes that it keeps when the board is short of it, at most <see cref="MemoryBytes"/>.</summary>
    public long? MemoryReservationBytes { get; init; }

    /// <summary>CPU time per time, in billionths of one CPU: 500,000,000 is half a CPU; at least 10,000,000.</summary>
    public long? NanoCpus { get; init; }

    /// <summary>Processes and threads; at least 1.</summary>
    public long? Pids { get; init; }

    /// <summary>The CPUs that it may run on, as in <c>0-2,4</c>.</summary>
    public string? CpusetCpus { get; init; }

    /// <summary>
    /// How much of disks of the host it may use in a second, as in <c>/dev/sda rbps=1048576</c>: bytes that it reads
    /// (rbps) and writes (wbps), and operations of both (riops, wiops).
    /// </summary>
    public IReadOnlyList<string>? BlockRates { get; init; }
}

/// <summary>When a container that has ended is started again.</summary>
public enum RestartKind
{
    /// <summary>Never.</summary>
    No,

    /// <summary>Always, also after a boot, even when it was stopped by hand before.</summary>
    Always,

    /// <summary>When it ended with another exit code than 0.</summary>
    OnFailure,

    /// <summary>Always, but not after it was stopped by hand.</summary>
    UnlessStopped,
}

/// <summary>When and how often a container is started again. The delay doubles from 100 ms to 1 min and falls back after 10 s of running.</summary>
/// <param name="Kind">When.</param>
/// <param name="MaximumRetryCount">How often at most for <see cref="RestartKind.OnFailure"/>; 0 is without end.</param>
public sealed record RestartPolicy(RestartKind Kind, int MaximumRetryCount = 0)
{
    /// <summary>Never.</summary>
    public static readonly RestartPolicy Never = new(RestartKind.No);
}
