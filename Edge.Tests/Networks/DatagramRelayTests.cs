using System.Net;
using System.Net.Sockets;
using EdgeHost.Networks;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Networks;

/// <summary>Datagrams to a published port at ::1.</summary>
public sealed class DatagramRelayTests
{
    [Fact]
    public async Task A_client_that_asks_before_anybody_listens_is_answered_once_somebody_does()
    {
        const int Early = 20_000;
        var cancel = TestContext.Current.CancellationToken;
        using var held = Bound(IPAddress.IPv6Loopback, 0);
        var port = PortOf(held);
        ushort target;
        using (var free = Bound(IPAddress.Loopback, 0))
        {
            target = (ushort)PortOf(free);
        }

        var relay = new DatagramRelay(held, target, NullLogger.Instance) { Target = IPAddress.Loopback };
        var running = relay.RunAsync();
        using var client = new Socket(AddressFamily.InterNetworkV6, SocketType.Dgram, ProtocolType.Udp);
        await client.ConnectAsync(IPAddress.IPv6Loopback, port, cancel);
        for (var i = 0; i < Early; i++)
        {
            await client.SendAsync(new byte[] { 1 }, cancel);
        }

        using var server = Bound(IPAddress.Loopback, target);
        var echo = EchoAsync(server, cancel);
        var answer = client.ReceiveAsync(new byte[1], cancel).AsTask();
        while (!answer.IsCompleted)
        {
            Assert.False(running.IsCompleted, "nobody relays any more");
            await client.SendAsync(new byte[] { 2 }, cancel);
            await Task.Yield();
        }

        Assert.Equal(1, await answer);
        held.Dispose();
        server.Dispose();
        await running;
        await echo;
    }

    private static async Task EchoAsync(Socket server, CancellationToken cancel)
    {
        try
        {
            while (true)
            {
                var asked = await server.ReceiveFromAsync(new byte[1], SocketFlags.None, new IPEndPoint(IPAddress.Any, 0), cancel);
                await server.SendToAsync(new byte[1], SocketFlags.None, asked.RemoteEndPoint, cancel);
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // It was closed.
        }
    }

    private static Socket Bound(IPAddress address, int port)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Bind(new IPEndPoint(address, port));
        return socket;
    }

    private static int PortOf(Socket socket) => ((IPEndPoint)socket.LocalEndPoint!).Port;
}
