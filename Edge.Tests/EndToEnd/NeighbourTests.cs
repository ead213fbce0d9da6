using System.Net;
using System.Net.Sockets;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>
/// What other programs do to the network of a machine: one with links, rules and an /etc of its own, behind which there
/// is a world.
/// </summary>
public sealed class NeighbourTests(MachineOfItsOwn machine) : IClassFixture<MachineOfItsOwn>
{
    private const string Serve = "mkdir -p /w && echo hello > /w/index.html && exec httpd -f -p 8080 -h /w";

    private DaemonUnderTest Daemon => machine.Daemon;

    [Fact]
    public async Task The_table_is_back_at_once_whatever_another_program_takes_out_of_it_and_our_own_changes_are_none_of_that()
    {
        await Packages.NeedAsync("nftables");
        var id = await Daemon.RunDetachedAsync("-p", "18080:8080", "busybox", "sh", "-c", Serve);
        var table = "edgehost-" + Daemon.Bridge;
        string[] list = ["nft", "list", "table", "inet", table];
        var before = (await machine.InAsync(list)).Succeeds().Output;
        string[] harms = ["flush ruleset", $"delete table inet {table}", $"flush table inet {table}", $"flush chain inet {table} forward", $"add rule inet {table} forward drop"];
        foreach (var harm in harms)
        {
            var said = Daemon.Said.Length;
            (await machine.InAsync(["nft", .. harm.Split(' ')])).Succeeds();
            await Daemon.SaysAsync($"table inet {table} of nftables was changed by nft (process ", said);
            Assert.Equal(before, (await machine.InAsync(list)).Succeeds().Output);
        }

        Assert.Equal("hello", await machine.GetFromWorldAsync(18080));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        (await Daemon.RunAsync("--rm", "-p", "18080:8080", "busybox", "true")).Succeeds();

        // Another table is nobody's business here: what follows it in the log follows what was made of it.
        (await machine.InAsync("nft", "add", "table", "inet", "another")).Succeeds();
        var last = Daemon.Said.Length;
        (await machine.InAsync("nft", "delete", "table", "inet", table)).Succeeds();
        await Daemon.SaysAsync("was written anew", last);
        Assert.Equal(harms.Length + 1, Daemon.Said.Split('\n').Count(line => line.Contains("was written anew", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_bridge_that_another_program_deletes_is_put_back_with_its_address_and_ports_and_what_ran_reaches_out_again()
    {
        var id = await Daemon.RunDetachedAsync("-p", "18081:8080", "busybox", "sh", "-c", Serve);
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.31.0/24", "bridged")).Succeeds();
        var other = await Daemon.RunDetachedAsync("--network", "bridged", "--name", "named", "busybox", "sleep", "1000");
        var asker = await Daemon.RunDetachedAsync("--network", "bridged", "busybox", "sleep", "1000");
        var bridge = "eh-" + (await Daemon.DockerAsync("network", "inspect", "-f", "{{.Id}}", "bridged")).Succeeds().Output[..12];
        foreach (var (name, harm) in ((string, string)[])[(Daemon.Bridge, "link delete"), (bridge, "link delete"), (bridge, "address flush dev"), (bridge, "link set down")])
        {
            var said = Daemon.Said.Length;
            (await machine.InAsync(["ip", .. harm.Split(' '), name])).Succeeds();
            await Daemon.SaysAsync($"another program has taken parts of bridge {name} away; put back: ", said);
        }

        Assert.Equal("hello", await machine.GetFromWorldAsync(18081));
        await PingAsync(id, MachineOfItsOwn.World);
        await PingAsync(other, MachineOfItsOwn.World);
        Assert.Contains("10.211.31.2", (await Daemon.InAsync(asker, "-n", "-m", "nslookup", "named")).Output, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id, other, asker)).Succeeds();
        (await Daemon.DockerAsync("network", "rm", "bridged")).Succeeds();
    }

    [Fact]
    public async Task A_container_whose_interface_another_program_deletes_gets_one_with_the_same_address_and_one_that_ended_gets_none()
    {
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.32.0/24", "paired")).Succeeds();
        var bridge = "eh-" + (await Daemon.DockerAsync("network", "inspect", "-f", "{{.Id}}", "paired")).Succeeds().Output[..12];
        var id = await Daemon.RunDetachedAsync("--network", "paired", "--ip", "10.211.32.9", "busybox", "sleep", "1000");
        var before = (await Daemon.InAsync(id, "-n", "ip", "-o", "address", "show", "eth0")).Succeeds().Output;
        var port = (await machine.InAsync("sh", "-c", "ip -o link show type veth | sed -n 's/.* \\(ehv[0-9a-f]*\\)@.*/\\1/p'")).Succeeds().Output.Trim();
        foreach (var harm in (string[])["nomaster", "delete"])
        {
            var said = Daemon.Said.Length;
            (await machine.InAsync(["ip", "link", .. harm == "delete" ? ["delete", port] : (string[])["set", port, harm]])).Succeeds();
            await Daemon.SaysAsync("put back: ", said);
        }

        var after = (await Daemon.InAsync(id, "-n", "ip", "-o", "address", "show", "eth0")).Succeeds().Output;
        Assert.Equal(AddressesOf(before), AddressesOf(after));
        await PingAsync(id, MachineOfItsOwn.World);

        // One that a daemon was killed over before it could write it down belongs to nobody; what is lost while none is
        // there is put back.
        (await machine.InAsync("sh", "-c", $"ip link add ehvstray type veth peer name ehp && ip link set ehvstray master {bridge}")).Succeeds();
        await Daemon.KillAsync();
        (await machine.InAsync("ip", "link", "delete", port)).Succeeds();
        await Daemon.StartAsync();
        Assert.DoesNotContain("ehvstray", (await machine.InAsync("ip", "link")).Succeeds().Output, StringComparison.Ordinal);
        await PingAsync(id, MachineOfItsOwn.World);

        var last = Daemon.Said.Length;
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        (await Daemon.DockerAsync("network", "rm", "paired")).Succeeds();
        Assert.DoesNotContain("put back", Daemon.Said[last..], StringComparison.Ordinal);
        Assert.DoesNotContain("net.ipv6.conf.eh", Daemon.Said, StringComparison.Ordinal);

        static string AddressesOf(string text) => string.Join(' ', text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[3]));
    }

    [Fact]
    public async Task A_route_to_the_same_addresses_is_said_and_shown_and_subnets_that_nobody_named_give_way()
    {
        var id = await Daemon.RunDetachedAsync("--rm", "busybox", "sleep", "1000");
        var said = Daemon.Said.Length;
        (await machine.InAsync("ip", "route", "add", "10.210.0.0/17", "via", MachineOfItsOwn.World, "dev", "w1")).Succeeds();
        try
        {
            // The way in which OpenVPN takes the place of the default route: that is no network.
            (await machine.InAsync("ip", "route", "add", "0.0.0.0/1", "via", MachineOfItsOwn.World, "dev", "w1")).Succeeds();
            (await machine.InAsync("ip", "route", "add", "128.0.0.0/1", "via", MachineOfItsOwn.World, "dev", "w1")).Succeeds();
            await Daemon.SaysAsync("this machine has a route to 10.210.0.0/17 dev w1, and network bridge is 10.210.0.0/24", said);
            Assert.Contains("\"10.210.0.0/17 dev w1\"", (await Daemon.EdgehostAsync("network", "inspect", "bridge")).Succeeds().Output, StringComparison.Ordinal);
            Assert.DoesNotContain("/1 dev w1", Daemon.Said, StringComparison.Ordinal);

            (await Daemon.DockerAsync("network", "create", "elsewhere")).Succeeds();
            Assert.Equal("10.210.128.0/24\n", (await Daemon.DockerAsync("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "elsewhere")).Succeeds().Output);
            (await Daemon.DockerAsync("network", "rm", "elsewhere")).Succeeds();

            // While a container is in it, it stays; afterwards the next start moves it.
            await Daemon.KillAsync();
            await Daemon.StartAsync();
            Assert.Equal("10.210.0.0/24", await SubnetAsync());
            (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
            await Daemon.KillAsync();
            said = Daemon.Said.Length;
            await Daemon.StartAsync();
            await Daemon.SaysAsync("network bridge was 10.210.0.0/24", said);
            Assert.Equal("10.210.128.0/24", await SubnetAsync());
            await PingAsync(await Daemon.RunDetachedAsync("--name", "moved", "busybox", "sleep", "1000"), MachineOfItsOwn.World);
            (await Daemon.DockerAsync("rm", "-f", "moved")).Succeeds();
        }
        finally
        {
            // These alone: all that is within 128.0.0.0/1 (root) would be the way to the world, too.
            foreach (var route in (string[])["0.0.0.0/1", "128.0.0.0/1", "10.210.0.0/17"])
            {
                (await machine.InAsync("ip", "route", "flush", "exact", route, "dev", "w1")).Succeeds();
            }
        }

        async Task<string> SubnetAsync() => (await Daemon.DockerAsync("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "bridge")).Succeeds().Output.Trim();
    }

    [Fact]
    public async Task Containers_follow_the_name_servers_of_the_machine_but_for_those_that_have_servers_of_their_own()
    {
        await machine.ResolvesByAsync("nameserver 192.0.2.51");
        var follows = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var own = await Daemon.RunDetachedAsync("--dns", "192.0.2.60", "busybox", "sleep", "1000");
        var changed = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "echo nameserver 192.0.2.61 > /etc/resolv.conf; exec sleep 1000");
        var ofHost = await Daemon.RunDetachedAsync("--network", "host", "busybox", "sleep", "1000");

        foreach (var (lines, servers) in ((string, string)[])[("nameserver 192.0.2.52", "nameserver 192.0.2.52\n"), ("nameserver 127.0.0.53", ""), ("nameserver 192.0.2.53", "nameserver 192.0.2.53\n")])
        {
            var said = Daemon.Said.Length;
            await machine.ResolvesByAsync(lines);
            await UntilAsync(follows, servers);
            await UntilAsync(ofHost, lines + "\n");
            if (servers.Length == 0)
            {
                await Daemon.SaysAsync("containers of network bridge can look up no names of the world: /etc/resolv.conf names only servers on a loopback", said);
            }
        }

        // By a link that leads nowhere yet, with which a container starts nevertheless, and the upstreams of
        // systemd-resolved behind it.
        var before = Daemon.Said.Length;
        await machine.ShellAsync("ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.link && mv -T /etc/resolv.link /etc/resolv.conf");
        await Daemon.SaysAsync("containers of network bridge can look up no names of the world: /etc/resolv.conf is a link to ../run/systemd/resolve/stub-resolv.conf, where no file is", before);
        Assert.Equal(string.Empty, (await Daemon.RunAsync("--rm", "busybox", "cat", "/etc/resolv.conf")).Succeeds().Output);
        await machine.ShellAsync("mkdir -p /run/systemd/resolve && echo nameserver 192.0.2.54 > /run/systemd/resolve/resolv.conf && echo nameserver 127.0.0.53 > /run/systemd/resolve/stub-resolv.conf");
        await UntilAsync(follows, "nameserver 192.0.2.54\n");

        Assert.Equal("nameserver 192.0.2.60\n", await ResolverAsync(own));
        Assert.Equal("nameserver 192.0.2.61\n", await ResolverAsync(changed));
        (await Daemon.DockerAsync("rm", "-f", follows, own, changed, ofHost)).Succeeds();
    }

    [Fact]
    public async Task Where_dockerd_drops_what_is_forwarded_our_containers_reach_out_and_nothing_of_that_is_left_when_the_daemon_has_left()
    {
        await Packages.NeedAsync("iptables", "nftables");
        (await machine.InAsync("sh", "-c", "for i in iptables-nft ip6tables-nft; do $i -N DOCKER-USER; $i -A DOCKER-USER -j RETURN; $i -I FORWARD -j DOCKER-USER; done")).Succeeds();
        var before = await SavedAsync();
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        Assert.Equal(before, await SavedAsync());
        var said = Daemon.Said.Length;
        (await machine.InAsync("sh", "-c", "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP")).Succeeds();
        await Daemon.SaysAsync("chain DOCKER-USER has rules of ours by now that let " + Daemon.Bridge + " through", said);
        await PingAsync(id, MachineOfItsOwn.World);

        // Somebody who empties that chain has meant his own rules.
        said = Daemon.Said.Length;
        (await machine.InAsync("iptables-nft", "-F", "DOCKER-USER")).Succeeds();
        await Daemon.SaysAsync("chain DOCKER-USER has rules of ours", said);
        await PingAsync(id, MachineOfItsOwn.World);
        (await machine.InAsync("iptables-nft", "-A", "DOCKER-USER", "-j", "RETURN")).Succeeds();

        // A daemon that ends while containers run leaves what they need; with the last container it takes that along.
        var pid = await Daemon.PidOfAsync(id);
        await Daemon.StopAsync();
        Assert.Contains("1 packets received", (await CommandRun.RunAsync("nsenter", ["-t", $"{pid}", "-n", "-m", "ping", "-c", "1", "-W", "10", MachineOfItsOwn.World])).Succeeds().Output, StringComparison.Ordinal);
        await Daemon.StartAsync();
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        await Daemon.StopAsync();
        Assert.Equal(before.Replace("FORWARD ACCEPT", "FORWARD DROP", StringComparison.Ordinal), await SavedAsync());
        Assert.DoesNotContain("edgehost", (await machine.InAsync("nft", "list", "ruleset")).Succeeds().Output, StringComparison.Ordinal);
        (await machine.InAsync("sh", "-c", "for i in iptables-nft ip6tables-nft; do $i -P FORWARD ACCEPT; $i -F; $i -X; done")).Succeeds();
        await Daemon.StartAsync();

        async Task<string> SavedAsync() =>
            (await machine.InAsync("sh", "-c", "for i in iptables-nft ip6tables-nft; do $i-save | sed 's/ [[][0-9:]*]//; /^#/d'; done")).Succeeds().Output;
    }

    [Fact]
    public async Task What_a_killed_daemon_left_for_containers_that_have_ended_goes_with_the_next_one_and_a_bridge_of_somebody_else_stays()
    {
        await Packages.NeedAsync("nftables");
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var pid = await Daemon.PidOfAsync(id);
        await Daemon.KillAsync();
        Assert.Contains(Daemon.Bridge, (await machine.InAsync("nft", "list", "ruleset")).Succeeds().Output, StringComparison.Ordinal);
        await DaemonUnderTest.SignalAsync(pid, "KILL");
        await DaemonUnderTest.GoneAsync(pid);
        await Daemon.StartAsync();
        Assert.DoesNotContain(Daemon.Bridge, await RuledAsync(), StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", id)).Succeeds();

        // The way of edgehost uninstall, which ends the daemon before the containers.
        id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        pid = await Daemon.PidOfAsync(id);
        using var space = EdgeHost.Linux.NetworkNamespace.Of(Daemon.Pid);
        await Daemon.StopAsync();
        Assert.Contains(Daemon.Bridge, await RuledAsync(), StringComparison.Ordinal);
        await DaemonUnderTest.SignalAsync(pid, "KILL");
        await DaemonUnderTest.GoneAsync(pid);
        Assert.Equal(0, space.Run(() => EdgeHost.Daemon.Run(new EdgeHost.Cli.DaemonFlags(Daemon.ConfigFile, Daemon.Data, Daemon.Run) { Leaves = true })));
        Assert.DoesNotContain(Daemon.Bridge, await RuledAsync(), StringComparison.Ordinal);
        await Daemon.StartAsync();
        (await Daemon.DockerAsync("rm", id)).Succeeds();

        (await machine.InAsync("ip", "link", "add", "theirs0", "type", "bridge")).Succeeds();
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.34.0/24", "-o", "com.docker.network.bridge.name=theirs0", "lent")).Succeeds();
        (await Daemon.RunAsync("--rm", "--network", "lent", "busybox", "true")).Succeeds();
        Assert.Contains("10.211.34.1/24", (await machine.InAsync("ip", "address", "show", "theirs0")).Succeeds().Output, StringComparison.Ordinal);
        (await Daemon.DockerAsync("network", "rm", "lent")).Succeeds();
        Assert.DoesNotContain("10.211.34.1", (await machine.InAsync("ip", "address", "show", "theirs0")).Succeeds().Output, StringComparison.Ordinal);
        (await machine.InAsync("ip", "link", "delete", "theirs0")).Succeeds();

        async Task<string> RuledAsync() => (await machine.InAsync("sh", "-c", "nft list ruleset; ip link")).Succeeds().Output;
    }

    [Fact]
    public async Task Check_names_each_neighbour_and_what_to_do_about_it()
    {
        await Packages.NeedAsync("nftables");
        var space = EdgeHost.Linux.NetworkNamespace.Of(Daemon.Pid);
        var fake = Path.Combine(machine.Directory, "NetworkManager");
        File.Copy("/bin/sleep", fake, overwrite: true);
        File.SetUnixFileMode(fake, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        using var manager = System.Diagnostics.Process.Start(fake, ["1000"]);
        using var broker = space.Run(() => Listen(SocketType.Stream, 1883));
        using var names = space.Run(() => Listen(SocketType.Dgram, 53));
        try
        {
            (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.33.0/24", "clashing")).Succeeds();
            (await machine.InAsync("ip", "route", "add", "10.211.32.0/20", "via", MachineOfItsOwn.World, "dev", "w1")).Succeeds();
            (await machine.InAsync("nft", "add table inet other; add chain inet other through { type filter hook forward priority 0; policy drop; }; add table ip6 filter; add chain ip6 filter INPUT { type filter hook input priority 0; policy drop; }")).Succeeds();
            var text = await CheckAsync();
            foreach (var line in (string[])
            [
                "note     nftables inet other through  drops what is forwarded, containers' packets too",
                "-> nft insert rule inet other through iifname edgehost0 accept; nft insert rule inet other through oifname edgehost0 accept",
                "containers reach neither their name server nor the broker in the daemon",
                "-> ip6tables -I INPUT -i edgehost0 -j ACCEPT",
                "overlaps network clashing (10.211.33.0/24)",
                $"so that the broker inside the daemon cannot listen at 127.0.0.1:1883",
                $"(pid {Environment.ProcessId}); no conflict: names of containers are served at other ports",
                $"NetworkManager               process {manager.Id}: may take EdgeHost's interfaces for its own",
                "bridge, veth, macvlan, and what NAT needs of nftables",
            ])
            {
                Assert.Contains(line, text, StringComparison.Ordinal);
            }

            (await machine.InAsync("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; add chain ip filter DOCKER-USER; delete table inet other")).Succeeds();
            await machine.ShellAsync("mkdir -p /etc/NetworkManager/conf.d && printf '[keyfile]\\nunmanaged-devices+=interface-name:ehv*\\n' > /etc/NetworkManager/conf.d/edgehost.conf");
            text = await CheckAsync();
            Assert.Contains("drops what is forwarded; EdgeHost has its networks let through in DOCKER-USER", text, StringComparison.Ordinal);
            Assert.Contains("/etc/NetworkManager/conf.d/edgehost.conf tells it to leave EdgeHost's interfaces alone", text, StringComparison.Ordinal);
        }
        finally
        {
            manager.Kill();
            (await machine.InAsync("sh", "-c", "nft delete table inet other 2>/dev/null; nft delete table ip filter 2>/dev/null; nft delete table ip6 filter 2>/dev/null; ip route flush 10.211.32.0/20")).Exits(0);
            (await Daemon.DockerAsync("network", "rm", "clashing")).Succeeds();
        }

        async Task<string> CheckAsync() => (await CommandRun.RunAsync("nsenter", [
            "-t", $"{Daemon.Pid}", "-n", "-m", await PublishedBinary.NativeAsync(), "check", "--data-dir", Daemon.Data])).Output;

        static Socket Listen(SocketType type, int port)
        {
            var socket = new Socket(AddressFamily.InterNetwork, type, ProtocolType.Unspecified);
            socket.Bind(new IPEndPoint(IPAddress.Any, port));
            if (type == SocketType.Stream)
            {
                socket.Listen();
            }

            return socket;
        }
    }

    private async Task PingAsync(string id, string address) =>
        Assert.Contains("1 packets received", (await Daemon.InAsync(id, "-n", "-m", "ping", "-c", "1", "-W", "10", address)).Succeeds().Output, StringComparison.Ordinal);

    private async Task<string> ResolverAsync(string id) => (await Daemon.InAsync(id, "-m", "cat", "/etc/resolv.conf")).Succeeds().Output;

    private async Task UntilAsync(string id, string content)
    {
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (await ResolverAsync(id) is var found && found != content)
        {
            Assert.False(patience.IsCancellationRequested, $"it stays at\n{found}\nand the daemon said\n{Daemon.Said}");
        }
    }
}

/// <summary>
/// A machine to be neighbours on, with a daemon: a network namespace of its own, connected to another one that is the
/// world, and an /etc and a /run that hide those of the real machine.
/// </summary>
public sealed class MachineOfItsOwn : IAsyncLifetime
{
    /// <summary>The address of the world.</summary>
    internal const string World = "192.0.2.2";

    private const string Machine = "192.0.2.1";

    private readonly DirectoryInfo _directory = System.IO.Directory.CreateTempSubdirectory("eh-etc-");
    private readonly string _name = "eh" + Guid.NewGuid().ToString("N")[..8];

    internal DaemonUnderTest Daemon { get; } = DaemonUnderTest.Make();

    /// <summary>The option of nsenter(1) that leads there.</summary>
    internal string InNamespace => $"--net=/run/netns/{_name}";

    /// <summary>A directory for what tests need.</summary>
    internal string Directory => _directory.FullName;

    public async ValueTask InitializeAsync()
    {
        Needs.Root();
        await Packages.NeedAsync("iproute2", "util-linux");
        foreach (var command in (string[])
        [
            $"netns add {_name}", $"netns add {_name}w",
            $"-n {_name} link set lo up", $"-n {_name}w link set lo up",
            $"-n {_name} link add w1 type veth peer name up0 netns {_name}w",
            $"-n {_name} address add {Machine}/24 dev w1", $"-n {_name}w address add {World}/24 dev up0",
            $"-n {_name} link set w1 up", $"-n {_name}w link set up0 up",
            $"-n {_name} route add default via {World}",
        ])
        {
            (await CommandRun.RunAsync("ip", command.Split(' '))).Succeeds();
        }

        // As on a machine that was just booted; a new namespace has what its maker has.
        (await InAsync("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")).Succeeds();
        _directory.CreateSubdirectory("over");
        var mount = $"mount -t tmpfs none {_directory}/over && mkdir {_directory}/over/u {_directory}/over/w && mount -t overlay -o lowerdir=/etc,upperdir={_directory}/over/u,workdir={_directory}/over/w overlay /etc && mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && exec \"$@\"";
        Daemon.Before = ["nsenter", InNamespace, "unshare", "--mount", "sh", "-c", mount, "sh"];
        await Daemon.StartAsync();
        await Daemon.LoadAsync("busybox");
    }

    public async ValueTask DisposeAsync()
    {
        await Daemon.DisposeAsync();
        (await CommandRun.RunAsync("ip", ["netns", "delete", _name])).Succeeds();
        (await CommandRun.RunAsync("ip", ["netns", "delete", _name + "w"])).Succeeds();
        _directory.Delete(recursive: true);
    }

    /// <summary>Runs a program on the machine.</summary>
    internal Task<CommandRun> InAsync(params string[] command) => CommandRun.RunAsync("nsenter", [InNamespace, .. command]);

    /// <summary>Runs a script where the daemon sees the files that it changes.</summary>
    internal async Task ShellAsync(string script) =>
        (await CommandRun.RunAsync("nsenter", ["-t", $"{Daemon.Pid}", "-m", "sh", "-c", script])).Succeeds();

    /// <summary>Puts another resolv.conf in the place of the one that is there.</summary>
    internal Task ResolvesByAsync(string line) => ShellAsync($"echo {line} > /etc/resolv.new && mv /etc/resolv.new /etc/resolv.conf");

    /// <summary>What a server of the machine says to the world over HTTP.</summary>
    internal async Task<string> GetFromWorldAsync(int port) => (await CommandRun.RunAsync("nsenter", [
        $"--net=/run/netns/{_name}w", "bash", "-c", $"exec 3<>/dev/tcp/{Machine}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"])).Succeeds().Output.TrimEnd().Split('\n')[^1];
}
