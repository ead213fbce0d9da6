using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>
/// Other programs of this machine that have to do with networks, and what each means for EdgeHost. One that needs
/// something done has a remedy; all others are named so that nobody has to wonder.
/// </summary>
internal static class Neighbours
{
    private const string Bridge = "edgehost0";
    private const int DnsPort = 53;
    private const int MqttPort = 1883;

    /// <summary>Looks around.</summary>
    /// <param name="dataDirectory">Where networks are kept that routes may clash with.</param>
    internal static IReadOnlyList<FeatureStatus> Observe(string dataDirectory)
    {
        var programs = Programs();
        var found = new List<FeatureStatus>();
        var chains = Chains();
        Engines(programs, found);
        Firewalls(programs, chains, found);
        Managers(programs, found);
        Names(programs, found);
        Broker(found);
        Routes(dataDirectory, found);
        return found;
    }

    /// <summary>The routes of a table of /proc that overlap a network, with the interface of each.</summary>
    /// <param name="routes">Routes, as <see cref="ReadRoutes"/> gives them.</param>
    /// <param name="subnet">A network's subnet.</param>
    /// <param name="bridge">Its own interface.</param>
    private static List<string> Clashes(List<Route> routes, IPNetwork subnet, string bridge)
    {
        var found = new List<string>();
        foreach (var route in routes)
        {
            var (destination, name) = (route.Destination, route.Interface);

            // What is wider than this leads to the world, and is no network.
            var least = destination.BaseAddress.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 ? 7 : 8;
            if (name != bridge && destination.PrefixLength >= least
                && destination.BaseAddress.AddressFamily == subnet.BaseAddress.AddressFamily
                && (destination.Contains(subnet.BaseAddress) || subnet.Contains(destination.BaseAddress)))
            {
                var text = $"{destination} dev {name}";
                if (!found.Contains(text))
                {
                    found.Add(text);
                }
            }
        }

        return found;
    }

