using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What root of a container with users of its own can do in its network, with packets of the kernel, and what it cannot do to others.</summary>
public sealed class OwnNetworkTests(MachineOfItsOwn machine) : IClassFixture<MachineOfItsOwn>
{
    private const string OwnUsers = "grep -c ' 65536$' /proc/self/uid_map";

    private DaemonUnderTest Daemon => machine.Daemon;

    [Fact]
    public async Task It_pings_the_world_and_other_containers_also_after_a_restart_and_under_another_daemon()
    {
        var id = await Daemon.RunDetachedAsync("--name", "pinging", "busybox", "sleep", "1000");
        var other = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var address = await Daemon.InspectAsync(other, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        Assert.StartsWith("1\n", (await Daemon.RunAsync("--rm", "busybox", "sh", "-c", $"{OwnUsers}; {Ping(MachineOfItsOwn.World)} && {Ping(address)}")).Succeeds().Output, StringComparison.Ordinal);

        (await Daemon.DockerAsync("restart", "-t", "0", id)).Succeeds();
        await PingsAsync(id, MachineOfItsOwn.World);
        await Daemon.KillAsync();
        await Daemon.StartAsync();
        await PingsAsync(id, address);

        // A network that it comes into later.
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.211.41.0/24", "later")).Succeeds();
        (await Daemon.DockerAsync("network", "connect", "later", id)).Succeeds();
        (await Daemon.DockerAsync("network", "connect", "--ip", "10.211.41.9", "later", other)).Succeeds();
        await PingsAsync(id, "10.211.41.9");
        (await Daemon.DockerAsync("network", "disconnect", "bridge", id)).Succeeds();
        await PingsAsync(id, "10.211.41.9");
        (await Daemon.DockerAsync("rm", "-f", id, other)).Succeeds();
        (await Daemon.DockerAsync("network", "rm", "later")).Succeeds();
    }

    [Fact]
    public async Task It_changes_its_own_interfaces_with_the_right_to_that_and_nothing_of_the_host_or_of_another_container()
    {
        var id = await Daemon.RunDetachedAsync("--cap-add", "NET_ADMIN", "busybox", "sleep", "1000");
        Assert.Equal("1\n", (await InsideAsync(id, OwnUsers)).Succeeds().Output);
        Assert.Contains("10.9.9.9/24", (await InsideAsync(id, "ip address add 10.9.9.9/24 dev eth0 && ip route add 10.9.8.0/24 via 10.9.9.1 && ip address show eth0")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("is-up", (await Daemon.RunAsync("--rm", "--network", "none", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "ip link set lo down && ip link set lo up && echo is-up")).Succeeds().Output, StringComparison.Ordinal);
        Assert.NotEqual(0, (await Daemon.RunAsync("--rm", "busybox", "ip", "address", "add", "10.9.9.9/24", "dev", "eth0")).ExitCode);

        // Its settings are read, as those of any container.
        Assert.Contains("Read-only file system", (await InsideAsync(id, "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 68 > /sys/class/net/eth0/mtu")).Error, StringComparison.Ordinal);

        // The network of the host, and that of another container, belong to others.
        foreach (var network in (string[])["host", "container:" + id])
        {
            var run = await Daemon.EdgehostAsync("run", "--rm", "--network", network, "busybox", "sh", "-c", $"{OwnUsers}; ip address add 10.9.9.8/24 dev lo; {Ping("127.0.0.1")}");
            Assert.Equal("1\n", run.Exits(1).Output.Split("PING")[0]);
            Assert.Contains("Operation not permitted", run.Error, StringComparison.Ordinal);
            Assert.DoesNotContain("1 packets received", run.Output, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("10.9.9", (await machine.InAsync("ip", "address")).Succeeds().Output, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task An_interface_that_it_takes_away_again_and_again_is_its_own_loss_and_nobody_elses()
    {
        var id = await Daemon.RunDetachedAsync("--name", "quarrelling", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", "until [ -e /enough ]; do ip link delete eth0 2> /dev/null || usleep 10000; done; exec sleep 1000");
        await Daemon.SaysAsync("container quarrelling has lost its interface eth0 20 times within a minute, and is left without until it is started again");
        Assert.Equal(20, Daemon.Said.Split('\n').Count(line => line.EndsWith("put back: the interfaces of 1 containers", StringComparison.Ordinal)));
        Assert.DoesNotContain("eth0", (await InsideAsync(id, "ip link")).Succeeds().Output, StringComparison.Ordinal);

        // One that calls its own by another name is in nobody's way either.
        var fake = await Daemon.RunDetachedAsync("--name", "faking", "--cap-add", "NET_ADMIN", "busybox", "sleep", "1000");
        var calm = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        (await InsideAsync(fake, "ip link set eth0 down && ip link set eth0 name mine && ip link set mine up")).Succeeds();
        var said = Daemon.Said.Length;
        (await machine.InAsync("ip", "link", "delete", Daemon.Bridge)).Succeeds();
        await Daemon.SaysAsync("put back: the bridge itself", said);
        await PingsAsync(calm, MachineOfItsOwn.World);
        var ports = (await machine.InAsync("ip", "-o", "link", "show", "master", Daemon.Bridge)).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        said = Daemon.Said.Length;
        (await machine.InAsync("ip", "link", "delete", ports.Select(line => line.Split(' ')[1].Split('@')[0]).Last())).Succeeds();
        await Daemon.SaysAsync("put back: the interfaces of 1 containers", said);
        await PingsAsync(calm, MachineOfItsOwn.World);

        // By whatever name: out of the network it is without the interface.
        (await Daemon.DockerAsync("network", "disconnect", "bridge", fake)).Succeeds();
        Assert.DoesNotContain("mine", (await InsideAsync(fake, "ip link")).Succeeds().Output, StringComparison.Ordinal);

        // One that has another in the place of its own is left with it.
        (await Daemon.DockerAsync("network", "connect", "bridge", fake)).Succeeds();
        (await InsideAsync(fake, "ip link set eth0 down && ip link set eth0 name mine && ip link add eth0 type veth && ip link delete mine")).Succeeds();
        await Daemon.SaysAsync("container faking is left without its interface eth0: ");
        await PingsAsync(calm, MachineOfItsOwn.World);

        (await InsideAsync(id, "touch /enough")).Succeeds();
        (await Daemon.DockerAsync("restart", "-t", "0", id)).Succeeds();
        await PingsAsync(id, MachineOfItsOwn.World);
        (await Daemon.DockerAsync("rm", "-f", id, fake, calm)).Succeeds();
    }

    private static string Ping(string address) => $"ping -c 1 -W 10 {address}";

    private Task<CommandRun> InsideAsync(string id, string script) => Daemon.DockerAsync("exec", id, "sh", "-c", script);

    private async Task PingsAsync(string id, string address) =>
        Assert.Contains("1 packets received", (await InsideAsync(id, Ping(address))).Succeeds().Output, StringComparison.Ordinal);
}
