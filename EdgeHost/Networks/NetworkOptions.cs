using System.Net;

namespace EdgeHost.Networks;

/// <summary>What networks are told from outside.</summary>
public sealed record NetworkOptions
{
    /// <summary>What must survive a power cut; absolute.</summary>
    public required string DataDirectory { get; init; }

    /// <summary>Where subnets are taken from that nobody named, in order.</summary>
    public IReadOnlyList<IPNetwork> Pools { get; init; } = SubnetPool.Default4;

    /// <summary>Whether the default network has IPv6 too, where the kernel has it.</summary>
    public bool EnableIPv6 { get; init; } = true;

    /// <summary>The bridge of the default network.</summary>
    public string DefaultBridge { get; init; } = "edgehost0";

    /// <summary>The table in nftables; another one for each daemon of a machine.</summary>
    public string Table { get; init; } = "edgehost";

    /// <summary>What is this machine's alone: its IPv6 subnets come of it.</summary>
    public string Machine { get; init; } = string.Empty;
}
