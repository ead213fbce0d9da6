using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Deployments;

/// <summary>
/// Reads the networks of a document, and what a workload has of them, in Compose's words (compose-spec, 06-networks.md
/// and 05-services.md). A network that the document makes is called after its key and a hash of all that is asked of
/// it, as containers are: an old and a new one can stand side by side, and one that changed is another one.
/// </summary>
internal static class NetworkParser
{
    /// <summary>The key of the network in which workloads are that name none, as in Compose.</summary>
    internal const string DefaultKey = "default";

    private const int MaximumPorts = 1024;
    private const string PortForm = "[[ADDRESS:]PORT:]PORT[/tcp|/udp], as in \"8080:80\"";

    /// <summary>The fields of a network.</summary>
    internal static readonly string[] Fields = ["driver", "driver_opts", "enable_ipv6", "external", "internal", "ipam", "labels", "name"];

    /// <summary>Reads one network of the document.</summary>
    internal static WorkloadNetwork Network(string key, JsonNode node)
    {
        if (!WorkloadParser.IsName(key))
        {
            throw node.Fail("a network's key is [a-zA-Z0-9][a-zA-Z0-9_.-]* with at most 63 characters");
        }

        var spec = new NetworkSpec { Name = string.Empty };
        string? name = null;
        var isExternal = false;
        string? other = null;
        foreach (var (field, value) in node.IsNull ? [] : node.Properties("an object"))
        {
            other = field is "external" or "name" ? other : field;
            switch (field)
            {
                case "driver":
                    var driver = value.Text("bridge or macvlan");
                    spec = driver is NetworkDrivers.Bridge or NetworkDrivers.Macvlan ? spec with { Driver = driver } : throw value.Wrong("bridge or macvlan");
                    break;
                case "driver_opts":
                    spec = spec with { Options = Texts(value) };
                    break;
                case "enable_ipv6":
                    spec = spec with { EnableIPv6 = value.Boolean() };
                    break;
                case "external":
                    isExternal = value.Boolean();
                    break;
                case "internal":
                    spec = spec with { IsInternal = value.Boolean() };
                    break;
                case "ipam":
                    spec = spec with { Subnets = Subnets(value) };
                    break;
                case "labels":
                    spec = spec with { Labels = WorkloadParser.Labels(value) };
                    break;
                case "name":
                    name = value.Text("a network's name");
                    break;
                default:
                    value.Unknown(field is "attachable" ? "a field of Compose that this version does not have" : null);
                    break;
            }
        }

        if (isExternal)
        {
            return other is null
                ? new WorkloadNetwork(key, spec with { Name = name ?? key }, IsExternal: true)
                : throw new DesiredStateException(ErrorKind.Invalid, $"{node.Path}.{other}", "an external network is as it is: nothing but its name is given here");
        }

        return name is null
            ? new WorkloadNetwork(key, spec with { Name = $"{key}-{Hash(spec)[..8]}" })
            : throw new DesiredStateException(
                ErrorKind.Unsupported, $"{node.Path}.name", "is for external networks: the name of one that is made here is its key and a hash of what is asked of it");
    }

    /// <summary>Puts a workload into networks.</summary>
    /// <param name="node">The workload.</param>
    /// <param name="name">Its name, by which the others find it.</param>
    /// <param name="spec">What was read of it.</param>
    /// <param name="mode">Its <c>network_mode</c>; null when it names none.</param>
    /// <param name="asked">Its <c>networks</c>; null when it names none.</param>
    /// <param name="networks">Those of the document, by key; the default one is added when it is needed.</param>
    internal static ContainerSpec Place(
        JsonNode node, string name, ContainerSpec spec, string? mode, IReadOnlyList<EndpointSpec>? asked, Dictionary<string, WorkloadNetwork> networks)
    {
        switch (mode)
        {
            case "none" or "host" when asked is { Count: > 0 }:
            case "bridge" when asked is { Count: > 0 }:
                throw new DesiredStateException(ErrorKind.Invalid, $"{node.Path}.network_mode", $"{mode} and networks exclude each other");
            case "none" or "host" when spec.Ports.Count > 0:
                throw new DesiredStateException(ErrorKind.Invalid, $"{node.Path}.ports", $"with the network mode {mode} no port can be published");
            case "none":
                return spec with { Network = NetworkMode.None };
            case "host":
                return spec with { Network = NetworkMode.Host };
            case "bridge":
                return spec with { Network = NetworkMode.Bridge };
        }

        if (asked is null or [] && !networks.ContainsKey(DefaultKey))
        {
            var own = new NetworkSpec { Name = string.Empty };
            networks.Add(DefaultKey, new WorkloadNetwork(DefaultKey, own with { Name = $"{DefaultKey}-{Hash(own)[..8]}" }));
        }

        var endpoints = new List<EndpointSpec>();
        foreach (var endpoint in asked is { Count: > 0 } ? asked : [new EndpointSpec(DefaultKey)])
        {
            var network = networks.GetValueOrDefault(endpoint.Network) ?? throw new DesiredStateException(
                ErrorKind.Invalid, $"{node.Path}.networks", $"{endpoint.Network} is not among the networks of the document; add it there, with \"external\": true when it was made by hand");
            endpoints.Add(endpoint with { Network = network.Spec.Name, Aliases = [name, .. endpoint.Aliases.Where(alias => alias != name)] });
        }

        return spec with { Network = NetworkMode.Bridge, Endpoints = endpoints };
    }

