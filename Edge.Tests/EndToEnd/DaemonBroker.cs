using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Mqtt;
using EdgeHost.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The broker of a daemon that runs as a process of its own, for mosquitto's tools.</summary>
internal sealed class DaemonBroker(DaemonUnderTest daemon) : BrokerUnderTest
{
    public override MqttOptions DeviceConnection => throw new NotSupportedException("the daemon connects to it inside its process");

    public override MqttOptions OperatorConnection
    {
        get
        {
            var connection = DeployClient.ReadOperator(Path.Combine(daemon.Data, "broker", "operator.json"));
            return connection with { Url = string.Create(CultureInfo.InvariantCulture, $"mqtt://127.0.0.1:{daemon.BrokerPort}") };
        }
    }

    public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
}

/// <summary>Publishes desired states and hears what the device reports; speaks by mosquitto's tools alone.</summary>
internal sealed class Operator : IAsyncDisposable
{
    private readonly BrokerUnderTest _broker;
    private readonly Subscription _reports;

    private Operator(BrokerUnderTest broker, Subscription reports)
    {
        _broker = broker;
        _reports = reports;
    }

    internal static async Task<Operator> ConnectAsync(BrokerUnderTest broker) =>
        new(broker, await Subscription.StartAsync(broker, broker.Topics.Reported, broker.Topics.Progress));

    /// <summary>Publishes a document, retained, as docs/mqtt.md says.</summary>
    internal Task PublishAsync(string document) => _broker.PublishAsync(_broker.Topics.Desired, System.Text.Encoding.UTF8.GetBytes(document), "-r");

    /// <summary>Deletes the retained document.</summary>
    internal Task EmptyAsync() => BrokerUnderTest.RunAsync("mosquitto_pub", [.. _broker.Arguments.Split(' '), "-q", "1", "-t", _broker.Topics.Desired, "-r", "-n"]);

    /// <summary>The next report that fits.</summary>
    internal async Task<JsonNode> ReportAsync(Func<JsonNode, bool> fits)
    {
        JsonNode? found = null;
        await _reports.UntilAsync(heard =>
            heard.Topic == _broker.Topics.Reported && JsonNode.Parse(heard.Payload) is { } report && fits(report) && (found = report) is not null);
        return found!;
    }

    /// <summary>Waits until something of an image was fetched.</summary>
    internal async Task FetchingAsync() => _ = await _reports.UntilAsync(heard => heard.Topic == _broker.Topics.Progress);

    /// <summary>Waits until a version runs with all its workloads.</summary>
    internal Task<JsonNode> RunsAsync(long version, params string[] workloads) => ReportAsync(report =>
        (string?)report["deployment"]!["phase"] is "running"
        && (long)report["deployment"]!["version"]! == version
        && workloads.Order(StringComparer.Ordinal).SequenceEqual(report["workloads"]!.AsObject().Select(each => each.Key))
        && workloads.All(name => (string?)report["workloads"]![name]!["state"] == "running"));

    /// <summary>Publishes a document that must not become what runs, and gives what is said of it.</summary>
    internal async Task<JsonNode> FailureAsync(string document)
    {
        var digest = "sha256:" + Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(document)));
        await PublishAsync(document);
        var report = await ReportAsync(report => (string?)report["deployment"]!["failure"]?["digest"] == digest);
        Assert.NotEmpty(report["errors"]!.AsArray());
        return report["deployment"]!["failure"]!;
    }

    public ValueTask DisposeAsync() => _reports.DisposeAsync();
}
