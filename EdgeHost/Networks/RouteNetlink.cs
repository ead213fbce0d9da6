using System.Net;
using System.Net.Sockets;
using EdgeHost.Linux;

namespace EdgeHost.Networks;

/// <summary>A network interface as the kernel shows it.</summary>
/// <param name="Index">Its number within its namespace.</param>
/// <param name="Name">Its name.</param>
/// <param name="Kind">bridge, veth, macvlan …; empty for a real one.</param>
/// <param name="Master">The number of the bridge that it is a port of; 0 without one.</param>
/// <param name="IsUp">Whether it was set up.</param>
/// <param name="Mtu">The longest packet in bytes.</param>
public sealed record Link(int Index, string Name, string Kind, int Master, bool IsUp, int Mtu)
{
    /// <summary>Its hardware address as hexadecimal digits.</summary>
    public string HardwareAddress { get; init; } = string.Empty;
}

/// <summary>A route of the main table.</summary>
/// <param name="Destination">Where to; 0.0.0.0/0 or ::/0 is the default route.</param>
/// <param name="Interface">The number of the interface; 0 when there is none.</param>
public sealed record Route(IPNetwork Destination, int Interface)
{
    /// <summary>
    /// Whether it leads to the world rather than to a network: the default route, or one of the halves by which OpenVPN
    /// and its like take its place. No subnet has to avoid it.
    /// </summary>
    public bool LeadsOut => Destination.PrefixLength < (Destination.BaseAddress.AddressFamily == AddressFamily.InterNetworkV6 ? 7 : 8);
}

/// <summary>
/// Links, addresses and routes of one network namespace, asked for and changed by rtnetlink(7). All of it is done when
/// a method returns.
/// </summary>
public sealed class RouteNetlink : IDisposable
{
    /// <summary>The longest name of an interface in bytes (IFNAMSIZ less the zero).</summary>
    public const int MaximumName = 15;

    /// <summary>The number of the loopback, the same in each namespace.</summary>
    internal const int Loopback = 1;

    private const ushort NewLink = 16;
    private const ushort DeleteLink = 17;
    private const ushort GetLink = 18;
    private const ushort NewAddress = 20;
    private const ushort DeleteAddress = 21;
    private const ushort GetAddress = 22;
    private const ushort NewRoute = 24;
    private const ushort GetRoute = 26;

    private const int LinkHeader = 16;
    private const int AddressHeader = 8;
    private const int RouteHeader = 12;

    private const ushort LinkAddress = 1;
    private const ushort LinkName = 3;
    private const ushort LinkMtu = 4;
    private const ushort LinkOf = 5;
    private const ushort LinkMaster = 10;
    private const ushort LinkInfo = 18;
    private const ushort LinkNamespace = 28;
    private const ushort InfoKind = 1;
    private const ushort InfoData = 2;
    private const ushort InfoPortKind = 4;
    private const ushort InfoPortData = 5;
    private const ushort PortHairpin = 4;
    private const ushort VethPeer = 1;
    private const ushort MacvlanMode = 1;
    private const uint MacvlanBridge = 4;
    private const uint Up = 1;

    private const ushort AddressAddress = 1;
    private const ushort AddressLocal = 2;
    private const ushort AddressBroadcast = 4;
    private const byte NoDuplicateDetection = 2;

    private const ushort RouteDestination = 1;
    private const ushort RouteInterface = 4;
    private const ushort RouteGateway = 5;
    private const byte MainTable = 254;
    private const byte Static = 4;
    private const byte Unicast = 1;
    private const byte LinkScope = 253;

    private readonly NetlinkSocket _socket;

    private RouteNetlink(NetlinkSocket socket) => _socket = socket;

    /// <summary>Opens it for the network namespace of this thread; it stays with that one whoever uses it.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static RouteNetlink Open() => new(NetlinkSocket.Open(NetlinkProtocol.Route));

    /// <summary>All interfaces.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public List<Link> ReadLinks()
    {
        var links = new List<Link>();
        foreach (var reply in _socket.Query(new NetlinkMessage(GetLink, NetlinkFlags.Dump, LinkMessage(0, 0, 0)), "list network interfaces"))
        {
            links.Add(ParseLink(reply));
        }

        return links;
    }

    /// <summary>The interface of a name.</summary>
    /// <returns>Null when there is none.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public Link? FindLink(string name)
    {
        try
        {
            return ParseLink(_socket.Query(new NetlinkMessage(GetLink, NetlinkFlags.None, LinkMessage(0, 0, 0)).Add(LinkName, name), $"find network interface {name}")[0]);
        }
        catch (LinuxException e) when (e.Errno == Errno.ENODEV)
        {
            return null;
        }
    }

