using EdgeHost.Linux;

namespace EdgeHost.Networks;

/// <summary>Switches of the kernel beneath /proc/sys/net that networks need; each file acts on the namespace of the thread that writes it.</summary>
internal static class HostSettings
{
    private const string Root = "/proc/sys/net/";

    /// <summary>Whether this kernel has IPv6 and it is not switched off.</summary>
    internal static bool HasIPv6 => Read("ipv6/conf/all/disable_ipv6") == "0";

    /// <summary>
    /// Lets packets through this machine. With IPv6 that would make its own interfaces deaf to routers' advertisements,
    /// by which many a gateway has its address: those that listen are told to go on (accept_ra 2).
    /// </summary>
    /// <param name="withIPv6">Whether IPv6 too.</param>
    /// <param name="isOurs">Whether an interface is one of ours, which listens to nobody's advertisements.</param>
    /// <returns>What was changed, for the log.</returns>
    internal static IReadOnlyList<string> EnableForwarding(bool withIPv6, Predicate<string> isOurs)
    {
        var changed = new List<string>();
        if (Read("ipv4/ip_forward") != "1")
        {
            Write("ipv4/ip_forward", "1");
            changed.Add("net.ipv4.ip_forward");
        }

        if (withIPv6 && Read("ipv6/conf/all/forwarding") != "1")
        {
            foreach (var directory in Directory.EnumerateDirectories(Root + "ipv6/conf"))
            {
                var link = Path.GetFileName(directory);
                var name = $"ipv6/conf/{link}/accept_ra";
                if (link is not ("all" or "lo") && !isOurs(link) && Read(name) == "1")
                {
                    Write(name, "2");
                    changed.Add($"net.ipv6.conf.{link}.accept_ra");
                }
            }

            Write("ipv6/conf/all/forwarding", "1");
            changed.Add("net.ipv6.conf.all.forwarding");
        }

        return changed;
    }

    /// <summary>Sets what a bridge needs while it is still down.</summary>
    internal static void PrepareBridge(string name, bool withIPv6)
    {
        // A port that is published at 127.0.0.1 leads out by the bridge; the raw chain stops what others send there.
        Write($"ipv4/conf/{name}/route_localnet", "1");
        if (HasIPv6)
        {
            Write($"ipv6/conf/{name}/disable_ipv6", withIPv6 ? "0" : "1");
            if (withIPv6)
            {
                Write($"ipv6/conf/{name}/accept_ra", "0");
                Write($"ipv6/conf/{name}/accept_dad", "0");
            }
        }
    }

    /// <summary>Sets what a container's new namespace needs; for the thread that is in it.</summary>
    internal static void PrepareSandbox()
    {
        // As with Docker: any user may listen at any port and ping, for nothing of the host's is in danger. The groups are
        // those of who writes it, the host's: who joins the namespace later may have others than those that it belongs to.
        Write("ipv4/ip_unprivileged_port_start", "0");
        Write("ipv4/ping_group_range", "0 2147483647");
    }

    /// <summary>Sets what interfaces need that are yet to come into a container's namespace; for the thread that is in it.</summary>
    internal static void PrepareInterfaces(bool withIPv6)
    {
        if (Directory.Exists(Root + "ipv6/conf/default"))
        {
            // Addresses are given, not found, and nobody else has them.
            Write("ipv6/conf/default/disable_ipv6", withIPv6 ? "0" : "1");
            Write("ipv6/conf/default/accept_ra", "0");
            Write("ipv6/conf/default/accept_dad", "0");
        }
    }

    private static string? Read(string name)
    {
        try
        {
            return File.ReadAllText(Root + name).Trim();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    private static void Write(string name, string value) => CgroupFile.Write(Root + name, value, "prepare a network");
}
