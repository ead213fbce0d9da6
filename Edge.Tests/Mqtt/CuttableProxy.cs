using System.Net;
using System.Net.Sockets;

namespace Edge.Tests.Mqtt;

/// <summary>A wire between a client and a broker that can be cut, and that can pretend that the broker does not know MQTT 5.</summary>
internal sealed class CuttableProxy : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly int _target;
    private readonly bool _refuseV5;
    private readonly List<TcpClient> _clients = [];
    private readonly Task _accepting;

    public CuttableProxy(int target, bool refuseV5 = false)
    {
        _target = target;
        _refuseV5 = refuseV5;
        _listener.Start();
        Port = ((IPEndPoint)_listener.LocalEndpoint).Port;
        _accepting = AcceptAsync();
    }

    public int Port { get; }

    /// <summary>Ends all connections without a word.</summary>
    public void Cut()
    {
        lock (_clients)
        {
            foreach (var client in _clients)
            {
                // RST: no FIN, nothing of what was under way. One that has ended by itself has no socket any more.
                if (client.Client is { SafeHandle.IsClosed: false } socket)
                {
                    socket.LingerState = new LingerOption(true, 0);
                }

                client.Dispose();
            }

            _clients.Clear();
        }
    }

    public async ValueTask DisposeAsync()
    {
        _listener.Stop();
        Cut();
        await _accepting;
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = ServeAsync(await _listener.AcceptTcpClientAsync());
            }
        }
        catch (Exception stopped) when (stopped is SocketException or ObjectDisposedException)
        {
            return;
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        var broker = new TcpClient();
        lock (_clients)
        {
            _clients.AddRange([client, broker]);
        }

        try
        {
            var buffer = new byte[65536];
            var read = await client.GetStream().ReadAsync(buffer);

            // Fixed header (2 or 3 bytes here), "MQTT" with its length, then the level of the protocol.
            var level = buffer[Array.IndexOf(buffer, (byte)'T', 0) + 2];
            if (_refuseV5 && level == 5)
            {
                // CONNACK of 3.1.1: unacceptable protocol version.
                await client.GetStream().WriteAsync((byte[])[0x20, 2, 0, 1]);
                client.Close();
                return;
            }

            await broker.ConnectAsync(IPAddress.Loopback, _target);
            await broker.GetStream().WriteAsync(buffer.AsMemory(0, read));
            await Task.WhenAny(client.GetStream().CopyToAsync(broker.GetStream()), broker.GetStream().CopyToAsync(client.GetStream()));
        }
        catch (Exception cut) when (cut is IOException or SocketException or ObjectDisposedException or InvalidOperationException)
        {
            return;
        }
        finally
        {
            client.Dispose();
            broker.Dispose();
        }
    }
}
