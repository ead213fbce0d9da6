using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks.Nftables;

namespace EdgeHost.Networks;

/// <summary>What other programs do to our part of the kernel is undone at once, and said.</summary>
public sealed partial class NetworkHost : INetworkWatcher
{
    private readonly HashSet<string> _clashesSaid = new(StringComparer.Ordinal);
    private readonly Quarrel _overTable = new();
    private readonly Quarrel _overForward = new();
    private readonly Quarrel _overLinks = new();
    private NetworkWatch? _watch;
    private uint _ownPort;
    private bool _hadServers = true;

    // Containers that lost an interface while nobody knew of a process of theirs.
    private readonly HashSet<string> _missed = new(StringComparer.Ordinal);

    /// <summary>A process of a running container, by the container's id; null when it does not run.</summary>
    public Func<string, int?> ProcessOf { get; set; } = _ => null;

    /// <summary>Called when a network was made or removed: <c>create</c> or <c>destroy</c>, and the network.</summary>
    public Action<string, NetworkRecord> OnChange { get; set; } = (_, _) => { };

    /// <summary>Called, by a thread of its own, when the name servers of this machine may be others.</summary>
    public Action OnResolverChange { get; set; } = () => { };

    /// <inheritdoc/>
    uint INetworkWatcher.OwnPort => Volatile.Read(ref _ownPort);

    /// <summary>The routes of other interfaces to a network's own addresses, as in <c>10.210.0.0/16 dev wg0</c>: there, one of the two is not reached.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public IReadOnlyList<string> ClashesOf(NetworkRecord record)
    {
        if (record.Driver != NetworkDrivers.Bridge)
        {
            return [];
        }

        var own = _links.FindLink(record.Interface)?.Index ?? 0;
        return [.. _links.ReadRoutes().Where(route => IsClash(record, own, route)).Select(InWords).Distinct()];
    }

    /// <inheritdoc/>
    void INetworkWatcher.TableChanged(string? by)
    {
        lock (_lock)
        {
            if (_firewall is null || !IsAnyUp || !_firewall.MayBeChanged)
            {
                return;
            }

            if (!_overTable.MayGoOn(out var isFirst))
            {
                if (isFirst)
                {
                    LogTableQuarrel(_log, _options.Table, by ?? "somebody", Quarrel.Most);
                }

                return;
            }

            ApplyFirewall();
            if (by is not null)
            {
                LogTableLost(_log, _options.Table, by);
            }
        }
    }

    /// <inheritdoc/>
    void INetworkWatcher.ForwardChanged()
    {
        lock (_lock)
        {
            if (_firewall is not null)
            {
                LetThrough();
            }
        }
    }

    /// <inheritdoc/>
    void INetworkWatcher.LinksChanged(IReadOnlySet<string>? names)
    {
        lock (_lock)
        {
            foreach (var network in _networks.Values)
            {
                if (network.IsUp)
                {
                    Mend(network, names);
                }
            }
        }
    }

    /// <inheritdoc/>
    void INetworkWatcher.AddressesChanged(IReadOnlyList<int> links)
    {
        lock (_lock)
        {
            foreach (var network in _networks.Values)
            {
                if (network.IsUp && links.Contains(network.Index))
                {
                    Mend(network, new HashSet<string>([network.Record.Interface], StringComparer.Ordinal));
                }
            }
        }
    }

    /// <inheritdoc/>
    void INetworkWatcher.RouteChanged(Route route, bool isAdded)
    {
        lock (_lock)
        {
            foreach (var network in _networks.Values)
            {
                if (!IsClash(network.Record, network.Index, route))
                {
                    continue;
                }

                if (isAdded)
                {
                    SayClash(network.Record, InWords(route));
                }
                else
                {
                    _clashesSaid.Remove(network.Record.Id + " " + InWords(route));
                }
            }
        }
    }

