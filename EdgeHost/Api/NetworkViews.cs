using System.Globalization;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Images;
using EdgeHost.Networks;

namespace EdgeHost.Api;

/// <summary>How Docker shows what a container has of networks.</summary>
internal static class NetworkViews
{
    /// <summary>The word of <c>HostConfig.NetworkMode</c>.</summary>
    internal static string ModeOf(ContainerSpec spec) => spec.Network switch
    {
        NetworkMode.Host => "host",
        NetworkMode.Bridge => spec.Endpoints.Count > 0 ? spec.Endpoints[0].Network : NetworkDrivers.Bridge,
        NetworkMode.Container => "container:" + spec.NetworkOf,
        _ => "none",
    };

    /// <summary>The names of the networks that a container is in, or would be if it ran.</summary>
    internal static IEnumerable<string> NamesOf(ContainerStatus container) => container.Spec.Network switch
    {
        NetworkMode.Bridge when container.Sandbox.Endpoints.Count > 0 => container.Sandbox.Endpoints.Select(each => each.NetworkName),
        NetworkMode.Bridge when container.Spec.Endpoints.Count > 0 => container.Spec.Endpoints.Select(each => each.Network),
        NetworkMode.Container => [],
        _ => [ModeOf(container.Spec)],
    };

    /// <summary><c>NetworkSettings</c>.</summary>
    internal static NetworkSettingsView SettingsOf(ContainerStatus container)
    {
        var networks = NamesOf(container).ToDictionary(each => each, _ => new EndpointView(), StringComparer.Ordinal);
        foreach (var endpoint in container.Sandbox.Endpoints)
        {
            networks[endpoint.NetworkName] = ViewOf(container.Id, endpoint);
        }

        foreach (var asked in container.Spec.Endpoints)
        {
            if ((asked.Address4 ?? asked.Address6) is not null && networks.TryGetValue(asked.Network, out var view))
            {
                view.IPAMConfig = new EndpointAddressesView { IPv4Address = asked.Address4?.ToString(), IPv6Address = asked.Address6?.ToString() };
            }
        }

        var first = container.Sandbox.Endpoints.Count > 0 ? networks[container.Sandbox.Endpoints[0].NetworkName] : new EndpointView();
        return new NetworkSettingsView(networks)
        {
            Ports = PortsOf(container),
            IPAddress = first.IPAddress,
            IPPrefixLen = first.IPPrefixLen,
            Gateway = first.Gateway,
            MacAddress = first.MacAddress,
            GlobalIPv6Address = first.GlobalIPv6Address,
            GlobalIPv6PrefixLen = first.GlobalIPv6PrefixLen,
            IPv6Gateway = first.IPv6Gateway,
        };
    }

    /// <summary>What was asked to be published: <c>HostConfig.PortBindings</c>.</summary>
    internal static Dictionary<string, List<PortBindingView>?> BindingsOf(ContainerSpec spec) => Group(spec.Ports, isAsked: true);

    /// <summary>The ports that a container and its image are said to listen at, as in <c>80/tcp</c> or <c>80</c>.</summary>
    internal static string[] ExposedBy(ContainerStatus container, IImageStore images) =>
        [.. container.Spec.Exposed, .. images.Find(container.ImageId)?.Config.Config.ExposedPorts.Keys ?? []];

    /// <summary><c>Config.ExposedPorts</c>, to which all ports belong that were published; null when there are none.</summary>
    internal static Dictionary<string, EmptyView>? ExposedOf(ContainerStatus container, IImageStore images)
    {
        var ports = BindingsOf(container.Spec).Keys.ToDictionary(port => port, _ => new EmptyView(), StringComparer.Ordinal);
        foreach (var port in ExposedBy(container, images))
        {
            ports[port.Contains('/', StringComparison.Ordinal) ? port : port + "/tcp"] = new EmptyView();
        }

        return ports.Count > 0 ? ports : null;
    }

