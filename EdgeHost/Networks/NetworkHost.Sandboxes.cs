using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks.Nftables;

namespace EdgeHost.Networks;

/// <summary>What containers get and give back.</summary>
public sealed partial class NetworkHost
{
    /// <summary>How the ends of containers' interfaces are called that stay on this machine.</summary>
    internal const string PortPrefix = "ehv";

    /// <summary>
    /// Makes a network namespace with interfaces, addresses and routes in the networks that a container wants to be in,
    /// and publishes its ports. All of it is undone when any of it fails.
    /// </summary>
    /// <param name="spec">What it wants.</param>
    /// <param name="made">A namespace that was made for it and is empty yet, which is taken over; null makes one that belongs to the host's users.</param>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.NotFound"/>: a network; <see cref="ErrorKind.Conflict"/>: an address or a port is taken;
    /// <see cref="ErrorKind.Full"/>: no address is left; <see cref="ErrorKind.Unsupported"/>: what the kernel lacks.
    /// </exception>
    public Sandbox Connect(SandboxSpec spec, Fd? made)
    {
        try
        {
            return ConnectWhole(spec, made);
        }
        catch (LinuxException e) when (MissingOptions(e) is { Count: > 0 } missing)
        {
            throw new EdgeHostException(
                ErrorKind.Unsupported, $"networks need a kernel with {string.Join(", ", missing)}, and this one lacks that; containers run with --network none or host", e);
        }
    }

    private Sandbox ConnectWhole(SandboxSpec spec, Fd? made)
    {
        lock (_lock)
        {
            var networks = spec.Endpoints.Select(each => _networks[FindOrMakeDefault(each.Network).Id]).ToList();
            foreach (var network in networks)
            {
                BringUp(network);
            }

            var endpoints = new List<Endpoint>();
            var ports = new List<PortBinding>();
            var published = new List<PublishedPort>();
            NetworkNamespace? space = null;
            RouteNetlink? inside = null;
            try
            {
                var withIPv6 = networks.Any(each => each.Record.Subnets.Any(subnet => IsV6(subnet.Gateway)));
                space = made is null ? NetworkNamespace.Create(Prepare) : NetworkNamespace.Take(made, Prepare);
                inside!.SetUp(RouteNetlink.Loopback);
                for (var i = 0; i < networks.Count; i++)
                {
                    endpoints.Add(Join(networks[i], spec, spec.Endpoints[i], $"eth{i.ToString(CultureInfo.InvariantCulture)}"));
                    Configure(endpoints[i], inside, space, networks[i], isFirst: i == 0, isPublished: spec.Ports.Count > 0);
                }

                foreach (var binding in spec.Ports)
                {
                    ports.Add(_claims.Take(spec.Name, binding, TargetsOf(endpoints, binding)[0]));
                }

                published.AddRange(Publish(endpoints, ports));
                var status = new SandboxStatus(endpoints, ports);
                _held[spec.Container] = new Held(status, published, spec.NameServers);
                Change(firewall => firewall.Publish(published));
                return new Sandbox(space, status);

                void Prepare()
                {
                    HostSettings.PrepareSandbox();
                    HostSettings.PrepareInterfaces(withIPv6);
                    inside = RouteNetlink.Open();
                }
            }
            catch
            {
                _held.Remove(spec.Container);
                Return(endpoints, ports);
                space?.Dispose();
                throw;
            }
            finally
            {
                inside?.Dispose();
            }
        }
    }

    /// <summary>
    /// Takes back what a container had, once its processes have ended: the interfaces went with their namespace. One
    /// that has nothing is fine.
    /// </summary>
    public void Disconnect(string container)
    {
        lock (_lock)
        {
            _missed.Remove(container);
            if (_held.Remove(container, out var held))
            {
                Change(firewall => firewall.Withdraw(held.Published));
                Return(held.Status.Endpoints, held.Status.Ports);
            }
        }
    }

