using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Oci;

namespace EdgeHost.Api;

/// <summary>
/// The body of <c>POST /containers/create</c> as far as it is understood. What is not understood lands in
/// <c>Rest</c>, and is an error there unless it asks for nothing.
/// </summary>
internal sealed class ContainerCreateBody
{
    public string? Hostname { get; set; }

    public string? User { get; set; }

    public bool AttachStdin { get; set; }

    public bool AttachStdout { get; set; }

    public bool AttachStderr { get; set; }

    public bool Tty { get; set; }

    public bool OpenStdin { get; set; }

    public bool StdinOnce { get; set; }

    public List<string>? Env { get; set; }

    [JsonConverter(typeof(StringOrListConverter))]
    public List<string>? Cmd { get; set; }

    public string? Image { get; set; }

    public Dictionary<string, JsonElement>? Volumes { get; set; }

    public Dictionary<string, JsonElement>? ExposedPorts { get; set; }

    public string? WorkingDir { get; set; }

    [JsonConverter(typeof(StringOrListConverter))]
    public List<string>? Entrypoint { get; set; }

    public Dictionary<string, string>? Labels { get; set; }

    public string? StopSignal { get; set; }

    public int? StopTimeout { get; set; }

    public HostConfigBody? HostConfig { get; set; }

    public NetworkingConfigBody? NetworkingConfig { get; set; }

    public string? MacAddress { get; set; }

    public HealthCheck? Healthcheck { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>What of a container depends on the host.</summary>
internal sealed class HostConfigBody
{
    public List<string>? Binds { get; set; }

    public List<MountBody>? Mounts { get; set; }

    public Dictionary<string, string>? Tmpfs { get; set; }

    public string? NetworkMode { get; set; }

    public Dictionary<string, List<PortBindingBody>?>? PortBindings { get; set; }

    public bool PublishAllPorts { get; set; }

    public List<string>? Dns { get; set; }

    public List<string>? DnsSearch { get; set; }

    public List<string>? DnsOptions { get; set; }

    public List<string>? ExtraHosts { get; set; }

    public long Memory { get; set; }

    public long MemorySwap { get; set; }

    public long MemoryReservation { get; set; }

    public long NanoCpus { get; set; }

    public long CpuPeriod { get; set; }

    public long CpuQuota { get; set; }

    public long? PidsLimit { get; set; }

    public string? CpusetCpus { get; set; }

    public JsonElement BlkioDeviceReadBps { get; set; }

    public JsonElement BlkioDeviceWriteBps { get; set; }

    public JsonElement BlkioDeviceReadIOps { get; set; }

    public JsonElement BlkioDeviceWriteIOps { get; set; }

    public LogConfigBody? LogConfig { get; set; }

    public RestartPolicyBody? RestartPolicy { get; set; }

    public bool AutoRemove { get; set; }

    public bool ReadonlyRootfs { get; set; }

    public string? UsernsMode { get; set; }

    public bool Privileged { get; set; }

    public List<string>? CapAdd { get; set; }

    public List<string>? CapDrop { get; set; }

    public List<Dictionary<string, string>>? Devices { get; set; }

    public List<string>? DeviceCgroupRules { get; set; }

    public List<string>? SecurityOpt { get; set; }

    public JsonElement ConsoleSize { get; set; }

    /// <summary>The client writes this file; nobody here has to do anything about it.</summary>
    public string? ContainerIDFile { get; set; }

    public JsonElement Init { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>A mount in the long form.</summary>
internal sealed class MountBody
{
    public string? Type { get; set; }

    public string? Source { get; set; }

    public string? Target { get; set; }

    public bool ReadOnly { get; set; }

    public string? Consistency { get; set; }

    /// <summary>Ours: <c>none</c> leaves its files to the host's users in a user namespace.</summary>
    public string? IdMap { get; set; }

    public TmpfsOptionsBody? TmpfsOptions { get; set; }

    public VolumeOptionsBody? VolumeOptions { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>Whether an empty volume stays empty.</summary>
internal sealed class VolumeOptionsBody
{
    public bool NoCopy { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>The size in bytes and the mode of a tmpfs.</summary>
internal sealed class TmpfsOptionsBody
{
    public long SizeBytes { get; set; }

    public long Mode { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>Where the output goes, and how much of it is kept.</summary>
internal sealed class LogConfigBody
{
    public string? Type { get; set; }

    public Dictionary<string, string>? Config { get; set; }
}

/// <summary>When a container is started again.</summary>
internal sealed class RestartPolicyBody
{
    public string? Name { get; set; }

    public int MaximumRetryCount { get; set; }
}

/// <summary>Networks to join.</summary>
internal sealed class NetworkingConfigBody
{
    public Dictionary<string, EndpointBody?>? EndpointsConfig { get; set; }
}

/// <summary>A place in a network.</summary>
internal sealed class EndpointBody
{
    public EndpointAddressesBody? IPAMConfig { get; set; }

    public List<string>? Aliases { get; set; }

    public string? MacAddress { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>Addresses that it must have.</summary>
internal sealed class EndpointAddressesBody
{
    public string? IPv4Address { get; set; }

    public string? IPv6Address { get; set; }

    public List<string>? LinkLocalIPs { get; set; }
}

/// <summary>A port of the host.</summary>
internal sealed class PortBindingBody
{
    public string? HostIp { get; set; }

    public string? HostPort { get; set; }
}

/// <summary>A list of strings, or a string that stands for a list of one, as Docker reads <c>Cmd</c> and <c>Entrypoint</c>.</summary>
internal sealed class StringOrListConverter : JsonConverter<List<string>>
{
    public override List<string>? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType == JsonTokenType.String)
        {
            return [reader.GetString()!];
        }

        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new JsonException();
        }

        var list = new List<string>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            list.Add(reader.TokenType == JsonTokenType.String ? reader.GetString()! : throw new JsonException());
        }

        return list;
    }

    public override void Write(Utf8JsonWriter writer, List<string> value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var item in value)
        {
            writer.WriteStringValue(item);
        }

        writer.WriteEndArray();
    }
}
