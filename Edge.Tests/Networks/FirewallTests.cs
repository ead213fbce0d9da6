using System.Net;
using Edge.Tests.Fixtures;
using EdgeHost.Linux;
using EdgeHost.Networks;
using EdgeHost.Networks.Nftables;
using Xunit;

namespace Edge.Tests.Networks;

/// <summary>Real packets through the table that EdgeHost writes: a router, the world before it, containers behind it.</summary>
public sealed class FirewallTests : IDisposable
{
    private static readonly IPAddress World = IPAddress.Parse("192.0.2.2");
    private static readonly IPAddress Router = IPAddress.Parse("192.0.2.1");
    private static readonly IPAddress World6 = IPAddress.Parse("2001:db8::2");
    private static readonly IPAddress Router6 = IPAddress.Parse("2001:db8::1");

    private readonly NamespacedNetwork _router = new();
    private readonly NamespacedNetwork _world = new();
    private readonly List<IDisposable> _rest = [];
    private readonly Firewall _firewall;
    private readonly List<BridgeRules> _bridges = [];

    public FirewallTests()
    {
        _router.Connect(_world, "w1", Router, World, 24);
        _router.Links.AddAddress(_router.Links.FindLink("w1")!.Index, Router6, 64);
        _world.Links.AddAddress(_world.Links.FindLink("up0")!.Index, World6, 64);
        _firewall = _router.Namespace.Run(() => new Firewall(NetlinkSocket.Open(NetlinkProtocol.Netfilter)));
    }

    [Fact]
    public void A_container_reaches_the_world_with_the_address_of_its_host_over_both_families()
    {
        var one = AddContainer("br-a", 1);
        Apply();
        _rest.Add(_world.Serve(World, 80));
        _rest.Add(_world.Serve(World6, 80));
        Assert.Equal(Router.ToString(), one.Ask(World, 80));
        Assert.Equal(Router6.ToString(), one.Ask(World6, 80));
    }

    [Fact]
    public void A_published_port_is_reached_from_the_world_over_both_families_and_others_are_not()
    {
        var one = AddContainer("br-a", 1);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        _rest.Add(one.Serve(Address6(1, 2), 8080));
        Apply(new PublishedPort(null, 80, Address(1, 2), 8080, PortProtocol.Tcp), new PublishedPort(null, 80, Address6(1, 2), 8080, PortProtocol.Tcp));
        Assert.Equal(World.ToString(), _world.Ask(Router, 80));
        Assert.Equal(World6.ToString(), _world.Ask(Router6, 80));
        Assert.Null(_world.Ask(Address(1, 2), 8080));
    }

    [Fact]
    public void A_port_that_is_published_at_one_address_is_not_reached_by_another()
    {
        var one = AddContainer("br-a", 1);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        _router.Links.AddAddress(_router.Links.FindLink("w1")!.Index, IPAddress.Parse("192.0.2.77"), 24);
        Apply(new PublishedPort(IPAddress.Parse("192.0.2.77"), 80, Address(1, 2), 8080, PortProtocol.Tcp));
        Assert.Equal(World.ToString(), _world.Ask(IPAddress.Parse("192.0.2.77"), 80));
        Assert.Null(_world.Ask(Router, 80));
    }

    [Fact]
    public void A_published_port_is_reached_from_the_host_itself_by_127_0_0_1_and_from_outside_by_no_such_address()
    {
        var one = AddContainer("br-a", 1);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        Apply(new PublishedPort(IPAddress.Loopback, 80, Address(1, 2), 8080, PortProtocol.Tcp));
        Assert.Equal(Address(1, 1).ToString(), _router.Ask(IPAddress.Loopback, 80));

        // A neighbour that sends to 127.0.0.1 over the wire: it has no such address itself, and its packets get here.
        _world.Run("ip", "address", "del", "127.0.0.1/8", "dev", "lo");
        _world.Run("ip", "route", "add", "127.0.0.1", "via", Router.ToString(), "dev", "up0");
        _world.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
        _router.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet");
        Assert.Null(_world.Ask(IPAddress.Loopback, 80));
    }

    [Fact]
    public void A_container_reaches_its_own_published_port_by_the_address_of_its_host()
    {
        var one = AddContainer("br-a", 1);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        Apply(new PublishedPort(null, 80, Address(1, 2), 8080, PortProtocol.Tcp));
        Assert.Equal(Address(1, 1).ToString(), one.Ask(Router, 80));
    }

    [Fact]
    public void Networks_are_kept_apart_except_for_published_ports()
    {
        var one = AddContainer("br-a", 1);
        var other = AddContainer("br-b", 2);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        Apply(new PublishedPort(null, 80, Address(1, 2), 8080, PortProtocol.Tcp));
        Assert.Null(other.Ask(Address(1, 2), 8080));
        Assert.NotNull(other.Ask(Router, 80));
    }

    [Fact]
    public void An_internal_network_reaches_nothing_beyond_it()
    {
        var one = AddContainer("br-a", 1, isInternal: true);
        Apply();
        _rest.Add(_world.Serve(World, 80));
        Assert.Null(one.Ask(World, 80));
    }

    [Fact]
    public void A_port_can_be_published_and_taken_back_while_the_table_stands()
    {
        var one = AddContainer("br-a", 1);
        _rest.Add(one.Serve(Address(1, 2), 8080));
        Apply();
        var port = new PublishedPort(null, 81, Address(1, 2), 8080, PortProtocol.Tcp);
        _firewall.Publish([port]);
        Assert.NotNull(_world.Ask(Router, 81));
        _firewall.Withdraw([port]);
        Assert.Null(_world.Ask(Router, 81));
    }

