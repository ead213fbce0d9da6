using System.Diagnostics;
using MQTTnet;
using MQTTnet.Adapter;
using MQTTnet.Diagnostics.Logger;
using MQTTnet.Formatter;
using MQTTnet.Implementations;
using MQTTnet.Packets;
using MQTTnet.Protocol;

namespace EdgeHost.Mqtt;

/// <summary>
/// The agent's side of a connection. It announces the keep-alive and knows when the wire was last used, because
/// MQTTnet's own keep-alive wakes four times a second and does not know the broker's wish (MQTT 5, 3.2.2.3.14). And it
/// bounds what waits to be handled: MQTTnet queues without limit, and the receive maximum counts quality 1 alone; of
/// quality 0 what does not fit is dropped, as it may be.
/// </summary>
internal sealed class ClientAdapter(IMqttChannelAdapter inner, TimeSpan keepAlive) : ForwardingAdapter(inner)
{
    /// <summary>How many messages of quality 0 may wait.</summary>
    internal const int MaximumWaiting = 64;

    /// <summary>How many bytes they may have together; one alone may have more.</summary>
    internal const long MaximumWaitingBytes = 1024 * 1024;

    private long _sent = Stopwatch.GetTimestamp();
    private long _received = Stopwatch.GetTimestamp();
    private int _waiting;
    private long _waitingBytes;

    /// <summary>What the broker said when it ended the connection; null as long as it did not.</summary>
    internal MqttDisconnectPacket? Farewell { get; private set; }

    /// <summary>After how long at most the broker wants to hear from us: its wish, else ours.</summary>
    internal TimeSpan KeepAlive { get; private set; } = keepAlive;

    /// <summary>For how long one of the two directions has been silent.</summary>
    internal TimeSpan Silence => Stopwatch.GetElapsedTime(Math.Min(Volatile.Read(ref _sent), Volatile.Read(ref _received)));

    public override async Task<MqttPacket> ReceivePacketAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var packet = await base.ReceivePacketAsync(cancellationToken).ConfigureAwait(false);
            Volatile.Write(ref _received, Stopwatch.GetTimestamp());
            if (packet is MqttConnAckPacket { ServerKeepAlive: > 0 } connAck)
            {
                // Kept from MQTTnet, whose own keep-alive it would start.
                KeepAlive = TimeSpan.FromSeconds(connAck.ServerKeepAlive);
                connAck.ServerKeepAlive = 0;
            }

            Farewell = packet as MqttDisconnectPacket ?? Farewell;
            if (packet is not MqttPublishPacket { QualityOfServiceLevel: MqttQualityOfServiceLevel.AtMostOnce } publish || Admit(publish.Payload.Length))
            {
                return packet;
            }
        }
    }

    public override Task SendPacketAsync(MqttPacket packet, CancellationToken cancellationToken)
    {
        if (packet is MqttConnectPacket connect)
        {
            connect.KeepAlivePeriod = (ushort)KeepAlive.TotalSeconds;
        }

        Volatile.Write(ref _sent, Stopwatch.GetTimestamp());
        return base.SendPacketAsync(packet, cancellationToken);
    }

    /// <summary>A message was handled.</summary>
    internal void Handled(MqttApplicationMessage message)
    {
        if (message.QualityOfServiceLevel == MqttQualityOfServiceLevel.AtMostOnce)
        {
            Interlocked.Decrement(ref _waiting);
            Interlocked.Add(ref _waitingBytes, -message.Payload.Length);
        }
    }

    private bool Admit(long bytes)
    {
        var waiting = Volatile.Read(ref _waiting);
        if (waiting >= MaximumWaiting || (waiting > 0 && Volatile.Read(ref _waitingBytes) + bytes > MaximumWaitingBytes))
        {
            return false;
        }

        Interlocked.Increment(ref _waiting);
        Interlocked.Add(ref _waitingBytes, bytes);
        return true;
    }

    /// <summary>Makes the adapter of one client, over a channel with bounded packets.</summary>
    internal sealed class Factory(TimeSpan keepAlive, int maximumPacketBytes) : IMqttClientAdapterFactory
    {
        /// <summary>The adapter, once it was made.</summary>
        internal ClientAdapter? Adapter { get; private set; }

        public IMqttChannelAdapter CreateClientAdapter(MqttClientOptions options, MqttPacketInspector packetInspector, IMqttNetLogger logger) =>
            Adapter = new ClientAdapter(
                new MqttChannelAdapter(
                    new BoundedChannel(new MqttTcpChannel(options), maximumPacketBytes, maximumPacketBytes),
                    new MqttPacketFormatterAdapter(options.ProtocolVersion, new MqttBufferWriter(options.WriterBufferSize, options.WriterBufferSizeMax)),
                    logger)
                {
                    PacketInspector = packetInspector,
                },
                keepAlive);
    }
}
