using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using EdgeHost.Linux;

namespace EdgeHost.Networks.Nftables;

/// <summary>What a network needs of the firewall.</summary>
/// <param name="Bridge">The interface of its bridge.</param>
/// <param name="Subnets">Its networks, of either family.</param>
/// <param name="IsInternal">Whether nothing of it may reach beyond it.</param>
/// <param name="Names">Where on this machine DNS is answered that is asked of its gateway; null where it is not.</param>
/// <param name="Gateway">This machine's IPv4 address in it; null when it has none.</param>
internal sealed record BridgeRules(string Bridge, IReadOnlyList<IPNetwork> Subnets, bool IsInternal, IPEndPoint? Names = null, IPAddress? Gateway = null);

/// <summary>
/// The table of EdgeHost in nftables, <c>inet edgehost</c>: addresses are translated, ports published, networks kept
/// apart. No other table is touched but as <see cref="ForeignForward"/> says. Everything is done in transactions, so that no packet meets half of it.
/// </summary>
internal sealed class Firewall(NetlinkSocket socket, string table = "edgehost") : IDisposable
{
    private const string Bridges = "bridges";
    private const string Published = "published";
    private const ushort DnsPort = 53;
    private const int MostTries = 20;

    // Priorities of nft(8): raw, dstnat, filter, srcnat.
    private const int Raw = -300;
    private const int DestinationTranslation = -100;
    private const int Filter = 0;
    private const int SourceTranslation = 100;

    private static readonly IPNetwork Loopback = new(IPAddress.Parse("127.0.0.0"), 8);

    private static readonly IPNetwork Loopback6 = new(IPAddress.IPv6Loopback, 128);

    private static readonly (string Map, bool IsV6, bool WithAddress)[] Maps =
    [
        ("published_at4", false, true),
        ("published4", false, false),
        ("published_at6", true, true),
        ("published6", true, false),
    ];

    private uint? _generation;

    /// <summary>
    /// Whether somebody may have changed this table since we did: somebody has changed something in nftables, and whose
    /// table it was is not asked.
    /// </summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal bool MayBeChanged => _generation != TableTransaction.ReadGeneration(socket);

    /// <summary>The number by which the kernel names us to those who listen to changes.</summary>
    internal uint Port => socket.Port;

    /// <summary>Puts the whole table in the place of what is there.</summary>
    /// <param name="bridges">All networks that have a bridge.</param>
    /// <param name="ports">All published ports.</param>
    /// <param name="offered">A TCP socket of the loopback to which the same port of each gateway leads; null for none.</param>
    /// <exception cref="LinuxException">The kernel refuses; the old table stands.</exception>
    internal void Apply(IReadOnlyList<BridgeRules> bridges, IEnumerable<PublishedPort> ports, IPEndPoint? offered = null)
    {
        var change = new TableTransaction(table).Renew()
            .AddSet(Bridges, SetType.InterfaceName, 16);
        foreach (var (map, isV6, withAddress) in Maps)
        {
            var (address, length) = isV6 ? (SetType.Address6, 16u) : (SetType.Address4, 4u);
            change.AddMap(
                map,
                withAddress ? SetType.Concat(address, SetType.Protocol, SetType.Port) : SetType.Concat(SetType.Protocol, SetType.Port),
                8 + (withAddress ? length : 0),
                SetType.Concat(address, SetType.Port),
                length + 4);
        }

        foreach (var bridge in bridges)
        {
            change.AddElement(Bridges, RuleExpressions.NameBytes(bridge.Bridge));
        }

        foreach (var port in ports)
        {
            Add(change, port);
        }

        AddRaw(change);
        AddPublished(change, bridges, offered);
        AddPostrouting(change, bridges);
        AddForward(change, bridges);
        Commit(change, $"write table inet {table} of nftables", isWhole: true);
    }

    /// <summary>Publishes ports.</summary>
    /// <exception cref="LinuxException">The kernel refuses: ENOENT when the table was flushed away.</exception>
    internal void Publish(IReadOnlyCollection<PublishedPort> ports)
    {
        if (ports.Count > 0)
        {
            var change = new TableTransaction(table);
            foreach (var port in ports)
            {
                Add(change, port);
            }

            Commit(change, "publish ports in nftables", isWhole: false);
        }
    }