    /// <summary>The routes of the main table, as /proc/net/route and /proc/net/ipv6_route show them.</summary>
    private static List<Route> ReadRoutes(string route4, string route6)
    {
        var found = new List<Route>();
        foreach (var line in route4.Split('\n'))
        {
            // Iface Destination Gateway Flags RefCnt Use Metric Mask …, in the byte order of the machine
            var fields = line.Split('\t', StringSplitOptions.TrimEntries);
            if (fields.Length > 7
                && uint.TryParse(fields[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var destination)
                && uint.TryParse(fields[7], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var mask))
            {
                found.Add(new Route(new IPNetwork(new IPAddress(destination & mask), System.Numerics.BitOperations.PopCount(mask)), fields[0]));
            }
        }

        foreach (var line in route6.Split('\n'))
        {
            // destination, its prefix, source, its prefix, next hop, metric, references, use, flags, interface
            const ulong reject = 0x0200, local = 0x80000000;
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length == 10
                && int.TryParse(fields[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var prefix)
                && ulong.TryParse(fields[8], NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var flags) && (flags & (reject | local)) == 0)
            {
                found.Add(new Route(new IPNetwork(new IPAddress(Convert.FromHexString(fields[0])), prefix), fields[9]));
            }
        }

        return found;
    }

    private static void Engines(Dictionary<string, int> programs, List<FeatureStatus> found)
    {
        if (programs.TryGetValue("dockerd", out var dockerd))
        {
            found.Add(Fine("dockerd", $"process {dockerd}: runs beside EdgeHost; images, containers and networks are each one's own"));
        }

        if (programs.TryGetValue("containerd", out var containerd))
        {
            found.Add(Fine("containerd", $"process {containerd}: runs beside EdgeHost, which does not use it"));
        }

        if (File.Exists("/usr/bin/podman") || File.Exists("/usr/local/bin/podman"))
        {
            found.Add(Fine("podman", "installed: runs beside EdgeHost; its networks begin at 10.88.0.0/16, those of EdgeHost elsewhere"));
        }

        if (programs.TryGetValue("k3s-server", out var k3s) || programs.TryGetValue("k3s-agent", out k3s) || programs.TryGetValue("kubelet", out k3s))
        {
            found.Add(Fine("Kubernetes", $"process {k3s}: runs beside EdgeHost; give one of the two the ports that both publish"));
        }
    }

    private static void Firewalls(Dictionary<string, int> programs, List<Chain> chains, List<FeatureStatus> found)
    {
        const string Filter = "filter", Ours = "DOCKER-USER";
        var dockerUser = chains.Any(each => each is { Table: Filter, Name: Ours });
        foreach (var chain in chains)
        {
            var (family, table) = (chain.Family, chain.Table);
            if (chain.Drops.Length == 0 || table.StartsWith("edgehost", StringComparison.Ordinal) || (IsUfw() && table == Filter))
            {
                // What ufw drops is said below, in its own words.
                continue;
            }

            var name = $"nftables {family} {table} {chain.Name}";
            if (chain.Drops == Chain.Input)
            {
                found.Add(Note(name, "drops what comes in to this machine: containers reach neither their name server nor the broker in the daemon", LetIn(chain)));
            }
            else if (table == Filter && chains.Any(each => each is { Table: Filter, Name: Ours } && each.Family == family))
            {
                found.Add(Fine(name, "drops what is forwarded; EdgeHost has its networks let through in DOCKER-USER, and takes that back when it leaves"));
            }
            else
            {
                found.Add(Note(name, "drops what is forwarded, containers' packets too", $"{LetIn(chain)}; {Line(chain, "-o", "oifname")} (and of each other bridge eh-…)"));
            }
        }

        if (File.Exists("/proc/net/ip_tables_names") && TextOf("/proc/net/ip_tables_names")?.Split('\n').Contains("filter") == true)
        {
            found.Add(Note("iptables-legacy", "has a table filter, which may drop what is forwarded or comes in (iptables-legacy -S)",
                $"if it does: iptables-legacy -I FORWARD -i {Bridge} -j ACCEPT; iptables-legacy -I FORWARD -o {Bridge} -j ACCEPT; iptables-legacy -I INPUT -i {Bridge} -j ACCEPT"));
        }

        if (IsUfw())
        {
            found.Add(dockerUser
                ? Note("ufw", "enabled: containers reach neither their name server nor the broker in the daemon", $"ufw allow in on {Bridge}")
                : Note("ufw", "enabled: it drops what is forwarded, and what containers ask their name server and the broker in the daemon", $"ufw route allow in on {Bridge}; ufw route allow out on {Bridge}; ufw allow in on {Bridge}"));
        }

        if (programs.TryGetValue("firewalld", out var firewalld))
        {
            found.Add(Note("firewalld", $"process {firewalld}: rejects what is forwarded between zones", $"firewall-cmd --permanent --zone=trusted --add-interface={Bridge} && firewall-cmd --reload"));
        }
    }

    private static string LetIn(Chain chain) => Line(chain, "-i", "iifname");

    /// <summary>The line that lets packets of our bridge through, in the words of the program that the table is of.</summary>
    private static string Line(Chain chain, string option, string expression) => chain is { Table: "filter", Family: "ip" or "ip6" }
        ? $"{(chain.Family == "ip" ? "iptables" : "ip6tables")} -I {chain.Name} {option} {Bridge} -j ACCEPT"
        : $"nft insert rule {chain.Family} {chain.Table} {chain.Name} {expression} {Bridge} accept";

    private static void Managers(Dictionary<string, int> programs, List<FeatureStatus> found)
    {
        Manager("NetworkManager", "NetworkManager", "/etc/NetworkManager/conf.d/edgehost.conf", "unmanaged-devices");
        Manager("systemd-networkd", "systemd-network", "/etc/systemd/network/10-edgehost.network", "Unmanaged=yes");
        Manager("dhcpcd", "dhcpcd", "/etc/dhcpcd.conf", "denyinterfaces ehv*");

        void Manager(string name, string program, string file, string what)
        {
            if (programs.TryGetValue(program, out var pid))
            {
                found.Add(TextOf(file)?.Contains(what, StringComparison.Ordinal) == true
                    ? Fine(name, $"process {pid}: {file} tells it to leave EdgeHost's interfaces alone")
                    : Note(name, $"process {pid}: may take EdgeHost's interfaces for its own", $"edgehost install writes {file}, which tells it not to"));
            }
        }
    }

    private static void Names(Dictionary<string, int> programs, List<FeatureStatus> found)
    {
        const string Upstream = "/run/systemd/resolve/resolv.conf";
        if (programs.TryGetValue("systemd-resolve", out var resolved))
        {
            found.Add(File.Exists(Upstream)
                ? Fine("systemd-resolved", $"process {resolved}: containers ask the servers that it asks ({Upstream}), and follow them")
                : Note("systemd-resolved", $"process {resolved}: there is no {Upstream} that names the servers that it asks", "give containers --dns"));
        }

        foreach (var isTcp in (bool[])[false, true])
        {
            if (SocketOwner.Find(DnsPort, isTcp) is { } owner && !owner.StartsWith("systemd-resolve", StringComparison.Ordinal))
            {
                found.Add(Fine("port 53", $"held by {owner}; no conflict: names of containers are served at other ports"));
                break;
            }
        }
    }

    private static void Broker(List<FeatureStatus> found)
    {
        if (SocketOwner.Find(MqttPort, isTcp: true) is { } owner)
        {
            found.Add(owner.StartsWith("edgehost", StringComparison.Ordinal)
                ? Fine("port 1883", $"held by {owner}: the broker inside the daemon, or a container's published port")
                : Note("port 1883", $"held by {owner}, so that the broker inside the daemon cannot listen at 127.0.0.1:1883",
                    "set mqtt.url to that broker, or broker.listen to another port (docs/configuration.md)"));
        }
    }

    private static void Routes(string dataDirectory, List<FeatureStatus> found)
    {
        const int most = 64 << 10;
        var directory = Path.Combine(dataDirectory, "networks");
        if (!Directory.Exists(directory))
        {
            return;
        }

        var routes = ReadRoutes(TextOf("/proc/net/route") ?? string.Empty, TextOf("/proc/net/ipv6_route") ?? string.Empty);
        foreach (var file in Directory.EnumerateFiles(directory, "*.json"))
        {
            try
            {
                using var json = JsonDocument.Parse(CheckedFile.Read(file, most));
                var network = json.RootElement;
                if (network.GetProperty("driver").GetString() != "bridge")
                {
                    continue;
                }

                foreach (var subnet in network.GetProperty("subnets").EnumerateArray())
                {
                    var range = IPNetwork.Parse(subnet.GetProperty("subnet").GetString()!);
                    foreach (var clash in Clashes(routes, range, network.GetProperty("interface").GetString()!))
                    {
                        found.Add(Note($"route {clash}", $"overlaps network {network.GetProperty("name").GetString()} ({range}): of the addresses in both, only one side is reached",
                            "make the network anew with another --subnet, or let the other program (a VPN?) use another range"));
                    }
                }
            }
            catch (Exception e) when (e is EdgeHostException or JsonException or IOException or UnauthorizedAccessException or KeyNotFoundException or FormatException)
            {
                found.Add(Note(file, $"cannot be read: {e.Message}", "run edgehost check as root; a damaged file is set aside by the daemon"));
            }
        }
    }

    /// <summary>All chains of nftables.</summary>
    private static List<Chain> Chains()
    {
        const ushort getChain = (10 << 8) | 4;
        const uint input = 1, forward = 2, drop = 0;
        var found = new List<Chain>();
        try
        {
            using var socket = NetlinkSocket.Open(NetlinkProtocol.Netfilter);
            foreach (var reply in socket.Query(new NetlinkMessage(getChain, NetlinkFlags.Dump, 0, 0, 0, 0), "list the chains of nftables"))
            {
                var attributes = reply.Attributes(4);
                var family = reply.Payload.Span[0] switch { 1 => "inet", 2 => "ip", 10 => "ip6", 7 => "bridge", _ => string.Empty };
                if (family.Length > 0 && family != "bridge" && attributes.TryFind(1, out var table) && attributes.TryFind(3, out var chain))
                {
                    var at = attributes.TryFind(4, out var hook) && new NetlinkAttributes(hook).TryFind(1, out var number) ? BinaryPrimitives.ReadUInt32BigEndian(number) : 0;
                    var isDrop = attributes.TryFind(5, out var policy) && BinaryPrimitives.ReadUInt32BigEndian(policy) == drop;
                    found.Add(new Chain(family, Text(table), Text(chain), !isDrop ? string.Empty : at == forward ? Chain.Forward : at == input ? Chain.Input : string.Empty));
                }
            }
        }
        catch (LinuxException)
        {
            // A kernel without nftables, or no root: what that means is said among the features.
        }

        return found;

        static string Text(ReadOnlySpan<byte> bytes) => Encoding.UTF8.GetString(bytes.TrimEnd((byte)0));
    }

    private static bool IsUfw() => TextOf("/etc/ufw/ufw.conf")?.Split('\n').Any(line => line.Trim() == "ENABLED=yes") == true;

    /// <summary>A process of each program, by the name that the kernel has of it: fifteen bytes at most.</summary>
    private static Dictionary<string, int> Programs()
    {
        var found = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var directory in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out var pid) && TextOf(directory + "/comm") is { } name)
            {
                found.TryAdd(name.TrimEnd('\n'), pid);
            }
        }

        return found;
    }

    private static string? TextOf(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not there, ended meanwhile, or not ours to read.
            return null;
        }
    }

    private static FeatureStatus Fine(string name, string found) => new(name, FeatureNeed.Recommended, FeatureState.Present, found);

    private static FeatureStatus Note(string name, string found, string remedy) => new(name, FeatureNeed.Recommended, FeatureState.Missing, found, remedy);

    /// <summary>A chain of nftables.</summary>
    private sealed class Chain(string family, string table, string name, string drops)
    {
        internal const string Input = "input", Forward = "forward";

        internal string Family => family;

        internal string Table => table;

        internal string Name => name;

        /// <summary>Which packets its policy drops: those that come in, those that are forwarded, or of these none.</summary>
        internal string Drops => drops;
    }

    /// <summary>A route of this machine.</summary>
    private sealed class Route(IPNetwork destination, string link)
    {
        internal IPNetwork Destination => destination;

        internal string Interface => link;
    }
}
