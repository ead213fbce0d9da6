using System.Globalization;
using System.Net;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Networks;

/// <summary>Networks that a container joins and leaves while it runs.</summary>
public sealed partial class NetworkHost
{
    /// <summary>Gives a running container a place in one more network.</summary>
    /// <param name="container">Its id.</param>
    /// <param name="name">Its name.</param>
    /// <param name="pid">A process of it.</param>
    /// <param name="asked">The place.</param>
    /// <returns>What it has now.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it is there already, or has no network of its own; else as <see cref="Connect"/>.</exception>
    public SandboxStatus Join(string container, string name, int pid, EndpointSpec asked)
    {
        lock (_lock)
        {
            var held = HeldBy(container, name);
            var network = _networks[FindOrMakeDefault(asked.Network).Id];
            if (held.Status.Endpoints.Any(each => each.NetworkId == network.Record.Id))
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"container {name} is already in network {network.Record.Name}");
            }

            BringUp(network);
            var number = Enumerable.Range(0, held.Status.Endpoints.Count + 1).First(each => held.Status.Endpoints.All(other => other.Interface != NameOf(each)));
            using var space = NetworkNamespace.Of(pid);
            using var inside = space.Run(() =>
            {
                // The namespace may have been made for networks without IPv6.
                HostSettings.PrepareInterfaces(network.Record.Subnets.Any(each => IsV6(each.Gateway)));
                return RouteNetlink.Open();
            });
            var endpoint = Join(network, new SandboxSpec(container, name, [], [], []), asked, NameOf(number));
            try
            {
                Configure(endpoint, inside, space, network, isFirst: !held.Status.Endpoints.Any(LeadsOut), isPublished: held.Status.Ports.Count > 0);
                return Replace(container, held, held.Status with { Endpoints = [.. held.Status.Endpoints, endpoint] });
            }
            catch
            {
                _held[container] = held;
                inside.Delete(endpoint.Interface);
                Return([endpoint], []);
                throw;
            }
        }

        static string NameOf(int number) => $"eth{number.ToString(CultureInfo.InvariantCulture)}";
    }

    /// <summary>Takes a running container out of a network.</summary>
    /// <param name="container">Its id.</param>
    /// <param name="name">Its name.</param>
    /// <param name="pid">A process of it.</param>
    /// <param name="nameOrId">The network.</param>
    /// <returns>What it has now.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it is not in it; <see cref="ErrorKind.NotFound"/>: there is no such network.</exception>
    public SandboxStatus Leave(string container, string name, int pid, string nameOrId)
    {
        lock (_lock)
        {
            var held = HeldBy(container, name);
            var record = FindOrMakeDefault(nameOrId);
            var endpoint = held.Status.Endpoints.FirstOrDefault(each => each.NetworkId == record.Id)
                ?? throw new EdgeHostException(ErrorKind.Conflict, $"container {name} is not connected to network {record.Name}");
            List<Endpoint> others = [.. held.Status.Endpoints.Where(each => each != endpoint)];
            using var space = NetworkNamespace.Of(pid);
            using var inside = space.Run(RouteNetlink.Open);
            if (endpoint.HostInterface.Length > 0)
            {
                // By this end: the container may have given the other one another name.
                _links.Delete(endpoint.HostInterface);
            }
            else
            {
                inside.Delete(endpoint.Interface);
            }

            // The default route went with the interface that it was over.
            if (inside.ReadRoutes().All(each => each.Destination.PrefixLength != 0)
                && others.FirstOrDefault(LeadsOut) is { } next
                && inside.FindLink(next.Interface) is { } link)
            {
                foreach (var address in next.Addresses)
                {
                    inside.AddDefaultRoute(link.Index, address.Gateway);
                }
            }

            var status = Replace(container, held, held.Status with { Endpoints = others });
            Return([endpoint], []);
            return status;
        }
    }

    private bool LeadsOut(Endpoint endpoint) => !(_networks.GetValueOrDefault(endpoint.NetworkId)?.Record.IsInternal ?? true);

    private Held HeldBy(string container, string name) => _held.GetValueOrDefault(container)
        ?? throw new EdgeHostException(ErrorKind.Conflict, $"container {name} has no network of its own; only one in networks of driver {NetworkDrivers.Bridge} or {NetworkDrivers.Macvlan} can join and leave them");

    /// <summary>Writes down what a container has now; where its ports lead to other addresses than before, they are led there.</summary>
    private SandboxStatus Replace(string container, Held held, SandboxStatus status)
    {
        var published = Publish(status.Endpoints, status.Ports);
        _held[container] = new Held(status, published, held.NameServers) { OverInterfaces = held.OverInterfaces };
        if (!published.SequenceEqual(held.Published))
        {
            Change(firewall => firewall.Replace(held.Published, published));
            foreach (var port in status.Ports)
            {
                _claims.Lead(port, published.FirstOrDefault(each => each.HostPort == port.HostPort && each.Protocol == port.Protocol)?.Target);
            }
        }

        return status;
    }

    /// <summary>Where the ports of a container lead; one whose last address of its kind is gone leads nowhere.</summary>
    private static List<PublishedPort> Publish(IReadOnlyList<Endpoint> endpoints, IReadOnlyList<PortBinding> ports)
    {
        var published = new List<PublishedPort>();
        foreach (var port in ports)
        {
            foreach (var target in AddressesFor(endpoints, port))
            {
                published.Add(new PublishedPort(port.HostAddress, port.HostPort, target, port.ContainerPort, port.Protocol));
            }
        }

        return published;
    }

    /// <summary>The first address of each family that can be reached by a port of the host.</summary>
    private static List<IPAddress> AddressesFor(IReadOnlyList<Endpoint> endpoints, PortBinding binding)
    {
        var found = new List<IPAddress>();
        foreach (var endpoint in endpoints.Where(each => each.HostInterface.Length > 0))
        {
            foreach (var each in endpoint.Addresses)
            {
                var family = each.Address.AddressFamily;
                if ((binding.HostAddress is null || binding.HostAddress.AddressFamily == family) && found.All(other => other.AddressFamily != family))
                {
                    found.Add(each.Address);
                }
            }
        }

        return found;
    }
}
