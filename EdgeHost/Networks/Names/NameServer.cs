using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks.Names;

/// <summary>
/// Answers DNS on user-defined networks: names of containers itself, all else by asking the name servers of the host.
/// It listens on ports of its own at the gateways' addresses, and nftables leads port 53 there, so that a name server
/// of the host on 0.0.0.0:53 is no conflict.
/// </summary>
internal sealed partial class NameServer(INameBook names, ILogger log) : IDisposable
{
    private const int DnsPort = 53;
    private const int MaximumBytes = 65535;
    private const int QuestionBytes = 4096;
    private const int MaximumForwards = 256;
    private const int MaximumConnections = 32;
    private const int MaximumServers = 3;
    private const int BindAttempts = 8;

    private static readonly TimeSpan ServerTime = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ConnectionTime = TimeSpan.FromSeconds(10);

    private readonly Dictionary<IPAddress, Place> _places = [];
    private int _forwards;
    private int _connections;

    /// <summary>Listens at a gateway; again is fine.</summary>
    /// <returns>The port.</returns>
    /// <exception cref="EdgeHostException">The host has no such address, or no descriptor is left.</exception>
    internal ushort Serve(IPAddress gateway)
    {
        if (_places.TryGetValue(gateway, out var served))
        {
            return served.Port;
        }

        for (var attempt = 1; ; attempt++)
        {
            var udp = new Socket(gateway.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            var tcp = new Socket(gateway.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                udp.Bind(new IPEndPoint(gateway, 0));
                var port = ((IPEndPoint)udp.LocalEndPoint!).Port;
                tcp.Bind(new IPEndPoint(gateway, port));
                tcp.Listen(MaximumConnections);
                var place = new Place(udp, tcp, (ushort)port);
                _places[gateway] = place;
                _ = ReceiveAsync(udp);
                _ = AcceptAsync(tcp);
                return place.Port;
            }
            catch (SocketException e)
            {
                udp.Dispose();
                tcp.Dispose();
                if (e.SocketErrorCode != SocketError.AddressAlreadyInUse || attempt == BindAttempts)
                {
                    throw new EdgeHostException(ErrorKind.Internal, $"names cannot be served at {gateway}: {e.Message}", e);
                }
            }
        }
    }

    /// <summary>Listens there no more.</summary>
    internal void Stop(IPAddress gateway)
    {
        if (_places.Remove(gateway, out var place))
        {
            place.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var place in _places.Values)
        {
            place.Dispose();
        }

        _places.Clear();
    }

    private async Task ReceiveAsync(Socket socket)
    {
        // One that waits for ever; elsewhere it would keep the heap from being compacted.
        var buffer = GC.AllocateUninitializedArray<byte>(QuestionBytes, pinned: true);
        EndPoint any = new IPEndPoint(socket.AddressFamily == AddressFamily.InterNetwork ? IPAddress.Any : IPAddress.IPv6Any, 0);
        while (true)
        {
            try
            {
                var received = await socket.ReceiveFromAsync(buffer, any).ConfigureAwait(false);
                var asker = (IPEndPoint)received.RemoteEndPoint;
                var message = buffer.AsMemory(0, received.ReceivedBytes);
                if (DnsQuestion.Parse(message.Span) is not { } question)
                {
                    continue;
                }

                if (AnswerOurselves(asker.Address, question, DnsQuestion.MaximumPlainBytes) is { } answer)
                {
                    await socket.SendToAsync(answer, asker).ConfigureAwait(false);
                }
                else
                {
                    _ = ForwardAsync(socket, asker, question, message.ToArray());
                }
            }
            catch (SocketException e)
            {
                // An earlier answer did not arrive, or the network is being taken down: the next question is awaited.
                LogTrouble(log, e.Message);
            }
            catch (ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ForwardAsync(Socket socket, IPEndPoint asker, DnsQuestion question, byte[] message)
    {
        try
        {
            var answer = await AskAsync(asker.Address, question, message, AskByUdpAsync).ConfigureAwait(false);
            await socket.SendToAsync(answer, asker).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            LogTrouble(log, e.Message);
        }
    }

    private async Task AcceptAsync(Socket listener)
    {
        while (true)
        {
            try
            {
                var client = await listener.AcceptAsync().ConfigureAwait(false);
                if (Interlocked.Increment(ref _connections) > MaximumConnections)
                {
                    Interlocked.Decrement(ref _connections);
                    client.Dispose();
                }
                else
                {
                    _ = ServeAsync(client);
                }
            }
            catch (SocketException e) when (e.SocketErrorCode is not (SocketError.OperationAborted or SocketError.NotSocket or SocketError.Interrupted))
            {
                LogTrouble(log, e.Message);
                await Task.Delay(TimeSpan.FromSeconds(1)).ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ServeAsync(Socket client)
    {
        using (client)
        {
            try
            {
                using var stream = new NetworkStream(client, ownsSocket: false);
                var asker = ((IPEndPoint)client.RemoteEndPoint!).Address;
                while (true)
                {
                    using var time = new CancellationTokenSource(ConnectionTime);
                    var message = await ReadFramedAsync(stream, QuestionBytes, time.Token).ConfigureAwait(false);
                    if (DnsQuestion.Parse(message) is not { } question)
                    {
                        return;
                    }

                    var answer = AnswerOurselves(asker, question, MaximumBytes)
                        ?? await AskAsync(asker, question, message, AskByTcpAsync).ConfigureAwait(false);
                    await WriteFramedAsync(stream, answer, time.Token).ConfigureAwait(false);
                }
            }
            catch (Exception e) when (e is IOException or SocketException or OperationCanceledException or ObjectDisposedException)
            {
                LogTrouble(log, e.Message);
            }
            finally
            {
                Interlocked.Decrement(ref _connections);
            }
        }
    }

    /// <summary>What is known here; null when it has to be asked elsewhere.</summary>
    private byte[]? AnswerOurselves(IPAddress asker, DnsQuestion question, int most)
    {
        if (question.Type == DnsQuestion.Pointer)
        {
            return question.ReverseAddress() is { } address && names.NameOf(asker, address) is { } name ? question.Answer(name) : null;
        }

        // A name of ours has no records of other kinds: that it is unknown, which another server would say, is wrong.
        return names.AddressesOf(asker, question.Name) is { } addresses ? question.Answer(addresses, most) : null;
    }

    private delegate Task<byte[]> Asker(IPAddress server, DnsQuestion question, byte[] message, CancellationToken cancel);

    /// <summary>Asks the servers one after the other, until one knows.</summary>
    private async Task<byte[]> AskAsync(IPAddress asker, DnsQuestion question, byte[] message, Asker ask)
    {
        byte[]? refusal = null;
        try
        {
            if (Interlocked.Increment(ref _forwards) > MaximumForwards)
            {
                return question.Answer(DnsCode.ServerFailure);
            }

            foreach (var server in names.ServersOf(asker).Take(MaximumServers))
            {
                using var time = new CancellationTokenSource(ServerTime);
                try
                {
                    var answer = await ask(server, question, message, time.Token).ConfigureAwait(false);
                    if (DnsQuestion.CodeOf(answer) is not (DnsCode.ServerFailure or DnsCode.Refused))
                    {
                        return answer;
                    }

                    refusal = answer;
                }
                catch (Exception e) when (e is SocketException or IOException or OperationCanceledException)
                {
                    LogServer(log, server, e is OperationCanceledException ? "no answer in time" : e.Message);
                }
            }

            return refusal ?? question.Answer(DnsCode.ServerFailure);
        }
        finally
        {
            Interlocked.Decrement(ref _forwards);
        }
    }

    /// <summary>From a port of its own and with a number of its own: whoever wants to answer in the server's place has both to guess (RFC 5452).</summary>
    private static async Task<byte[]> AskByUdpAsync(IPAddress server, DnsQuestion question, byte[] message, CancellationToken cancel)
    {
        using var socket = new Socket(server.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        await socket.ConnectAsync(new IPEndPoint(server, DnsPort), cancel).ConfigureAwait(false);
        var id = NewId(message);
        await socket.SendAsync(message, cancel).ConfigureAwait(false);
        var buffer = ArrayPool<byte>.Shared.Rent(MaximumBytes);
        try
        {
            while (true)
            {
                var length = await socket.ReceiveAsync(buffer.AsMemory(0, MaximumBytes), cancel).ConfigureAwait(false);
                if (question.IsAnsweredBy(buffer.AsSpan(0, length), id))
                {
                    return WithIdOf(question, buffer.AsSpan(0, length).ToArray());
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static async Task<byte[]> AskByTcpAsync(IPAddress server, DnsQuestion question, byte[] message, CancellationToken cancel)
    {
        using var socket = new Socket(server.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(new IPEndPoint(server, DnsPort), cancel).ConfigureAwait(false);
        using var stream = new NetworkStream(socket, ownsSocket: false);
        var id = NewId(message);
        await WriteFramedAsync(stream, message, cancel).ConfigureAwait(false);
        var answer = await ReadFramedAsync(stream, MaximumBytes, cancel).ConfigureAwait(false);
        return question.IsAnsweredBy(answer, id) ? WithIdOf(question, answer) : throw new IOException("the answer is to another question");
    }

    private static ushort NewId(byte[] message)
    {
        var id = (ushort)RandomNumberGenerator.GetInt32(ushort.MaxValue + 1);
        BinaryPrimitives.WriteUInt16BigEndian(message, id);
        return id;
    }

    private static byte[] WithIdOf(DnsQuestion question, byte[] answer)
    {
        BinaryPrimitives.WriteUInt16BigEndian(answer, question.Id);
        return answer;
    }

    /// <summary>Over TCP a message comes after its length (RFC 1035, section 4.2.2).</summary>
    private static async Task<byte[]> ReadFramedAsync(NetworkStream stream, int most, CancellationToken cancel)
    {
        var length = new byte[2];
        await stream.ReadExactlyAsync(length, cancel).ConfigureAwait(false);
        var count = BinaryPrimitives.ReadUInt16BigEndian(length);
        var message = count <= most ? new byte[count] : throw new IOException($"a message of {count} bytes is longer than {most}");
        await stream.ReadExactlyAsync(message, cancel).ConfigureAwait(false);
        return message;
    }

    private static async Task WriteFramedAsync(NetworkStream stream, byte[] message, CancellationToken cancel)
    {
        var framed = new byte[2 + message.Length];
        BinaryPrimitives.WriteUInt16BigEndian(framed, (ushort)message.Length);
        message.CopyTo(framed, 2);
        await stream.WriteAsync(framed, cancel).ConfigureAwait(false);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "names: {Reason}")]
    private static partial void LogTrouble(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "name server {Server}: {Reason}")]
    private static partial void LogServer(ILogger log, IPAddress server, string reason);

    /// <summary>Where it listens on one network.</summary>
    private sealed class Place(Socket udp, Socket tcp, ushort port) : IDisposable
    {
        internal ushort Port { get; } = port;

        public void Dispose()
        {
            udp.Dispose();
            tcp.Dispose();
        }
    }
}
