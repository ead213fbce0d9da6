namespace EdgeHost.Linux;

/// <summary>
/// Which parts of the kernel networks need and this one lacks: each is asked for in a network namespace that is gone
/// again afterwards, so that nothing of this machine changes but that the kernel may load a module for it.
/// </summary>
public static class NetworkProbe
{
    private const byte Inet = 1;
    private const byte Subsystem = 10;
    private const ushort NewLink = 16;
    private const ushort NewTable = 0, NewChain = 3, NewRule = 6;
    private const string Table = "probe";
    private const string Chain = "chain";

    // What a rule of a kind is refused with matters only as far as the kind is not known at all.
    private static readonly (string Expression, string Option)[] Expressions =
        [("nat", "CONFIG_NFT_NAT"), ("masq", "CONFIG_NFT_MASQ"), ("redir", "CONFIG_NFT_REDIR"), ("fib", "CONFIG_NFT_FIB_INET"), ("ct", "CONFIG_NFT_CT")];

    private static readonly (string Kind, string Option)[] Links =
        [("bridge", "CONFIG_BRIDGE"), ("veth", "CONFIG_VETH"), ("macvlan", "CONFIG_MACVLAN")];

    /// <summary>The options of the kernel that are missing, as in <c>CONFIG_BRIDGE</c>.</summary>
    /// <exception cref="LinuxException">This process may not ask: that takes CAP_SYS_ADMIN and CAP_NET_ADMIN.</exception>
    public static IReadOnlyList<string> MissingOptions()
    {
        var missing = new List<string>();
        using var space = NetworkNamespace.Create(() =>
        {
            using (var route = NetlinkSocket.Open(NetlinkProtocol.Route))
            {
                foreach (var (kind, option) in Links)
                {
                    if (AskForLink(route, kind) == Errno.EOPNOTSUPP)
                    {
                        missing.Add(option);
                    }
                }
            }

            AddMissingOfNftables(missing);
        });
        return missing;
    }

    /// <summary>Asks for an interface of a kind.</summary>
    /// <returns>EOPNOTSUPP when the kernel knows no such kind.</returns>
    internal static Errno AskForLink(NetlinkSocket route, string kind) =>
        route.TryRequest(new NetlinkMessage(NewLink, NetlinkFlags.Create | NetlinkFlags.Exclusive, new byte[16]).Nest(18, info => info.Add(1, kind)));

    /// <summary>Asks for a rule with an expression of a kind, in a chain of type nat.</summary>
    /// <returns>ENOENT when the kernel knows no such kind, or no such chains.</returns>
    internal static Errno AskForExpression(NetlinkSocket netfilter, string? expression)
    {
        List<NetlinkMessage> messages =
        [
            Message(NewTable, NetlinkFlags.Create).Add(1, Table),
            Message(NewChain, NetlinkFlags.Create).Add(1, Table).Add(3, Chain)
                .Nest(4, hook => hook.AddBigEndian(1, 4u).AddBigEndian(2, 100u))
                .Add(7, "nat"),
        ];
        if (expression is not null)
        {
            messages.Add(Message(NewRule, NetlinkFlags.Create | NetlinkFlags.Append).Add(1, Table).Add(2, Chain)
                .Nest(4, list => list.Nest(1, element => element.Add(1, expression).Nest(2, _ => { }))));
        }

        try
        {
            netfilter.Transact(Subsystem, messages, "ask nftables for what it can do");
            return Errno.None;
        }
        catch (LinuxException e)
        {
            return e.Errno;
        }
    }

    private static void AddMissingOfNftables(List<string> missing)
    {
        NetlinkSocket netfilter;
        try
        {
            netfilter = NetlinkSocket.Open(NetlinkProtocol.Netfilter);
        }
        catch (LinuxException e) when (e.Errno == Errno.EPROTONOSUPPORT)
        {
            missing.Add("CONFIG_NETFILTER_NETLINK");
            return;
        }

        using (netfilter)
        {
            switch (AskForExpression(netfilter, null))
            {
                case Errno.None:
                    foreach (var (expression, option) in Expressions)
                    {
                        if (AskForExpression(netfilter, expression) == Errno.ENOENT)
                        {
                            missing.Add(option);
                        }
                    }

                    break;
                case Errno.ENOENT:
                    missing.Add("CONFIG_NFT_NAT");
                    break;
                case Errno.EAFNOSUPPORT:
                    missing.Add("CONFIG_NF_TABLES_INET");
                    break;
                default:
                    missing.Add("CONFIG_NF_TABLES");
                    break;
            }
        }
    }

    private static NetlinkMessage Message(ushort type, NetlinkFlags flags) => new((ushort)((Subsystem << 8) | type), flags, Inet, 0, 0, 0);
}
