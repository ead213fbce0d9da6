using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost network create|ls|inspect|connect|disconnect|rm|prune</c>.</summary>
internal static class NetworkCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("network", "Work with networks") { Make(), List(), Inspect(), Connect(), Disconnect(), Remove(), Prune() };

    private static Command Make()
    {
        var name = new Argument<string>("name");
        var driver = new Option<string>("--driver", "-d") { Description = "bridge or macvlan", DefaultValueFactory = _ => "bridge", HelpName = "driver" };
        var subnet = new Option<string[]>("--subnet") { Description = "Its network, as in 10.5.0.0/24; one of each family", HelpName = "network" };
        var gateway = new Option<string[]>("--gateway") { Description = "The host's address in it, or the router of a macvlan", HelpName = "address" };
        var range = new Option<string[]>("--ip-range") { Description = "Take addresses from this part of it", HelpName = "network" };
        var isInternal = new Option<bool>("--internal") { Description = "Reach nothing beyond it" };
        var ipv6 = new Option<bool>("--ipv6") { Description = "Have an IPv6 network too" };
        var option = new Option<string[]>("--opt", "-o") { Description = "An option of the driver, as in parent=eth0", HelpName = "name=value" };
        var label = new Option<string[]>("--label") { Description = "Set a label", HelpName = "name=value" };
        var command = new Command("create", "Make a network") { driver, subnet, gateway, range, isInternal, ipv6, option, label, name };
        command.SetAction(async parsed =>
        {
            using var buffer = new MemoryStream();
            using (var json = new Utf8JsonWriter(buffer))
            {
                json.WriteStartObject();
                json.WriteString("Name", parsed.GetValue(name));
                json.WriteString("Driver", parsed.GetValue(driver));
                json.WriteBoolean("Internal", parsed.GetValue(isInternal));
                json.WriteBoolean("EnableIPv6", parsed.GetValue(ipv6));
                WriteSubnets(json, parsed.GetValue(subnet)!, parsed.GetValue(gateway)!, parsed.GetValue(range)!);
                WritePairs(json, "Options", parsed.GetValue(option)!);
                WritePairs(json, "Labels", parsed.GetValue(label)!);
                json.WriteEndObject();
            }

            using var client = DaemonClient.For(parsed);
            using var answer = await client.PostAsync("networks/create", buffer.ToArray());
            parsed.InvocationConfiguration.Output.WriteLine(answer.RootElement.Text("Id"));
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command List()
    {
        var list = Networks();
        var command = new Command("ls", "List networks");
        command.Aliases.Add("list");
        list.AddTo(command, "dangling=, driver=, id=, label=, name=, scope=, type=");
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed);
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("networks" + EachContainer.Query(("filters", list.Filters(parsed))));
            list.Print(parsed, printer, answer.RootElement.EnumerateArray());
            return ExitCode.Ok;
        });
        return command;
    }

    private static Listing Networks() => new(
        "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        new("ID", "NETWORK ID", (n, whole) => Listing.ShortId(n.Text("Id"), whole)),
        new("Name", "NAME", (n, _) => n.Text("Name")),
        new("Driver", "DRIVER", (n, _) => n.Text("Driver")),
        new("Scope", "SCOPE", (n, _) => n.Text("Scope")),
        new("IPv4", "IPV4", (n, _) => Flag(n, "EnableIPv4")),
        new("IPv6", "IPV6", (n, _) => Flag(n, "EnableIPv6")),
        new("Internal", "INTERNAL", (n, _) => Flag(n, "Internal")),
        new("Labels", "LABELS", (n, _) => Listing.Labels(n)),
        new("CreatedAt", "CREATED AT", (n, _) => DateTimeOffset.TryParse(n.Text("Created"), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? Listing.Moment(time) : string.Empty));

    private static string Flag(JsonElement network, string name) => network.Member(name).ValueKind == JsonValueKind.True ? "true" : "false";

    private static Command Inspect() =>
        InspectCommand.Make("name", "Show all of networks, as JSON", (client, _, name) => client.GetAsync("networks/" + Uri.EscapeDataString(name)));

    private static Command Connect()
    {
        var network = new Argument<string>("network");
        var container = new Argument<string>("container");
        var address = new Option<string[]>("--ip", "--ip6") { Description = "An address that it must have there; one of each family", HelpName = "address" };
        var alias = new Option<string[]>("--alias") { Description = "One more name for it in that network", HelpName = "name" };
        var command = new Command("connect", "Put a container into one more network") { address, alias, network, container };
        command.SetAction(async parsed =>
        {
            using var buffer = new MemoryStream();
            using (var json = new Utf8JsonWriter(buffer))
            {
                json.WriteStartObject();
                json.WriteString("Container", parsed.GetValue(container));
                json.WriteStartObject("EndpointConfig");
                json.WriteStartObject("IPAMConfig");
                json.WriteString("IPv4Address", OfFamily(parsed.GetValue(address)!, isV6: false));
                json.WriteString("IPv6Address", OfFamily(parsed.GetValue(address)!, isV6: true));
                json.WriteEndObject();
                json.WriteStartArray("Aliases");
                foreach (var each in parsed.GetValue(alias)!)
                {
                    json.WriteStringValue(each);
                }

                json.WriteEndArray();
                json.WriteEndObject();
                json.WriteEndObject();
            }

            using var client = DaemonClient.For(parsed);
            await client.TellAsync($"networks/{Uri.EscapeDataString(parsed.GetValue(network)!)}/connect", buffer.ToArray());
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Disconnect()
    {
        var network = new Argument<string>("network");
        var container = new Argument<string>("container");
        var force = new Option<bool>("--force", "-f") { Description = "Taken for Docker's sake: it is never needed here" };
        var command = new Command("disconnect", "Take a container out of a network") { force, network, container };
        command.SetAction(async parsed =>
        {
            using var buffer = new MemoryStream();
            using (var json = new Utf8JsonWriter(buffer))
            {
                json.WriteStartObject();
                json.WriteString("Container", parsed.GetValue(container));
                json.WriteEndObject();
            }

            using var client = DaemonClient.For(parsed);
            await client.TellAsync($"networks/{Uri.EscapeDataString(parsed.GetValue(network)!)}/disconnect", buffer.ToArray());
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Remove()
    {
        var names = new Argument<string[]>("name") { Arity = ArgumentArity.OneOrMore };
        var command = new Command("rm", "Remove networks") { names };
        command.Aliases.Add("remove");
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(names)!, async (client, name) =>
        {
            using var response = await client.SendAsync(HttpMethod.Delete, "networks/" + Uri.EscapeDataString(name));
        }));
        return command;
    }

    private static Command Prune()
    {
        var filter = Pruning.Filter();
        return Pruning.Command(
            "Remove the networks that no container wants",
            parsed => ("all custom networks not used by at least one container", parsed.GetValue(filter)!),
            "networks/prune",
            "Deleted Networks:",
            "NetworksDeleted",
            filter);
    }

    private static void WriteSubnets(Utf8JsonWriter json, string[] subnets, string[] gateways, string[] ranges)
    {
        json.WriteStartObject("IPAM");
        json.WriteStartArray("Config");
        foreach (var subnet in subnets)
        {
            var isV6 = subnet.Contains(':', StringComparison.Ordinal);
            json.WriteStartObject();
            json.WriteString("Subnet", subnet);
            json.WriteString("Gateway", OfFamily(gateways, isV6));
            json.WriteString("IPRange", OfFamily(ranges, isV6));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
        if (subnets.Length == 0 && gateways.Length + ranges.Length > 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "--gateway and --ip-range need the --subnet that they are in");
        }
    }

    private static string OfFamily(string[] values, bool isV6) => values.FirstOrDefault(each => each.Contains(':', StringComparison.Ordinal) == isV6, string.Empty);

    private static void WritePairs(Utf8JsonWriter json, string name, string[] pairs)
    {
        json.WriteStartObject(name);
        foreach (var pair in pairs)
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            json.WriteString(equals < 0 ? pair : pair[..equals], equals < 0 ? string.Empty : pair[(equals + 1)..]);
        }

        json.WriteEndObject();
    }
}
