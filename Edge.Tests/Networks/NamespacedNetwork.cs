using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using EdgeHost.Linux;
using EdgeHost.Networks;
using Xunit;

namespace Edge.Tests.Networks;

/// <summary>A machine of its own to try networks on: a network namespace, with programs and sockets that run in it.</summary>
internal sealed class NamespacedNetwork : IDisposable
{
    private RouteNetlink? _links;

    internal NamespacedNetwork() => Namespace = NetworkNamespace.Create(() =>
    {
        _links = RouteNetlink.Open();
        _links.SetUp(_links.FindLink("lo")!.Index);
        File.WriteAllText("/proc/sys/net/ipv4/ip_forward", "1");
        if (Directory.Exists("/proc/sys/net/ipv6/conf"))
        {
            File.WriteAllText("/proc/sys/net/ipv6/conf/all/forwarding", "1");
            File.WriteAllText("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        }
    });

    internal NetworkNamespace Namespace { get; }

    internal RouteNetlink Links => _links!;

    /// <summary>Connects this one with another, each with an address and a default route to the other.</summary>
    internal void Connect(NamespacedNetwork other, string name, IPAddress mine, IPAddress theirs, int prefix)
    {
        Links.CreateVeth(name, 0, other.Namespace, "up0", [2, 0, 0, 0, 1, (byte)name[^1]], 1500);
        Links.AddAddress(Links.FindLink(name)!.Index, mine, prefix);
        var link = other.Links.FindLink("up0")!.Index;
        other.Links.SetUp(link);
        other.Links.AddAddress(link, theirs, prefix);
        other.Links.AddDefaultRoute(link, mine);
    }

    /// <summary>Answers each connection with the address that it came from.</summary>
    internal IDisposable Serve(IPAddress address, int port)
    {
        var listener = Namespace.Run(() =>
        {
            var socket = new TcpListener(address, port);
            socket.Start();
            return socket;
        });
        _ = AnswerAsync(listener);
        return listener;
    }

    /// <summary>Connects, and gives what the other end said of where it came from; null when nobody answers.</summary>
    internal string? Ask(IPAddress address, int port)
    {
        using var socket = Namespace.Run(() => new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp));
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        try
        {
            socket.ConnectAsync(address, port, patience.Token).AsTask().GetAwaiter().GetResult();
            var answer = new byte[100];
            var length = socket.ReceiveAsync(answer, patience.Token).AsTask().GetAwaiter().GetResult();
            return System.Text.Encoding.ASCII.GetString(answer, 0, length);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            return null;
        }
    }

    /// <summary>Runs a program in it and gives its output.</summary>
    internal string Run(string program, params string[] arguments) => Namespace.Run(() =>
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {error.Result}");
        return output;
    });

    public void Dispose()
    {
        Links.Dispose();
        Namespace.Dispose();
    }

    private static async Task AnswerAsync(TcpListener listener)
    {
        try
        {
            while (true)
            {
                using var client = await listener.AcceptSocketAsync();
                await client.SendAsync(System.Text.Encoding.ASCII.GetBytes(((IPEndPoint)client.RemoteEndPoint!).Address.MapToIPv4IfItIs().ToString()));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The listener was closed.
        }
    }
}

internal static class Addresses
{
    internal static IPAddress MapToIPv4IfItIs(this IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address;
}
