using System.Net;
using System.Net.Sockets;

namespace Edge.Tests.Images;

/// <summary>Something that serves each connection on its own until the test is over.</summary>
internal abstract class LoopbackServer : IAsyncDisposable
{
    private readonly TcpListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private Task _accepting = Task.CompletedTask;

    private protected LoopbackServer(IPAddress address)
    {
        _listener = new TcpListener(address, 0);
        _listener.Start();
        Host = _listener.LocalEndpoint.ToString()!;
    }

    internal string Host { get; }

    private protected CancellationToken Stopped => _stop.Token;

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Stop();
        await _accepting;
        _stop.Dispose();
    }

    /// <summary>Begins, once everything that a connection needs is there.</summary>
    private protected void Start() => _accepting = AcceptAsync();

    private protected abstract Task ServeAsync(Socket client);

    private async Task AcceptAsync()
    {
        var running = new List<Task>();
        try
        {
            while (true)
            {
                running.Add(ServeAsync(await _listener.AcceptSocketAsync(_stop.Token)));
            }
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(running);
        }
    }
}
