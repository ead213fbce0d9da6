using System.Text.Json;
using Edge.Tests.Board;
using Edge.Tests.Deployments;
using EdgeHost.Deployments;
using EdgeHost.Mqtt;
using Microsoft.Extensions.Logging.Abstractions;

namespace Edge.Tests.Mqtt;

/// <summary>A board whose agent is connected to a broker.</summary>
internal sealed class DeviceUnderTest : IAsyncDisposable
{
    private readonly BrokerUnderTest _broker;
    private readonly MqttOptions _connection;
    private Func<AgentOptions, AgentOptions> _change = static options => options;

    private DeviceUnderTest(BrokerUnderTest broker, MqttOptions connection)
    {
        _broker = broker;
        _connection = connection;
    }

    private readonly BoardTree _tree = BoardTree.OfRaspberryPi();

    public BoardUnderTest Board { get; } = new();

    public MqttAgent Agent { get; private set; } = null!;

    public static async Task<DeviceUnderTest> StartAsync(BrokerUnderTest broker, MqttOptions? connection = null, Func<AgentOptions, AgentOptions>? change = null)
    {
        var device = new DeviceUnderTest(broker, connection ?? broker.DeviceConnection) { _change = change ?? (static options => options) };
        await device.Board.StartAsync();
        await device.StartAgentAsync();
        return device;
    }

    public async Task StartAgentAsync()
    {
        Agent = new MqttAgent(
            _connection,
            _change(new AgentOptions { Device = BrokerUnderTest.Device, Version = "0.1.0", BootId = Board.BootId, ReportInterval = TimeSpan.FromMilliseconds(10), EventQueueLength = 100 }),
            Board.Reconciler,
            new StateReporter(Board.Options, Board.Reconciler, Board.Engine, Board.Images, _tree.Reader(boots: 17)),
            Board.Engine,
            NullLogger<MqttAgent>.Instance);
        await Agent.StartAsync(CancellationToken.None);
    }

    /// <summary>Waits until the broker's retained report says what the board says.</summary>
    public async Task<JsonElement> SettledAsync(Func<JsonElement, bool>? fits = null)
    {
        await using var reports = await Subscription.StartAsync(_broker, _broker.Topics.Reported);
        var heard = await reports.UntilAsync(message =>
        {
            var state = JsonDocument.Parse(message.Payload).RootElement;
            return fits is not null ? fits(state) : IsPresent(state);
        });
        return JsonDocument.Parse(heard.Payload).RootElement;
    }

    public async ValueTask DisposeAsync()
    {
        await Agent.DisposeAsync();
        await Board.DisposeAsync();
        _tree.Dispose();
    }

    private bool IsPresent(JsonElement state)
    {
        var status = Board.Reconciler.Status;
        var deployment = state.GetProperty("deployment");
        return deployment.GetProperty("version").GetInt64() == status.Version
            && deployment.GetProperty("phase").GetString() is "running" or "failed" or "idle"
            && status.HighestVersion == deployment.GetProperty("highest_version").GetInt64()
            && (status.Failure is null || status.Failure.IsRefusal || status.Phase == DeploymentPhase.Failed || status.Phase == DeploymentPhase.Running)
            && status.Failure?.Digest == (deployment.TryGetProperty("failure", out var failure) ? failure.GetProperty("digest").GetString() : null)
            && status.Target is null
            && state.GetProperty("workloads").EnumerateObject().All(workload => workload.Value.GetProperty("state").GetString() is "running" or "exited")
            && state.GetProperty("workloads").EnumerateObject().Count() == Board.Engine.List().Count;
    }
}