    /// <summary>A workload's <c>networks</c>, by key: a list, or an object with what it wants in each.</summary>
    internal static List<EndpointSpec> Endpoints(JsonNode value)
    {
        if (value.Kind == JsonValueKind.Array)
        {
            var keys = WorkloadParser.Bounded(value, "a list").Select(static item => item.Text("a network's key")).ToList();
            return keys.Distinct(StringComparer.Ordinal).Count() == keys.Count
                ? keys.ConvertAll(static key => new EndpointSpec(key))
                : throw value.Fail("a network is named twice");
        }

        var endpoints = new List<EndpointSpec>();
        foreach (var (key, wanted) in value.Properties("a list of networks, or an object"))
        {
            var endpoint = new EndpointSpec(key);
            foreach (var (field, item) in wanted.IsNull ? [] : wanted.Properties("an object"))
            {
                endpoint = field switch
                {
                    "aliases" => endpoint with { Aliases = WorkloadParser.Bounded(item, "a list of names").Select(static each => WorkloadParser.Word(each, "a name without blanks")).ToList() },
                    "ipv4_address" => endpoint with { Address4 = Address(item, AddressFamily.InterNetwork) },
                    "ipv6_address" => endpoint with { Address6 = Address(item, AddressFamily.InterNetworkV6) },
                    "mac_address" => endpoint with { HardwareAddress = item.Text("a hardware address, as in 02:42:ac:11:00:02") },
                    _ => Refuse(item),
                };
            }

            endpoints.Add(endpoint);
        }

        return endpoints;

        static EndpointSpec Refuse(JsonNode item)
        {
            item.Unknown();
            return null!;
        }
    }

    /// <summary>Ports in Compose's short and long form.</summary>
    internal static List<PortBinding> Ports(JsonNode value)
    {
        var ports = new List<PortBinding>();
        foreach (var item in value.Items("a list of ports"))
        {
            if (item.Kind == JsonValueKind.Object)
            {
                LongPort(item, ports);
            }
            else
            {
                ShortPort(item, item.Kind == JsonValueKind.Number ? item.RawText : item.Text(PortForm), ports);
            }

            if (ports.Count > MaximumPorts)
            {
                throw value.Fail($"more than {MaximumPorts} ports");
            }
        }

        return ports;
    }

    /// <summary>A port of the board leads to one workload: what could never be started is refused before anything is touched.</summary>
    /// <exception cref="DesiredStateException">Two workloads publish the same one.</exception>
    internal static void RefuseClashes(IReadOnlyList<WorkloadSpec> workloads)
    {
        const string Anywhere = "anywhere";
        var owners = new Dictionary<string, WorkloadSpec>(StringComparer.Ordinal);
        foreach (var workload in workloads)
        {
            foreach (var port in workload.Container.Ports)
            {
                var name = $"{port.HostPort}/{(port.Protocol == PortProtocol.Tcp ? "tcp" : "udp")}";
                var all = $"all {name}";
                var own = port.HostAddress is { } address ? $"{address} {name}" : all;
                var any = $"{Anywhere} {name}";
                var other = owners.GetValueOrDefault(own) ?? owners.GetValueOrDefault(own == all ? any : all);
                if (port.HostPort != 0 && other is not null && other != workload)
                {
                    throw new DesiredStateException(
                        ErrorKind.Invalid, $"workloads.{workload.Name}.ports", $"port {name} of the board is published by workload {other.Name}, too; give one of them another");
                }

                owners.TryAdd(own, workload);
                owners.TryAdd(any, workload);
            }
        }
    }

