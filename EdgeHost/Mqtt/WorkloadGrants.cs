using System.Buffers.Text;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Mqtt;

/// <summary>What the container of a workload may do at the broker in the daemon.</summary>
/// <param name="workload">The workload's name.</param>
/// <param name="container">The container's id.</param>
/// <param name="subscribe">Topic filters beneath the device's telemetry that it may subscribe to, beside its own.</param>
public sealed class WorkloadGrant(string workload, string container, IReadOnlyList<string> subscribe)
{
    /// <summary>The workload's name.</summary>
    public string Workload => workload;

    /// <summary>The container's id.</summary>
    public string Container => container;

    /// <summary>Topic filters beneath the device's telemetry that it may subscribe to, beside its own.</summary>
    public IReadOnlyList<string> Subscribe => subscribe;

    /// <summary>The grant of a container; null when it has none.</summary>
    public static WorkloadGrant? Read(ContainerStatus container) =>
        container.Spec.Labels.TryGetValue(PlannedWorkload.MqttLabel, out var filters) && container.Spec.Labels.TryGetValue(PlannedWorkload.WorkloadLabel, out var workload)
            ? new WorkloadGrant(workload, container.Id, filters.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            : null;
}

/// <summary>
/// The credentials of workloads. A password is derived from a key of this board and the container's id: it is written
/// nowhere, is the same after a restart of the daemon, and ends with its container.
/// </summary>
public sealed class WorkloadGrants : IStartSecrets
{
    /// <summary>Where a container finds its credential.</summary>
    public const string FilePath = "/run/edgehost/mqtt.json";

    /// <summary>The beginning of every workload's user.</summary>
    public const string UserPrefix = "workload.";

    private const int KeyBytes = 32;

    private readonly Topics _topics;
    private readonly string _directory;
    private readonly IPEndPoint? _broker;
    private readonly Lock _lock = new();
    private byte[]? _key;

    /// <summary>Prepares them; the key is made when the first one is needed.</summary>
    /// <param name="directory">Of the broker, in the data directory.</param>
    /// <param name="device">The device's name in topics.</param>
    /// <param name="broker">Where the broker in the daemon listens, when it does; null when the configuration forbids it.</param>
    public WorkloadGrants(string directory, string device, IPEndPoint? broker)
    {
        _directory = directory;
        _topics = new Topics(device);
        _broker = broker;
    }

    /// <summary>Raised when a container with a grant is about to start, and the broker is needed.</summary>
    public event Action? Needed;

    /// <inheritdoc/>
    public StartSecrets? Of(ContainerStatus container)
    {
        if (WorkloadGrant.Read(container) is not { } grant)
        {
            return null;
        }

        if (_broker is null)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"workload {grant.Workload} is to use the broker in the daemon, and the configuration has broker.enabled: false; take either away");
        }

        var address = AddressFor(container) ?? throw new EdgeHostException(
            ErrorKind.Infeasible, $"workload {grant.Workload} is to use the broker in the daemon, and is in no network with a bridge; put it into one, or use network_mode: host");
        Needed?.Invoke();
        var user = UserPrefix + grant.Workload;
        var password = PasswordOf(grant.Workload, grant.Container);
        var url = string.Create(CultureInfo.InvariantCulture, $"mqtt://{new IPEndPoint(address, _broker.Port)}");
        var topic = _topics.Telemetry + grant.Workload;
        using var content = new MemoryStream();
        using (var json = new Utf8JsonWriter(content))
        {
            json.WriteStartObject();
            json.WriteString("url", url);
            json.WriteString("user", user);
            json.WriteString("password", password);
            json.WriteString("client_id", user);
            json.WriteString("topic", topic);
            json.WriteEndObject();
        }

        return new StartSecrets(
            [$"EDGEHOST_MQTT_URL={url}", $"EDGEHOST_MQTT_USER={user}", $"EDGEHOST_MQTT_PASSWORD={password}", $"EDGEHOST_MQTT_CLIENT_ID={user}", $"EDGEHOST_MQTT_TOPIC={topic}"],
            FilePath,
            content.ToArray());
    }

    /// <summary>The password of a container of a workload.</summary>
    /// <exception cref="EdgeHostException">The key can be neither read nor made.</exception>
    internal string PasswordOf(string workload, string container) =>
        Base64Url.EncodeToString(HMACSHA256.HashData(Key(), Encoding.UTF8.GetBytes($"{workload}\n{container}")));

    /// <summary>How a container reaches the broker: where it listens, or by the gateway of its network, from where its port is led there.</summary>
    private IPAddress? AddressFor(ContainerStatus container)
    {
        if (container.Spec.Network == NetworkMode.Host || !(IPAddress.IsLoopback(_broker!.Address) || _broker.Address.Equals(IPAddress.Any) || _broker.Address.Equals(IPAddress.IPv6Any)))
        {
            return _broker!.Address.Equals(IPAddress.Any) || _broker.Address.Equals(IPAddress.IPv6Any) ? IPAddress.Loopback : _broker.Address;
        }

        // Nothing leads from a bridge to ::1.
        return _broker.Address.Equals(IPAddress.IPv6Loopback)
            ? throw new EdgeHostException(ErrorKind.Infeasible, $"the broker in the daemon listens on {_broker}, which a container on a bridge does not reach; give broker.listen an IPv4 address, as in 127.0.0.1:{_broker.Port}, or use network_mode: host")
            : container.Gateway;
    }

    private byte[] Key()
    {
        lock (_lock)
        {
            if (_key is null)
            {
                var file = Path.Combine(_directory, "workloads.key");
                if (!File.Exists(file))
                {
                    Directory.CreateDirectory(_directory);
                    DurableFile.Write(file, RandomNumberGenerator.GetBytes(KeyBytes), 0x180);
                }

                var key = File.ReadAllBytes(file);
                _key = key.Length == KeyBytes ? key : throw new EdgeHostException(
                    ErrorKind.Corrupt, $"{file} is damaged: it has {key.Length} bytes instead of {KeyBytes}; remove it and restart the workloads that use the broker, and a new one is made");
            }

            return _key;
        }
    }
}