    /// <summary>The name of the interface with a number.</summary>
    /// <returns>Null when there is none.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public string? NameOf(int index)
    {
        try
        {
            return index == 0 ? null : NameOf(_socket.Query(new NetlinkMessage(GetLink, NetlinkFlags.None, LinkMessage(index, 0, 0)), $"find network interface {index}")[0]);
        }
        catch (LinuxException e) when (e.Errno == Errno.ENODEV)
        {
            return null;
        }
    }

    /// <summary>Makes a bridge; it is still down.</summary>
    /// <param name="name">At most <see cref="MaximumName"/> bytes.</param>
    /// <param name="address">Its hardware address: with one of its own it does not take over that of its first port.</param>
    /// <param name="mtu">The longest packet, 0 for the kernel's default.</param>
    /// <returns>The number of the new interface.</returns>
    /// <exception cref="LinuxException">The kernel refuses: EEXIST for a name that is taken, EOPNOTSUPP without the bridge module.</exception>
    public int CreateBridge(string name, ReadOnlySpan<byte> address, int mtu)
    {
        var message = new NetlinkMessage(NewLink, NetlinkFlags.Create | NetlinkFlags.Exclusive, LinkMessage(0, 0, 0))
            .Add(LinkName, name)
            .Add(LinkAddress, address);
        if (mtu > 0)
        {
            message.Add(LinkMtu, (uint)mtu);
        }

        _socket.Request(message.Nest(LinkInfo, info => info.Add(InfoKind, "bridge"u8)), $"make bridge {name}");
        return IndexOf(name);
    }

    /// <summary>
    /// Makes a pair of interfaces: one here and up, the other in another namespace and still down.
    /// </summary>
    /// <param name="name">The one here.</param>
    /// <param name="bridge">The number of the bridge that it becomes a port of; 0 for none.</param>
    /// <param name="target">Where the other one goes.</param>
    /// <param name="peer">Its name there.</param>
    /// <param name="peerAddress">Its hardware address.</param>
    /// <param name="mtu">The longest packet of both.</param>
    /// <exception cref="LinuxException">The kernel refuses: EOPNOTSUPP without the veth module.</exception>
    public void CreateVeth(string name, int bridge, NetworkNamespace target, string peer, byte[] peerAddress, int mtu)
    {
        var message = new NetlinkMessage(NewLink, NetlinkFlags.Create | NetlinkFlags.Exclusive, LinkMessage(0, Up, Up))
            .Add(LinkName, name)
            .Add(LinkMtu, (uint)mtu);
        if (bridge != 0)
        {
            message.Add(LinkMaster, (uint)bridge);
        }

        _socket.Request(
            message.Nest(LinkInfo, info => info
                .Add(InfoKind, "veth"u8)
                .Nest(InfoData, data => data
                    .Nest(VethPeer, other => other
                        .AddRaw(LinkMessage(0, 0, 0))
                        .Add(LinkName, peer)
                        .Add(LinkMtu, (uint)mtu)
                        .Add(LinkAddress, peerAddress)
                        .Add(LinkNamespace, (uint)target.Fd.Value)))),
            $"make the pair of interfaces {name} and {peer}");
    }