    /// <summary>Takes ports back.</summary>
    /// <exception cref="LinuxException">The kernel refuses: ENOENT when the table was flushed away.</exception>
    internal void Withdraw(IReadOnlyCollection<PublishedPort> ports)
    {
        if (ports.Count > 0)
        {
            var change = new TableTransaction(table);
            foreach (var port in ports)
            {
                change.RemoveElement(MapOf(port), KeyOf(port));
            }

            Commit(change, "take published ports back from nftables", isWhole: false);
        }
    }

    /// <summary>Has ports lead elsewhere; no packet finds them closed.</summary>
    /// <exception cref="LinuxException">The kernel refuses: ENOENT when the table was flushed away.</exception>
    internal void Replace(IReadOnlyCollection<PublishedPort> before, IReadOnlyCollection<PublishedPort> after)
    {
        var change = new TableTransaction(table);
        foreach (var port in before)
        {
            change.RemoveElement(MapOf(port), KeyOf(port));
        }

        foreach (var port in after)
        {
            Add(change, port);
        }

        Commit(change, "lead published ports elsewhere in nftables", isWhole: false);
    }

    /// <summary>Has the tables of other programs let our bridges through, or takes that back.</summary>
    /// <param name="bridges">Our bridges; none takes it back.</param>
    /// <param name="others">Gives the bridges of dockerd.</param>
    /// <returns>How many tables were changed.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal int LetThrough(IReadOnlyList<string> bridges, Func<IReadOnlyList<string>> others)
    {
        var changed = 0;
        var foreign = new ForeignForward(socket, table + ": ");
        foreach (var family in ForeignForward.Families)
        {
            for (var tries = 1; ; tries++)
            {
                // Rules are removed by numbers, which are another's rules where the table was made anew meanwhile.
                var generation = TableTransaction.ReadGeneration(socket);
                if (foreign.Plan(family, bridges, others) is not { } change)
                {
                    break;
                }

                try
                {
                    Commit(change, $"change chain {ForeignForward.Chain} of nftables", isWhole: false, generation);
                    changed++;
                    break;
                }
                catch (LinuxException e) when (e.Errno == Errno.ERESTART && tries < MostTries)
                {
                    // Somebody was quicker.
                }
            }
        }

        return changed;
    }

    /// <summary>Removes the table.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal void Remove() => Commit(new TableTransaction(table).Remove(), $"remove table inet {table} of nftables", isWhole: true);

    /// <inheritdoc/>
    public void Dispose() => socket.Dispose();

    /// <summary>Each of our changes is one generation: where it is more than that, somebody else was there meanwhile.</summary>
    private void Commit(TableTransaction change, string what, bool isWhole, uint? only = null)
    {
        var before = isWhole ? TableTransaction.ReadGeneration(socket) : _generation;
        change.Commit(socket, what, only);
        var after = TableTransaction.ReadGeneration(socket);
        _generation = before + 1 == after ? after : null;
    }

    /// <summary>
    /// Published ports of 127.0.0.1 need route_localnet on the bridges; what comes from elsewhere to 127.0.0.0/8 is
    /// stopped before that could let it in (CVE-2020-8558).
    /// </summary>
    private static void AddRaw(TableTransaction change) => change
        .AddChain("raw", "filter", Hook.Prerouting, Raw)
        .AddRule("raw", rule => rule.NotInInterface("lo").Destination(Loopback).Drop());

