using EdgeHost.Errors;

namespace EdgeHost.Mqtt;

/// <summary>Which version of the protocol is spoken.</summary>
public enum MqttProtocol
{
    /// <summary>MQTT 5, and 3.1.1 where the broker does not know it.</summary>
    Auto,

    /// <summary>MQTT 5 only.</summary>
    V5,

    /// <summary>MQTT 3.1.1 only.</summary>
    V311,
}

/// <summary>A broker and how to get in.</summary>
public sealed record MqttOptions
{
    /// <summary><c>mqtt://host[:1883]</c> or, with TLS, <c>mqtts://host[:8883]</c>.</summary>
    public required string Url { get; init; }

    /// <summary>A file with the PEM certificates of the authorities to trust, instead of the system's.</summary>
    public string? CaFile { get; init; }

    /// <summary>A file with our PEM certificate; the broker must know the authorities between it and its root.</summary>
    public string? CertificateFile { get; init; }

    /// <summary>A file with the PEM key of <see cref="CertificateFile"/>; null when it is in the same file.</summary>
    public string? KeyFile { get; init; }

    /// <summary>The user.</summary>
    public string? User { get; init; }

    /// <summary>A file with the password in its first line; read at each connection, so that it can be changed.</summary>
    public string? PasswordFile { get; init; }

    /// <summary>The password itself, for credentials that are never on disk; <see cref="PasswordFile"/> goes first.</summary>
    public string? Password { get; init; }

    /// <summary>The version of the protocol.</summary>
    public MqttProtocol Protocol { get; init; }

    /// <summary>How long the connection may be silent before it is tested.</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a connection may take.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(20);

    /// <summary>The delay before the second try to connect; it doubles up to <see cref="MaximumReconnectDelay"/>, each with jitter.</summary>
    public TimeSpan ReconnectDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The longest delay between two tries.</summary>
    public TimeSpan MaximumReconnectDelay { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Takes <see cref="Url"/> apart.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>.</exception>
    internal (string Host, int Port, bool Tls) Endpoint()
    {
        if (!Uri.TryCreate(Url, UriKind.Absolute, out var uri) || uri.Host.Length == 0 || uri.UserInfo.Length > 0 || uri.AbsolutePath is not ("" or "/"))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"broker address \"{Url}\" is not of the form mqtt://host[:port] or mqtts://host[:port]");
        }

        var tls = uri.Scheme switch
        {
            "mqtt" or "tcp" => false,
            "mqtts" or "ssl" or "tls" => true,
            _ => throw new EdgeHostException(ErrorKind.Invalid, $"broker address \"{Url}\": scheme {uri.Scheme} is neither mqtt nor mqtts"),
        };
        return (uri.IdnHost, uri.Port > 0 ? uri.Port : tls ? 8883 : 1883, tls);
    }
}

/// <summary>What the device's agent needs besides its broker.</summary>
public sealed record AgentOptions
{
    /// <summary>The device's name in topics: see <see cref="DeviceId"/>.</summary>
    public required string Device { get; init; }

    /// <summary>The version of EdgeHost.</summary>
    public required string Version { get; init; }

    /// <summary>The boot's id.</summary>
    public required string BootId { get; init; }

    /// <summary>The shortest time between two reported states.</summary>
    public TimeSpan ReportInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How often use is reported while nothing else changes.</summary>
    public TimeSpan UseInterval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>How often the board's health is reported while nothing else changes.</summary>
    public TimeSpan HealthInterval { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>How many events are kept while the broker is away; the oldest give way, and their number is told.</summary>
    public int EventQueueLength { get; init; } = 1000;

    /// <summary>How many commands may wait; more are answered with <c>unavailable</c>.</summary>
    public int CommandQueueLength { get; init; } = 32;
}

/// <summary>The broker inside the daemon.</summary>
public sealed record BrokerOptions
{
    /// <summary>The device's name in topics.</summary>
    public required string Device { get; init; }

    /// <summary>Where credentials and retained messages are kept, absolute: <c>broker</c> in the data directory.</summary>
    public required string Directory { get; init; }

    /// <summary>Where it listens: an IP address.</summary>
    public string Address { get; init; } = "127.0.0.1";

    /// <summary>The TCP port; 0 takes a free one.</summary>
    public int Port { get; init; } = 1883;

    /// <summary>The group that may read the operator's credential.</summary>
    public string Group { get; init; } = "edgehost";

    /// <summary>The largest packet in bytes: a desired state of the largest size, and room to refuse a larger one in words.</summary>
    public int MaximumPacketBytes { get; init; } = 2 * 1024 * 1024;

    /// <summary>How many clients may be connected.</summary>
    public int MaximumConnections { get; init; } = 64;

    /// <summary>How many messages may wait for a slow client; the oldest give way.</summary>
    public int MaximumPendingMessages { get; init; } = 100;

    /// <summary>How many subscriptions a client may have.</summary>
    public int MaximumSubscriptions { get; init; } = 64;

    /// <summary>How many messages may be retained.</summary>
    public int MaximumRetainedMessages { get; init; } = 1024;

    /// <summary>How many bytes the retained messages may have together.</summary>
    public long MaximumRetainedBytes { get; init; } = 8 * 1024 * 1024;

    /// <summary>How many of <see cref="MaximumRetainedMessages"/> one workload may use.</summary>
    public int MaximumRetainedMessagesPerWorkload { get; init; } = 64;

    /// <summary>How many of <see cref="MaximumRetainedBytes"/> one workload may use.</summary>
    public long MaximumRetainedBytesPerWorkload { get; init; } = 512 * 1024;
}
