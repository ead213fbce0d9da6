using System.Buffers;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using MQTTnet.Channel;
using MQTTnet.Exceptions;

namespace EdgeHost.Mqtt;

/// <summary>
/// A connection that ends when the other side announces a packet larger than agreed. MQTTnet allocates what a header
/// announces, up to 256 MB and before anybody is authenticated; on a board of 512 MB that is an attack, so the headers
/// are read here on their way (MQTT 5, 2.1.4).
/// </summary>
internal sealed class BoundedChannel(IMqttChannel inner, int firstLimit, int limit) : IMqttChannel
{
    private int _limit = firstLimit;
    private long _remaining;
    private int _length;
    private int _shift = -1;

    public X509Certificate2 ClientCertificate => inner.ClientCertificate;

    public EndPoint RemoteEndPoint => inner.RemoteEndPoint;

    public EndPoint LocalEndPoint => inner.LocalEndPoint;

    public bool IsSecureConnection => inner.IsSecureConnection;

    public Task ConnectAsync(CancellationToken cancellationToken) => inner.ConnectAsync(cancellationToken);

    public Task DisconnectAsync(CancellationToken cancellationToken) => inner.DisconnectAsync(cancellationToken);

    public async Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        var read = await inner.ReadAsync(buffer, offset, count, cancellationToken).ConfigureAwait(false);
        Follow(buffer.AsSpan(offset, read));
        return read;
    }

    public Task WriteAsync(ReadOnlySequence<byte> buffer, bool isEndOfPacket, CancellationToken cancellationToken) =>
        inner.WriteAsync(buffer, isEndOfPacket, cancellationToken);

    public void Dispose() => inner.Dispose();

    private void Follow(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (_remaining > 0)
            {
                var body = (int)Math.Min(_remaining, bytes.Length);
                _remaining -= body;
                bytes = bytes[body..];
                continue;
            }

            var value = bytes[0];
            bytes = bytes[1..];
            if (_shift < 0)
            {
                // The first byte of a packet: its type.
                _shift = 0;
                _length = 0;
                continue;
            }

            if (_shift > 21)
            {
                throw new MqttProtocolViolationException("the length of a packet has more than four bytes");
            }

            _length |= (value & 0x7F) << _shift;
            _shift += 7;
            if (_length > _limit)
            {
                throw new MqttProtocolViolationException($"a packet of {_length} bytes or more; at most {_limit} are accepted");
            }

            if ((value & 0x80) == 0)
            {
                _remaining = _length;
                _shift = -1;
                _limit = limit;
            }
        }
    }
}
