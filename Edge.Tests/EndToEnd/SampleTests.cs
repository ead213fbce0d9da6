using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The samples of images/ that speak with each other by the broker in the daemon, deployed as their pages say.</summary>
public sealed class SampleTests
{
    [Fact]
    public async Task An_echo_answers_and_a_dashboard_shows_what_it_was_granted_as_text()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();
        await daemon.LoadAsync("echo");
        await daemon.LoadAsync("dashboard");
        await using var broker = new DaemonBroker(daemon);
        await using var person = await Operator.ConnectAsync(broker);
        var echo = broker.Topics.Telemetry + "echo/";
        await using var answers = await Subscription.StartAsync(broker, echo + "answer");
        var port = BrokerUnderTest.FreePort();

        await person.PublishAsync(new JsonObject
        {
            ["version"] = 1,
            ["workloads"] = new JsonObject
            {
                ["echo"] = Workload("echo", [], JsonValue.Create(true)),
                ["dashboard"] = Workload(
                    "dashboard",
                    new JsonObject { ["DASHBOARD_FILTERS"] = "echo/#", ["DASHBOARD_TITLE"] = "greenhouse" },
                    new JsonObject { ["subscribe"] = new JsonArray("echo/#") },
                    string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{port}:8080")),
            },
        }.ToJsonString());
        var report = await person.RunsAsync(1, "dashboard", "echo");

        // Retained, so that it does not matter which of them has its subscription first.
        await broker.PublishAsync(echo + "ask", "hello <b>"u8.ToArray(), "-r");
        Assert.Equal("hello <b>", (await answers.UntilAsync(static _ => true)).Payload);

        using var browser = new HttpClient();
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        string page;
        do
        {
            page = await browser.GetStringAsync(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/"), patience.Token);
        }
        while (!page.Contains("<td>echo/answer<td>hello &lt;b&gt;", StringComparison.Ordinal));

        Assert.Contains("<h1>greenhouse</h1>", page, StringComparison.Ordinal);
        Assert.Contains("<td>echo/ask<td>hello &lt;b&gt;", page, StringComparison.Ordinal);
        foreach (var name in (string[])["echo", "dashboard"])
        {
            (await daemon.EdgehostAsync("stop", (string)report["workloads"]![name]!["container"]!)).Succeeds();
            report = await person.ReportAsync(each => (string?)each["workloads"]![name]!["state"] == "exited");
            Assert.Equal(0, (int)report["workloads"]![name]!["exit_code"]!);
        }

        static JsonObject Workload(string name, JsonObject environment, JsonNode mqtt, params string[] ports) => new()
        {
            ["image"] = name,
            ["pull_policy"] = "never",
            ["mem_limit"] = "16m",
            ["cpus"] = 0.5,
            ["mqtt"] = mqtt,
            ["environment"] = environment,
            ["ports"] = new JsonArray([.. ports.Select(static each => (JsonNode)each)]),
        };
    }
}
