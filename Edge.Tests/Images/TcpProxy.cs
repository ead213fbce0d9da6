using System.Net;
using System.Net.Sockets;

namespace Edge.Tests.Images;

/// <summary>A proxy before a registry that cuts and stalls connections, and counts what came back through it.</summary>
internal sealed class TcpProxy : LoopbackServer
{
    private readonly int _target;
    private long _received;
    private int _connections;

    internal TcpProxy(int target, IPAddress? address = null)
        : base(address ?? IPAddress.Loopback)
    {
        _target = target;
        Start();
    }

    /// <summary>Bytes that the registry sent through here.</summary>
    internal long Received => Interlocked.Read(ref _received);

    internal int Connections => Volatile.Read(ref _connections);

    /// <summary>A connection is cut after so many bytes of the registry.</summary>
    internal long CutAfter { get; set; } = long.MaxValue;

    /// <summary>How many connections fall silent, instead of being cut, after <see cref="CutAfter"/>.</summary>
    internal int Stalls { get; set; }

    /// <summary>Told when a connection has carried <see cref="CutAfter"/> bytes.</summary>
    internal TaskCompletionSource Reached { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private protected override async Task ServeAsync(Socket client)
    {
        Interlocked.Increment(ref _connections);
        using (client)
        using (var server = new Socket(SocketType.Stream, ProtocolType.Tcp))
        using (var stop = CancellationTokenSource.CreateLinkedTokenSource(Stopped))
        {
            try
            {
                await server.ConnectAsync(IPAddress.Loopback, _target, stop.Token);
                await Task.WhenAny(CopyAsync(client, server, false, stop.Token), CopyAsync(server, client, true, stop.Token));
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException)
            {
                // The registry is gone, or the test is over.
            }

            // A clean end: a reset would also take what the client's kernel has and the client has not read yet.
            await stop.CancelAsync();
        }
    }

    private async Task CopyAsync(Socket from, Socket to, bool back, CancellationToken stop)
    {
        var buffer = new byte[16 << 10];
        long carried = 0;
        try
        {
            while (true)
            {
                var count = await from.ReceiveAsync(buffer, stop);
                if (count == 0)
                {
                    return;
                }

                if (back)
                {
                    count = (int)Math.Min(count, CutAfter - carried);
                    carried += count;
                    Interlocked.Add(ref _received, count);
                }

                await to.SendAsync(buffer.AsMemory(0, count), stop);
                if (back && carried >= CutAfter)
                {
                    Reached.TrySetResult();
                    if (Stalls > 0)
                    {
                        Stalls--;
                        await Task.Delay(Timeout.Infinite, stop);
                    }

                    return;
                }
            }
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            // Either side is gone.
        }
    }
}
