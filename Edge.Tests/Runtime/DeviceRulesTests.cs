using EdgeHost.Errors;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>What device rules allow, as they are read; that the kernel holds them is in <see cref="RuntimeChecks"/>.</summary>
public sealed class DeviceRulesTests
{
    [Fact]
    public void Without_rules_a_container_has_its_own_devices_and_can_open_no_others()
    {
        var rules = DeviceRules.From(null);

        Assert.True(rules.Allows(block: false, 1, 3, DeviceAccess.Read | DeviceAccess.Write));
        Assert.True(rules.Allows(block: false, 136, 7, DeviceAccess.Write));
        Assert.True(rules.Allows(block: true, 8, 0, DeviceAccess.MakeNode));
        Assert.False(rules.Allows(block: true, 8, 0, DeviceAccess.Read));
        Assert.False(rules.Allows(block: false, 1, 1, DeviceAccess.Read));
        Assert.False(rules.Allows(block: true, 1, 3, DeviceAccess.Read));
    }

    [Fact]
    public void A_later_rule_takes_back_what_an_earlier_one_gave()
    {
        var rules = DeviceRules.From(
        [
            new() { Allow = true, Type = "c", Major = 10, Minor = 200, Access = "rwm" },
            new() { Allow = true, Type = "b", Major = 7, Access = "rw" },
            new() { Allow = false, Type = "c", Major = 10, Minor = 200, Access = "w" },
            new() { Allow = false, Type = "b", Major = 7 },
        ]);

        Assert.True(rules.Allows(block: false, 10, 200, DeviceAccess.Read));
        Assert.False(rules.Allows(block: false, 10, 200, DeviceAccess.Read | DeviceAccess.Write));
        Assert.False(rules.Allows(block: true, 7, 0, DeviceAccess.Read));
    }

    [Fact]
    public void All_can_be_allowed_but_some()
    {
        var rules = DeviceRules.From([new() { Allow = true }, new() { Allow = false, Type = "b", Major = 8, Minor = -1, Access = "w" }]);

        Assert.True(rules.AllowsOthers);
        Assert.True(rules.Allows(block: false, 1, 1, DeviceAccess.All));
        Assert.True(rules.Allows(block: true, 8, 1, DeviceAccess.Read));
        Assert.False(rules.Allows(block: true, 8, 1, DeviceAccess.Read | DeviceAccess.Write));
    }

    [Theory]
    [InlineData("x", 1L, "rwm", "type \"x\"")]
    [InlineData("c", 1L, "rwq", "access \"rwq\"")]
    [InlineData("c", -7L, "r", "-7 is no device number")]
    public void What_is_no_rule_is_refused(string type, long major, string access, string words)
    {
        var failure = Assert.Throws<EdgeHostException>(() => DeviceRules.From([new() { Allow = true, Type = type, Major = major, Access = access }]));

        Assert.Equal(ErrorKind.Invalid, failure.Kind);
        Assert.Contains(words, failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_cgroups_cannot_hold_is_refused_not_bent()
    {
        RuntimeDeviceRule[] rules = [new() { Allow = true, Type = "c", Major = 4 }, new() { Allow = false, Type = "c", Major = 4, Minor = 1 }];

        Assert.Contains("cannot hold", Assert.Throws<EdgeHostException>(() => DeviceRules.From(rules)).Message, StringComparison.Ordinal);
    }
}
