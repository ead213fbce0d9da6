using System.Net;
using EdgeHost.Networks.Names;

namespace EdgeHost.Networks;

/// <summary>Names of containers, on all networks but the default one.</summary>
public sealed partial class NetworkHost : INameBook
{
    /// <summary>Whom a container is to ask about names, by its places in networks.</summary>
    /// <returns>Null where none of them has names: it asks the name servers of this machine itself.</returns>
    public static IPAddress? NameServerFor(IReadOnlyList<Endpoint> endpoints) =>
        endpoints.FirstOrDefault(HasNames)?.Addresses.FirstOrDefault()?.Gateway;

    /// <summary>Takes note of a container's new name.</summary>
    /// <returns>What it has now; null when it has nothing.</returns>
    public SandboxStatus? Rename(string container, string was, string name)
    {
        lock (_lock)
        {
            if (!_held.TryGetValue(container, out var held))
            {
                return null;
            }

            var endpoints = held.Status.Endpoints.Select(each => each with { Names = [.. each.Names.Select(known => known == was ? name : known)] }).ToList();
            var status = held.Status with { Endpoints = endpoints };
            _held[container] = new Held(status, held.Published, held.NameServers);
            return status;
        }
    }

    /// <inheritdoc/>
    IReadOnlyList<IPAddress>? INameBook.AddressesOf(IPAddress asker, string name)
    {
        lock (_lock)
        {
            if (FindAsker(asker) is not { } held)
            {
                return null;
            }

            foreach (var place in held.Status.Endpoints)
            {
                // name, or name.network, as Docker has it.
                var suffix = "." + place.NetworkName;
                var plain = name.EndsWith(suffix, StringComparison.OrdinalIgnoreCase) ? name[..^suffix.Length] : name;
                List<IPAddress> found = [];
                foreach (var other in _held.Values)
                {
                    foreach (var endpoint in other.Status.Endpoints)
                    {
                        if (endpoint.NetworkId == place.NetworkId && HasNames(endpoint) && endpoint.Names.Contains(plain, StringComparer.OrdinalIgnoreCase))
                        {
                            found.AddRange(endpoint.Addresses.Select(each => each.Address));
                        }
                    }
                }

                if (found.Count > 0)
                {
                    // One name of many containers: each asker gets another first.
                    Random.Shared.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(found));
                    return found;
                }
            }

            return null;
        }
    }

    /// <inheritdoc/>
    string? INameBook.NameOf(IPAddress asker, IPAddress address)
    {
        lock (_lock)
        {
            var networks = FindAsker(asker)?.Status.Endpoints.Select(each => each.NetworkId).ToList() ?? [];
            var endpoint = _held.Values
                .SelectMany(each => each.Status.Endpoints)
                .FirstOrDefault(each => networks.Contains(each.NetworkId) && each.Addresses.Any(own => own.Address.Equals(address)));
            return endpoint is null ? null : $"{endpoint.Names[0]}.{endpoint.NetworkName}";
        }
    }

    /// <inheritdoc/>
    IReadOnlyList<IPAddress> INameBook.ServersOf(IPAddress asker)
    {
        lock (_lock)
        {
            if (FindAsker(asker) is not { } held || !held.Status.Endpoints.Any(LeadsOut))
            {
                return [];
            }

            if (held.NameServers.Count > 0)
            {
                return held.NameServers;
            }
        }

        return HostResolver.OwnServers();
    }

    private static bool HasNames(Endpoint endpoint) => endpoint.HostInterface.Length > 0 && endpoint.NetworkName != NetworkDrivers.Bridge;

    private Held? FindAsker(IPAddress asker) =>
        _held.Values.FirstOrDefault(held => held.Status.Endpoints.Any(each => each.Addresses.Any(address => address.Address.Equals(asker))));

    private void ServeNames(Network network)
    {
        if (!network.Record.IsDefault)
        {
            var gateway = network.Record.Subnets[0].Gateway;
            _names ??= new NameServer(this, _log);
            network.Names = new IPEndPoint(gateway, _names.Serve(gateway));
        }
    }

    private void StopNames(Network network)
    {
        if (network.Names is { } names)
        {
            _names!.Stop(names.Address);
            network.Names = null;
        }
    }
}