    /// <inheritdoc/>
    void INetworkWatcher.ResolverChanged()
    {
        SayServers();
        OnResolverChange();
    }

    private static bool IsClash(NetworkRecord record, int own, Route route) =>
        record.Driver == NetworkDrivers.Bridge && route.Interface != own && !route.LeadsOut && record.Subnets.Any(each => Subnet.Overlap(each.Subnet, route.Destination));

    private string InWords(Route route)
    {
        var link = _links.NameOf(route.Interface);
        return link is null ? route.Destination.ToString() : $"{route.Destination} dev {link}";
    }

    private void SayClash(NetworkRecord record, string route)
    {
        if (_clashesSaid.Add(record.Id + " " + route))
        {
            LogClash(_log, route, record.Name, string.Join(", ", record.Subnets.Select(each => each.Subnet)));
        }
    }

    /// <summary>Says it when containers have nobody to ask about names, and when they have again.</summary>
    private void SayServers()
    {
        var has = HostResolver.Read().Servers.Count > 0;
        if (has != _hadServers)
        {
            _hadServers = has;
            if (has)
            {
                LogServers(_log);
            }
            else
            {
                LogNoServers(_log, HostResolver.WhyNone());
            }
        }
    }

    /// <summary>Has dockerd's tables let our bridges through; what cannot be done there keeps no container from starting.</summary>
    private void LetThrough()
    {
        try
        {
            var bridges = new List<string>();
            foreach (var network in _networks.Values)
            {
                if (network.IsUp && network.Record.Driver == NetworkDrivers.Bridge)
                {
                    bridges.Add(network.Record.Interface);
                }
            }

            if (bridges.Count > 0 && _overForward.IsOver)
            {
                return;
            }

            if (_firewall!.LetThrough(bridges, BridgesOfDocker) > 0)
            {
                if (bridges.Count == 0)
                {
                    // The last network is gone, and what was there for it.
                    return;
                }

                if (_overForward.MayGoOn(out _))
                {
                    LogLetThrough(_log, ForeignForward.Chain, string.Join(", ", bridges));
                }
                else
                {
                    LogForwardQuarrel(_log, ForeignForward.Chain, Quarrel.Most);
                }
            }
        }
        catch (LinuxException e)
        {
            LogNotLetThrough(_log, ForeignForward.Chain, e.Message);
        }
    }

    /// <summary>docker0, and br- with twelve hexadecimal digits.</summary>
    private IReadOnlyList<string> BridgesOfDocker()
    {
        var found = new List<string>();
        foreach (var link in _links.ReadLinks())
        {
            if (link.Kind == "bridge" && (link.Name == "docker0" || (link.Name.Length == 15 && link.Name.StartsWith("br-", StringComparison.Ordinal) && link.Name.AsSpan(3).IndexOfAnyExcept("0123456789abcdef") < 0)))
            {
                found.Add(link.Name);
            }
        }

        return found;
    }

    /// <summary>
    /// The default network's subnets were chosen here: where another program has a route to them by now, and no
    /// container has an address in them, others are chosen.
    /// </summary>
    private void GiveWay()
    {
        if (!_store.Has(NetworkDrivers.Bridge) || _store.Find(NetworkDrivers.Bridge) is not { Driver: NetworkDrivers.Bridge } record
            || _held.Values.Any(each => each.Status.Endpoints.Any(endpoint => endpoint.NetworkId == record.Id))
            || ClashesOf(record) is not { Count: > 0 } clashes)
        {
            return;
        }

        RemoveBridge(_networks[record.Id]);
        var spec = new NetworkSpec { Name = record.Name, EnableIPv6 = _options.EnableIPv6 && HostSettings.HasIPv6 };
        var moved = record with { Subnets = SubnetsOf(spec, except: record) };
        _store.Add(moved);
        _networks[record.Id] = new Network(moved);
        LogGaveWay(_log, record.Name, string.Join(", ", record.Subnets.Select(each => each.Subnet)), string.Join(", ", clashes), string.Join(", ", moved.Subnets.Select(each => each.Subnet)));
    }

