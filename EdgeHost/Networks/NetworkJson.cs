using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace EdgeHost.Networks;

/// <summary>Networks as JSON: <c>10.0.0.0/24</c>.</summary>
public sealed class IPNetworkConverter : JsonConverter<IPNetwork>
{
    /// <inheritdoc/>
    public override IPNetwork Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        IPNetwork.TryParse(reader.GetString(), out var network) ? network : throw new JsonException("no network in the form of 10.0.0.0/24");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, IPNetwork value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}

/// <summary>Addresses as JSON: <c>10.0.0.1</c>.</summary>
public sealed class IPAddressConverter : JsonConverter<IPAddress>
{
    /// <inheritdoc/>
    public override IPAddress Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        IPAddress.TryParse(reader.GetString(), out var address) ? address : throw new JsonException("no IP address");

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, IPAddress value, JsonSerializerOptions options) => writer.WriteStringValue(value.ToString());
}

/// <summary>JSON of what is kept of networks, without reflection.</summary>
[JsonSourceGenerationOptions(
    GenerationMode = JsonSourceGenerationMode.Metadata,
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(IPNetworkConverter), typeof(IPAddressConverter)])]
[JsonSerializable(typeof(NetworkRecord))]
internal sealed partial class NetworkJson : JsonSerializerContext;
