using System.IO.Pipelines;
using System.Net.Sockets;
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

/// <summary>A connection that no longer speaks HTTP.</summary>
internal sealed class HijackedConnection : IAsyncDisposable
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(2);

    private readonly IDuplexPipe _transport;
    private readonly CancellationTokenSource _gone = new();
    private readonly Task _watch;

    internal HijackedConnection(IDuplexPipe transport, Socket socket)
    {
        _transport = transport;
        _watch = WatchAsync(socket);
    }

    internal PipeWriter Output => _transport.Output;

    /// <summary>Fires when the client has gone altogether; a client that has only finished sending still listens.</summary>
    internal CancellationToken Gone => _gone.Token;

    public async ValueTask DisposeAsync()
    {
        // Completing, not aborting: the last bytes are still to be sent.
        await _transport.Output.CompleteAsync();
        _transport.Input.CancelPendingRead();
        await _gone.CancelAsync();
        await _watch;
        await _transport.Input.CompleteAsync();
        _gone.Dispose();
    }

    private async Task WatchAsync(Socket socket)
    {
        try
        {
            // Nothing that a client sends is wanted: what comes is dropped, so that its end is seen.
            while (true)
            {
                var read = await _transport.Input.ReadAsync(_gone.Token);
                _transport.Input.AdvanceTo(read.Buffer.End);
                if (read.IsCanceled)
                {
                    return;
                }

                if (read.IsCompleted)
                {
                    break;
                }
            }

            // A half-close wakes nobody when the other half follows, so it is looked for.
            using var timer = new PeriodicTimer(LookEvery);
            do
            {
                if (SocketPeer.HasGone(socket.SafeHandle))
                {
                    break;
                }
            }
            while (await timer.WaitForNextTickAsync(_gone.Token));
        }
        catch (OperationCanceledException)
        {
            return;
        }
        catch (ConnectionResetException)
        {
            // A client that vanished is what this method looks for.
        }

        await _gone.CancelAsync();
    }
}
