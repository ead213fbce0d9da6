using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using Edge.Tests.Fixtures;

namespace Edge.Tests.Images;

/// <summary>An address of this machine that is none of the loopback's, as a registry in the next room has one.</summary>
internal sealed class OtherAddress : IAsyncDisposable
{
    // TEST-NET-2 of RFC 5737, which nobody has.
    private const string Made = "198.51.100.77";

    private readonly bool _made;

    private OtherAddress(IPAddress value, bool made) => (Value, _made) = (value, made);

    internal IPAddress Value { get; }

    /// <summary>One that is there; on a machine without a network one that is made for as long as it is needed.</summary>
    internal static async Task<OtherAddress> FindAsync()
    {
        var there = NetworkInterface.GetAllNetworkInterfaces()
            .SelectMany(card => card.GetIPProperties().UnicastAddresses)
            .Select(unicast => unicast.Address)
            .FirstOrDefault(one => one.AddressFamily == AddressFamily.InterNetwork && !IPAddress.IsLoopback(one));
        if (there is not null)
        {
            return new OtherAddress(there, false);
        }

        Needs.Root();
        await Packages.NeedAsync("iproute2");
        (await CommandRun.RunAsync("ip", ["address", "replace", Made + "/32", "dev", "lo"])).Succeeds();
        return new OtherAddress(IPAddress.Parse(Made), true);
    }

    public async ValueTask DisposeAsync()
    {
        if (_made)
        {
            (await CommandRun.RunAsync("ip", ["address", "delete", Made + "/32", "dev", "lo"])).Succeeds();
        }
    }
}
