using System.Buffers.Binary;
using EdgeHost.Linux;

namespace EdgeHost.Networks.Nftables;

/// <summary>
/// What has to stand in the tables of another program so that it lets our packets through: where dockerd drops all that
/// is forwarded, the chain that it leaves to others, DOCKER-USER, has our rules at its head. They carry a comment by
/// which they are known as ours, and iptables-nft(8) lists them like its own.
/// </summary>
internal sealed class ForeignForward(NetlinkSocket socket, string mark)
{
    /// <summary>The chain that dockerd never changes and asks first.</summary>
    internal const string Chain = "DOCKER-USER";

    /// <summary>The chain of all that is forwarded.</summary>
    internal const string Forward = "FORWARD";

    /// <summary>The table of both.</summary>
    internal const string Table = "filter";

    /// <summary>The families that have such tables: IPv4 and IPv6.</summary>
    internal static readonly byte[] Families = [2, 10];

    private const ushort GetChain = 4;
    private const ushort GetRule = 7;
    private const uint Drop = 0;

    /// <summary>The changes that make the rules of one family what they must be; null where they are.</summary>
    /// <param name="family">One of <see cref="Families"/>.</param>
    /// <param name="bridges">Our bridges; none takes all rules back.</param>
    /// <param name="others">Gives the bridges of dockerd: what goes there is for its own rules to decide.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal TableTransaction? Plan(byte family, IReadOnlyList<string> bridges, Func<IReadOnlyList<string>> others)
    {
        if (ReadChain(family, Chain) is null)
        {
            return null;
        }

        var isDropped = ReadChain(family, Forward) is { } forward && forward.Attributes(4).TryFind(5, out var policy) && BinaryPrimitives.ReadUInt32BigEndian(policy) == Drop;
        var (wanted, rules) = (new List<string>(), new List<Action<RuleExpressions>>());
        var guarded = isDropped && bridges.Count > 0 ? others() : [];
        foreach (var bridge in isDropped ? bridges : [])
        {
            foreach (var other in guarded)
            {
                Want($"{bridge} to {other}", rule => rule.FromInterface(bridge).ToInterface(other), rule => rule.Return());
            }

            Want($"from {bridge}", rule => rule.FromInterface(bridge), rule => rule.Accept());
            Want($"to {bridge}", rule => rule.ToInterface(bridge), rule => rule.Accept());
        }

        var found = ReadOwnRules(family);
        if (AreThere(found, wanted))
        {
            return null;
        }

        var change = new TableTransaction(Table, family);
        foreach (var rule in found)
        {
            rule.Attributes(4).TryFind(3, out var handle);
            change.RemoveRule(Chain, BinaryPrimitives.ReadUInt64BigEndian(handle));
        }

        // Each is put before all others, so the first comes last.
        for (var i = wanted.Count - 1; i >= 0; i--)
        {
            change.InsertForeignRule(Chain, rules[i]);
        }

        return change;

        void Want(string comment, Action<RuleExpressions> matches, Action<RuleExpressions> verdict)
        {
            var text = mark + comment;
            wanted.Add(text);
            rules.Add(Write);

            void Write(RuleExpressions rule)
            {
                matches(rule);
                verdict(rule.Comment(text).Counter());
            }
        }
    }

    private NetlinkReply? ReadChain(byte family, string chain)
    {
        try
        {
            return socket.Query(Message(GetChain, NetlinkFlags.None, family).Add(1, Table).Add(3, chain), $"ask nftables for chain {chain}")[0];
        }
        catch (LinuxException e) when (e.Errno == Errno.ENOENT)
        {
            return null;
        }
    }

    private static bool AreThere(List<NetlinkReply> rules, List<string> wanted)
    {
        for (var i = 0; i < rules.Count && i < wanted.Count; i++)
        {
            if (CommentOf(rules[i]) != wanted[i])
            {
                return false;
            }
        }

        return rules.Count == wanted.Count;
    }

    private static string? CommentOf(NetlinkReply rule) => rule.Attributes(4).TryFind(4, out var expressions) ? RuleExpressions.CommentOf(expressions) : null;

    private List<NetlinkReply> ReadOwnRules(byte family)
    {
        var found = socket.Query(Message(GetRule, NetlinkFlags.Dump, family).Add(1, Table).Add(2, Chain), $"list the rules of chain {Chain}");
        found.RemoveAll(rule =>
            !rule.Attributes(4).TryFind(2, out var chain) || !chain.TrimEnd((byte)0).SequenceEqual("DOCKER-USER"u8)
            || CommentOf(rule)?.StartsWith(mark, StringComparison.Ordinal) != true);
        return found;
    }

    private static NetlinkMessage Message(ushort type, NetlinkFlags flags, byte family) => new((ushort)((TableTransaction.Subsystem << 8) | type), flags, family, 0, 0, 0);
}
