using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>
/// What an operator has decided, read once and immutable. Sizes are bytes, times are as the property says. Where it
/// comes from, in order: flags, <c>EDGEHOST_…</c> variables, the file, defaults. See <see cref="ConfigurationReader"/>.
/// </summary>
public sealed record Configuration
{
    /// <summary>The name under which this device is known, <c>[A-Za-z0-9_-]{1,64}</c>; null derives it from host name and machine id.</summary>
    public string? DeviceId { get; init; }

    /// <summary>The profile of the board, beneath everything else; <c>none</c>, and null where no profile is for this board.</summary>
    public string? Profile { get; init; }

    /// <summary>What workloads of a desired state may ask for of this board's devices, as in <c>i2c=i2c1, /dev/ttyUSB*</c>; null: anything.</summary>
    public string? AllowedDevices { get; init; }

    /// <summary>From which temperature of the processor on the board is said to be hot, in °C.</summary>
    public int HotCelsius { get; init; } = 85;

    /// <summary>The broker elsewhere that this device obeys; null when there is none.</summary>
    public MqttConfiguration? Mqtt { get; init; }

    /// <summary>The broker in the daemon.</summary>
    public BrokerConfiguration Broker { get; init; } = new();

    /// <summary>What differs from the usual for a registry, by its host name (and port).</summary>
    public IReadOnlyDictionary<string, RegistryConfiguration> Registries { get; init; } = new Dictionary<string, RegistryConfiguration>();

    /// <summary>The limits of a deployed workload that names none.</summary>
    public LimitDefaults Defaults { get; init; } = new();

    /// <summary>What all containers together leave to the host.</summary>
    public HostReserve Reserve { get; init; } = new();

    /// <summary>What containers' networks are made of.</summary>
    public NetworkConfiguration Network { get; init; } = new();

    /// <summary>Whose users containers have.</summary>
    public UserNamespaceConfiguration Userns { get; init; } = new();

    /// <summary>The least that the daemon's own log says.</summary>
    public LogLevel LogLevel { get; init; } = LogLevel.Information;

    /// <summary>How much output is kept of containers.</summary>
    public LogConfiguration Log { get; init; } = new();

    /// <summary><c>images</c>: which images are kept that nothing needs.</summary>
    public ImagesConfiguration Images { get; init; } = new();

    /// <summary>The cgroup under which containers live, relative to the root of the hierarchy; null takes what systemd delegated, else <c>edgehost</c>.</summary>
    public string? CgroupRoot { get; init; }
}

/// <summary>Whose users containers have.</summary>
public sealed record UserNamespaceConfiguration
{
    /// <summary>Whether they are the host's for a container that does not ask for its own.</summary>
    public bool Host { get; init; }

    /// <summary>The file of subuid(5) with those of containers; null for /etc/subuid and /etc/subgid.</summary>
    public string? RangeFile { get; init; }
}

/// <summary>A broker elsewhere, and how to be let in.</summary>
public sealed record MqttConfiguration
{
    /// <summary><c>mqtt://host[:1883]</c> or <c>mqtts://host[:8883]</c>.</summary>
    public required Uri Url { get; init; }

    /// <summary>The user's name; null connects without.</summary>
    public string? User { get; init; }

    /// <summary>The file that holds the password, its last newline not counted.</summary>
    public string? PasswordFile { get; init; }

    /// <summary>The certificates of the authority that signed the broker's, as PEM; null takes the system's.</summary>
    public string? CaFile { get; init; }

    /// <summary>This device's certificate, as PEM.</summary>
    public string? CertFile { get; init; }

    /// <summary>The key of <see cref="CertFile"/>, as PEM.</summary>
    public string? KeyFile { get; init; }

    /// <summary>How often the connection is proved when nothing else is sent, in seconds, 5 to 3600.</summary>
    public int KeepAliveSeconds { get; init; } = 60;
}

/// <summary>The broker in the daemon.</summary>
public sealed record BrokerConfiguration
{
    /// <summary>Whether it runs; null runs it when no other broker is configured.</summary>
    public bool? Enabled { get; init; }

    /// <summary>Address and port on which it listens.</summary>
    public string Listen { get; init; } = "127.0.0.1:1883";
}

/// <summary>What differs from the usual for a registry.</summary>
public sealed record RegistryConfiguration
{
    /// <summary>Whether it is spoken to without TLS.</summary>
    public bool PlainHttp { get; init; }

    /// <summary>Whether its certificate is not checked, and HTTP taken when it does not speak TLS; anybody on the way can pass for it.</summary>
    public bool Insecure { get; init; }