    private static void AddPublished(TableTransaction change, IReadOnlyList<BridgeRules> bridges, IPEndPoint? offered)
    {
        change.AddChain(Published);
        foreach (var (map, isV6, withAddress) in Maps)
        {
            change.AddRule(Published, rule => rule.Family(isV6).DestinationFromMap(map, isV6, withAddress));
        }

        change.AddChain("prerouting", "nat", Hook.Prerouting, DestinationTranslation);
        foreach (var bridge in bridges)
        {
            if (bridge.Names is { } names)
            {
                // That of the gateway alone: another name server of this machine can be asked at the machine's other addresses.
                var gateway = new IPNetwork(names.Address, names.Address.GetAddressBytes().Length * 8);
                foreach (var protocol in (PortProtocol[])[PortProtocol.Udp, PortProtocol.Tcp])
                {
                    change.AddRule("prerouting", rule => rule.InInterface(bridge.Bridge).Destination(gateway).Protocol((byte)protocol).DestinationPort(DnsPort).RedirectTo((ushort)names.Port));
                }
            }
        }

        if (offered is not null)
        {
            foreach (var bridge in bridges)
            {
                if (bridge.Gateway is { } gateway)
                {
                    change.AddRule("prerouting", rule => rule
                        .InInterface(bridge.Bridge)
                        .Destination(new IPNetwork(gateway, 32))
                        .Protocol((byte)PortProtocol.Tcp)
                        .DestinationPort((ushort)offered.Port)
                        .DestinationTo(offered));
                }
            }
        }

        change
            .AddRule("prerouting", rule => rule.ToThisMachine().Jump(Published))
            .AddChain("output", "nat", Hook.Output, DestinationTranslation)

            // The kernel never forwards what comes from ::1: that goes to the socket that holds the port, and is relayed.
            .AddRule("output", rule => rule.Destination(Loopback6).Accept())
            .AddRule("output", rule => rule.ToThisMachine().Jump(Published));
    }

    private static void AddPostrouting(TableTransaction change, IReadOnlyList<BridgeRules> bridges)
    {
        change
            .AddChain("postrouting", "nat", Hook.Postrouting, SourceTranslation)
            .AddRule("postrouting", rule => rule.OutInterfaceOf(Bridges).Source(Loopback).Masquerade());
        foreach (var bridge in bridges)
        {
            foreach (var subnet in bridge.Subnets)
            {
                // A container that asks for a published port of its own network by this machine's address: the answer has
                // to come back this way. The interface it came by is not known here where bridge-nf-call-iptables is on.
                change.AddRule("postrouting", rule => rule.OutInterface(bridge.Bridge).Source(subnet).OfPublishedPort().Masquerade());
                if (!bridge.IsInternal)
                {
                    change.AddRule("postrouting", rule => rule.Source(subnet).NotOutInterface(bridge.Bridge).Masquerade());
                }
            }
        }
    }

    private static void AddForward(TableTransaction change, IReadOnlyList<BridgeRules> bridges)
    {
        change
            .AddChain("forward", "filter", Hook.Forward, Filter)
            .AddRule("forward", rule => rule.OfKnownConnection().Accept());
        foreach (var bridge in bridges.Where(each => each.IsInternal))
        {
            change
                .AddRule("forward", rule => rule.InInterface(bridge.Bridge).NotOutInterface(bridge.Bridge).Drop())
                .AddRule("forward", rule => rule.OutInterface(bridge.Bridge).NotInInterface(bridge.Bridge).Drop());
        }

        change.AddRule("forward", rule => rule.OutInterfaceOf(Bridges).OfPublishedPort().Accept());
        foreach (var bridge in bridges.Where(each => !each.IsInternal))
        {
            change.AddRule("forward", rule => rule.OutInterface(bridge.Bridge).NotInInterface(bridge.Bridge).Drop());
        }
    }

    private static void Add(TableTransaction change, PublishedPort port) => change.AddElement(MapOf(port), KeyOf(port), [.. port.Target.GetAddressBytes(), .. PortBytes(port.ContainerPort)]);

    private static string MapOf(PublishedPort port) => (port.Target.AddressFamily == AddressFamily.InterNetworkV6, port.HostAddress is not null) switch
    {
        (false, true) => "published_at4",
        (false, false) => "published4",
        (true, true) => "published_at6",
        (true, false) => "published6",
    };

    private static byte[] KeyOf(PublishedPort port) => [.. port.HostAddress?.GetAddressBytes() ?? [], (byte)port.Protocol, 0, 0, 0, .. PortBytes(port.HostPort)];

    /// <summary>A port in a register of four bytes.</summary>
    private static byte[] PortBytes(ushort port)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, port);
        return bytes;
    }
}
