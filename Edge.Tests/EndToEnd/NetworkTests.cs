using System.Net;
using System.Net.Sockets;
using System.Text;
using Edge.Tests.Fixtures;
using EdgeHost.Networks;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What a user of Docker's client has of networks, with packets of the host's own kernel.</summary>
public sealed class NetworkTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private const string Serve = "mkdir -p /w && echo hello > /w/index.html && exec httpd -f -p 8080 -h /w";

    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task A_published_port_is_reached_over_both_loopbacks_and_from_other_containers_also_after_the_daemon_was_killed()
    {
        var id = await Daemon.RunDetachedAsync("-p", "8080", "busybox", "sh", "-c", Serve);
        var port = int.Parse((await Daemon.InspectAsync(id, "{{(index .NetworkSettings.Ports \"8080/tcp\" 0).HostPort}}")), System.Globalization.CultureInfo.InvariantCulture);
        await ListensAsync(id);

        Assert.Equal("hello", await GetAsync(IPAddress.Loopback, port));
        Assert.Equal("hello", await GetAsync(IPAddress.IPv6Loopback, port));
        Assert.Equal("hello\n", (await Daemon.RunAsync("--rm", "busybox", "wget", "-q", "-O-", $"http://host.docker.internal:{port}/")).Succeeds().Output);

        await Daemon.KillAsync();
        Assert.Equal("hello", await GetAsync(IPAddress.Loopback, port));
        await Daemon.StartAsync();
        Assert.Equal("hello", await GetAsync(IPAddress.Loopback, port));
        Assert.Contains($"0.0.0.0:{port}->8080/tcp", (await Daemon.DockerAsync("ps", "--format", "{{.Ports}}", "--filter", $"id={id}")).Succeeds().Output, StringComparison.Ordinal);

        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.Null(await GetAsync(IPAddress.Loopback, port));
    }

    [Fact]
    public async Task An_address_that_somebody_else_has_is_no_containers()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.233.71.0/24", "--aux-address", "printer=10.233.71.2", "--aux-address", "router=10.233.71.3", "aside")).Succeeds();
        Assert.Equal("""{"printer":"10.233.71.2","router":"10.233.71.3"}""", (await Daemon.DockerAsync("network", "inspect", "-f", "{{json (index .IPAM.Config 0).AuxiliaryAddresses}}", "aside")).Succeeds().Output.TrimEnd());
        Assert.Contains(" 10.233.71.4/24 ", (await Daemon.RunAsync("--rm", "--network", "aside", "busybox", "ip", "-4", "-o", "addr", "show", "eth0")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("10.233.71.2 of 10.233.71.0/24 is taken", (await Daemon.RunAsync("--rm", "--network", "aside", "--ip", "10.233.71.2", "busybox", "true")).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("network", "rm", "aside")).Succeeds();
        Assert.Contains("printer=10.9.9.9 is not in 10.233.71.0/24", (await CommandRun.RunAsync("curl", ["-s", "--unix-socket", Daemon.Socket, "-H", "Content-Type: application/json", "-d", """{"Name":"aside","IPAM":{"Config":[{"Subnet":"10.233.71.0/24","AuxiliaryAddresses":{"printer":"10.9.9.9"}}]}}""", "http://d/networks/create"])).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Containers_of_a_network_reach_each_other_and_those_of_another_do_not()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.7.0/24", "seven")).Succeeds();
        var id = await Daemon.RunDetachedAsync("--network", "seven", "--ip", "10.211.7.9", "busybox", "sh", "-c", Serve);
        await ListensAsync(id);

        Assert.Equal("10.211.7.9 10.211.7.1", await Daemon.InspectAsync(id, "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.Gateway}}{{end}}"));
        Assert.Equal("hello\n", (await Daemon.RunAsync("--rm", "--network", "seven", "busybox", "wget", "-q", "-O-", "http://10.211.7.9:8080/")).Succeeds().Output);
        Assert.Equal("hello\n", (await Daemon.RunAsync("--rm", "--network", "container:" + id, "busybox", "wget", "-q", "-O-", "http://127.0.0.1:8080/")).Succeeds().Output);
        Assert.NotEqual(0, (await Daemon.RunAsync("--rm", "busybox", "wget", "-q", "-T", "1", "-O-", "http://10.211.7.9:8080/")).ExitCode);

        var refused = await Daemon.DockerAsync("network", "rm", "seven");
        Assert.Contains("has active endpoints", refused.Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        (await Daemon.DockerAsync("network", "rm", "seven")).Succeeds();
    }

    [Theory]
    [InlineData("network nope not found", "run", "--rm", "--network", "nope", "busybox", "true")]
    [InlineData("address 10.9.9.9 is not in the subnet", "run", "--rm", "--ip", "10.9.9.9", "busybox", "true")]
    public async Task What_cannot_be_is_refused_with_its_reason(string reason, params string[] arguments) =>
        Assert.Contains(reason, (await Daemon.DockerAsync(arguments)).Exits(125).Error, StringComparison.Ordinal);

    [Theory]
    [InlineData("is not a network", "--subnet", "10.300.0.0/24")]
    [InlineData("driver overlay is not known", "--driver", "overlay")]
    [InlineData("macvlan needs the interface that it stands on", "--driver", "macvlan", "--subnet", "198.51.100.0/24")]
    [InlineData("must be 1 to 15 bytes", "--opt", "com.docker.network.bridge.name=much-too-long-a-name")]
    public async Task A_network_that_cannot_be_is_refused_with_its_reason(string reason, params string[] arguments) =>
        Assert.Contains(reason, (await Daemon.DockerAsync(["network", "create", .. arguments, "refused"])).Exits(1).Error, StringComparison.Ordinal);

    [Fact]
    public async Task A_port_that_is_taken_names_who_has_it_and_nothing_is_left_of_the_start()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var port = ((IPEndPoint)listener.LocalEndpoint).Port;

        var run = await Daemon.RunAsync("--rm", "-p", $"127.0.0.1:{port}:80", "busybox", "true");

        Assert.Contains($"port 127.0.0.1:{port}/tcp is taken by ", run.Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains($"(pid {Environment.ProcessId})", run.Error, StringComparison.Ordinal);

        var first = await Daemon.RunDetachedAsync("-p", "127.0.0.1::80", "--name", "first", "busybox", "sleep", "1000");
        var taken = (await Daemon.DockerAsync("port", first, "80")).Succeeds().Output.Trim();
        run = await Daemon.RunAsync("--rm", "-p", $"{taken}:80", "busybox", "true");
        Assert.Contains($"port {taken}/tcp is taken by container first;", run.Exits(125).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", first)).Succeeds();
    }

    [Fact]
    public async Task All_exposed_ports_are_published_at_free_ones_where_that_is_asked_for()
    {
        var id = await Daemon.RunDetachedAsync("-P", "--expose", "8080", "--expose", "9000-9001/udp", "-p", "127.0.0.1::9001/udp", "busybox", "sh", "-c", Serve);
        await ListensAsync(id);

        var port = int.Parse(await Daemon.InspectAsync(id, "{{(index .NetworkSettings.Ports \"8080/tcp\" 0).HostPort}}"), System.Globalization.CultureInfo.InvariantCulture);
        Assert.Equal("hello", await GetAsync(IPAddress.Loopback, port));
        Assert.Equal("2 true", await Daemon.InspectAsync(id, "{{len (index .NetworkSettings.Ports \"9000/udp\")}} {{.HostConfig.PublishAllPorts}}"));
        Assert.Equal("127.0.0.1", await Daemon.InspectAsync(id, "{{range index .NetworkSettings.Ports \"9001/udp\"}}{{.HostIp}}{{end}}"));
        var own = (await Daemon.EdgehostAsync("run", "-d", "-P", "--expose", "8080", "busybox", "sleep", "1000")).Succeeds().Output.Trim();
        Assert.NotEmpty((await Daemon.DockerAsync("port", own, "8080/tcp")).Succeeds().Output);
        (await Daemon.DockerAsync("rm", "-f", id, own)).Succeeds();
    }

    [Fact]
    public async Task Datagrams_to_a_published_port_reach_the_container_over_both_loopbacks_and_are_answered()
    {
        var id = await Daemon.RunDetachedAsync("-p", "9000/udp", "busybox", "sleep", "1000");
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        using var inside = EdgeHost.Linux.NetworkNamespace.Of(await Daemon.PidOfAsync(id));
        using var server = inside.Run(() => new UdpClient(9000));
        _ = EchoAsync();
        var port = int.Parse(await Daemon.InspectAsync(id, "{{(index .NetworkSettings.Ports \"9000/udp\" 0).HostPort}}"), System.Globalization.CultureInfo.InvariantCulture);
        foreach (var address in (IPAddress[])[IPAddress.Loopback, IPAddress.IPv6Loopback])
        {
            using var socket = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
            await socket.ConnectAsync(address, port, patience.Token);
            foreach (var length in (int[])[5, 1400, 60000])
            {
                var sent = new byte[length];
                Random.Shared.NextBytes(sent);
                await socket.SendAsync(sent, patience.Token);
                var answer = new byte[65535];
                Assert.Equal(length, await socket.ReceiveAsync(answer, patience.Token));
                Assert.Equal(sent, answer[..length]);
            }
        }

        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();

        async Task EchoAsync()
        {
            try
            {
                while (true)
                {
                    var received = await server.ReceiveAsync(patience.Token);
                    await server.SendAsync(received.Buffer, received.RemoteEndPoint, patience.Token);
                }
            }
            catch (Exception e) when (e is ObjectDisposedException or SocketException or OperationCanceledException)
            {
                // The test has ended.
            }
        }
    }

    [Fact]
    public async Task Events_tell_of_networks_as_those_of_docker_do()
    {
        var since = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0;
        (await Daemon.DockerAsync("network", "create", "told")).Succeeds();
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        (await Daemon.DockerAsync("network", "connect", "told", id)).Succeeds();
        (await Daemon.DockerAsync("network", "disconnect", "told", id)).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        (await Daemon.DockerAsync("network", "rm", "told")).Succeeds();
        var until = (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0) + 0.001;
        string[] window = ["--since", since.ToString("F3", System.Globalization.CultureInfo.InvariantCulture), "--until", until.ToString("F3", System.Globalization.CultureInfo.InvariantCulture)];

        var all = (await Daemon.DockerAsync(["events", .. window, "--filter", "type=network", "--format", "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}} {{.Actor.Attributes.container}}"])).Succeeds().Output;
        Assert.Equal(
            ["create told bridge <no value>", $"connect bridge bridge {id}", $"connect told bridge {id}", $"disconnect told bridge {id}", $"disconnect bridge bridge {id}", "destroy told bridge <no value>"],
            all.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line.Contains("told", StringComparison.Ordinal) || line.EndsWith(id, StringComparison.Ordinal)));
        var filtered = (await Daemon.DockerAsync(["events", .. window, "--filter", "network=told", "--format", "{{.Action}}"])).Succeeds().Output;
        Assert.Equal("create connect disconnect destroy", string.Join(' ', filtered.Split('\n', StringSplitOptions.RemoveEmptyEntries)));
    }

    [Fact]
    public async Task A_table_that_somebody_flushed_is_there_again_with_the_next_container()
    {
        await Packages.NeedAsync("nftables");
        var id = await Daemon.RunDetachedAsync("-p", "8080", "busybox", "sh", "-c", Serve);
        var port = int.Parse((await Daemon.InspectAsync(id, "{{(index .NetworkSettings.Ports \"8080/tcp\" 0).HostPort}}")), System.Globalization.CultureInfo.InvariantCulture);
        await ListensAsync(id);
        string[] list = ["list", "table", "inet", "edgehost-" + Daemon.Bridge];
        var before = (await CommandRun.RunAsync("nft", list)).Succeeds().Output;
        foreach (var harm in (string[])["flush", "delete"])
        {
            // A flushed table has its chains and no rules: nothing that is added to it later would fail.
            (await CommandRun.RunAsync("nft", [harm, "table", "inet", "edgehost-" + Daemon.Bridge])).Succeeds();

            (await Daemon.RunAsync("--rm", "busybox", "true")).Succeeds();

            Assert.Equal(before, (await CommandRun.RunAsync("nft", list)).Succeeds().Output);
        }

        Assert.Equal("hello", await GetAsync(IPAddress.Loopback, port));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_container_of_a_macvlan_has_its_static_address_in_the_real_network_and_is_reached_there()
    {
        // The real network: another machine, as a namespace behind a pair of interfaces.
        var name = Daemon.Bridge[3..];
        (await CommandRun.RunAsync("ip", ["netns", "add", "eht" + name])).Succeeds();
        try
        {
            (await CommandRun.RunAsync("ip", ["link", "add", "ehp" + name, "type", "veth", "peer", "name", "eth0", "netns", "eht" + name])).Succeeds();
            (await CommandRun.RunAsync("ip", ["link", "set", "ehp" + name, "up"])).Succeeds();
            (await CommandRun.RunAsync("ip", ["-n", "eht" + name, "address", "add", "198.51.100.1/24", "dev", "eth0"])).Succeeds();
            (await CommandRun.RunAsync("ip", ["-n", "eht" + name, "link", "set", "eth0", "up"])).Succeeds();
            (await Daemon.DockerAsync("network", "create", "-d", "macvlan", "--subnet", "198.51.100.0/24", "--gateway", "198.51.100.1", "-o", "parent=ehp" + name, "lan")).Succeeds();

            var id = await Daemon.RunDetachedAsync("--network", "lan", "--ip", "198.51.100.77", "busybox", "sh", "-c", Serve);
            await ListensAsync(id);

            Assert.Contains("hello", (await CommandRun.RunAsync("ip", ["netns", "exec", "eht" + name, "bash", "-c", "exec 3<>/dev/tcp/198.51.100.77/8080; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3"])).Succeeds().Output, StringComparison.Ordinal);
            Assert.Contains("1 packets received", (await CommandRun.RunAsync("nsenter", ["-t", $"{await Daemon.PidOfAsync(id)}", "-n", "-m", "ping", "-c", "1", "-W", "10", "198.51.100.1"])).Succeeds().Output, StringComparison.Ordinal);
            (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
            (await Daemon.DockerAsync("network", "rm", "lan")).Succeeds();
        }
        finally
        {
            (await CommandRun.RunAsync("ip", ["netns", "delete", "eht" + name])).Succeeds();
        }
    }

    [Fact]
    public async Task Twenty_containers_leave_no_interface_behind()
    {
        for (var i = 0; i < 20; i++)
        {
            (await Daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        }

        // The kernel takes interfaces away some time after the last process of their namespace has ended.
        using var links = RouteNetlink.Open();
        var bridge = links.FindLink(Daemon.Bridge)!.Index;
        var running = (await Daemon.DockerAsync("ps", "-q", "--filter", "network=bridge")).Succeeds().Output.Count(each => each == '\n');
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (links.ReadLinks().Count(each => each.Master == bridge) > running)
        {
            await Task.Delay(50, patience.Token);
        }
    }

    /// <summary>Waits until the server of a container listens: its own kernel table says so.</summary>
    private async Task ListensAsync(string id)
    {
        var pid = await Daemon.PidOfAsync(id);
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (!File.ReadLines($"/proc/{pid}/net/tcp").Concat(File.ReadLines($"/proc/{pid}/net/tcp6")).Any(line => line.Contains(":1F90 ", StringComparison.Ordinal) && line.Contains(" 0A ", StringComparison.Ordinal)))
        {
            await Task.Delay(20, patience.Token);
        }
    }

    /// <summary>Asks over HTTP; null when nobody answers.</summary>
    private static async Task<string?> GetAsync(IPAddress address, int port)
    {
        using var client = new TcpClient(address.AddressFamily);
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        try
        {
            await client.ConnectAsync(address, port, patience.Token);
            var stream = client.GetStream();
            await stream.WriteAsync("GET / HTTP/1.0\r\n\r\n"u8.ToArray(), patience.Token);
            using var answer = new StreamReader(stream, Encoding.ASCII);
            var text = await answer.ReadToEndAsync(patience.Token);
            return text[(text.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..].TrimEnd();
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException or IOException)
        {
            return null;
        }
    }
}
