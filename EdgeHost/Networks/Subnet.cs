using System.Net;
using System.Net.Sockets;

namespace EdgeHost.Networks;

/// <summary>Reckoning with networks and the addresses in them, of both families.</summary>
public static class Subnet
{
    /// <summary>The network with this length of prefix that an address is in.</summary>
    public static IPNetwork Containing(IPAddress address, int prefix) => new(Masked(address, prefix, set: false), prefix);

    /// <summary>The last address of the network that an address is in: IPv4's broadcast address.</summary>
    public static IPAddress Last(IPAddress address, int prefix) => Masked(address, prefix, set: true);

    /// <summary>The address at a distance from the first of a network.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It would be outside.</exception>
    public static IPAddress At(IPNetwork network, UInt128 offset)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(offset, Size(network));
        return ToAddress(ToNumber(network.BaseAddress) + offset, network.BaseAddress.AddressFamily);
    }

    /// <summary>How far an address is from the first of its network.</summary>
    public static UInt128 OffsetOf(IPNetwork network, IPAddress address) => ToNumber(address) - ToNumber(network.BaseAddress);

    /// <summary>How many addresses a network has; of ::/0 and its like, all that a number of 128 bits can say.</summary>
    public static UInt128 Size(IPNetwork network)
    {
        var bits = (network.BaseAddress.AddressFamily == AddressFamily.InterNetworkV6 ? 128 : 32) - network.PrefixLength;
        return bits >= 128 ? UInt128.MaxValue : UInt128.One << bits;
    }

    /// <summary>Whether two networks have an address in common.</summary>
    public static bool Overlap(IPNetwork one, IPNetwork other) =>
        one.BaseAddress.AddressFamily == other.BaseAddress.AddressFamily && (one.Contains(other.BaseAddress) || other.Contains(one.BaseAddress));

    private static IPAddress Masked(IPAddress address, int prefix, bool set)
    {
        var bytes = address.GetAddressBytes();
        for (var i = 0; i < bytes.Length; i++)
        {
            var kept = Math.Clamp(prefix - (i * 8), 0, 8);
            var rest = (byte)(0xff >> kept);
            bytes[i] = set ? (byte)(bytes[i] | rest) : (byte)(bytes[i] & ~rest);
        }

        return new IPAddress(bytes);
    }

    private static UInt128 ToNumber(IPAddress address)
    {
        UInt128 number = 0;
        foreach (var each in address.GetAddressBytes())
        {
            number = (number << 8) | each;
        }

        return number;
    }

    private static IPAddress ToAddress(UInt128 number, AddressFamily family)
    {
        var bytes = new byte[family == AddressFamily.InterNetworkV6 ? 16 : 4];
        for (var i = bytes.Length - 1; i >= 0; i--, number >>= 8)
        {
            bytes[i] = (byte)number;
        }

        return new IPAddress(bytes);
    }
}