    /// <summary>Where no container has anything of networks, a daemon that was killed may have left what it had made for them.</summary>
    private void RemoveLeftovers()
    {
        if (_held.Count > 0 || _networks.Count == 0)
        {
            return;
        }

        try
        {
            RemoveFromKernel();
        }
        catch (EdgeHostException e)
        {
            LogNotRemoved(_log, e.Message);
        }
    }

    /// <summary>Puts a network's bridge, its addresses and the interfaces of its containers back, as far as they are not as they must be.</summary>
    /// <param name="network">The network, which is up.</param>
    /// <param name="names">The interfaces that it may be about; null for all.</param>
    private void Mend(Network network, IReadOnlySet<string>? names)
    {
        var record = network.Record;
        var isBridge = names is null || names.Contains(record.Interface);
        var (containers, endpoints) = PortsOf(record, isBridge ? null : names);
        if (!isBridge && endpoints.Count == 0)
        {
            return;
        }

        if (!_overLinks.MayGoOn(out var isFirst))
        {
            if (isFirst)
            {
                LogLinkQuarrel(_log, record.Interface, Quarrel.Most);
            }

            return;
        }

        var mended = MakeBridge(network);
        if (mended.Count > 0 && !isBridge)
        {
            // A bridge that is deleted loses its ports one after the other, and what is told first is a port.
            (containers, endpoints) = PortsOf(record, null);
        }

        var (ports, pairs) = (0, 0);
        for (var i = 0; i < endpoints.Count; i++)
        {
            var endpoint = endpoints[i];
            if (_links.FindLink(endpoint.HostInterface) is not { } port)
            {
                pairs += MayRenew(network, containers[i], endpoint) ? 1 : 0;
            }
            else if (port.Master != network.Index)
            {
                _links.SetMaster(endpoint.HostInterface, network.Index);
                _links.SetHairpin(endpoint.HostInterface);
                ports++;
            }
        }

        if (ports > 0)
        {
            mended.Add($"{ports.ToString(CultureInfo.InvariantCulture)} of its ports");
        }

        if (mended.Count == 0)
        {
            // What is taken from a container alone is between it and us, and uses up nobody else's patience.
            _overLinks.Forget();
        }

        if (pairs > 0)
        {
            mended.Add($"the interfaces of {pairs.ToString(CultureInfo.InvariantCulture)} containers");
        }

        if (mended.Count > 0)
        {
            LogMended(_log, record.Name, record.Interface, string.Join(", ", mended));
        }
    }

    /// <summary>Containers in a network, and the place of each, as far as its port has one of these names.</summary>
    private (List<string> Containers, List<Endpoint> Endpoints) PortsOf(NetworkRecord record, IReadOnlySet<string>? names)
    {
        var (containers, endpoints) = (new List<string>(), new List<Endpoint>());
        foreach (var (container, held) in _held)
        {
            foreach (var endpoint in held.Status.Endpoints)
            {
                if (endpoint.NetworkId == record.Id && endpoint.HostInterface.Length > 0 && names?.Contains(endpoint.HostInterface) != false)
                {
                    containers.Add(container);
                    endpoints.Add(endpoint);
                }
            }
        }

        return (containers, endpoints);
    }

    /// <summary>Takes interfaces away that are ports of a network's bridge and that no container is known to have.</summary>
    private void RemoveStrays(Network network)
    {
        var known = _held.Values.SelectMany(each => each.Status.Endpoints).Select(each => each.HostInterface).ToHashSet(StringComparer.Ordinal);
        foreach (var link in _links.ReadLinks())
        {
            if (link.Master == network.Index && link.Kind == "veth" && link.Name.StartsWith(PortPrefix, StringComparison.Ordinal) && !known.Contains(link.Name))
            {
                _links.Delete(link.Name);
                LogStray(_log, network.Record.Name, link.Name);
            }
        }
    }

