using System.Net;
using EdgeHost.Errors;

namespace EdgeHost.Networks;

/// <summary>
/// Which addresses of a subnet are taken. A free one is looked for after the one given last, so that an address is not
/// soon another container's: others may still have the old one in their ARP tables.
/// </summary>
internal sealed class AddressBook
{
    private readonly NetworkSubnet _subnet;
    private readonly IPNetwork _range;
    private readonly HashSet<IPAddress> _taken = [];
    private UInt128 _last;

    internal AddressBook(NetworkSubnet subnet)
    {
        _subnet = subnet;
        _range = subnet.Range ?? subnet.Subnet;
        _taken.Add(subnet.Gateway);
        foreach (var address in subnet.Auxiliary?.Values ?? Enumerable.Empty<string>())
        {
            _taken.Add(IPAddress.Parse(address));
        }

        if (_range.BaseAddress.Equals(subnet.Subnet.BaseAddress))
        {
            // The network itself, and in IPv6 the anycast address of its routers.
            _taken.Add(subnet.Subnet.BaseAddress);
        }

        if (subnet.Subnet.BaseAddress.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork && subnet.Subnet.PrefixLength < 31)
        {
            _taken.Add(Subnet.Last(subnet.Subnet.BaseAddress, subnet.Subnet.PrefixLength));
        }
    }

    /// <summary>Takes a free address.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: all are taken.</exception>
    internal IPAddress Take()
    {
        // More containers than this fit on no machine, and a subnet of IPv6 is never walked through.
        var size = UInt128.Min(Subnet.Size(_range), 1 << 20);
        for (UInt128 tried = 0; tried < size; tried++)
        {
            _last = (_last + 1) % size;
            var address = Subnet.At(_range, _last);
            if (_taken.Add(address))
            {
                return address;
            }
        }

        throw new EdgeHostException(ErrorKind.Full, $"no free address in {_range}: all {size} are taken; remove containers, or make a network with a larger subnet");
    }

    /// <summary>Takes a certain address.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: outside the subnet; <see cref="ErrorKind.Conflict"/>: taken.</exception>
    internal IPAddress Take(IPAddress address)
    {
        if (!_subnet.Subnet.Contains(address))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"address {address} is not in the subnet {_subnet.Subnet}");
        }

        return _taken.Add(address) ? address : throw new EdgeHostException(ErrorKind.Conflict, $"address {address} of {_subnet.Subnet} is taken");
    }

    /// <summary>Takes an address that a running container has, whatever else is known of it.</summary>
    internal void Adopt(IPAddress address) => _taken.Add(address);

    /// <summary>Gives an address back.</summary>
    internal void Return(IPAddress address)
    {
        if (!address.Equals(_subnet.Gateway))
        {
            _taken.Remove(address);
        }
    }
}
