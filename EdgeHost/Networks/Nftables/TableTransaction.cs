using System.Buffers.Binary;
using EdgeHost.Linux;

namespace EdgeHost.Networks.Nftables;

/// <summary>Where in a packet's way a chain is asked (<c>NF_INET_…</c>).</summary>
internal enum Hook : uint
{
    /// <summary>As it comes in, before it is routed.</summary>
    Prerouting = 0,

    /// <summary>On its way through.</summary>
    Forward = 2,

    /// <summary>As it leaves a program of this machine.</summary>
    Output = 3,

    /// <summary>As it goes out.</summary>
    Postrouting = 4,
}

/// <summary>What the keys or values of a set are (the numbers of nft(8), which only that program reads).</summary>
internal static class SetType
{
    internal const uint Address4 = 7;
    internal const uint Address6 = 8;
    internal const uint Protocol = 12;
    internal const uint Port = 13;
    internal const uint InterfaceName = 41;

    /// <summary>Several, one after the other.</summary>
    internal static uint Concat(params ReadOnlySpan<uint> parts)
    {
        var type = 0u;
        foreach (var part in parts)
        {
            type = (type << 6) | part;
        }

        return type;
    }
}

/// <summary>
/// Changes to one table, of the family inet if nothing else is said, collected and then done all at once or not at all
/// (linux/netfilter/nf_tables.h).
/// </summary>
internal sealed class TableTransaction(string table, byte family = TableTransaction.Inet)
{
    /// <summary>The number of nftables within netfilter.</summary>
    internal const byte Subsystem = 10;

    /// <summary>The family whose tables see IPv4 and IPv6.</summary>
    internal const byte Inet = 1;

    private const ushort NewTable = 0;
    private const ushort DeleteTableType = 2;
    private const ushort NewChain = 3;
    private const ushort NewRule = 6;
    private const ushort DeleteRule = 8;
    private const ushort NewSet = 9;
    private const ushort NewElement = 12;
    private const ushort DeleteElement = 14;
    private const ushort GetGeneration = 16;
    private const ushort ElementOfList = 1;
    private const ushort DataValue = 1;
    private const uint MapFlag = 8;

    private readonly List<NetlinkMessage> _messages = [];
    private uint _sets;

    /// <summary>Removes the table with all that is in it, whether it is there or not, and makes it anew.</summary>
    internal TableTransaction Renew()
    {
        // A table that is not there cannot be deleted, so it is made first.
        Add(NewTable, NetlinkFlags.Create).Add(1, table);
        Add(DeleteTableType, NetlinkFlags.None).Add(1, table);
        Add(NewTable, NetlinkFlags.Create).Add(1, table);
        return this;
    }

    /// <summary>Removes the table, whether it is there or not.</summary>
    internal TableTransaction Remove()
    {
        Add(NewTable, NetlinkFlags.Create).Add(1, table);
        Add(DeleteTableType, NetlinkFlags.None).Add(1, table);
        return this;
    }

    /// <summary>Adds a chain that the kernel asks.</summary>
    internal TableTransaction AddChain(string name, string type, Hook hook, int priority)
    {
        Add(NewChain, NetlinkFlags.Create)
            .Add(1, table)
            .Add(3, name)
            .Nest(4, nested => nested.AddBigEndian(1, (uint)hook).AddBigEndian(2, (uint)priority))
            .AddBigEndian(5, 1u)
            .Add(7, type);
        return this;
    }

    /// <summary>Adds a chain that others jump to.</summary>
    internal TableTransaction AddChain(string name)
    {
        Add(NewChain, NetlinkFlags.Create).Add(1, table).Add(3, name);
        return this;
    }

    /// <summary>Adds a rule at the end of a chain.</summary>
    internal TableTransaction AddRule(string chain, Action<RuleExpressions> rule)
    {
        Add(NewRule, NetlinkFlags.Create | NetlinkFlags.Append)
            .Add(1, table)
            .Add(2, chain)
            .Nest(4, list => rule(new RuleExpressions(list)));
        return this;
    }

