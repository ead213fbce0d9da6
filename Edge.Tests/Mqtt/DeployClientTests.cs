using Edge.Tests.Deployments;
using EdgeHost.Errors;
using EdgeHost.Mqtt;
using Xunit;

namespace Edge.Tests.Mqtt;

public sealed class DeployClientTests
{
    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task A_deployment_is_followed_to_its_end(string kind)
    {
        await using var broker = await BrokerUnderTest.StartAsync(kind);
        await using var device = await DeviceUnderTest.StartAsync(broker);
        await using var client = new DeployClient(broker.OperatorConnection, BrokerUnderTest.Device);
        await client.ConnectAsync(CancellationToken.None);
        var before = await client.ReadReportedAsync(CancellationToken.None);
        var pulls = new List<DeployUpdate.Pulling>();

        var state = await client.DeployAsync(
            BoardUnderTest.Document(before.Deployment.HighestVersion + 1, "web=nginx:1"),
            update =>
            {
                if (update is DeployUpdate.Pulling pull)
                {
                    pulls.Add(pull);
                }
            },
            CancellationToken.None);

        Assert.Equal(1, state.Deployment.Version);
        Assert.Equal("running", state.Workloads["web"].State);
        Assert.Contains(pulls, pull => pull is { Workload: "web", Image: "nginx:1", TotalBytes: 100 });

        // The same again: there is nothing to do, and that is no failure.
        await client.DeployAsync(BoardUnderTest.Document(1, "web=nginx:1"), null, CancellationToken.None);
    }

    [Theory]
    [InlineData("web=broken:1", ErrorKind.CannotExecute, "could not carry it out")]
    [InlineData("web=missing:1", ErrorKind.NotFound, "could not carry it out")]
    [InlineData("../web=nginx:1", ErrorKind.Invalid, "refused it")]
    public async Task A_failure_comes_back_with_the_devices_reason_and_the_version_that_runs(string workload, ErrorKind kind, string how)
    {
        await using var broker = await BrokerUnderTest.StartAsync("embedded");
        await using var device = await DeviceUnderTest.StartAsync(broker);
        await device.Board.DeployAsync(3, "web=nginx:1");
        await using var client = new DeployClient(broker.OperatorConnection, BrokerUnderTest.Device);
        await client.ConnectAsync(CancellationToken.None);

        var failure = await Assert.ThrowsAsync<EdgeHostException>(() => client.DeployAsync(BoardUnderTest.Document(4, workload), null, CancellationToken.None));

        Assert.Equal(kind, failure.Kind);
        Assert.Contains(how, failure.Message, StringComparison.Ordinal);
        Assert.EndsWith("version 3 runs", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_registry_that_is_away_is_said_with_the_time_of_the_next_try()
    {
        await using var broker = await BrokerUnderTest.StartAsync("embedded");
        await using var device = await DeviceUnderTest.StartAsync(broker);
        device.Board.Images.RegistryIsDown = true;
        await using var client = new DeployClient(broker.OperatorConnection, BrokerUnderTest.Device);
        await client.ConnectAsync(CancellationToken.None);

        var failure = await Assert.ThrowsAsync<EdgeHostException>(() => client.DeployAsync(BoardUnderTest.Document(1, "web=nginx:1"), null, CancellationToken.None));

        Assert.Equal(ErrorKind.Unavailable, failure.Kind);
        Assert.Contains("tries again at", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_broker_that_is_not_there_is_named()
    {
        await using var client = new DeployClient(new MqttOptions { Url = $"mqtt://127.0.0.1:{BrokerUnderTest.FreePort()}" }, "board");

        var failure = await Assert.ThrowsAsync<EdgeHostException>(() => client.ConnectAsync(CancellationToken.None));

        Assert.Equal(ErrorKind.Unavailable, failure.Kind);
        Assert.Contains("mqtt://127.0.0.1:", failure.Message, StringComparison.Ordinal);
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<EdgeHostException>(() => DeployClient.ReadOperator("/no/such/operator.json")).Kind);
    }
}
