using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>The options of <c>run</c> that say what a container has of networks.</summary>
internal sealed class NetworkRunOptions
{
    private const int MostPorts = 1024;

    private Option<string[]> Network { get; } = new("--network", "--net") { Description = "A network, none, host or container:NAME (default: bridge); can be given again", HelpName = "network" };

    private Option<string[]> Alias { get; } = new("--network-alias") { Description = "Another name in the network", HelpName = "name" };

    private Option<string?> Address4 { get; } = new("--ip") { Description = "Its IPv4 address in the network", HelpName = "address" };

    private Option<string?> Address6 { get; } = new("--ip6") { Description = "Its IPv6 address in the network", HelpName = "address" };

    private Option<string?> HardwareAddress { get; } = new("--mac-address") { Description = "Its hardware address", HelpName = "address" };

    private Option<string[]> Publish { get; } = new("--publish", "-p") { Description = "Publish a port, or a range", HelpName = "[[address:]port:]port[/udp]" };

    private Option<bool> PublishAll { get; } = new("--publish-all", "-P") { Description = "Publish all ports that the image exposes, at free ones" };

    private Option<string[]> Expose { get; } = new("--expose") { Description = "A port for --publish-all that the image does not expose", HelpName = "port[/udp]" };

    private Option<string[]> Dns { get; } = new("--dns") { Description = "A name server", HelpName = "address" };

    private Option<string[]> DnsSearch { get; } = new("--dns-search") { Description = "A search domain", HelpName = "domain" };

    private Option<string[]> DnsOption { get; } = new("--dns-option", "--dns-opt") { Description = "An option of the resolver", HelpName = "option" };

    private Option<string[]> AddHost { get; } = new("--add-host") { Description = "A line of /etc/hosts", HelpName = "name:address" };

    internal IEnumerable<Option> All => [Network, Alias, Address4, Address6, HardwareAddress, Publish, PublishAll, Expose, Dns, DnsSearch, DnsOption, AddHost];

    /// <summary>Writes what belongs into <c>HostConfig</c>.</summary>
    /// <exception cref="EdgeHostException">A port is no port.</exception>
    internal void WriteHost(Utf8JsonWriter json, ParseResult parsed)
    {
        json.WriteString("NetworkMode", parsed.GetValue(Network)!.FirstOrDefault("default"));
        Texts(json, "Dns", parsed.GetValue(Dns)!);
        Texts(json, "DnsSearch", parsed.GetValue(DnsSearch)!);
        Texts(json, "DnsOptions", parsed.GetValue(DnsOption)!);
        Texts(json, "ExtraHosts", parsed.GetValue(AddHost)!);
        json.WriteBoolean("PublishAllPorts", parsed.GetValue(PublishAll));
        json.WriteStartObject("PortBindings");
        foreach (var port in parsed.GetValue(Publish)!.SelectMany(Ports).GroupBy(each => each.Inside, StringComparer.Ordinal))
        {
            json.WriteStartArray(port.Key);
            foreach (var (_, address, outside) in port)
            {
                json.WriteStartObject();
                json.WriteString("HostIp", address);
                json.WriteString("HostPort", outside);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        json.WriteEndObject();
    }

    /// <summary>Writes <c>NetworkingConfig</c>.</summary>
    internal void WriteNetworks(Utf8JsonWriter json, ParseResult parsed)
    {
        json.WriteStartObject("ExposedPorts");
        foreach (var (inside, _, _) in parsed.GetValue(Expose)!.SelectMany(Ports))
        {
            json.WriteStartObject(inside);
            json.WriteEndObject();
        }

        json.WriteEndObject();
        var names = parsed.GetValue(Network)!;
        var (aliases, address4, address6, hardware) = (parsed.GetValue(Alias)!, parsed.GetValue(Address4), parsed.GetValue(Address6), parsed.GetValue(HardwareAddress));
        if (names.Length == 0 && aliases.Length == 0 && address4 is null && address6 is null && hardware is null)
        {
            return;
        }

        json.WriteStartObject("NetworkingConfig");
        json.WriteStartObject("EndpointsConfig");
        foreach (var (index, name) in names.DefaultIfEmpty("default").Distinct(StringComparer.Ordinal).Index())
        {
            json.WriteStartObject(name);
            if (index == 0)
            {
                Texts(json, "Aliases", aliases);
                json.WriteStartObject("IPAMConfig");
                json.WriteString("IPv4Address", address4 ?? string.Empty);
                json.WriteString("IPv6Address", address6 ?? string.Empty);
                json.WriteEndObject();
                json.WriteString("MacAddress", hardware ?? string.Empty);
            }

            json.WriteEndObject();
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }

    /// <summary>Docker's short form: <c>8080:80</c>, <c>127.0.0.1:8080:80/udp</c>, <c>[::1]:8080:80</c>, <c>8000-8003:80-83</c>, <c>80</c>.</summary>
    internal static IEnumerable<(string Inside, string Address, string Outside)> Ports(string text)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..];
        var rest = slash < 0 ? text : text[..slash];
        var address = string.Empty;
        if (rest.StartsWith('['))
        {
            var end = rest.IndexOf("]:", StringComparison.Ordinal);
            address = end > 0 ? rest[1..end] : throw Bad(text);
            rest = rest[(end + 2)..];
        }
        else if (rest.Count(each => each == ':') == 2)
        {
            (address, rest) = (rest[..rest.IndexOf(':', StringComparison.Ordinal)], rest[(rest.IndexOf(':', StringComparison.Ordinal) + 1)..]);
        }

        var parts = rest.Split(':');
        if (parts.Length > 2)
        {
            throw Bad(text);
        }

        var inside = Range(text, parts[^1]);
        var outside = parts.Length == 1 || parts[0].Length == 0 ? default((int From, int To)?) : Range(text, parts[0]);
        if (outside is { } range && range.To - range.From != inside.To - inside.From)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"--publish {text}: the ranges are of different length");
        }

        for (var i = 0; i <= inside.To - inside.From; i++)
        {
            yield return (
                string.Create(CultureInfo.InvariantCulture, $"{inside.From + i}/{protocol}"),
                address,
                outside is { } from ? (from.From + i).ToString(CultureInfo.InvariantCulture) : string.Empty);
        }
    }

    private static (int From, int To) Range(string text, string range)
    {
        var dash = range.IndexOf('-', StringComparison.Ordinal);
        var from = Port(text, dash < 0 ? range : range[..dash]);
        var to = dash < 0 ? from : Port(text, range[(dash + 1)..]);
        return to >= from && to - from < MostPorts ? (from, to) : throw new EdgeHostException(ErrorKind.Invalid, $"--publish {text}: a range goes upwards and has at most {MostPorts} ports");
    }

    private static int Port(string text, string port) =>
        ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0 ? number : throw Bad(text);

    private static EdgeHostException Bad(string text) => new(ErrorKind.Invalid, $"--publish {text}: not [[ADDRESS:]PORT:]PORT[/tcp|/udp] with ports from 1 to 65535, as in 8080:80");

    private static void Texts(Utf8JsonWriter json, string name, string[] values)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }
}
