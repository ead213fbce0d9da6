using System.Net;
using System.Net.Sockets;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;
using MQTTnet.Adapter;
using MQTTnet.Diagnostics.Logger;
using MQTTnet.Formatter;
using MQTTnet.Implementations;
using MQTTnet.Server;

namespace EdgeHost.Mqtt;

/// <summary>The embedded broker's TCP socket: a bounded number of connections, each with bounded packets.</summary>
internal sealed partial class BrokerListener(IPEndPoint address, BrokerOptions limits, ILogger log) : IMqttServerAdapter
{
    // A CONNECT with the longest client id, user, password and a will of some kilobytes; nobody is known before it.
    private const int MaximumConnectBytes = 64 * 1024;

    private readonly CancellationTokenSource _stop = new();
    private Socket? _socket;
    private Task _accepting = Task.CompletedTask;
    private int _connections;

    public Func<IMqttChannelAdapter, Task>? ClientHandler { get; set; }

    /// <summary>Raised once a connection has given its place back.</summary>
    internal event Action? Ended;

    /// <summary>Where it listens, once it does.</summary>
    public IPEndPoint? LocalEndPoint { get; private set; }

    public Task StartAsync(MqttServerOptions options, IMqttNetLogger logger)
    {
        var socket = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            // .NET sets SO_REUSEADDR for TCP by itself, so that connections in TIME_WAIT do not hinder a restart; its option
            // ReuseAddress would add SO_REUSEPORT, and let two brokers share the port.
            socket.Bind(address);
            socket.Listen(16);
        }
        catch (SocketException failure)
        {
            socket.Dispose();
            throw new EdgeHostException(
                failure.SocketErrorCode == SocketError.AddressAlreadyInUse ? ErrorKind.Conflict : ErrorKind.Internal,
                $"the embedded broker cannot listen on {address}: {failure.Message}; stop what listens there or configure another address",
                failure);
        }

        _socket = socket;
        LocalEndPoint = (IPEndPoint?)socket.LocalEndPoint;
        _accepting = AcceptAsync(socket, options, logger);
        return Task.CompletedTask;
    }

    public async Task StopAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _socket?.Dispose();
        await _accepting.ConfigureAwait(false);
    }

    public void Dispose()
    {
        _socket?.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync(Socket socket, MqttServerOptions options, IMqttNetLogger logger)
    {
        while (!_stop.IsCancellationRequested)
        {
            Socket client;
            try
            {
                client = await socket.AcceptAsync(_stop.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (SocketException failure)
            {
                // accept(2): errors of the connection that was to be accepted, or no descriptor left; neither ends the broker.
                LogAcceptFailed(log, failure.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(200), CancellationToken.None).ConfigureAwait(false);
                continue;
            }

            if (Interlocked.Increment(ref _connections) > limits.MaximumConnections)
            {
                Interlocked.Decrement(ref _connections);
                LogFull(log, client.RemoteEndPoint, limits.MaximumConnections);
                client.Dispose();
                continue;
            }

            _ = ServeAsync(client, options, logger);
        }
    }

    private async Task ServeAsync(Socket client, MqttServerOptions options, IMqttNetLogger logger)
    {
        var remote = client.RemoteEndPoint;
        try
        {
            client.NoDelay = true;
            await using var stream = new NetworkStream(client, ownsSocket: true);
            using var channel = new BoundedChannel(
                new MqttTcpChannel(stream, client.LocalEndPoint, remote, null), MaximumConnectBytes, limits.MaximumPacketBytes);
            using var adapter = new NamedAdapter(new MqttChannelAdapter(
                channel, new MqttPacketFormatterAdapter(new MqttBufferWriter(options.WriterBufferSize, options.WriterBufferSizeMax)), logger));
            if (ClientHandler is { } handler)
            {
                await handler(adapter).ConfigureAwait(false);
            }
        }
        catch (Exception failure) when (failure is SocketException or IOException or ObjectDisposedException or OperationCanceledException)
        {
            LogConnectionFailed(log, remote, failure.Message);
        }
        catch (Exception defect)
        {
            LogDefect(log, defect, remote);
        }
        finally
        {
            Interlocked.Decrement(ref _connections);
            Ended?.Invoke();
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: a connection could not be accepted: {Reason}")]
    private static partial void LogAcceptFailed(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: {Client} turned away, {Limit} clients are connected")]
    private static partial void LogFull(ILogger log, EndPoint? client, int limit);

    [LoggerMessage(Level = LogLevel.Debug, Message = "Broker: connection of {Client} ended: {Reason}")]
    private static partial void LogConnectionFailed(ILogger log, EndPoint? client, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Broker: connection of {Client} ended by a defect")]
    private static partial void LogDefect(ILogger log, Exception defect, EndPoint? client);
}