    /// <summary>Inserts a rule before all others of a chain, in the form in which iptables-nft(8) writes and reads it.</summary>
    internal TableTransaction InsertForeignRule(string chain, Action<RuleExpressions> rule)
    {
        Add(NewRule, NetlinkFlags.Create)
            .Add(1, table)
            .Add(2, chain)
            .Nest(4, list => rule(new RuleExpressions(list)))
            .Nest(5, compatibility => compatibility.AddBigEndian(1, 0u).AddBigEndian(2, 0u));
        return this;
    }

    /// <summary>Removes the rule of a handle.</summary>
    internal TableTransaction RemoveRule(string chain, ulong handle)
    {
        Add(DeleteRule, NetlinkFlags.None).Add(1, table).Add(2, chain).AddBigEndian(3, handle);
        return this;
    }

    /// <summary>Adds a set.</summary>
    internal TableTransaction AddSet(string name, uint keyType, uint keyLength)
    {
        // Whether a key is a number or the bytes of a name, nft(8) is told beside it (NFTNL_UDATA_SET_KEYBYTEORDER).
        Set(name, 0, keyType, keyLength).Add(13, [0, 4, .. BitConverter.GetBytes(keyType == SetType.InterfaceName ? 1u : 2u)]);
        return this;
    }

    /// <summary>Adds a map.</summary>
    internal TableTransaction AddMap(string name, uint keyType, uint keyLength, uint valueType, uint valueLength)
    {
        Set(name, MapFlag, keyType, keyLength).AddBigEndian(6, valueType).AddBigEndian(7, valueLength);
        return this;
    }

    /// <summary>Adds an element to a set, or to a map with its value.</summary>
    internal TableTransaction AddElement(string set, byte[] key, byte[]? value = null) => Element(NewElement, NetlinkFlags.Create, set, key, value);

    /// <summary>Removes an element.</summary>
    internal TableTransaction RemoveElement(string set, byte[] key) => Element(DeleteElement, NetlinkFlags.None, set, key, null);

    /// <summary>Does it.</summary>
    /// <exception cref="LinuxException">The kernel refuses; nothing was changed.</exception>
    internal void Commit(NetlinkSocket socket, string what, uint? generation = null) => socket.Transact(Subsystem, _messages, what, generation);

    /// <summary>How often nftables was changed in this network namespace, whosoever table it was.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal static uint ReadGeneration(NetlinkSocket socket)
    {
        var reply = socket.Query(new NetlinkMessage((Subsystem << 8) | GetGeneration, NetlinkFlags.None, 0, 0, 0, 0), "ask nftables for its generation")[0];
        return reply.Attributes(4).TryFind(1, out var generation) ? BinaryPrimitives.ReadUInt32BigEndian(generation) : 0;
    }

    private TableTransaction Element(ushort type, NetlinkFlags flags, string set, byte[] key, byte[]? value)
    {
        Add(type, flags).Add(1, table).Add(2, set).Nest(3, list => list.Nest(ElementOfList, element =>
        {
            element.Nest(1, data => data.Add(DataValue, key));
            if (value is not null)
            {
                element.Nest(2, data => data.Add(DataValue, value));
            }
        }));
        return this;
    }

    private NetlinkMessage Set(string name, uint flags, uint keyType, uint keyLength) => Add(NewSet, NetlinkFlags.Create)
        .Add(1, table)
        .Add(2, name)
        .AddBigEndian(3, flags)
        .AddBigEndian(4, keyType)
        .AddBigEndian(5, keyLength)
        .AddBigEndian(10, ++_sets);

    private NetlinkMessage Add(ushort type, NetlinkFlags flags)
    {
        var message = new NetlinkMessage((ushort)((Subsystem << 8) | type), flags, family, 0, 0, 0);
        _messages.Add(message);
        return message;
    }
}
