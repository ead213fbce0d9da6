using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>
/// Which devices the processes of a cgroup may open, and of which they may make nodes: all or none, and the exceptions
/// from that. It is what the devices controller of cgroup v1 can hold; the program for v2 holds the same, so that a
/// container may do the same on either (Documentation/admin-guide/cgroup-v1/devices.rst).
/// </summary>
public sealed class DeviceRules
{
    // What every container has (config-linux.md, "Default Devices"): its own nodes and terminals. A node may be made of
    // any device, which without the right to open it is a name.
    private static readonly DeviceRule[] Defaults =
    [
        new(block: false, null, null, DeviceAccess.MakeNode),
        new(block: true, null, null, DeviceAccess.MakeNode),
        new(block: false, 1, 3, DeviceAccess.All),
        new(block: false, 1, 5, DeviceAccess.All),
        new(block: false, 1, 7, DeviceAccess.All),
        new(block: false, 1, 8, DeviceAccess.All),
        new(block: false, 1, 9, DeviceAccess.All),
        new(block: false, 5, 0, DeviceAccess.All),
        new(block: false, 5, 2, DeviceAccess.All),
        new(block: false, 136, null, DeviceAccess.All),
    ];

    private readonly List<DeviceRule> _exceptions = [];

    private DeviceRules()
    {
    }

    /// <summary>What holds for a device that no exception names.</summary>
    public bool AllowsOthers { get; private set; }

    /// <summary>What may be done although others may not, or may not be although others may.</summary>
    public IReadOnlyList<DeviceRule> Exceptions => _exceptions;

    /// <summary>The default devices and no others.</summary>
    public static DeviceRules Default { get; } = From(null);

    /// <summary>The rules of a runtime configuration, in their order, from nothing allowed on; the default devices come last.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: a rule is none;
    /// <see cref="ErrorKind.Infeasible"/>: one takes something away from what another gives as a whole.</exception>
    public static DeviceRules From(IReadOnlyList<RuntimeDeviceRule>? rules)
    {
        var result = new DeviceRules();
        foreach (var rule in rules ?? [])
        {
            result.Add(rule);
        }

        if (!result.AllowsOthers)
        {
            foreach (var rule in Defaults)
            {
                result.Grant(rule);
            }
        }

        return result;
    }

    /// <summary>Whether something may be done with a device.</summary>
    internal bool Allows(bool block, uint major, uint minor, DeviceAccess access)
    {
        var device = new DeviceRule(block, major, minor, access);
        return AllowsOthers
            ? !_exceptions.Exists(each => each.Covers(device) && (each.Access & access) != 0)
            : _exceptions.Exists(each => each.Covers(device) && (each.Access & access) == access);
    }

    private void Add(RuntimeDeviceRule rule)
    {
        var access = AccessOf(rule);
        var all = rule.Type is null or "" or "a";
        var major = NumberOf(rule.Major, rule);
        var minor = NumberOf(rule.Minor, rule);
        if (all && major is null && minor is null && access == DeviceAccess.All)
        {
            AllowsOthers = rule.Allow;
            _exceptions.Clear();
            return;
        }

        if (!all && rule.Type is not ("c" or "u" or "b"))
        {
            throw Invalid(rule, $"type \"{rule.Type}\" is not a, b or c");
        }

        foreach (var block in (bool[])[false, true])
        {
            if (all || block == (rule.Type == "b"))
            {
                var one = new DeviceRule(block, major, minor, access);
                if (rule.Allow != AllowsOthers)
                {
                    Grant(one);
                }
                else
                {
                    TakeBack(one);
                }
            }
        }
    }

    // An exception from the default.
    private void Grant(DeviceRule rule)
    {
        var at = _exceptions.FindIndex(rule.IsOf);
        if (at < 0)
        {
            _exceptions.Add(rule);
        }
        else
        {
            _exceptions[at] = rule.With(_exceptions[at].Access | rule.Access);
        }
    }

    // Back to the default.
    private void TakeBack(DeviceRule rule)
    {
        for (var at = _exceptions.Count - 1; at >= 0; at--)
        {
            var held = _exceptions[at];
            if ((held.Access & rule.Access) == 0 || !held.Meets(rule))
            {
                continue;
            }

            if (!rule.Covers(held))
            {
                throw new EdgeHostException(
                    ErrorKind.Infeasible, $"linux.resources.devices: {rule} is {(AllowsOthers ? "allowed" : "denied")} after {held} was {(AllowsOthers ? "denied" : "allowed")} as a whole, which cgroups cannot hold; name the single devices instead");
            }

            var left = held.Access & ~rule.Access;
            if (left == 0)
            {
                _exceptions.RemoveAt(at);
            }
            else
            {
                _exceptions[at] = held.With(left);
            }
        }
    }

    private static DeviceAccess AccessOf(RuntimeDeviceRule rule)
    {
        var access = DeviceAccess.None;
        foreach (var sign in rule.Access is { Length: > 0 } given ? given : "rwm")
        {
            access |= sign switch
            {
                'r' => DeviceAccess.Read,
                'w' => DeviceAccess.Write,
                'm' => DeviceAccess.MakeNode,
                _ => throw Invalid(rule, $"access \"{rule.Access}\" is not of r, w and m"),
            };
        }

        return access;
    }

    // -1 is what older configurations write for all.
    private static uint? NumberOf(long? number, RuntimeDeviceRule rule) => number switch
    {
        null or -1 => null,
        >= 0 and <= uint.MaxValue => (uint)number,
        _ => throw Invalid(rule, $"{number} is no device number"),
    };

    private static EdgeHostException Invalid(RuntimeDeviceRule rule, string why) =>
        new(ErrorKind.Invalid, $"linux.resources.devices: {(rule.Allow ? "allow" : "deny")} {rule.Type ?? "a"} {rule.Major?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "*"}:{rule.Minor?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "*"} {rule.Access}: {why}");
}