    [Fact]
    public void Nft_reads_the_table_and_finds_it_gone_after_it_was_removed()
    {
        AddContainer("br-a", 1);
        Apply(new PublishedPort(null, 80, Address(1, 2), 8080, PortProtocol.Tcp));
        var listed = _router.Run("nft", "list", "table", "inet", "edgehost");
        Assert.Contains("elements = { \"br-a\" }", listed);
        Assert.Contains("masquerade", listed);
        Assert.Contains("fib daddr type local jump published", listed);
        Assert.Contains("tcp . 80 : 10.99.1.2 . 8080", listed);
        _firewall.Remove();
        Assert.Equal(string.Empty, _router.Run("nft", "list", "ruleset"));
    }

    [Fact]
    public async Task Where_dockerd_drops_what_is_forwarded_its_own_chain_lets_our_networks_through_and_is_as_it_was_afterwards()
    {
        await Packages.NeedAsync("iptables", "nftables");
        var one = AddContainer("edgehost0", 1);
        var other = AddContainer("docker0", 2);
        _bridges.RemoveAt(1);
        Apply();
        _rest.Add(_world.Serve(World, 80));
        _rest.Add(_world.Serve(World6, 80));
        _rest.Add(other.Serve(Address(2, 2), 80));
        Assert.Equal(0, LetThrough());
        foreach (var iptables in Iptables)
        {
            _router.Run(iptables, "-N", "DOCKER-USER");
            _router.Run(iptables, "-A", "DOCKER-USER", "-j", "RETURN");
            _router.Run(iptables, "-I", "FORWARD", "-j", "DOCKER-USER");
        }

        // A chain alone drops nothing, and nothing has to be let through.
        Assert.Equal(0, LetThrough());
        foreach (var iptables in Iptables)
        {
            _router.Run(iptables, "-P", "FORWARD", "DROP");
        }

        var before = Saved();
        Assert.Null(one.Ask(World, 80));
        Assert.Null(one.Ask(World6, 80));

        Assert.Equal(2, LetThrough());
        Assert.Equal(Router.ToString(), one.Ask(World, 80));
        Assert.Equal(Router6.ToString(), one.Ask(World6, 80));
        Assert.Equal(
            """
            -N DOCKER-USER
            -A DOCKER-USER -i edgehost0 -o docker0 -m comment --comment "edgehost: edgehost0 to docker0" -j RETURN
            -A DOCKER-USER -i edgehost0 -m comment --comment "edgehost: from edgehost0" -j ACCEPT
            -A DOCKER-USER -o edgehost0 -m comment --comment "edgehost: to edgehost0" -j ACCEPT
            -A DOCKER-USER -j RETURN

            """,
            _router.Run("iptables-nft", "-S", "DOCKER-USER"));

        // What dockerd keeps apart stays apart, and what stands already is not written again.
        Assert.Null(one.Ask(Address(2, 2), 80));
        Assert.Equal(0, LetThrough());
        _router.Run("iptables-nft", "-D", "DOCKER-USER", "2");
        Assert.Equal(1, LetThrough());
        Assert.Equal(Router.ToString(), one.Ask(World, 80));
        Assert.Equal(2, _firewall.LetThrough([], () => []));
        Assert.Equal(before, Saved());

        int LetThrough() => _firewall.LetThrough(["edgehost0"], () => ["docker0"]);

        string Saved() => string.Join('\n', Iptables.SelectMany(each => _router.Run(each + "-save").Split('\n').Where(line => !line.StartsWith('#')).Select(line => line.Split(" [")[0])));
    }

    private static readonly string[] Iptables = ["iptables-nft", "ip6tables-nft"];

    public void Dispose()
    {
        foreach (var each in _rest)
        {
            each.Dispose();
        }

        _firewall.Dispose();
        _world.Dispose();
        _router.Dispose();
    }

    private static IPAddress Address(int network, int host) => IPAddress.Parse($"10.99.{network}.{host}");

    private static IPAddress Address6(int network, int host) => IPAddress.Parse($"fd00:99:{network}::{host}");

    private NamespacedNetwork AddContainer(string bridge, byte network, bool isInternal = false)
    {
        var index = _router.Links.CreateBridge(bridge, [2, 1, 0, 0, 0, network], 0);
        _router.Links.SetUp(index);
        _router.Links.AddAddress(index, Address(network, 1), 24);
        _router.Links.AddAddress(index, Address6(network, 1), 64);
        _router.Run("sh", "-c", $"echo 1 > /proc/sys/net/ipv4/conf/{bridge}/route_localnet");
        var container = new NamespacedNetwork();
        _rest.Add(container);
        _router.Links.CreateVeth($"v{network}", index, container.Namespace, "eth0", [2, 2, 0, 0, 0, network], 1500);
        _router.Links.SetHairpin($"v{network}");
        var link = container.Links.FindLink("eth0")!.Index;
        container.Links.SetUp(link);
        container.Links.AddAddress(link, Address(network, 2), 24);
        container.Links.AddAddress(link, Address6(network, 2), 64);
        container.Links.AddDefaultRoute(link, Address(network, 1));
        container.Links.AddDefaultRoute(link, Address6(network, 1));
        _bridges.Add(new BridgeRules(bridge, [new IPNetwork(Address(network, 0), 24), new IPNetwork(IPAddress.Parse($"fd00:99:{network}::"), 64)], isInternal));
        return container;
    }

    private void Apply(params PublishedPort[] ports) => _firewall.Apply(_bridges, ports);
}