    /// <summary>Lines of /etc/hosts: a list of <c>name:address</c> or <c>name=address</c>, or an object.</summary>
    internal static List<string> ExtraHosts(JsonNode value)
    {
        if (value.Kind == JsonValueKind.Array)
        {
            return WorkloadParser.Bounded(value, "a list").Select(static item =>
            {
                var text = item.Text("NAME:ADDRESS");
                var at = text.IndexOfAny([':', '=']);
                return at > 0 ? Host(item, text[..at], text[(at + 1)..]) : throw item.Wrong("NAME:ADDRESS");
            }).ToList();
        }

        return value.Properties("an object, or a list of NAME:ADDRESS").Select(static pair => Host(pair.Value, pair.Name, pair.Value.Text("an address"))).ToList();

        static string Host(JsonNode item, string name, string address)
        {
            var plain = address.Trim('[', ']');
            return name.Length > 0 && !name.Any(char.IsWhiteSpace) && (plain == "host-gateway" || IPAddress.TryParse(plain, out _))
                ? $"{name}:{plain}"
                : throw item.Fail($"\"{name}:{address}\" is no name with an IP address or host-gateway");
        }
    }

    /// <summary>Name servers: an address or a list of addresses.</summary>
    internal static List<string> NameServers(JsonNode value) =>
        WorkloadParser.TextOrList(value, "an address or a list of addresses").Select(static item => Address(item, null).ToString()).ToList();

    private static List<SubnetSpec> Subnets(JsonNode value)
    {
        var subnets = new List<SubnetSpec>();
        foreach (var (field, item) in value.Properties("an object with config"))
        {
            switch (field)
            {
                case "driver" when item.Text("default") == "default":
                    break;
                case "config":
                    subnets.AddRange(WorkloadParser.Bounded(item, "a list of subnets").Select(Subnet));
                    break;
                default:
                    item.Unknown();
                    break;
            }
        }

        return subnets;
    }

    private static SubnetSpec Subnet(JsonNode value)
    {
        IPNetwork? subnet = null, range = null;
        IPAddress? gateway = null;
        foreach (var (field, item) in value.Properties("an object with subnet"))
        {
            switch (field)
            {
                case "subnet":
                    subnet = Range(item);
                    break;
                case "ip_range":
                    range = Range(item);
                    break;
                case "gateway":
                    gateway = Address(item, null);
                    break;
                default:
                    item.Unknown();
                    break;
            }
        }

        return subnet is { } found ? new SubnetSpec(found, range, gateway) : throw value.Fail("subnet is missing");
    }

    private static IPNetwork Range(JsonNode value) =>
        IPNetwork.TryParse(value.Text("a subnet, as in 10.20.0.0/24"), out var network) ? network : throw value.Wrong("a subnet, as in 10.20.0.0/24");

    private static IPAddress Address(JsonNode value, AddressFamily? family)
    {
        var expected = family switch
        {
            AddressFamily.InterNetwork => "an IPv4 address",
            AddressFamily.InterNetworkV6 => "an IPv6 address",
            _ => "an IP address",
        };
        return IPAddress.TryParse(value.Text(expected), out var address) && (family is null || address.AddressFamily == family) ? address : throw value.Wrong(expected);
    }

    private static Dictionary<string, string> Texts(JsonNode value)
    {
        var texts = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (name, item) in value.Properties("an object"))
        {
            texts.Add(name, WorkloadParser.Scalar(item));
        }

