using System.Text.Json.Nodes;
using EdgeHost.Deployments;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Deployments;

/// <summary>Whoever may publish a desired state has no more of a board's devices than its configuration says.</summary>
public sealed class AllowedDevicesTests
{
    private const string Allowed = "i2c=i2c1, gpioline=*, /dev/ttyUSB*, /dev/serial0";

    [Theory]
    [InlineData("i2c=i2c1:/dev/i2c-1:rw")]
    [InlineData("gpioline=GPIO17")]
    [InlineData("/dev/ttyUSB3:/dev/modem")]
    [InlineData("/dev/serial0:rw")]
    public void What_the_configuration_names_may_be_asked_for(string device) => AllowedDevices.Require(Asking(device), Allowed);

    [Theory]
    [InlineData("i2c=i2c10", "i2c=i2c10")]
    [InlineData("/dev/serial01", "/dev/serial01")]
    [InlineData("/dev/mmcblk0:/dev/ttyUSB0", "/dev/mmcblk0")]
    [InlineData("/dev/ttyUSB0/../mem", "/dev/ttyUSB0/../mem")]
    [InlineData("/dev", "/dev")]
    public void Anything_else_is_denied_by_name_with_what_is_allowed(string device, string named)
    {
        var refusal = Assert.Throws<DesiredStateException>(() => AllowedDevices.Require(Asking(device), Allowed));

        Assert.Equal((ErrorKind.Denied, "workloads.w.devices[0]", 7L), (refusal.Kind, refusal.Path, refusal.Version));
        Assert.Contains($"may not ask for {named}; its configuration allows (devices.allow) {Allowed}", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_rule_is_no_way_around_it()
    {
        var refusal = Assert.Throws<DesiredStateException>(() => AllowedDevices.Require(Asking(null, "b 179:* rwm"), Allowed));

        Assert.Equal((ErrorKind.Denied, "workloads.w.device_cgroup_rules"), (refusal.Kind, refusal.Path));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("*")]
    [InlineData("i2c=i2c1, *")]
    public void Where_nothing_is_said_or_everything_anything_may_be_asked_for(string? allowed) => AllowedDevices.Require(Asking("/dev/mem", "a *:* rwm"), allowed);

    [Fact]
    public async Task A_document_that_asks_for_more_is_refused_and_what_was_accepted_before_still_runs()
    {
        await using var board = new BoardUnderTest();
        var reconciler = await board.StartAsync();
        Assert.Equal(DeploymentDecision.Accepted, await reconciler.OfferAsync(Text("nginx:1", 7, "/dev/mem", null), CancellationToken.None));
        await board.UntilAsync(static status => status is { Version: 7, Phase: DeploymentPhase.Running });

        reconciler.UseDevices(Allowed);

        Assert.Equal(DeploymentDecision.Refused, await reconciler.OfferAsync(Text("nginx:1", 8, "/dev/mem", null), CancellationToken.None));
        Assert.Equal((ErrorKind.Denied, 7L), (reconciler.Status.Failure!.Kind, reconciler.Status.Version));
        reconciler = await board.RestartAsync();
        await board.UntilAsync(static status => status.Version == 7);
        Assert.Empty(reconciler.Status.Problems);
    }

    private static DesiredState Asking(string? device, string? rule = null) => DesiredStateParser.Parse(Text("nginx:1", 7, device, rule), new BoardCapacity(1L << 30, 4), new DefaultLimits());

    private static byte[] Text(string image, long version, string? device, string? rule) => System.Text.Encoding.UTF8.GetBytes(new JsonObject
    {
        ["version"] = version,
        ["workloads"] = new JsonObject
        {
            ["w"] = new JsonObject
            {
                ["image"] = image,
                ["mem_limit"] = "16m",
                ["cpus"] = 0.5,
                ["devices"] = device is null ? [] : new JsonArray(device),
                ["device_cgroup_rules"] = rule is null ? [] : new JsonArray(rule),
            },
        },
    }.ToJsonString());
}