    /// <summary>Takes note of what a container has that ran before this process began.</summary>
    /// <param name="container">Its id.</param>
    /// <param name="status">What it has.</param>
    /// <param name="nameServers">As in <see cref="SandboxSpec"/>.</param>
    public void Adopt(string container, SandboxStatus status, IReadOnlyList<IPAddress> nameServers)
    {
        lock (_lock)
        {
            if (_held.ContainsKey(container))
            {
                return;
            }

            foreach (var endpoint in status.Endpoints)
            {
                foreach (var address in endpoint.Addresses)
                {
                    BookOf(endpoint, address)?.Adopt(address.Address);
                }
            }

            var published = Publish(status.Endpoints, status.Ports);
            foreach (var binding in status.Ports)
            {
                try
                {
                    _claims.Take(container[..Math.Min(12, container.Length)], binding, AddressesFor(status.Endpoints, binding).FirstOrDefault());
                }
                catch (EdgeHostException e)
                {
                    // The container goes on being reached; who took its port meanwhile is not.
                    LogNotHeld(_log, container[..Math.Min(12, container.Length)], e.Message);
                }
            }

            _held[container] = new Held(status, published, nameServers);
        }
    }

    /// <summary>
    /// Makes sure that bridges and table stand for all that was adopted, and from now on that they do whatever other
    /// programs do: a new daemon calls it.
    /// </summary>
    /// <exception cref="EdgeHostException">The kernel refuses.</exception>
    public void Restore()
    {
        lock (_lock)
        {
            if (_watch is null)
            {
                _watch = new NetworkWatch(_options.Table, this, _log);
                SayServers();
                GiveWay();
                RemoveLeftovers();
            }

            var used = _held.Values.SelectMany(each => each.Status.Endpoints).Select(each => each.NetworkId).ToHashSet(StringComparer.Ordinal);
            foreach (var network in _networks.Values.Where(each => used.Contains(each.Record.Id)))
            {
                BringUp(network);
                if (network.IsUp)
                {
                    // What was taken away while no daemon was there, and what one that was killed had given and not
                    // yet written down: who asked for that has no answer.
                    Mend(network, null);
                    RemoveStrays(network);
                }
            }
        }
    }

    /// <summary>What the kernel lacks, where a refusal may be for that.</summary>
    private static IReadOnlyList<string> MissingOptions(LinuxException refusal)
    {
        const Errno notSupported = (Errno)524; // ENOTSUPP, which is meant for the kernel itself
        return refusal.Errno is Errno.ENOENT or Errno.EOPNOTSUPP or Errno.EPROTONOSUPPORT or Errno.EAFNOSUPPORT or Errno.EINVAL or notSupported ? NetworkProbe.MissingOptions() : [];
    }

    /// <summary>Whether an interface of this machine is a bridge of ours, or the end of a container's interface.</summary>
    private bool IsOurs(string link)
    {
        foreach (var network in _networks.Values)
        {
            if (network.Record.Interface == link)
            {
                return network.Record.Driver == NetworkDrivers.Bridge;
            }
        }

        return link.StartsWith(PortPrefix, StringComparison.Ordinal);
    }

    private static bool IsV6(IPAddress address) => address.AddressFamily == AddressFamily.InterNetworkV6;

    private static List<IPAddress> TargetsOf(IReadOnlyList<Endpoint> endpoints, PortBinding binding) =>
        AddressesFor(endpoints, binding) is { Count: > 0 } found ? found : throw new EdgeHostException(
            ErrorKind.Invalid,
            $"port {binding.ContainerPort} cannot be published{(binding.HostAddress is null ? string.Empty : $" at {binding.HostAddress}")}: the container has no address of that kind in a network of driver bridge");

    private static byte[] HardwareAddressOf(EndpointSpec asked, IPAddress? address)
    {
        if (asked.HardwareAddress is { } given)
        {
            var parts = given.Split(':');
            var bytes = new byte[6];
            if (parts.Length == 6 && parts.Index().All(each => byte.TryParse(each.Item, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out bytes[each.Index])) && (bytes[0] & 1) == 0)
            {
                return bytes;
            }

            throw new EdgeHostException(ErrorKind.Invalid, $"hardware address \"{given}\" is not one of a single interface, as in 02:42:ac:11:00:02");
        }

        // As with Docker: locally administered, and the same for the same address, so that no ARP table is wrong.
        return address is not null && !IsV6(address) ? [2, 0x42, .. address.GetAddressBytes()] : [2, 0x42, .. RandomNumberGenerator.GetBytes(4)];
    }