    /// <summary>The certificates of the authority that signed its own, as PEM; null takes the system's.</summary>
    public string? CaFile { get; init; }

    /// <summary>The user's name; null asks anonymously.</summary>
    public string? User { get; init; }

    /// <summary>The file that holds the password, its last newline not counted.</summary>
    public string? PasswordFile { get; init; }
}

/// <summary>The limits of a deployed workload that names none; null: it has to name one.</summary>
public sealed record LimitDefaults
{
    /// <summary>Memory in bytes, at least 512 KiB.</summary>
    public long? Memory { get; init; }

    /// <summary>CPU time in billionths of a CPU, at least 10,000,000.</summary>
    public long? NanoCpus { get; init; }

    /// <summary>Processes and threads, at least 1.</summary>
    public long Pids { get; init; } = 512;
}

/// <summary>What all containers together leave to the host.</summary>
public sealed record HostReserve
{
    /// <summary>Memory in bytes.</summary>
    public long Memory { get; init; } = 64L * 1024 * 1024;

    /// <summary>Processes and threads.</summary>
    public long Pids { get; init; } = 512;
}

/// <summary>What containers' networks are made of.</summary>
public sealed record NetworkConfiguration
{
    /// <summary>The interface of the default network's bridge, 1 to 15 bytes.</summary>
    public string Bridge { get; init; } = "edgehost0";

    /// <summary>Where subnets are taken from, as in <c>10.210.0.0/16, 172.29.0.0/16</c>; null for EdgeHost's own choice.</summary>
    public string? Pools { get; init; }

    /// <summary>Whether the default network has IPv6.</summary>
    public bool IPv6 { get; init; } = true;
}

/// <summary>How much output is kept of each container.</summary>
public sealed record LogConfiguration
{
    /// <summary>The least of <see cref="MaxTotal"/>.</summary>
    internal const long LeastTotal = 16L * 1024 * 1024;

    /// <summary>Bytes of a file, at least 64 KiB.</summary>
    public long MaxSize { get; init; } = 4L * 1024 * 1024;

    /// <summary>Files, 2 to 100.</summary>
    public int MaxFiles { get; init; } = 4;

    /// <summary>Bytes of all containers together, at least 16 MiB; null for a tenth of the file system.</summary>
    public long? MaxTotal { get; init; }
}

/// <summary>Which images are kept that nothing needs.</summary>
public sealed record ImagesConfiguration
{
    /// <summary>Bytes of images of deployments before the last one; null for a tenth of the file system.</summary>
    public long? KeepUnused { get; init; }
}

/// <summary>Where the daemon reads and writes; fixed for its life.</summary>
/// <param name="ConfigFile">The configuration file.</param>
/// <param name="ConfigFileMustExist">Whether it was named by hand, so that its lack is an error.</param>
/// <param name="DataDirectory">What survives a boot.</param>
/// <param name="RunDirectory">What does not: sockets and live state.</param>
public sealed record DaemonPaths(string ConfigFile, bool ConfigFileMustExist, string DataDirectory, string RunDirectory)
{
    /// <summary>The configuration file unless one is named.</summary>
    public const string DefaultConfigFile = "/etc/edgehost/edgehost.json";

    /// <summary>The data directory unless one is named.</summary>
    public const string DefaultDataDirectory = "/var/lib/edgehost";

    /// <summary>The run directory unless one is named.</summary>
    public const string DefaultRunDirectory = "/run/edgehost";

    /// <summary>The API's socket.</summary>
    public string Socket => Path.Combine(RunDirectory, "edgehost.sock");

    /// <summary>Takes flags first, then <c>EDGEHOST_CONFIG</c>, <c>EDGEHOST_DATA_DIR</c> and <c>EDGEHOST_RUN_DIR</c>, then the defaults.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: a path is not absolute and cannot be made so.</exception>
    public static DaemonPaths From(string? config, string? data, string? run, Func<string, string?> environment)
    {
        var named = config ?? environment("EDGEHOST_CONFIG");
        return new DaemonPaths(
            Full(named ?? DefaultConfigFile),
            named is not null,
            Full(data ?? environment("EDGEHOST_DATA_DIR") ?? DefaultDataDirectory),
            Full(run ?? environment("EDGEHOST_RUN_DIR") ?? DefaultRunDirectory));
    }

    private static string Full(string path) => path.Length > 0
        ? Path.GetFullPath(path)
        : throw new EdgeHostException(ErrorKind.Invalid, "a path of the daemon is empty; give --config, --data-dir and --run-dir a path or leave them out");
}
