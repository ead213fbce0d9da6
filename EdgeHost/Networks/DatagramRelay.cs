using System.Buffers;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>
/// Carries datagrams that were sent to a published port at <c>::1</c> to the container, and its answers back. All other
/// datagrams are led past the socket by nftables and never seen here.
/// </summary>
/// <param name="socket">The socket that holds the port.</param>
/// <param name="port">The container's port.</param>
/// <param name="log">Where it is said what could not be carried.</param>
internal sealed partial class DatagramRelay(Socket socket, ushort port, ILogger log)
{
    private const int MaximumBytes = 65535;
    private const int MaximumClients = 64;

    // As long as the kernel remembers a flow of UDP that was answered.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(120);

    private static readonly IPEndPoint Anybody = new(IPAddress.IPv6Any, 0);

    private readonly List<Client> _clients = [];

    /// <summary>The container's address; null while it has none.</summary>
    internal IPAddress? Target { get; set; }

    /// <summary>Carries datagrams until the socket is closed.</summary>
    internal async Task RunAsync()
    {
        var first = new byte[1];
        while (true)
        {
            try
            {
                // A buffer of the full size is there only while there is something to put into it.
                await socket.ReceiveFromAsync(first, SocketFlags.Peek, Anybody).ConfigureAwait(false);
                await CarryAsync().ConfigureAwait(false);
            }
            catch (SocketException e) when (e.SocketErrorCode is not (SocketError.OperationAborted or SocketError.Interrupted or SocketError.NotSocket))
            {
                // An answer that a client did not wait for comes back as an error of the next call.
                LogNotRelayed(log, port, e.Message);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                End();
                return;
            }
        }
    }

    private async Task CarryAsync()
    {
        var buffer = ArrayPool<byte>.Shared.Rent(MaximumBytes);
        try
        {
            var received = await socket.ReceiveFromAsync(buffer, Anybody).ConfigureAwait(false);
            if (received.RemoteEndPoint is IPEndPoint from && from.Address.Equals(IPAddress.IPv6Loopback))
            {
                try
                {
                    if (await ServerAsync(from).ConfigureAwait(false) is { } server)
                    {
                        await server.SendAsync(buffer.AsMemory(0, received.ReceivedBytes)).ConfigureAwait(false);
                    }
                }
                catch (Exception e) when (e is SocketException or ObjectDisposedException)
                {
                    // Whoever waited for answers may have given that socket up in this moment: a datagram is lost, and this goes on.
                    LogNotRelayed(log, port, e.Message);
                }
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <summary>The socket that speaks for a client; null when there are too many, or nobody to speak to.</summary>
    private async Task<Socket?> ServerAsync(IPEndPoint client)
    {
        lock (_clients)
        {
            if (_clients.Find(each => each.EndPoint.Equals(client)) is { } known)
            {
                return known.Server;
            }

            if (_clients.Count == MaximumClients)
            {
                LogNotRelayed(log, port, $"{MaximumClients} clients are served already");
                return null;
            }
        }

        if (Target is not { } target)
        {
            return null;
        }

        var server = new Socket(target.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        try
        {
            await server.ConnectAsync(target, port).ConfigureAwait(false);
        }
        catch
        {
            server.Dispose();
            throw;
        }

        var served = new Client(client, server);
        lock (_clients)
        {
            _clients.Add(served);
        }

        _ = AnswerAsync(served);
        return server;
    }

    private async Task AnswerAsync(Client client)
    {
        var server = client.Server;
        var first = new byte[1];
        try
        {
            while (true)
            {
                using (var silence = new CancellationTokenSource(Silence))
                {
                    await server.ReceiveAsync(first, SocketFlags.Peek, silence.Token).ConfigureAwait(false);
                }

                var buffer = ArrayPool<byte>.Shared.Rent(MaximumBytes);
                try
                {
                    var length = await server.ReceiveAsync(buffer).ConfigureAwait(false);
                    await socket.SendToAsync(buffer.AsMemory(0, length), client.EndPoint).ConfigureAwait(false);
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(buffer);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // Nobody has said anything for long.
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // As when nobody listens in the container: the client gets no answer, as it would without us.
            LogNotRelayed(log, port, e.Message);
        }
        finally
        {
            lock (_clients)
            {
                _clients.Remove(client);
            }

            server.Dispose();
        }
    }

    private void End()
    {
        lock (_clients)
        {
            foreach (var client in _clients)
            {
                client.Server.Dispose();
            }
        }
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "a datagram to port {Port} of a container was not relayed: {Reason}")]
    private static partial void LogNotRelayed(ILogger log, int port, string reason);

    /// <summary>One who sends, and the socket that speaks for him.</summary>
    private sealed class Client(IPEndPoint endPoint, Socket server)
    {
        internal IPEndPoint EndPoint { get; } = endPoint;

        internal Socket Server { get; } = server;
    }
}