        return texts;
    }

    private static void ShortPort(JsonNode node, string text, List<PortBinding> ports)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var protocol = Protocol(node, slash < 0 ? "tcp" : text[(slash + 1)..]);
        var rest = slash < 0 ? text : text[..slash];
        var inner = rest.LastIndexOf(':');
        var inside = PortRange(node, rest[(inner + 1)..]);
        if (inner < 0)
        {
            Add(node, ports, inside, null, protocol, null);
            return;
        }

        var before = rest[..inner];
        var outer = before.LastIndexOf(':');
        var host = before[(outer + 1)..];
        var address = outer < 0 ? null : HostAddress(node, before[..outer]);
        Add(node, ports, inside, host.Length == 0 ? null : PortRange(node, host), protocol, address);
    }

    private static void LongPort(JsonNode node, List<PortBinding> ports)
    {
        PortSpan? inside = null, outside = null;
        var protocol = PortProtocol.Tcp;
        IPAddress? address = null;
        foreach (var (field, item) in node.Properties(PortForm + ", or an object"))
        {
            switch (field)
            {
                case "target":
                    inside = PortRange(item, WorkloadParser.Scalar(item));
                    break;
                case "published":
                    outside = PortRange(item, WorkloadParser.Scalar(item));
                    break;
                case "protocol":
                    protocol = Protocol(item, item.Text("tcp or udp"));
                    break;
                case "host_ip":
                    address = HostAddress(item, item.Text("an address of the host"));
                    break;
                case "mode" when item.Text("host or ingress") is "host" or "ingress":
                case "name" or "app_protocol" when item.Text("text").Length >= 0:
                    break;
                default:
                    item.Unknown();
                    break;
            }
        }

        Add(node, ports, inside ?? throw node.Fail("target is missing"), outside, protocol, address);
    }

    private static void Add(JsonNode node, List<PortBinding> ports, PortSpan inside, PortSpan? outside, PortProtocol protocol, IPAddress? address)
    {
        if (outside is { } wanted && wanted.Count != inside.Count)
        {
            throw node.Fail("the two ranges are of different length");
        }

        for (var i = 0; i < inside.Count; i++)
        {
            ports.Add(new PortBinding((ushort)(inside.First + i), protocol, (ushort)(outside is { } host ? host.First + i : 0), address));
        }
    }

    private static PortProtocol Protocol(JsonNode node, string text) => text switch
    {
        "tcp" => PortProtocol.Tcp,
        "udp" => PortProtocol.Udp,
        _ => throw node.Fail($"protocol {text} cannot be published; tcp and udp can", ErrorKind.Unsupported),
    };

    private static IPAddress? HostAddress(JsonNode node, string text) => text is "0.0.0.0" or "::" or "[::]" ? null
        : IPAddress.TryParse(text.Trim('[', ']'), out var address) ? address
        : throw node.Fail($"{text} is not an IP address");

    private static PortSpan PortRange(JsonNode node, string text)
    {
        var dash = text.IndexOf('-', StringComparison.Ordinal);
        return ushort.TryParse(dash < 0 ? text : text[..dash], NumberStyles.None, CultureInfo.InvariantCulture, out var first)
            && ushort.TryParse(dash < 0 ? text : text[(dash + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var last)
            && first > 0 && last >= first && last - first < MaximumPorts
            ? new PortSpan(first, last - first + 1)
            : throw node.Fail($"\"{text}\" is not a port from 1 to 65535 or a range of at most {MaximumPorts}; expected {PortForm}");
    }

    /// <summary>Every field in a fixed order; one that is added later must be left out while it has its old meaning.</summary>
    private static string Hash(NetworkSpec spec)
    {
        var text = new System.Text.StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"1\n{spec.Driver}\n{spec.IsInternal}\n{spec.EnableIPv6}\n");
        foreach (var subnet in spec.Subnets)
        {
            text.Append(CultureInfo.InvariantCulture, $"subnet {subnet.Subnet} {subnet.Range} {subnet.Gateway}\n");
        }

        Add("option", spec.Options);
        Add("label", spec.Labels);
        return Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(text.ToString())));

        // With their lengths: two different ones must not read the same.
        void Add(string what, IReadOnlyDictionary<string, string> pairs)
        {
            foreach (var pair in pairs.OrderBy(static pair => pair.Key, StringComparer.Ordinal))
            {
                text.Append(CultureInfo.InvariantCulture, $"{what} {pair.Key.Length} {pair.Key}={pair.Value.Length} {pair.Value}\n");
            }
        }
    }

    /// <summary>Ports that follow each other.</summary>
    private readonly struct PortSpan(int first, int count)
    {
        internal int First => first;

        internal int Count => count;
    }
}
