using System.Text;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>
/// What programs that manage the network of a machine are told, so that they leave EdgeHost's interfaces alone: one that
/// asks for an address on each new interface, or renames it, takes containers off the network.
/// </summary>
internal static class InstalledNeighbours
{
    // Its bridges, and the ends of containers' interfaces that stay on this side.
    private static readonly string[] Interfaces = ["ehv*", "eh-*", "edgehost*"];

    private const string Link = "/etc/systemd/network/10-edgehost.link";
    private const string Network = "/etc/systemd/network/10-edgehost.network";
    private const string NetworkManager = "/etc/NetworkManager/conf.d/edgehost.conf";
    private const string Dhcpcd = "/etc/dhcpcd.conf";
    private const string Begin = "# begin of what edgehost install wrote; edgehost uninstall removes it";
    private const string End = "# end of what edgehost install wrote";

    private static readonly string LinkText = $"""
        {InstalledUnits.Mark}
        [Match]
        OriginalName=ehv*

        [Link]
        NamePolicy=keep
        MACAddressPolicy=none

        """;

    private static readonly string NetworkText = $"""
        {InstalledUnits.Mark}
        [Match]
        Name={string.Join(' ', Interfaces)}

        [Link]
        Unmanaged=yes

        """;

    private static readonly string NetworkManagerText = $"""
        {InstalledUnits.Mark}
        [keyfile]
        unmanaged-devices+={string.Join(';', Interfaces.Select(each => "interface-name:" + each))}

        """;

    // Before anything else: what comes after a line "interface eth0" is about that one alone.
    private static readonly string DhcpcdText = $"{Begin}\ndenyinterfaces {string.Join(' ', Interfaces)}\n{End}\n";

    /// <summary>Tells those that are there.</summary>
    internal static void Install(HostSystem system)
    {
        if (system.HasPackage)
        {
            RemoveFiles(system);
            Reload(system);
        }
        else
        {
            // That of systemd is read by udev too, which is wherever systemd is.
            system.Write(Link, LinkText);
            system.Write(Network, NetworkText);
            if (Directory.Exists(system.PathOf("/etc/NetworkManager")) && system.Write(NetworkManager, NetworkManagerText))
            {
                Reload(system);
            }
        }

        var dhcpcd = system.PathOf(Dhcpcd);
        if (new FileInfo(dhcpcd).LinkTarget is not null)
        {
            // In an image it may well lead out of it.
            system.Say($"{Dhcpcd} is a link, and left alone: put \"denyinterfaces {string.Join(' ', Interfaces)}\" at its beginning");
        }
        else if (File.Exists(dhcpcd) && TextOf(dhcpcd) is var text && !text.Contains(DhcpcdText, StringComparison.Ordinal))
        {
            Change(system, DhcpcdText + Without(text));
            system.Say($"wrote denyinterfaces into {Dhcpcd}; it counts when dhcpcd is started the next time");
        }
    }

    /// <summary>Takes back what they were told.</summary>
    internal static void Uninstall(HostSystem system)
    {
        RemoveFiles(system);
        var dhcpcd = system.PathOf(Dhcpcd);
        if (new FileInfo(dhcpcd) is { Exists: true, LinkTarget: null } && TextOf(dhcpcd) is var text && Without(text) is var rest && rest != text)
        {
            Change(system, rest);
            system.Say($"took denyinterfaces out of {Dhcpcd}");
        }
    }

    private static void RemoveFiles(HostSystem system)
    {
        system.RemoveOurs(Link);
        system.RemoveOurs(Network);
        if (system.RemoveOurs(NetworkManager))
        {
            Reload(system);
        }
    }

    private static void Reload(HostSystem system)
    {
        if (system.IsActive("NetworkManager.service"))
        {
            system.Systemctl("reload", "NetworkManager.service");
        }
    }

    // It is somebody else's: byte for byte as it was, whatever its encoding.
    private static string TextOf(string file) => Encoding.Latin1.GetString(File.ReadAllBytes(file));

    // Half of it, after a power cut, could take the board off its network.
    private static void Change(HostSystem system, string text)
    {
        var file = system.PathOf(Dhcpcd);
        DurableFile.Write(file, Encoding.Latin1.GetBytes(text), (uint)File.GetUnixFileMode(file));
    }

    private static string Without(string text)
    {
        var begin = text.IndexOf(Begin + "\n", StringComparison.Ordinal);
        var end = begin < 0 ? -1 : text.IndexOf(End + "\n", begin, StringComparison.Ordinal);
        return end < 0 ? text : text[..begin] + text[(end + End.Length + 1)..];
    }
}