    /// <summary>
    /// Lets a port of a bridge send back what it brought. With bridge-nf-call-iptables, as Docker sets it, a container
    /// that asks for a published port of its own is answered within the bridge and not by way of the host.
    /// </summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void SetHairpin(string port) => _socket.Request(
        new NetlinkMessage(NewLink, NetlinkFlags.None, LinkMessage(0, 0, 0))
            .Add(LinkName, port)
            .Nest(LinkInfo, info => info
                .Add(InfoPortKind, "bridge"u8)
                .Nest(InfoPortData, data => data.Add(PortHairpin, (byte)1))),
        $"let port {port} of the bridge send back");

    /// <summary>Makes an interface a port of a bridge, and sets it up.</summary>
    /// <exception cref="LinuxException">The kernel refuses: ENODEV when it is gone.</exception>
    public void SetMaster(string port, int bridge) => _socket.Request(
        new NetlinkMessage(NewLink, NetlinkFlags.None, LinkMessage(0, Up, Up)).Add(LinkName, port).Add(LinkMaster, (uint)bridge),
        $"make {port} a port of the bridge");

    /// <summary>Makes a macvlan interface (mode bridge) of a real one, in another namespace, still down.</summary>
    /// <param name="parent">The real interface, here.</param>
    /// <param name="target">Where the new one goes.</param>
    /// <param name="name">Its name there.</param>
    /// <param name="address">Its hardware address.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void CreateMacvlan(Link parent, NetworkNamespace target, string name, byte[] address) => _socket.Request(
        new NetlinkMessage(NewLink, NetlinkFlags.Create | NetlinkFlags.Exclusive, LinkMessage(0, 0, 0))
            .Add(LinkName, name)
            .Add(LinkOf, (uint)parent.Index)
            .Add(LinkAddress, address)
            .Add(LinkNamespace, (uint)target.Fd.Value)
            .Nest(LinkInfo, info => info
                .Add(InfoKind, "macvlan"u8)
                .Nest(InfoData, data => data.Add(MacvlanMode, MacvlanBridge))),
        $"make a macvlan interface of {parent.Name}");

    /// <summary>Sets an interface up.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void SetUp(int link) =>
        _socket.Request(new NetlinkMessage(NewLink, NetlinkFlags.None, LinkMessage(link, Up, Up)), $"set network interface {link} up");

    /// <summary>Removes an interface; one that is gone already is fine.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void Delete(string name)
    {
        var message = new NetlinkMessage(DeleteLink, NetlinkFlags.None, LinkMessage(0, 0, 0)).Add(LinkName, name);
        if (_socket.TryRequest(message) is var errno and not (Errno.None or Errno.ENODEV))
        {
            throw new LinuxException($"remove network interface {name}", errno);
        }
    }

    /// <summary>Gives an interface an address; one that it has already is fine.</summary>
    /// <param name="link">The number of the interface.</param>
    /// <param name="address">The address.</param>
    /// <param name="prefix">The length of its network's prefix in bits.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void AddAddress(int link, IPAddress address, int prefix)
    {
        var header = new byte[AddressHeader];
        header[0] = FamilyOf(address);
        header[1] = (byte)prefix;

        // The addresses are ours to give, so nobody has to be asked for them, and they serve at once.
        header[2] = address.AddressFamily == AddressFamily.InterNetworkV6 ? NoDuplicateDetection : (byte)0;
        BitConverter.TryWriteBytes(header.AsSpan(4), link);
        var bytes = address.GetAddressBytes();
        var message = new NetlinkMessage(NewAddress, NetlinkFlags.Create | NetlinkFlags.Replace, header)
            .Add(AddressLocal, bytes)
            .Add(AddressAddress, bytes);
        if (address.AddressFamily == AddressFamily.InterNetwork && prefix < 31)
        {
            message.Add(AddressBroadcast, Subnet.Last(address, prefix).GetAddressBytes());
        }

        _socket.Request(message, $"give network interface {link} the address {address}/{prefix}");
    }

    /// <summary>Takes an address from an interface; one that it has not is fine.</summary>
    /// <param name="link">The number of the interface.</param>
    /// <param name="address">The address.</param>
    /// <param name="prefix">The length of its network's prefix in bits.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void RemoveAddress(int link, IPAddress address, int prefix)
    {
        var header = new byte[AddressHeader];
        header[0] = FamilyOf(address);
        header[1] = (byte)prefix;
        BitConverter.TryWriteBytes(header.AsSpan(4), link);
        if (_socket.TryRequest(new NetlinkMessage(DeleteAddress, NetlinkFlags.None, header).Add(AddressLocal, address.GetAddressBytes())) is var errno and not (Errno.None or Errno.EADDRNOTAVAIL))
        {
            throw new LinuxException($"take address {address}/{prefix} from network interface {link}", errno);
        }
    }

    /// <summary>Whether an interface has an address.</summary>
    /// <param name="link">The number of the interface.</param>
    /// <param name="address">The address.</param>
    /// <param name="prefix">The length of its network's prefix in bits.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public bool HasAddress(int link, IPAddress address, int prefix)
    {
        var bytes = address.GetAddressBytes();
        foreach (var reply in _socket.Query(new NetlinkMessage(GetAddress, NetlinkFlags.Dump, new byte[AddressHeader]), "list addresses"))
        {
            var header = reply.Payload.Span;
            var attributes = reply.Attributes(AddressHeader);
            if (BitConverter.ToInt32(header[4..]) == link && header[1] == prefix
                && (attributes.TryFind(AddressLocal, out var found) || attributes.TryFind(AddressAddress, out found)) && found.SequenceEqual(bytes))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Adds a default route.</summary>
    /// <param name="link">The number of the interface.</param>
    /// <param name="gateway">The router, in a network of that interface.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void AddDefaultRoute(int link, IPAddress gateway) => _socket.Request(
        new NetlinkMessage(NewRoute, NetlinkFlags.Create | NetlinkFlags.Replace, RouteMessage(gateway.AddressFamily, 0, 0))
            .Add(RouteGateway, gateway.GetAddressBytes())
            .Add(RouteInterface, (uint)link),
        $"add the default route over {gateway}");

    /// <summary>Adds a route to a network that is on the link itself.</summary>
    /// <param name="link">The number of the interface.</param>
    /// <param name="destination">The network.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void AddLinkRoute(int link, IPNetwork destination) => _socket.Request(
        new NetlinkMessage(NewRoute, NetlinkFlags.Create | NetlinkFlags.Replace, RouteMessage(destination.BaseAddress.AddressFamily, (byte)destination.PrefixLength, LinkScope))
            .Add(RouteDestination, destination.BaseAddress.GetAddressBytes())
            .Add(RouteInterface, (uint)link),
        $"add the route to {destination}");

    /// <summary>The routes to other networks, of all tables but that of local addresses.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public List<Route> ReadRoutes()
    {
        var routes = new List<Route>();
        foreach (var reply in _socket.Query(new NetlinkMessage(GetRoute, NetlinkFlags.Dump, new byte[RouteHeader]), "list routes"))
        {
            if (ParseRoute(reply) is { } route)
            {
                routes.Add(route);
            }
        }

        return routes;
    }

    /// <summary>The route that a message tells of.</summary>
    /// <returns>Null for one of local, broadcast and other addresses.</returns>
    internal static Route? ParseRoute(NetlinkReply reply)
    {
        var header = reply.Payload.Span;
        if (header[7] != Unicast)
        {
            return null;
        }

        var attributes = reply.Attributes(RouteHeader);
        var isV6 = header[0] == FamilyOf(IPAddress.IPv6Any);
        var destination = attributes.TryFind(RouteDestination, out var bytes) ? new IPAddress(bytes) : isV6 ? IPAddress.IPv6Any : IPAddress.Any;
        var link = attributes.TryFind(RouteInterface, out var index) ? BitConverter.ToInt32(index) : 0;
        return new Route(Subnet.Containing(destination, header[1]), link);
    }

    /// <summary>The name of the interface that a message tells of; empty when it says none.</summary>
    internal static string NameOf(NetlinkReply reply) =>
        reply.Attributes(LinkHeader).TryFind(LinkName, out var name) ? System.Text.Encoding.UTF8.GetString(name.TrimEnd((byte)0)) : string.Empty;

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private static byte FamilyOf(IPAddress address) => address.AddressFamily == AddressFamily.InterNetworkV6 ? (byte)10 : (byte)2;

    private static byte[] LinkMessage(int index, uint flags, uint change)
    {
        var header = new byte[LinkHeader];
        BitConverter.TryWriteBytes(header.AsSpan(4), index);
        BitConverter.TryWriteBytes(header.AsSpan(8), flags);
        BitConverter.TryWriteBytes(header.AsSpan(12), change);
        return header;
    }

    private static byte[] RouteMessage(AddressFamily family, byte prefix, byte scope) =>
        [family == AddressFamily.InterNetworkV6 ? (byte)10 : (byte)2, prefix, 0, 0, MainTable, Static, scope, Unicast, 0, 0, 0, 0];

    private static Link ParseLink(NetlinkReply reply)
    {
        var (name, kind, master, mtu, hardware) = (string.Empty, string.Empty, 0, 0, string.Empty);
        var attributes = reply.Attributes(LinkHeader);
        while (attributes.Next())
        {
            switch ((ushort)attributes.Type)
            {
                case LinkAddress:
                    hardware = Convert.ToHexStringLower(attributes.Value);
                    break;
                case LinkName:
                    name = attributes.Text;
                    break;
                case LinkMaster:
                    master = (int)attributes.Number;
                    break;
                case LinkMtu:
                    mtu = (int)attributes.Number;
                    break;
                case LinkInfo when attributes.Nested.TryFind(InfoKind, out var value):
                    kind = System.Text.Encoding.ASCII.GetString(value.TrimEnd((byte)0));
                    break;
                default:
                    break;
            }
        }

        var header = reply.Payload.Span;
        return new Link(BitConverter.ToInt32(header[4..]), name, kind, master, (BitConverter.ToUInt32(header[8..]) & Up) != 0, mtu) { HardwareAddress = hardware };
    }

    private int IndexOf(string name) => (FindLink(name) ?? throw new LinuxException($"find network interface {name}", Errno.ENODEV)).Index;
}
