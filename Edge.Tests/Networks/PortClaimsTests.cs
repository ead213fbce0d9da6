using System.Net;
using System.Net.Sockets;
using EdgeHost.Networks;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Networks;

/// <summary>Connections to a published port at ::1.</summary>
public sealed class PortClaimsTests
{
    [Fact]
    public async Task A_client_that_breaks_its_connection_off_leaves_none_to_the_container()
    {
        var cancel = TestContext.Current.CancellationToken;
        using var container = new TcpListener(IPAddress.Loopback, 0);
        container.Start();
        using var claims = new PortClaims(NullLogger.Instance);
        var port = claims.Take("web", new PortBinding((ushort)((IPEndPoint)container.LocalEndpoint).Port, PortProtocol.Tcp, 0), IPAddress.Loopback).HostPort;
        var client = new Socket(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp) { LingerState = new LingerOption(true, 0) };
        await client.ConnectAsync(IPAddress.IPv6Loopback, port, cancel);
        using var server = await container.AcceptSocketAsync(cancel);
        await client.SendAsync(new byte[1], cancel);
        Assert.Equal(1, await server.ReceiveAsync(new byte[1], cancel));

        // With no time to linger it is reset.
        client.Dispose();
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        patience.CancelAfter(TimeSpan.FromSeconds(90));
        try
        {
            Assert.Equal(0, await server.ReceiveAsync(new byte[1], patience.Token));
        }
        catch (SocketException)
        {
            // A reset is an end, too.
        }
    }
}
