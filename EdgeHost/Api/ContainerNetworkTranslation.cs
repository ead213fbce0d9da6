using System.Globalization;
using System.Net;
using System.Net.Sockets;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Api;

/// <summary>What <c>POST /containers/create</c> says of networks, in the engine's words.</summary>
internal static class ContainerNetworkTranslation
{
    private const string SharedPrefix = "container:";

    /// <summary>Adds networks, ports and names to what was asked for.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it contradicts itself, or is no address, port or name.</exception>
    internal static ContainerSpec Add(ContainerSpec spec, ContainerCreateBody body, HostConfigBody host, List<string> warnings)
    {
        var mode = host.NetworkMode is null or "" or "default" ? NetworkDrivers.Bridge : host.NetworkMode;
        var named = spec with
        {
            Dns = [.. (host.Dns ?? []).Select(each => AddressOf("HostConfig.Dns", each).ToString())],
            DnsSearch = host.DnsSearch ?? [],
            DnsOptions = host.DnsOptions ?? [],
            ExtraHosts = [.. (host.ExtraHosts ?? []).Select(ExtraHost)],
            Exposed = [.. (body.ExposedPorts ?? []).Keys],
        };
        var endpoints = body.NetworkingConfig?.EndpointsConfig ?? [];
        var ports = Ports(host.PortBindings ?? []);
        switch (mode)
        {
            case "none" or "host":
                RefuseEndpoints(mode, endpoints.Keys);
                if (ports.Count > 0 && mode == "host")
                {
                    warnings.Add("Published ports are discarded when using host network mode");
                }

                return named with { Network = mode == "none" ? NetworkMode.None : NetworkMode.Host };
            case not null when mode.StartsWith(SharedPrefix, StringComparison.Ordinal) && mode.Length > SharedPrefix.Length:
                RefuseEndpoints(mode, endpoints.Keys);
                if (ports.Count > 0 || named.Dns.Count + named.ExtraHosts.Count > 0 || spec.Hostname is not null)
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"with the network {mode} ports, names and name servers are the other container's; give them there");
                }

                return named with { Network = NetworkMode.Container, NetworkOf = mode[SharedPrefix.Length..] };
            default:
                // The one that the mode names comes first: it gives the default route.
                var first = Endpoint(mode!, endpoints.GetValueOrDefault(mode!) ?? endpoints.GetValueOrDefault("default"), body.MacAddress);
                var others = endpoints.Where(each => each.Key != mode && each.Key != "default").Select(each => Endpoint(each.Key, each.Value, null));
                return named with
                {
                    Network = NetworkMode.Bridge,
                    Endpoints = [first, .. others],
                    Ports = ports,
                    PublishAll = host.PublishAllPorts,
                };
        }
    }

    private static void RefuseEndpoints(string mode, IEnumerable<string> names)
    {
        if (names.FirstOrDefault(each => each != mode && each != "default") is { } other)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"a container with the network {mode} cannot be in network {other} too");
        }
    }

    /// <summary>A place in a network.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: an address is none.</exception>
    internal static EndpointSpec Endpoint(string network, EndpointBody? body, string? hardwareAddress)
    {
        // All else that may be there is what an endpoint has, and not what it is asked to have.
        if (body?.Rest is { } rest && rest.TryGetValue("DriverOpts", out var options))
        {
            ContainerCreateTranslation.Refuse("EndpointsConfig.DriverOpts", options);
        }

        if (body?.IPAMConfig?.LinkLocalIPs is { Count: > 0 } links)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"EndpointsConfig.IPAMConfig.LinkLocalIPs is not in this version (asked for: {links[0]})");
        }

        return new EndpointSpec(network)
        {
            Aliases = body?.Aliases ?? [],
            Address4 = Address("IPv4Address", body?.IPAMConfig?.IPv4Address, AddressFamily.InterNetwork),
            Address6 = Address("IPv6Address", body?.IPAMConfig?.IPv6Address, AddressFamily.InterNetworkV6),
            HardwareAddress = body?.MacAddress is { Length: > 0 } own ? own : hardwareAddress is { Length: > 0 } general ? general : null,
        };
    }

    private static IPAddress? Address(string key, string? text, AddressFamily family)
    {
        if (string.IsNullOrEmpty(text))
        {
            return null;
        }

        var address = AddressOf(key, text);
        return address.AddressFamily == family ? address : throw new EdgeHostException(ErrorKind.Invalid, $"{key}: {text} is of the other family");
    }

    private static IPAddress AddressOf(string key, string text) =>
        IPAddress.TryParse(text, out var address) ? address : throw new EdgeHostException(ErrorKind.Invalid, $"{key}: \"{text}\" is not an IP address");

    private static List<PortBinding> Ports(Dictionary<string, List<PortBindingBody>?> bindings)
    {
        var ports = new List<PortBinding>();
        foreach (var (port, hosts) in bindings)
        {
            var parts = port.Split('/', 2);
            var protocol = (parts.Length > 1 ? parts[1] : "tcp") switch
            {
                "tcp" => PortProtocol.Tcp,
                "udp" => PortProtocol.Udp,
                var other => throw new EdgeHostException(ErrorKind.Unsupported, $"port {port}: protocol {other} cannot be published; tcp and udp can"),
            };
            var inside = Port(port, parts[0]);
            foreach (var host in hosts is { Count: > 0 } ? hosts : [new PortBindingBody()])
            {
                var address = string.IsNullOrEmpty(host.HostIp) || host.HostIp is "0.0.0.0" or "::" ? null : AddressOf($"HostIp of port {port}", host.HostIp);
                ports.Add(new PortBinding(inside, protocol, string.IsNullOrEmpty(host.HostPort) || host.HostPort == "0" ? (ushort)0 : Port($"HostPort of port {port}", host.HostPort), address));
            }
        }

        // The docker client writes 0.0.0.0 and :: as two; here one binding is for both families.
        return [.. ports.DistinctBy(each => each.HostPort == 0 ? (object)each : (each.HostPort, each.ContainerPort, each.Protocol, each.HostAddress))];
    }

    private static ushort Port(string key, string text) =>
        ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port > 0
            ? port
            : throw new EdgeHostException(ErrorKind.Invalid, $"{key}: \"{text}\" is not a port from 1 to 65535");

    private static string ExtraHost(string text)
    {
        var colon = text.IndexOfAny([':', '=']);
        var address = colon > 0 ? text[(colon + 1)..].Trim('[', ']') : string.Empty;
        return colon > 0 && !text[..colon].Any(char.IsWhiteSpace) && (address == "host-gateway" || IPAddress.TryParse(address, out _))
            ? $"{text[..colon]}:{address}"
            : throw new EdgeHostException(ErrorKind.Invalid, $"HostConfig.ExtraHosts: \"{text}\" is not NAME:ADDRESS, as in db:10.0.0.7 or host:host-gateway");
    }
}
