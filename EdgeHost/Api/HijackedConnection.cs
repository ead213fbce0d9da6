using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using EdgeHost.Linux;
using Microsoft.AspNetCore.Connections;

namespace EdgeHost.Api;

/// <summary>Whether a handler has taken the connection out of HTTP; set on every connection by <see cref="Middleware"/>.</summary>
internal sealed class ConnectionClaim
{
    internal bool Taken { get; set; }

    /// <summary>
    /// Keeps a half-closed connection open for a handler that has claimed it. Docker's client closes its sending side
    /// as soon as it has nothing to send; the HTTP layer would take this for the end and close the output too.
    /// </summary>
    internal static ConnectionDelegate Middleware(ConnectionDelegate next) => async connection =>
    {
        var claim = new ConnectionClaim();
        connection.Features.Set(claim);
        using var closed = new CancellationTokenSource();
        await using var registration = connection.ConnectionClosed.Register(() =>
        {
            if (!claim.Taken)
            {
                closed.Cancel();
            }
        });
        connection.ConnectionClosed = closed.Token;
        await next(connection);
    };
}

/// <summary>A connection that no longer speaks HTTP. What is sent goes to the socket itself; what comes is still read by the server's transport.</summary>
internal sealed class HijackedConnection : IAsyncDisposable
{
    // Closed with something unread in it, the socket would be reset, and the client may lose what it has not read either.
    private static readonly TimeSpan ClosePatience = TimeSpan.FromSeconds(2);

    private readonly IDuplexPipe _transport;
    private readonly Socket _socket;

    internal HijackedConnection(IDuplexPipe transport, Socket socket)
    {
        _transport = transport;
        _socket = socket;
    }

    internal PipeReader Input => _transport.Input;

    internal SafeHandle Client => _socket.SafeHandle;

    /// <summary>Sends bytes as they are.</summary>
    internal void Send(ReadOnlySpan<byte> bytes) => StreamPump.Send(Client, bytes);

    public async ValueTask DisposeAsync()
    {
        try
        {
            _socket.Shutdown(SocketShutdown.Send);
            using var limit = new CancellationTokenSource(ClosePatience);
            await DropInputAsync(limit.Token);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException or OperationCanceledException or ConnectionResetException or ConnectionAbortedException)
        {
            // It has gone, or stays without reading: the server closes it next.
        }

        await _transport.Output.CompleteAsync();
        await _transport.Input.CompleteAsync();
    }

    private async Task DropInputAsync(CancellationToken cancel)
    {
        ReadResult read;
        do
        {
            read = await _transport.Input.ReadAsync(cancel);
            _transport.Input.AdvanceTo(read.Buffer.End);
        }
        while (!read.IsCompleted);
    }
}
