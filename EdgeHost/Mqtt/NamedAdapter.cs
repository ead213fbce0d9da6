using System.Net;
using System.Security.Cryptography.X509Certificates;
using MQTTnet.Adapter;
using MQTTnet.Formatter;
using MQTTnet.Packets;

namespace EdgeHost.Mqtt;

/// <summary>
/// A client's connection on which an MQTT 3.1.1 client that gives no client id gets one (3.1.1, 3.1.3.1): mosquitto's
/// tools give none, and MQTTnet's server has a way to assign one for MQTT 5 only.
/// </summary>
internal sealed class NamedAdapter(IMqttChannelAdapter inner) : IMqttChannelAdapter
{
    public X509Certificate2 ClientCertificate => inner.ClientCertificate;

    public EndPoint RemoteEndPoint => inner.RemoteEndPoint;

    public EndPoint LocalEndPoint => inner.LocalEndPoint;

    public bool IsSecureConnection => inner.IsSecureConnection;

    public long BytesReceived => inner.BytesReceived;

    public long BytesSent => inner.BytesSent;

    public MqttPacketFormatterAdapter PacketFormatterAdapter => inner.PacketFormatterAdapter;

    /// <summary>A client id that the user may use and nobody else has.</summary>
    internal static string NewClientId(string? user) =>
        $"{(user?.StartsWith(BrokerCredentials.WorkloadPrefix, StringComparison.Ordinal) == true ? user + "/" : string.Empty)}auto-{Guid.NewGuid():n}";

    public Task ConnectAsync(CancellationToken cancellationToken) => inner.ConnectAsync(cancellationToken);

    public Task DisconnectAsync(CancellationToken cancellationToken) => inner.DisconnectAsync(cancellationToken);

    public async Task<MqttPacket> ReceivePacketAsync(CancellationToken cancellationToken)
    {
        var packet = await inner.ReceivePacketAsync(cancellationToken).ConfigureAwait(false);
        if (packet is MqttConnectPacket { ClientId: null or "", CleanSession: true } connect && PacketFormatterAdapter.ProtocolVersion != MqttProtocolVersion.V500)
        {
            connect.ClientId = NewClientId(connect.Username);
        }

        return packet;
    }

    public void ResetStatistics() => inner.ResetStatistics();

    public Task SendPacketAsync(MqttPacket packet, CancellationToken cancellationToken) => inner.SendPacketAsync(packet, cancellationToken);

    public void Dispose() => inner.Dispose();
}
