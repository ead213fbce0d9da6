using System.Globalization;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>What may be done with a device node. The bits are those of BPF_DEVCG_ACC (linux/bpf.h).</summary>
[Flags]
public enum DeviceAccess
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>To make its node.</summary>
    MakeNode = 1,

    /// <summary>To open it for reading.</summary>
    Read = 2,

    /// <summary>To open it for writing.</summary>
    Write = 4,

    /// <summary>All of that.</summary>
    All = MakeNode | Read | Write,
}

/// <summary>Some devices, and what may, or may not, be done with them.</summary>
/// <param name="block">Whether they are block devices; character devices otherwise.</param>
/// <param name="major">Their major number; null for all.</param>
/// <param name="minor">Their minor number; null for all.</param>
/// <param name="access">What.</param>
public sealed class DeviceRule(bool block, uint? major, uint? minor, DeviceAccess access)
{
    /// <summary>Whether they are block devices; character devices otherwise.</summary>
    public bool Block { get; } = block;

    /// <summary>Their major number; null for all.</summary>
    public uint? Major { get; } = major;

    /// <summary>Their minor number; null for all.</summary>
    public uint? Minor { get; } = minor;

    /// <summary>What may, or may not, be done.</summary>
    public DeviceAccess Access { get; } = access;

    /// <summary>The rule as the devices controller of cgroup v1 has it, as in <c>c 1:3 rwm</c>.</summary>
    public override string ToString() =>
        $"{(Block ? 'b' : 'c')} {Number(Major)}:{Number(Minor)} {Sign(DeviceAccess.Read, "r")}{Sign(DeviceAccess.Write, "w")}{Sign(DeviceAccess.MakeNode, "m")}";

    internal bool IsOf(DeviceRule other) => Block == other.Block && Major == other.Major && Minor == other.Minor;

    /// <summary>Whether every device of another is one of these.</summary>
    internal bool Covers(DeviceRule other) =>
        Block == other.Block && (Major is null || Major == other.Major) && (Minor is null || Minor == other.Minor);

    /// <summary>Whether any device of another is one of these.</summary>
    internal bool Meets(DeviceRule other) =>
        Block == other.Block && (Major is null || other.Major is null || Major == other.Major) && (Minor is null || other.Minor is null || Minor == other.Minor);

    internal DeviceRule With(DeviceAccess access) => new(Block, Major, Minor, access);

    private string Sign(DeviceAccess access, string sign) => (Access & access) != 0 ? sign : string.Empty;

    private static string Number(uint? number) => number?.ToString(CultureInfo.InvariantCulture) ?? "*";
}
