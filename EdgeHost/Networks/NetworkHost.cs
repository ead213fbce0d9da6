using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks.Names;
using EdgeHost.Networks.Nftables;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Networks;

/// <summary>
/// The networks of this machine and what containers have of them. A bridge, its addresses and the table in nftables are
/// made when the first container needs them, and made again whenever they are found to be gone.
/// </summary>
public sealed partial class NetworkHost : INetworks, IDisposable
{
    private readonly NetworkOptions _options;
    private readonly ILogger _log;
    private readonly NetworkStore _store;
    private readonly RouteNetlink _links = RouteNetlink.Open();
    private readonly PortClaims _claims;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Network> _networks = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Held> _held = new(StringComparer.Ordinal);
    private volatile bool _kernelHasAll;
    private Firewall? _firewall;
    private NameServer? _names;
    private IPEndPoint? _offered;

    /// <summary>Reads what networks there are; changes nothing in the kernel.</summary>
    /// <exception cref="LinuxException">The kernel has no rtnetlink for us.</exception>
    public NetworkHost(NetworkOptions options, ILogger log)
    {
        _options = options;
        _log = log;
        _store = new NetworkStore(options.DataDirectory, log);
        _claims = new PortClaims(log);
        foreach (var record in _store.All)
        {
            _networks[record.Id] = new Network(record);
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<NetworkRecord> Networks
    {
        get
        {
            lock (_lock)
            {
                return _store.All;
            }
        }
    }

    /// <summary>The network of a name, an id, or the beginning of an id.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>, or <see cref="ErrorKind.Invalid"/> when more than one begins so.</exception>
    public NetworkRecord Find(string nameOrId)
    {
        lock (_lock)
        {
            return FindOrMakeDefault(nameOrId);
        }
    }

    /// <inheritdoc/>
    public NetworkRecord Create(NetworkSpec spec)
    {
        CheckName(spec.Name);
        CheckKernel(spec);
        lock (_lock)
        {
            if (_store.Has(spec.Name) || spec.Name is "none" or "host" or "container" or NetworkDrivers.Bridge)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"network with name {spec.Name} already exists");
            }

            var record = Add(spec);
            OnChange("create", record);
            return record;
        }
    }

    /// <inheritdoc/>
    public void Remove(string nameOrId)
    {
        lock (_lock)
        {
            var record = _store.Find(nameOrId);
            if (record.IsDefault)
            {
                throw new EdgeHostException(ErrorKind.Denied, $"{record.Name} is a pre-defined network and cannot be removed");
            }

            var users = _held.Where(each => each.Value.Status.Endpoints.Any(endpoint => endpoint.NetworkId == record.Id)).Select(each => each.Key[..Math.Min(12, each.Key.Length)]).ToList();
            if (users.Count > 0)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"network {record.Name} has active endpoints ({string.Join(", ", users)}); stop or disconnect these containers first");
            }

            var network = _networks[record.Id];
            if (record.Driver == NetworkDrivers.Bridge)
            {
                // Before it is forgotten, and also where a daemon before this one has made it: nobody else would.
                var wasUp = network.IsUp;
                network.IsUp = false;
                network.Index = 0;
                StopNames(network);
                RemoveBridge(network);
                if (wasUp)
                {
                    ApplyFirewall();
                }
            }