    private Endpoint Join(Network network, SandboxSpec spec, EndpointSpec asked, string name)
    {
        var addresses = new List<EndpointAddress>();
        try
        {
            foreach (var (subnet, book) in network.Books)
            {
                var wanted = IsV6(subnet.Gateway) ? asked.Address6 : asked.Address4;
                addresses.Add(new EndpointAddress(wanted is null ? book.Take() : book.Take(wanted), subnet.Subnet.PrefixLength, subnet.Gateway));
            }

            if (asked.Address6 is not null && !addresses.Any(each => IsV6(each.Address)))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"network {network.Record.Name} has no IPv6 subnet for {asked.Address6}");
            }
        }
        catch
        {
            foreach (var address in addresses)
            {
                network.Books.First(each => each.Subnet.Subnet.Contains(address.Address)).Book.Return(address.Address);
            }

            throw;
        }

        return new Endpoint(
            network.Record.Id,
            network.Record.Name,
            name,
            network.Record.Driver == NetworkDrivers.Bridge ? PortPrefix + Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(5)) : string.Empty,
            string.Join(':', HardwareAddressOf(asked, addresses.FirstOrDefault()?.Address).Select(each => each.ToString("x2", CultureInfo.InvariantCulture))),
            addresses,
            [spec.Name, spec.Container[..Math.Min(12, spec.Container.Length)], .. asked.Aliases]);
    }

    /// <summary>Makes an endpoint's interface; its network is up.</summary>
    private void Configure(Endpoint endpoint, RouteNetlink inside, NetworkNamespace space, Network place, bool isFirst, bool isPublished)
    {
        MakeInterface(endpoint, space, place, isPublished);
        SetUpInterface(endpoint, inside, place, isFirst);
    }

    private void MakeInterface(Endpoint endpoint, NetworkNamespace space, Network place, bool isPublished)
    {
        var network = place.Record;
        var hardware = endpoint.HardwareAddress.Split(':').Select(each => byte.Parse(each, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray();
        if (network.Driver == NetworkDrivers.Macvlan)
        {
            var parent = _links.FindLink(network.Interface) ?? throw new EdgeHostException(ErrorKind.NotFound, $"network {network.Name}: interface {network.Interface} is gone");
            _links.CreateMacvlan(parent, space, endpoint.Interface, hardware);
        }
        else
        {
            _links.CreateVeth(endpoint.HostInterface, place.Index, space, endpoint.Interface, hardware, network.Mtu);
            if (isPublished)
            {
                _links.SetHairpin(endpoint.HostInterface);
            }
        }
    }

    private static void SetUpInterface(Endpoint endpoint, RouteNetlink inside, Network place, bool isFirst)
    {
        // A container that has rights over its network may have taken it away already.
        var link = inside.FindLink(endpoint.Interface)?.Index
            ?? throw new EdgeHostException(ErrorKind.Conflict, $"container {endpoint.Names[0]}: its interface {endpoint.Interface} was taken away in the moment in which it was set up");
        foreach (var address in endpoint.Addresses)
        {
            inside.AddAddress(link, address.Address, address.Prefix);
        }

        inside.SetUp(link);
        if (isFirst && !place.Record.IsInternal)
        {
            foreach (var address in endpoint.Addresses)
            {
                inside.AddDefaultRoute(link, address.Gateway);
            }
        }
    }

    private void Return(IReadOnlyList<Endpoint> endpoints, IReadOnlyList<PortBinding> ports)
    {
        foreach (var port in ports)
        {
            _claims.Return(port);
        }

        foreach (var endpoint in endpoints)
        {
            foreach (var address in endpoint.Addresses)
            {
                BookOf(endpoint, address)?.Return(address.Address);
            }
        }
    }

    private AddressBook? BookOf(Endpoint endpoint, EndpointAddress address) =>
        _networks.GetValueOrDefault(endpoint.NetworkId)?.Books.FirstOrDefault(each => each.Subnet.Subnet.Contains(address.Address)).Book;

    /// <summary>Makes a network's bridge with its addresses, if it is not there, and the rules for it.</summary>
    private void BringUp(Network network)
    {
        var record = network.Record;
        if (record.Driver != NetworkDrivers.Bridge || (network.IsUp && _links.FindLink(record.Interface) is { IsUp: true } bridge && bridge.Index == network.Index))
        {
            return;
        }

        KernelModules.LoadForNetworks();
        var withIPv6 = record.Subnets.Any(each => IsV6(each.Gateway));
        var changed = HostSettings.EnableForwarding(withIPv6, IsOurs);
        if (changed.Count > 0)
        {
            LogSwitched(_log, string.Join(", ", changed));
        }

        try
        {
            MakeBridge(network);
            foreach (var clash in ClashesOf(record))
            {
                SayClash(record, clash);
            }

            ServeNames(network);
            network.IsUp = true;
            ApplyFirewall();
        }
        catch
        {
            // Without its rules it is not up, and the next container is not let in either.
            network.IsUp = false;
            if (!_held.Values.Any(each => each.Status.Endpoints.Any(endpoint => endpoint.NetworkId == record.Id)))
            {
                StopNames(network);
                RemoveBridge(network);
            }

            throw;
        }
    }

    /// <summary>Makes a network's bridge, as far as it is not there, not up, or without its addresses.</summary>
    /// <returns>What was made, in words.</returns>
    private List<string> MakeBridge(Network network)
    {
        var record = network.Record;
        var made = new List<string>();
        var found = _links.FindLink(record.Interface);
        if (found is { Kind: not "bridge" })
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"network {record.Name}: {record.Interface} is there and is no bridge; remove it, or make the network with another com.docker.network.bridge.name");
        }

        if (found is null)
        {
            made.Add("the bridge itself");
        }

        network.Index = found?.Index ?? _links.CreateBridge(record.Interface, HardwareAddressOf(record), record.Mtu);
        if (found is not { IsUp: true } || !network.IsUp)
        {
            HostSettings.PrepareBridge(record.Interface, record.Subnets.Any(each => IsV6(each.Gateway)));
        }

        foreach (var subnet in record.Subnets)
        {
            if (!_links.HasAddress(network.Index, subnet.Gateway, subnet.Subnet.PrefixLength))
            {
                _links.AddAddress(network.Index, subnet.Gateway, subnet.Subnet.PrefixLength);
                if (!network.Given.Contains(subnet))
                {
                    network.Given.Add(subnet);
                }

                made.Add($"address {subnet.Gateway}");
            }
        }

        if (found is not { IsUp: true })
        {
            _links.SetUp(network.Index);
            made.Add("its being up");
        }

        return made;
    }

    /// <summary>Changes the table; where somebody may have changed it too, all that is held is written anew.</summary>
    private void Change(Action<Firewall> change)
    {
        if (_firewall is null)
        {
            return;
        }

        if (_firewall.MayBeChanged)
        {
            ApplyFirewall();
            return;
        }

        try
        {
            change(_firewall);
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.EEXIST)
        {
            LogTableLost(_log, _options.Table, "somebody");
            ApplyFirewall();
        }
    }

    private Firewall OpenFirewall()
    {
        if (_firewall is null)
        {
            _firewall = new Firewall(NetlinkSocket.Open(NetlinkProtocol.Netfilter), _options.Table);
            Volatile.Write(ref _ownPort, _firewall.Port);
        }

        return _firewall;
    }

    private void ApplyFirewall()
    {
        if (!IsAnyUp)
        {
            // Nothing of us is left where nothing needs it: a daemon that is killed now has nothing to leave behind.
            OpenFirewall().Remove();
            LetThrough();
            return;
        }

        OpenFirewall().Apply(
            [
                .. _networks.Values
                    .Where(each => each.IsUp && each.Record.Driver == NetworkDrivers.Bridge)
                    .Select(each => new BridgeRules(each.Record.Interface, [.. each.Record.Subnets.Select(subnet => subnet.Subnet)], each.Record.IsInternal, each.Names, each.Record.Subnets.FirstOrDefault(subnet => !IsV6(subnet.Gateway))?.Gateway)),
            ],
            _held.Values.SelectMany(each => each.Published),
            _offered);
        LetThrough();
    }
}