    /// <summary>The ports of a line of the list: those that are published, and those that are exposed and nobody has published.</summary>
    /// <param name="container">The container.</param>
    /// <param name="exposed">The ports of <see cref="ExposedBy"/>.</param>
    internal static List<PortView> ListOf(ContainerStatus container, IEnumerable<string> exposed)
    {
        List<PortView> ports =
        [
            .. container.Sandbox.Ports.SelectMany(port => HostAddressesOf(container, port).Select(address =>
                new PortView(address, port.ContainerPort, port.HostPort, WordOf(port.Protocol)))),
        ];
        foreach (var text in container.Sandbox.Endpoints.Count > 0 ? exposed : [])
        {
            var parts = text.Split('/');
            var type = parts.Length > 1 ? parts[1] : "tcp";
            if (ushort.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var port) && !ports.Exists(each => each.PrivatePort == port && each.Type == type))
            {
                ports.Add(new PortView(null, port, 0, type));
            }
        }

        return ports;
    }

    internal static string EndpointIdOf(string container, string network) => Digest($"{container} {network}");

    internal static string Digest(string text) => Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text)));

    private static Dictionary<string, List<PortBindingView>?> PortsOf(ContainerStatus container) =>
        container.Sandbox.Ports.Count == 0 ? [] : Group(container.Sandbox.Ports, isAsked: false, container);

    private static Dictionary<string, List<PortBindingView>?> Group(IReadOnlyList<PortBinding> ports, bool isAsked, ContainerStatus? container = null) => ports
        .GroupBy(port => string.Create(CultureInfo.InvariantCulture, $"{port.ContainerPort}/{WordOf(port.Protocol)}"))
        .ToDictionary(
            group => group.Key,
            group => (List<PortBindingView>?)[.. group.SelectMany(port => isAsked
                ? [new PortBindingView(port.HostAddress?.ToString() ?? string.Empty, port.HostPort == 0 ? string.Empty : port.HostPort.ToString(CultureInfo.InvariantCulture))]
                : HostAddressesOf(container!, port).Select(address => new PortBindingView(address, port.HostPort.ToString(CultureInfo.InvariantCulture))))],
            StringComparer.Ordinal);

    /// <summary>Docker shows a port of all addresses as one of 0.0.0.0 and one of ::.</summary>
    private static IEnumerable<string> HostAddressesOf(ContainerStatus container, PortBinding port) => port.HostAddress is { } address ? [address.ToString()]
        : container.Sandbox.Endpoints.SelectMany(each => each.Addresses).Any(each => each.Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6) ? ["0.0.0.0", "::"] : ["0.0.0.0"];

    private static string WordOf(PortProtocol protocol) => protocol == PortProtocol.Udp ? "udp" : "tcp";

    private static EndpointView ViewOf(string container, Endpoint endpoint)
    {
        var view = new EndpointView
        {
            NetworkID = endpoint.NetworkId,
            EndpointID = EndpointIdOf(container, endpoint.NetworkId),
            MacAddress = endpoint.HardwareAddress,
            Aliases = [.. endpoint.Names.Skip(1)],
            DNSNames = [.. endpoint.Names],
        };
        foreach (var address in endpoint.Addresses)
        {
            if (address.Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6)
            {
                (view.GlobalIPv6Address, view.GlobalIPv6PrefixLen, view.IPv6Gateway) = (address.Address.ToString(), address.Prefix, address.Gateway.ToString());
            }
            else
            {
                (view.IPAddress, view.IPPrefixLen, view.Gateway) = (address.Address.ToString(), address.Prefix, address.Gateway.ToString());
            }
        }

        return view;
    }
}

/// <summary>A published port in the list.</summary>
internal sealed record PortView(
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? IP,
    int PrivatePort,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)] int PublicPort,
    string Type);

/// <summary>A port of the host.</summary>
internal sealed record PortBindingView(string HostIp, string HostPort);
