using MQTTnet.Adapter;
using MQTTnet.Formatter;
using MQTTnet.Packets;

namespace EdgeHost.Mqtt;

/// <summary>
/// A client's connection on which an MQTT 3.1.1 client that gives no client id gets one (3.1.1, 3.1.3.1): mosquitto's
/// tools give none, and MQTTnet's server has a way to assign one for MQTT 5 only.
/// </summary>
internal sealed class NamedAdapter(IMqttChannelAdapter inner) : ForwardingAdapter(inner)
{
    /// <summary>A client id that the user may use and nobody else has.</summary>
    internal static string NewClientId(string? user) =>
        $"{(user?.StartsWith(BrokerCredentials.WorkloadPrefix, StringComparison.Ordinal) == true ? user + "/" : string.Empty)}auto-{Guid.NewGuid():n}";

    public override async Task<MqttPacket> ReceivePacketAsync(CancellationToken cancellationToken)
    {
        var packet = await base.ReceivePacketAsync(cancellationToken).ConfigureAwait(false);
        if (packet is MqttConnectPacket { ClientId: null or "", CleanSession: true } connect && PacketFormatterAdapter.ProtocolVersion != MqttProtocolVersion.V500)
        {
            connect.ClientId = NewClientId(connect.Username);
        }

        return packet;
    }
}
