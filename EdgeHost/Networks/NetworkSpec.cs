using System.Net;

namespace EdgeHost.Networks;

/// <summary>A network that somebody asks for, in Docker's words.</summary>
public sealed record NetworkSpec
{
    /// <summary>Its name, <c>[a-zA-Z0-9][a-zA-Z0-9_.-]*</c>.</summary>
    public required string Name { get; init; }

    /// <summary><c>bridge</c> or <c>macvlan</c>.</summary>
    public string Driver { get; init; } = NetworkDrivers.Bridge;

    /// <summary>Its subnets, at most one of each family; where one is missing, the pool gives it.</summary>
    public IReadOnlyList<SubnetSpec> Subnets { get; init; } = [];

    /// <summary>Whether it reaches nothing beyond it.</summary>
    public bool IsInternal { get; init; }

    /// <summary>Whether it has an IPv6 subnet also when none was given.</summary>
    public bool EnableIPv6 { get; init; }

    /// <summary>Options of the driver: <c>com.docker.network.bridge.name</c>, <c>com.docker.network.driver.mtu</c>, <c>parent</c>.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>Labels.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();
}

/// <summary>A subnet that somebody asks for.</summary>
/// <param name="Subnet">The network.</param>
/// <param name="Range">Where addresses are taken from; null for all of it.</param>
/// <param name="Gateway">The address of the host in it; null for the first.</param>
/// <param name="Auxiliary">Addresses that somebody else has, by any name: no container gets one.</param>
public sealed record SubnetSpec(IPNetwork Subnet, IPNetwork? Range = null, IPAddress? Gateway = null, Dictionary<string, string>? Auxiliary = null);

/// <summary>The kinds of networks.</summary>
public static class NetworkDrivers
{
    /// <summary>A bridge of this machine; what leaves it has this machine's address.</summary>
    public const string Bridge = "bridge";

    /// <summary>Addresses of a real network, beside this machine.</summary>
    public const string Macvlan = "macvlan";
}

/// <summary>A subnet of a network.</summary>
/// <param name="Subnet">The network.</param>
/// <param name="Gateway">The address of the host in it, or of the router of a macvlan.</param>
/// <param name="Range">Where addresses are taken from; null for all of it.</param>
/// <param name="Auxiliary">Addresses that somebody else has, by any name: no container gets one.</param>
public sealed record NetworkSubnet(IPNetwork Subnet, IPAddress Gateway, IPNetwork? Range = null, Dictionary<string, string>? Auxiliary = null);

/// <summary>A network as it was made.</summary>
public sealed record NetworkRecord
{
    /// <summary>64 hexadecimal digits.</summary>
    public required string Id { get; init; }

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>One of <see cref="NetworkDrivers"/>.</summary>
    public required string Driver { get; init; }

    /// <summary>When it was made.</summary>
    public required DateTimeOffset Created { get; init; }

    /// <summary>The bridge, or the real interface under a macvlan.</summary>
    public required string Interface { get; init; }

    /// <summary>Its subnets, at most one of each family.</summary>
    public required IReadOnlyList<NetworkSubnet> Subnets { get; init; }

    /// <summary>Whether it reaches nothing beyond it.</summary>
    public bool IsInternal { get; init; }

    /// <summary>The longest packet in bytes.</summary>
    public int Mtu { get; init; } = 1500;

    /// <summary>What was asked for.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>Labels.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether it is the one that containers are in by default; it has no names, as in Docker.</summary>
    public bool IsDefault => Name == NetworkDrivers.Bridge;
}

/// <summary>A place in a network that somebody asks for.</summary>
/// <param name="Network">The network's name or id.</param>
public sealed record EndpointSpec(string Network)
{
    /// <summary>More names by which others of the network find it.</summary>
    public IReadOnlyList<string> Aliases { get; init; } = [];

    /// <summary>The IPv4 address that it must have; null takes a free one.</summary>
    public IPAddress? Address4 { get; init; }

    /// <summary>The IPv6 address that it must have; null takes a free one.</summary>
    public IPAddress? Address6 { get; init; }

    /// <summary>The hardware address that it must have, as in <c>02:42:ac:11:00:02</c>; null makes one of the address.</summary>
    public string? HardwareAddress { get; init; }
}

/// <summary>A place in a network as it was given.</summary>
/// <param name="NetworkId">The network.</param>
/// <param name="NetworkName">Its name.</param>
/// <param name="Interface">The interface inside, eth0 …</param>
/// <param name="HostInterface">The one of the host that it is connected with; empty for a macvlan.</param>
/// <param name="HardwareAddress">Its hardware address.</param>
/// <param name="Addresses">Its addresses, each with the length of its prefix and its router.</param>
/// <param name="Names">The names by which others of the network find it.</param>
public sealed record Endpoint(
    string NetworkId,
    string NetworkName,
    string Interface,
    string HostInterface,
    string HardwareAddress,
    IReadOnlyList<EndpointAddress> Addresses,
    IReadOnlyList<string> Names);

/// <summary>An address of a place in a network.</summary>
/// <param name="Address">The address.</param>
/// <param name="Prefix">The length of its network's prefix in bits.</param>
/// <param name="Gateway">The next router.</param>
public sealed record EndpointAddress(IPAddress Address, int Prefix, IPAddress Gateway);
