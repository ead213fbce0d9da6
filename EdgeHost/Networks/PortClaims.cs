using System.Net;
using System.Net.Sockets;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>
/// Sockets that hold published ports, so that a program of the host that wants the same one is told so, and is not just
/// never asked again. nftables leads all connections past them to the container, except those to <c>::1</c>, which the
/// kernel never forwards: what such a socket is asked nevertheless is relayed.
/// </summary>
internal sealed partial class PortClaims(ILogger log) : IDisposable
{
    private const int Backlog = 64;

    private readonly Dictionary<PortBinding, Claim> _held = [];

    /// <summary>Holds a port.</summary>
    /// <param name="container">Whose it becomes, for whom wants it as well: a name, or an id.</param>
    /// <param name="binding">The port; 0 takes a free one.</param>
    /// <param name="target">The container's address; null for none at present.</param>
    /// <returns>The binding with the port that it has got.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: somebody has it; <see cref="ErrorKind.Invalid"/>: the host has no such address.</exception>
    internal PortBinding Take(string container, PortBinding binding, IPAddress? target)
    {
        var isTcp = binding.Protocol == PortProtocol.Tcp;
        var address = binding.HostAddress ?? (Socket.OSSupportsIPv6 && HostSettings.HasIPv6 ? IPAddress.IPv6Any : IPAddress.Any);
        var socket = new Socket(address.AddressFamily, isTcp ? SocketType.Stream : SocketType.Dgram, isTcp ? ProtocolType.Tcp : ProtocolType.Udp);
        var isSix = address.Equals(IPAddress.IPv6Any) || address.Equals(IPAddress.IPv6Loopback);
        try
        {
            if (address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            socket.Bind(new IPEndPoint(address, binding.HostPort));
            if (isTcp)
            {
                socket.Listen(Backlog);
            }
            else if (!isSix)
            {
                // Nobody reads it.
                socket.ReceiveBufferSize = 0;
            }
        }
        catch (SocketException e)
        {
            socket.Dispose();
            var where = $"{binding.HostAddress?.ToString() ?? "0.0.0.0"}:{binding.HostPort}/{(isTcp ? "tcp" : "udp")}";
            throw e.SocketErrorCode switch
            {
                SocketError.AddressAlreadyInUse => new EdgeHostException(
                    ErrorKind.Conflict, $"port {where} is taken{Holder(binding)}; publish another one, or end what has it"),
                SocketError.AddressNotAvailable => new EdgeHostException(ErrorKind.Invalid, $"port {where} cannot be published: this machine has no such address"),
                _ => new EdgeHostException(ErrorKind.Internal, $"port {where} cannot be held: {e.Message}", e),
            };
        }

        var taken = binding with { HostPort = (ushort)((IPEndPoint)socket.LocalEndPoint!).Port };
        var claim = new Claim(container, socket, binding.ContainerPort) { Datagrams = !isTcp && isSix ? new DatagramRelay(socket, binding.ContainerPort, log) : null };
        claim.Lead(target);
        _held[taken] = claim;
        if (isTcp)
        {
            _ = RelayAsync(claim);
        }
        else if (claim.Datagrams is { } datagrams)
        {
            _ = datagrams.RunAsync();
        }

        return taken;
    }

    /// <summary>Has a port relayed to another address from now on.</summary>
    internal void Lead(PortBinding binding, IPAddress? target)
    {
        if (_held.TryGetValue(binding, out var claim))
        {
            claim.Lead(target);
        }
    }

    /// <summary>Lets a port go.</summary>
    internal void Return(PortBinding binding)
    {
        if (_held.Remove(binding, out var claim))
        {
            claim.Socket.Dispose();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var claim in _held.Values)
        {
            claim.Socket.Dispose();
        }

        _held.Clear();
    }

    private string Holder(PortBinding binding)
    {
        foreach (var (held, claim) in _held)
        {
            var isThere = held.HostAddress is null || binding.HostAddress is null || held.HostAddress.Equals(binding.HostAddress);
            if (isThere && held.HostPort == binding.HostPort && held.Protocol == binding.Protocol)
            {
                return $" by container {claim.Container}";
            }
        }

        return SocketOwner.Find(binding.HostPort, binding.Protocol == PortProtocol.Tcp) is { } holder ? $" by {holder}" : string.Empty;
    }

    private async Task RelayAsync(Claim claim)
    {
        while (true)
        {
            Socket client;
            try
            {
                client = await claim.Socket.AcceptAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (e is SocketException { SocketErrorCode: SocketError.TooManyOpenSockets })
                {
                    LogNotRelayed(log, claim.Port, e.Message);
                    await Task.Delay(TimeSpan.FromSeconds(1)).ConfigureAwait(false);
                    continue;
                }

                return;
            }

            if (claim.Target is { } target)
            {
                _ = ServeAsync(client, new IPEndPoint(target, claim.Port));
            }
            else
            {
                client.Dispose();
            }
        }
    }

    private async Task ServeAsync(Socket client, IPEndPoint target)
    {
        using (client)
        using (var server = new Socket(target.AddressFamily, SocketType.Stream, ProtocolType.Tcp))
        {
            try
            {
                await server.ConnectAsync(target).ConfigureAwait(false);
                var there = PumpAsync(client, server);
                var back = PumpAsync(server, client);
                await Task.WhenAll(there, back).ConfigureAwait(false);
            }
            catch (SocketException e)
            {
                // The other end sees the connection end, as it would have without us.
                LogNotRelayed(log, target.Port, e.Message);
            }
        }
    }

    private static async Task PumpAsync(Socket from, Socket to)
    {
        var buffer = new byte[16 << 10];
        while (await from.ReceiveAsync(buffer).ConfigureAwait(false) is > 0 and var length)
        {
            for (var sent = 0; sent < length;)
            {
                sent += await to.SendAsync(buffer.AsMemory(sent, length - sent)).ConfigureAwait(false);
            }
        }

        to.Shutdown(SocketShutdown.Send);
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "a connection to port {Port} of a container was not relayed: {Reason}")]
    private static partial void LogNotRelayed(ILogger log, int port, string reason);

    /// <summary>A port that is held.</summary>
    private sealed class Claim(string container, Socket socket, ushort port)
    {
        internal string Container { get; } = container;

        internal Socket Socket { get; } = socket;

        internal ushort Port { get; } = port;

        internal IPAddress? Target { get; private set; }

        /// <summary>What carries datagrams, where any arrive here.</summary>
        internal DatagramRelay? Datagrams { get; init; }

        internal void Lead(IPAddress? target)
        {
            Target = target;
            Datagrams?.Target = target;
        }
    }
}