            _store.Remove(record);
            _networks.Remove(record.Id);
            OnChange("destroy", record);
        }
    }

    /// <summary>
    /// Leads containers that ask the gateway of their network at a TCP port to a socket of this machine's loopback at that
    /// port, which is not reached from elsewhere by it.
    /// </summary>
    /// <param name="service">An IPv4 address of the loopback and a port; null ends it.</param>
    /// <exception cref="EdgeHostException">The kernel refuses.</exception>
    public void Offer(IPEndPoint? service)
    {
        lock (_lock)
        {
            _offered = service;
            if (IsAnyUp)
            {
                ApplyFirewall();
            }
        }
    }

    /// <summary>
    /// Takes bridges and table out of the kernel, and what was added to the tables of others; what networks there are
    /// stays on disk.
    /// </summary>
    /// <exception cref="EdgeHostException">The kernel refuses.</exception>
    public void RemoveFromKernel()
    {
        lock (_lock)
        {
            foreach (var network in _networks.Values.Where(each => each.Record.Driver == NetworkDrivers.Bridge))
            {
                network.IsUp = false;
                StopNames(network);
                RemoveBridge(network);
            }

            ApplyFirewall();
        }
    }

    /// <summary>Lets go; where no container has anything of networks any more, nothing of them stays in the kernel.</summary>
    public void Dispose()
    {
        _watch?.Dispose();
        if (_held.Count == 0 && _firewall is not null)
        {
            try
            {
                RemoveFromKernel();
            }
            catch (EdgeHostException e)
            {
                LogNotRemoved(_log, e.Message);
            }
        }

        _claims.Dispose();
        _names?.Dispose();
        _firewall?.Dispose();
        _links.Dispose();
    }

    /// <summary>
    /// Removes the bridge of a network; one that was there before, and is named by it, loses only the addresses that it
    /// has from here: one that its owner gave it may be that of this machine.
    /// </summary>
    private void RemoveBridge(Network network)
    {
        var record = network.Record;
        if (_links.FindLink(record.Interface) is not { Kind: "bridge" } bridge)
        {
            return;
        }

        if (bridge.HardwareAddress == Convert.ToHexStringLower(HardwareAddressOf(record)))
        {
            _links.Delete(record.Interface);
            return;
        }

        foreach (var subnet in network.Given)
        {
            _links.RemoveAddress(bridge.Index, subnet.Gateway, subnet.Subnet.PrefixLength);
        }

        network.Given.Clear();
    }

    /// <summary>The hardware address of a bridge that we have made.</summary>
    private static byte[] HardwareAddressOf(NetworkRecord record) => [2, 0x42, .. Convert.FromHexString(record.Id[..8])];

    private void CheckKernel(NetworkSpec spec)
    {
        // To ask takes the kernel some 80 ms, and it does not change while this process lives.
        if (_kernelHasAll)
        {
            return;
        }

        const string macvlan = "CONFIG_MACVLAN";
        List<string> missing = [];
        try
        {
            var all = NetworkProbe.MissingOptions();
            _kernelHasAll = all.Count == 0;
            foreach (var option in all)
            {
                if (option == macvlan == (spec.Driver == NetworkDrivers.Macvlan))
                {
                    missing.Add(option);
                }
            }
        }
        catch (LinuxException e) when (e.Errno == Errno.EPERM)
        {
            // Who may not ask may not start a container in it either, and is told then.
        }

        if (missing.Count > 0)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"network {spec.Name}: a network of driver {spec.Driver} needs a kernel with {string.Join(", ", missing)}, and this one lacks that; containers run with --network none or host");
        }
    }

    /// <summary>Whether there is anything that needs rules.</summary>
    private bool IsAnyUp => _networks.Values.Any(each => each.IsUp);

    private static void CheckName(string name)
    {
        if (name.Length is < 1 or > 128 || !char.IsAsciiLetterOrDigit(name[0]) || name.Any(each => !char.IsAsciiLetterOrDigit(each) && each is not ('_' or '.' or '-')))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"network name \"{name}\" must be letters, digits, _, . and -, beginning with a letter or digit, 128 at most");
        }
    }

    private NetworkRecord FindOrMakeDefault(string nameOrId) => nameOrId is NetworkDrivers.Bridge or "default" && !_store.Has(NetworkDrivers.Bridge)
        ? Add(new NetworkSpec { Name = NetworkDrivers.Bridge, EnableIPv6 = _options.EnableIPv6 && HostSettings.HasIPv6 })
        : _store.Find(nameOrId == "default" ? NetworkDrivers.Bridge : nameOrId);

    private NetworkRecord Add(NetworkSpec spec)
    {
        var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
        var record = new NetworkRecord
        {
            Id = id,
            Name = spec.Name,
            Driver = spec.Driver,
            Created = DateTimeOffset.UtcNow,
            Interface = InterfaceOf(spec, id),
            Subnets = SubnetsOf(spec),
            IsInternal = spec.IsInternal,
            Mtu = MtuOf(spec),
            Options = spec.Options,
            Labels = spec.Labels,
        };
        _store.Add(record);
        _networks[id] = new Network(record);
        return record;
    }

    private string InterfaceOf(NetworkSpec spec, string id)
    {
        switch (spec.Driver)
        {
            case NetworkDrivers.Bridge:
                var name = spec.Options.GetValueOrDefault("com.docker.network.bridge.name") ?? (spec.Name == NetworkDrivers.Bridge ? _options.DefaultBridge : "eh-" + id[..12]);
                if (Encoding.UTF8.GetByteCount(name) is 0 or > RouteNetlink.MaximumName || name.Any(each => each is '/' or ':' || char.IsWhiteSpace(each)))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"bridge name \"{name}\" must be 1 to {RouteNetlink.MaximumName} bytes without /, : and blanks");
                }

                return name;
            case NetworkDrivers.Macvlan:
                var parent = spec.Options.GetValueOrDefault("parent")
                    ?? throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: macvlan needs the interface that it stands on: -o parent=eth0");
                return _links.FindLink(parent) is not null ? parent : throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: this machine has no interface {parent}");
            default:
                throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: driver {spec.Driver} is not known; use {NetworkDrivers.Bridge} or {NetworkDrivers.Macvlan}");
        }
    }

    private static int MtuOf(NetworkSpec spec)
    {
        const int least = 68, most = 65535;
        return spec.Options.GetValueOrDefault("com.docker.network.driver.mtu") is not { } text ? 1500
            : int.TryParse(text, out var mtu) && mtu is >= least and <= most ? mtu
            : throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: an mtu of \"{text}\" is not {least} to {most}");
    }

    private List<NetworkSubnet> SubnetsOf(NetworkSpec spec, NetworkRecord? except = null)
    {
        var taken = _store.All.Where(each => each != except).SelectMany(each => each.Subnets).Select(each => each.Subnet).ToList();
        var subnets = new List<NetworkSubnet>();
        foreach (var given in spec.Subnets)
        {
            if (subnets.Any(each => each.Subnet.BaseAddress.AddressFamily == given.Subnet.BaseAddress.AddressFamily))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: one subnet of each family, {given.Subnet} is another");
            }

            if (spec.Driver == NetworkDrivers.Bridge && taken.FirstOrDefault(each => Subnet.Overlap(each, given.Subnet)) is { PrefixLength: > 0 } other)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"network {spec.Name}: subnet {given.Subnet} overlaps {other} of network {_store.All.First(each => each.Subnets.Any(subnet => subnet.Subnet.Equals(other))).Name}");
            }

            subnets.Add(Check(spec, given));
        }

        var isComplete = spec.Driver == NetworkDrivers.Macvlan;
        if (isComplete && subnets.Count == 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: macvlan needs the subnet of the real network: --subnet 192.168.1.0/24 --gateway 192.168.1.1");
        }

        taken.AddRange(_links.ReadRoutes().Where(each => !each.LeadsOut).Select(each => each.Destination));
        if (!isComplete && !Has(AddressFamily.InterNetwork))
        {
            Take(SubnetPool.Take4(_options.Pools, taken));
        }

        if (!isComplete && spec.EnableIPv6 && !Has(AddressFamily.InterNetworkV6))
        {
            Take(SubnetPool.Take6(_options.Machine, taken));
        }

        return subnets;

        bool Has(AddressFamily family) => subnets.Any(each => each.Subnet.BaseAddress.AddressFamily == family);

        void Take(IPNetwork subnet) => subnets.Add(new NetworkSubnet(subnet, Subnet.At(subnet, 1)));
    }

    private static NetworkSubnet Check(NetworkSpec spec, SubnetSpec given)
    {
        var subnet = given.Subnet;
        var bits = subnet.BaseAddress.AddressFamily == AddressFamily.InterNetwork ? 30 : 126;
        if (subnet.PrefixLength > bits || subnet.PrefixLength < 8)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: subnet {subnet} must have a prefix of 8 to {bits} bits");
        }

        if (given.Gateway is { } gateway && !subnet.Contains(gateway))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: gateway {gateway} is not in {subnet}");
        }

        if (given.Range is { } range && !(subnet.Contains(range.BaseAddress) && range.PrefixLength >= subnet.PrefixLength))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: the range {range} is not in {subnet}");
        }

        foreach (var (name, address) in given.Auxiliary ?? [])
        {
            if (!IPAddress.TryParse(address, out var parsed) || !subnet.Contains(parsed))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"network {spec.Name}: the auxiliary address {name}={address} is not in {subnet}");
            }
        }

        return new NetworkSubnet(subnet, given.Gateway ?? Subnet.At(subnet, 1), given.Range, given.Auxiliary);
    }

    /// <summary>A network and what is known of it while it runs.</summary>
    private sealed class Network(NetworkRecord record)
    {
        internal NetworkRecord Record { get; } = record;

        internal IReadOnlyList<(NetworkSubnet Subnet, AddressBook Book)> Books { get; } = [.. record.Subnets.Select(each => (each, new AddressBook(each)))];

        /// <summary>Whether its bridge was made since this process began.</summary>
        internal bool IsUp { get; set; }

        /// <summary>The number of its bridge; 0 before it was up.</summary>
        internal int Index { get; set; }

        /// <summary>The subnets whose gateway's address its bridge was given by this process.</summary>
        internal List<NetworkSubnet> Given { get; } = [];

        /// <summary>Where its names are served; null until it is up, and on one without names.</summary>
        internal IPEndPoint? Names { get; set; }
    }

    /// <summary>What a container has.</summary>
    private sealed class Held(SandboxStatus status, IReadOnlyList<PublishedPort> published, IReadOnlyList<IPAddress> nameServers)
    {
        internal SandboxStatus Status { get; } = status;

        internal IReadOnlyList<PublishedPort> Published { get; } = published;

        internal IReadOnlyList<IPAddress> NameServers { get; } = nameServers;

        /// <summary>About interfaces of it that were taken from it: it may be the container itself that does.</summary>
        internal Quarrel OverInterfaces { get; init; } = new();
    }
}
