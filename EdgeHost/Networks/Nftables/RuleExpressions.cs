using System.Buffers.Binary;
using System.Net;
using System.Text;
using EdgeHost.Linux;

namespace EdgeHost.Networks.Nftables;

/// <summary>
/// The steps of one rule, in the order in which the kernel takes them (nft(8) shows them with --debug=netlink): loads
/// into registers, comparisons that end the rule where they fail, and what is done at the end. Methods are named after
/// what nft(8) prints.
/// </summary>
internal sealed class RuleExpressions(NetlinkMessage message)
{
    /// <summary>The first register of four bytes; those of sixteen begin at every fourth.</summary>
    internal const uint Register = 8;

    private const ushort Element = 1;
    private const ushort ExpressionName = 1;
    private const ushort ExpressionData = 2;
    private const ushort DataValue = 1;
    private const ushort DataVerdict = 2;
    private const uint VerdictRegister = 0;
    private const string MatchExpression = "match";
    private const string CommentMatch = "comment";
    private const int CommentLength = 256;
    private const int NetworkHeader = 1;
    private const int TransportHeader = 2;

    /// <summary>What a packet is asked about itself (<c>NFT_META_…</c>).</summary>
    internal enum Meta : uint
    {
        /// <summary>The interface that it came in by.</summary>
        InName = 6,

        /// <summary>The interface that it goes out by.</summary>
        OutName = 7,

        /// <summary>IPv4 (2) or IPv6 (10).</summary>
        Family = 15,

        /// <summary>TCP (6), UDP (17) …</summary>
        Protocol = 16,
    }

    internal RuleExpressions Family(bool isV6) => Load(Meta.Family).Compare([isV6 ? (byte)10 : (byte)2]);

    internal RuleExpressions InInterface(string name) => Load(Meta.InName).Compare(NameBytes(name));

    internal RuleExpressions NotInInterface(string name) => Load(Meta.InName).Compare(NameBytes(name), equal: false);

    internal RuleExpressions OutInterface(string name) => Load(Meta.OutName).Compare(NameBytes(name));

    internal RuleExpressions NotOutInterface(string name) => Load(Meta.OutName).Compare(NameBytes(name), equal: false);

    /// <summary><c>-i name</c> of iptables-nft(8), which compares no more bytes than the name has.</summary>
    internal RuleExpressions FromInterface(string name) => Load(Meta.InName).Compare([.. Encoding.UTF8.GetBytes(name), 0]);

    /// <summary><c>-o name</c> of iptables-nft(8).</summary>
    internal RuleExpressions ToInterface(string name) => Load(Meta.OutName).Compare([.. Encoding.UTF8.GetBytes(name), 0]);

    /// <summary><c>-m comment --comment text</c> of iptables-nft(8): a match of xtables, with a text of at most 255 bytes.</summary>
    internal RuleExpressions Comment(string text)
    {
        var info = new byte[CommentLength];
        Encoding.UTF8.GetBytes(text, info);
        return Add(MatchExpression, data => data.Add(1, CommentMatch).AddBigEndian(2, 0u).Add(3, info));
    }

    /// <summary>The comment of a rule that iptables-nft(8) could have written; null without one.</summary>
    /// <param name="expressions">The rule's NFTA_RULE_EXPRESSIONS.</param>
    internal static string? CommentOf(ReadOnlySpan<byte> expressions)
    {
        var list = new NetlinkAttributes(expressions);
        while (list.Next())
        {
            if (list.Nested.TryFind(ExpressionName, out var name) && name.TrimEnd((byte)0).SequenceEqual("match"u8)
                && list.Nested.TryFind(ExpressionData, out var data)
                && new NetlinkAttributes(data).TryFind(1, out var match) && match.TrimEnd((byte)0).SequenceEqual("comment"u8)
                && new NetlinkAttributes(data).TryFind(3, out var info))
            {
                var end = info.IndexOf((byte)0);
                return Encoding.UTF8.GetString(end < 0 ? info : info[..end]);
            }
        }

        return null;
    }

    /// <summary>Counts packets and bytes, as each rule of iptables does.</summary>
    internal RuleExpressions Counter() => Add("counter", data => data.AddBigEndian(1, 0ul).AddBigEndian(2, 0ul));

    internal RuleExpressions InInterfaceOf(string set) => Load(Meta.InName).Lookup(set);

    internal RuleExpressions OutInterfaceOf(string set) => Load(Meta.OutName).Lookup(set);

    /// <summary><c>fib daddr type local</c>: an address of this machine.</summary>
    internal RuleExpressions ToThisMachine() => Add("fib", data => data
        .AddBigEndian(1, Register).AddBigEndian(2, 3u).AddBigEndian(3, 2u)).Compare(BitConverter.GetBytes(2u));

    internal RuleExpressions Source(IPNetwork network) => Address(network, isSource: true);

    internal RuleExpressions Destination(IPNetwork network) => Address(network, isSource: false);

    internal RuleExpressions Protocol(byte protocol) => Load(Meta.Protocol).Compare([protocol]);