    /// <summary>As <see cref="Renew"/>, unless it was too often. A container that has rights over its network may take its interfaces away itself, and be in the way of new ones.</summary>
    private bool MayRenew(Network network, string container, Endpoint endpoint)
    {
        if (!_held[container].OverInterfaces.MayGoOn(out var isFirst))
        {
            if (isFirst)
            {
                LogInterfaceQuarrel(_log, endpoint.Names[0], endpoint.Interface, Quarrel.Most);
            }

            return false;
        }

        try
        {
            return Renew(network, container, endpoint);
        }
        catch (EdgeHostException e)
        {
            LogNotRenewed(_log, endpoint.Names[0], endpoint.Interface, e.Message);
            return false;
        }
    }

    /// <summary>Tells that a container is known as running now: what was taken from it in the moment before is put back.</summary>
    /// <param name="container">Its id.</param>
    public void Started(string container)
    {
        lock (_lock)
        {
            if (_missed.Remove(container) && _held.TryGetValue(container, out var held))
            {
                var names = held.Status.Endpoints.Select(each => each.HostInterface).ToHashSet(StringComparer.Ordinal);
                foreach (var network in _networks.Values)
                {
                    if (network.IsUp)
                    {
                        Mend(network, names);
                    }
                }
            }
        }
    }

    /// <summary>Gives a running container an interface with the addresses of the one that was taken from it.</summary>
    /// <returns>False when it has ended meanwhile, which took its interface along.</returns>
    private bool Renew(Network network, string container, Endpoint endpoint)
    {
        if (ProcessOf(container) is not { } pid)
        {
            // It may be about to be known as running: then it is looked at again, and this look did not count.
            _missed.Add(container);
            _held[container].OverInterfaces.Forget();
            return false;
        }

        NetworkNamespace space;
        try
        {
            space = NetworkNamespace.Of(pid);
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ESRCH or Errno.EACCES)
        {
            return false;
        }

        using (space)
        {
            using var inside = space.Run(() =>
            {
                HostSettings.PrepareInterfaces(network.Record.Subnets.Any(each => IsV6(each.Gateway)));
                return RouteNetlink.Open();
            });
            if (inside.FindLink(endpoint.Interface) is not null)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"container {endpoint.Names[0]}: its interface {endpoint.HostInterface} is gone from this machine and another {endpoint.Interface} is in it; restart it to put that right");
            }

            var isFirst = LeadsOut(endpoint) && inside.ReadRoutes().All(each => each.Destination.PrefixLength != 0);
            MakeInterface(endpoint, space, network, isPublished: _held[container].Status.Ports.Count > 0);
            try
            {
                SetUpInterface(endpoint, inside, network, isFirst);
            }
            catch (EdgeHostException) when (inside.FindLink(endpoint.Interface) is null)
            {
                // It was there: the kernel tells of this loss as of the one before.
            }

            return true;
        }
    }

    /// <summary>How often something is put back that another program takes away again: not for ever.</summary>
    private sealed class Quarrel
    {
        internal const int Most = 20;

        private const long WindowMilliseconds = 60_000;

        private long _since;
        private int _count;

        /// <summary>Counts one more time.</summary>
        /// <param name="isFirst">Whether it is the first that is too many.</param>
        internal bool MayGoOn(out bool isFirst)
        {
            var now = Environment.TickCount64;
            if (_count == 0 || now - _since > WindowMilliseconds)
            {
                (_since, _count) = (now, 0);
            }

            isFirst = ++_count == Most + 1;
            return _count <= Most;
        }

        /// <summary>Whether it was too often, and no minute has passed since.</summary>
        internal bool IsOver => _count > Most && Environment.TickCount64 - _since <= WindowMilliseconds;

        /// <summary>There was nothing to put back.</summary>
        internal void Forget() => _count--;
    }
}
