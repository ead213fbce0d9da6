using System.Net;
using System.Security.Cryptography;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Networks;

/// <summary>
/// Where networks that name no subnet get theirs: not where this machine has a route already, be it a VPN's, another
/// engine's or the office's.
/// </summary>
internal static class SubnetPool
{
    /// <summary>What networks are cut from when the configuration says nothing else; Docker and podman begin elsewhere.</summary>
    internal static readonly IReadOnlyList<IPNetwork> Default4 =
        [IPNetwork.Parse("10.210.0.0/16"), IPNetwork.Parse("172.29.0.0/16"), IPNetwork.Parse("192.168.208.0/20")];

    private const int Prefix4 = 24;
    private const int Prefix6 = 64;

    /// <summary>Takes an IPv4 subnet that overlaps nothing.</summary>
    /// <param name="pools">What it is cut from, in order.</param>
    /// <param name="taken">The subnets of other networks, and where this machine has routes to.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: none is left.</exception>
    internal static IPNetwork Take4(IReadOnlyList<IPNetwork> pools, IReadOnlyCollection<IPNetwork> taken)
    {
        foreach (var pool in pools)
        {
            var step = UInt128.One << (32 - Prefix4);
            for (UInt128 at = 0; at < Subnet.Size(pool); at += step)
            {
                var subnet = new IPNetwork(Subnet.At(pool, at), Math.Max(Prefix4, pool.PrefixLength));
                if (!IsTaken(subnet, taken))
                {
                    return subnet;
                }
            }
        }

        throw new EdgeHostException(ErrorKind.Full, $"no free subnet in {string.Join(", ", pools)}: each is a network's or has a route on this machine; give one with --subnet, or larger pools with network.pools");
    }

    /// <summary>
    /// Takes an IPv6 subnet that overlaps nothing, of this machine's own unique local prefix (RFC 4193): the same at each
    /// boot, another on each machine.
    /// </summary>
    /// <param name="machine">What is this machine's alone, such as /etc/machine-id.</param>
    /// <param name="taken">As with <see cref="Take4"/>.</param>
    internal static IPNetwork Take6(string machine, IReadOnlyCollection<IPNetwork> taken)
    {
        var prefix = new byte[16];
        prefix[0] = 0xfd;
        SHA256.HashData(Encoding.UTF8.GetBytes("edgehost networks " + machine)).AsSpan(0, 5).CopyTo(prefix.AsSpan(1));
        for (var at = 0; at <= ushort.MaxValue; at++)
        {
            prefix[6] = (byte)(at >> 8);
            prefix[7] = (byte)at;
            var subnet = new IPNetwork(new IPAddress(prefix), Prefix6);
            if (!IsTaken(subnet, taken))
            {
                return subnet;
            }
        }

        throw new EdgeHostException(ErrorKind.Full, $"no free subnet in {new IPNetwork(new IPAddress(prefix), 48)}");
    }

    private static bool IsTaken(IPNetwork subnet, IReadOnlyCollection<IPNetwork> taken) => taken.Any(each => each.PrefixLength > 0 && Subnet.Overlap(each, subnet));
}