    internal RuleExpressions DestinationPort(ushort port)
    {
        var bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, port);
        return LoadPort(Register).Compare(bytes);
    }

    /// <summary><c>ct state established,related</c>.</summary>
    internal RuleExpressions OfKnownConnection() => ConnectionBits(key: 0, bits: 2 | 4);

    /// <summary><c>ct status dnat</c>: the connection came by a published port.</summary>
    internal RuleExpressions OfPublishedPort() => ConnectionBits(key: 2, bits: 1 << 5);

    /// <summary><c>dnat to meta l4proto . th dport map @map</c>, with the destination before them if it counts too.</summary>
    internal RuleExpressions DestinationFromMap(string map, bool isV6, bool withAddress)
    {
        var at = Register;
        if (withAddress)
        {
            LoadAddress(isV6, isSource: false, at);
            at += isV6 ? 4u : 1u;
        }

        Load(Meta.Protocol, at);
        LoadPort(at + 1);
        var port = Register + (isV6 ? 4u : 1u);
        return Add("lookup", data => data.Add(1, map).AddBigEndian(2, Register).AddBigEndian(3, Register))
            .Add("nat", data => data
                .AddBigEndian(1, 1u)
                .AddBigEndian(2, isV6 ? 10u : 2u)
                .AddBigEndian(3, Register)
                .AddBigEndian(5, port));
    }

    /// <summary><c>dnat ip to address:port</c>.</summary>
    internal RuleExpressions DestinationTo(IPEndPoint target)
    {
        var port = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(port, (ushort)target.Port);
        return Add("immediate", data => data.AddBigEndian(1, Register).Nest(2, value => value.Add(DataValue, target.Address.GetAddressBytes())))
            .Add("immediate", data => data.AddBigEndian(1, Register + 1).Nest(2, value => value.Add(DataValue, port)))
            .Add("nat", data => data.AddBigEndian(1, 1u).AddBigEndian(2, 2u).AddBigEndian(3, Register).AddBigEndian(5, Register + 1));
    }

    internal RuleExpressions Masquerade() => Add("masq", _ => { });

    /// <summary><c>redirect to :port</c>.</summary>
    internal RuleExpressions RedirectTo(ushort port)
    {
        var bytes = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(bytes, port);
        return Add("immediate", data => data.AddBigEndian(1, Register).Nest(2, value => value.Add(DataValue, bytes)))
            .Add("redir", data => data.AddBigEndian(1, Register));
    }

    internal RuleExpressions Accept() => Verdict(1, null);

    internal RuleExpressions Drop() => Verdict(0, null);

    internal RuleExpressions Return() => Verdict(-5, null);

    internal RuleExpressions Jump(string chain) => Verdict(-3, chain);

    /// <summary>The sixteen bytes of a name of an interface as sets of type ifname hold it.</summary>
    internal static byte[] NameBytes(string name)
    {
        var bytes = new byte[16];
        Encoding.UTF8.GetBytes(name, bytes);
        return bytes;
    }

    private RuleExpressions Verdict(int code, string? chain) => Add("immediate", data => data
        .AddBigEndian(1, VerdictRegister)
        .Nest(2, value => value.Nest(DataVerdict, verdict =>
        {
            verdict.AddBigEndian(1, (uint)code);
            if (chain is not null)
            {
                verdict.Add(2, chain);
            }
        })));

    private RuleExpressions Address(IPNetwork network, bool isSource)
    {
        var bytes = network.BaseAddress.GetAddressBytes();
        var isV6 = bytes.Length == 16;
        Family(isV6).LoadAddress(isV6, isSource, Register);
        if (network.PrefixLength < bytes.Length * 8)
        {
            Mask(Subnet.Last(isV6 ? IPAddress.IPv6Any : IPAddress.Any, network.PrefixLength).GetAddressBytes().Select(each => (byte)~each).ToArray());
        }

        return Compare(bytes);
    }

    private RuleExpressions ConnectionBits(uint key, uint bits) => Add("ct", data => data.AddBigEndian(1, Register).AddBigEndian(2, key))
        .Mask(BitConverter.GetBytes(bits))
        .Compare(new byte[4], equal: false);

    private RuleExpressions Mask(byte[] mask) => Add("bitwise", data => data
        .AddBigEndian(1, Register)
        .AddBigEndian(2, Register)
        .AddBigEndian(3, (uint)mask.Length)
        .Nest(4, value => value.Add(DataValue, mask))
        .Nest(5, value => value.Add(DataValue, new byte[mask.Length])));

    private RuleExpressions Load(Meta what, uint register = Register) => Add("meta", data => data.AddBigEndian(2, (uint)what).AddBigEndian(1, register));

    private RuleExpressions LoadAddress(bool isV6, bool isSource, uint register) =>
        LoadPayload(NetworkHeader, isV6 ? (isSource ? 8 : 24) : (isSource ? 12 : 16), isV6 ? 16 : 4, register);

    private RuleExpressions LoadPort(uint register) => LoadPayload(TransportHeader, 2, 2, register);

    private RuleExpressions LoadPayload(int header, int offset, int length, uint register) => Add("payload", data => data
        .AddBigEndian(1, register)
        .AddBigEndian(2, (uint)header)
        .AddBigEndian(3, (uint)offset)
        .AddBigEndian(4, (uint)length));

    private RuleExpressions Compare(byte[] value, bool equal = true) => Add("cmp", data => data
        .AddBigEndian(1, Register)
        .AddBigEndian(2, equal ? 0u : 1u)
        .Nest(3, nested => nested.Add(DataValue, value)));

    private RuleExpressions Lookup(string set) => Add("lookup", data => data.Add(1, set).AddBigEndian(2, Register));

    private RuleExpressions Add(string name, Action<NetlinkMessage> data)
    {
        message.Nest(Element, element => element.Add(ExpressionName, name).Nest(ExpressionData, data));
        return this;
    }
}
