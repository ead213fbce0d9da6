using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What the workloads of a desired state have of networks, and of the broker in the daemon.</summary>
public sealed class WorkloadNetworkTests
{
    [Fact]
    public async Task Workloads_find_each_other_by_name_and_are_reached_by_their_published_ports()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        await using var person = await Operator.ConnectAsync(new DaemonBroker(daemon));
        var port = BrokerUnderTest.FreePort();

        await PublishAsync(person, port, """
            {"version": 1,
             "networks": {"back": {"internal": true}},
             "workloads": {
               "web": {"image": "busybox", LIMITS, "command": ["httpd", "-f", "-p", "8080", "-h", "/etc"], "ports": ["127.0.0.1:PORT:8080"], "depends_on": ["db"]},
               "asker": {"image": "busybox", LIMITS, "command": ["sh", "-c", "wget -q -O - http://web:8080/hostname; sleep 1000"], "depends_on": ["web"]},
               "db": {"image": "busybox", LIMITS, "command": ["sleep", "1000"], "networks": {"back": {"aliases": ["storage"]}}},
               "reader": {"image": "busybox", LIMITS, "networks": ["back"], "command": ["sh", "-c", "nslookup storage | tail -n +3; nslookup web || echo unknown; sleep 1000"], "depends_on": ["db"]}}}
            """);
        var report = await person.RunsAsync(1, "asker", "db", "reader", "web");

        var web = Container(report, "web");
        Assert.Equal(web[..12], await daemon.LineAsync(Container(report, "asker"), line => line.Length > 0));
        var address = await daemon.InspectAsync(Container(report, "db"), "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
        Assert.Contains(address, await daemon.LineAsync(Container(report, "reader"), line => line.Contains("Address", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.Equal("unknown", await daemon.LineAsync(Container(report, "reader"), line => line == "unknown"));
        using var client = new HttpClient();
        Assert.Equal(web[..12], (await client.GetStringAsync(new Uri(string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/hostname")), TestContext.Current.CancellationToken)).Trim());

        // What is needed was started before, also when the board comes up again without anybody to ask.
        await daemon.RebootAsync();
        await daemon.StartAsync();
        report = await person.ReportAsync(each => each["workloads"]!.AsObject().Count == 4 && each["workloads"]!.AsObject().All(one => (string?)one.Value!["state"] == "running"));
        var started = new Dictionary<string, DateTimeOffset>(StringComparer.Ordinal);
        foreach (var name in (string[])["db", "web", "asker", "reader"])
        {
            started[name] = DateTimeOffset.Parse(await daemon.InspectAsync(Container(report, name), "{{.State.StartedAt}}"), CultureInfo.InvariantCulture);
        }

        Assert.True(started["db"] < started["web"] && started["web"] < started["asker"] && started["db"] < started["reader"], string.Join(' ', started));

        await PublishAsync(person, 0, """{"version": 2, "workloads": {}}""");
        await person.RunsAsync(2);
        Assert.DoesNotContain("default-", (await daemon.DockerAsync("network", "ls")).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_that_somebody_has_fails_the_deployment_and_what_ran_goes_on()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        await using var person = await Operator.ConnectAsync(new DaemonBroker(daemon));
        await PublishAsync(person, 0, """{"version": 1, "workloads": {"web": {"image": "busybox", LIMITS, "command": ["sleep", "1000"]}}}""");
        var report = await person.RunsAsync(1, "web");
        var pid = await daemon.PidOfAsync(Container(report, "web"));

        var failure = await person.FailureAsync(Fill(daemon.BrokerPort, """
            {"version": 2, "workloads": {"web": {"image": "busybox", LIMITS, "command": ["sleep", "1000"]},
              "other": {"image": "busybox", LIMITS, "command": ["sleep", "1000"], "ports": ["127.0.0.1:PORT:80"]}}}
            """));

        Assert.Equal("workloads.other", (string?)failure["path"]);
        Assert.Contains($"is taken by edgehost (pid {daemon.Pid})", (string?)failure["reason"], StringComparison.Ordinal);
        Assert.True(DaemonUnderTest.Lives(pid));

        failure = await person.FailureAsync(Fill(0, """{"version": 3, "networks": {"lan": {"external": true}}, "workloads": {"web": {"image": "busybox", LIMITS, "networks": ["lan"]}}}"""));
        Assert.Equal("networks.lan", (string?)failure["path"]);
        Assert.True(DaemonUnderTest.Lives(pid));
    }

    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task A_workload_publishes_to_the_local_broker_from_its_bridge_with_the_credential_that_it_is_given(string upstream)
    {
        await using var mosquitto = upstream == "mosquitto" ? await MosquittoUnderTest.StartAsync() : null;
        await using var daemon = DaemonUnderTest.Make();
        if (mosquitto is not null)
        {
            // The broker in the daemon is then there for the workloads alone, and from the first grant on.
            var password = mosquitto.PathOf("device-password");
            await File.WriteAllTextAsync(password, mosquitto.DeviceConnection.Password + "\n", TestContext.Current.CancellationToken);
            daemon.Settings["mqtt"] = new { url = mosquitto.Url, user = mosquitto.DeviceConnection.User, passwordFile = password };
        }

        await daemon.StartAsync();
        await daemon.LoadAsync("sensor");
        await daemon.LoadAsync("busybox");
        await using var person = await Operator.ConnectAsync((BrokerUnderTest?)mosquitto ?? new DaemonBroker(daemon));
        await PublishAsync(person, 0, """
            {"version": 1, "workloads": {
              "sensor": {"image": "sensor", LIMITS, "mqtt": true, "read_only": true, "cap_drop": ["ALL"], "user": "65534:65534"},
              "near": {"image": "sensor", LIMITS, "mqtt": true, "network_mode": "host"},
              "secret": {"image": "busybox", LIMITS, "mqtt": {"subscribe": ["sensor/#"]}, "user": "65534", "read_only": true, "command": ["sh", "-c", "cat /run/edgehost/mqtt.json; echo; env | grep -c EDGEHOST_MQTT_; sleep 1000"]},
              "other": {"image": "busybox", LIMITS, "command": ["sh", "-c", "env | grep EDGEHOST || echo nothing; sleep 1000"]}}}
            """);
        var report = await person.RunsAsync(1, "near", "other", "secret", "sensor");

        var local = new DaemonBroker(daemon);
        foreach (var workload in (string[])["sensor", "near"])
        {
            var reading = JsonNode.Parse(await local.ReadAsync($"{local.Topics.Telemetry}{workload}/temperature"))!;
            Assert.Equal("temperature", (string?)reading["sensor"]);
        }

        var secret = Container(report, "secret");
        var told = JsonNode.Parse(await daemon.LineAsync(secret, line => line.StartsWith('{')))!;
        Assert.Equal("5", await daemon.LineAsync(secret, line => !line.StartsWith('{')));
        Assert.Equal("nothing", await daemon.LineAsync(Container(report, "other"), line => line.Length > 0));
        Assert.Equal(
            ("workload.secret", $"{local.Topics.Telemetry}secret", daemon.BrokerPort),
            ((string?)told["user"], (string?)told["topic"], new Uri((string)told["url"]!).Port));
        Assert.DoesNotContain((string)told["password"]!, (await daemon.DockerAsync("inspect", secret)).Succeeds().Output, StringComparison.Ordinal);
        Assert.NotEqual(0, (await CommandRun.RunAsync("grep", ["-r", "-q", "--exclude-dir=log", "-e", (string)told["password"]!, daemon.Data])).ExitCode);

        // On the host it is for root alone, though any user of the container's may read it there.
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(daemon.Run + "/containers"));

        // It holds over a restart of the daemon, and ends with its container.
        await daemon.KillAsync();
        await daemon.StartAsync();
        string[] connect = ["-h", "127.0.0.1", "-p", $"{daemon.BrokerPort}", "-u", "workload.secret", "-P", (string)told["password"]!];
        string[] read = [.. connect, "-C", "1", "-W", "30", "-t", $"{local.Topics.Telemetry}sensor/#"];
        Assert.Contains("temperature", await BrokerUnderTest.RunAsync("mosquitto_sub", read), StringComparison.Ordinal);
        string[] live = ["-oL", "mosquitto_sub", "-d", "-V", "5", .. connect, "-i", "workload.secret/live", "-t", $"{local.Topics.Telemetry}secret/#"];
        using var connected = Process.Start(new ProcessStartInfo("stdbuf", live) { RedirectStandardOutput = true })!;
        while (await connected.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && !line.StartsWith("Subscribed", StringComparison.Ordinal))
        {
        }

        await using (var again = await Operator.ConnectAsync((BrokerUnderTest?)mosquitto ?? local))
        {
            await PublishAsync(again, 0, """{"version": 2, "workloads": {}}""");
            await again.RunsAsync(2);
        }

        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_sub", read)).Code);
        await connected.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);
    }

    private static Task PublishAsync(Operator person, int port, string document) => person.PublishAsync(Fill(port, document));

    private static string Fill(int port, string document) => document
        .Replace("LIMITS", "\"mem_limit\": \"16m\", \"cpus\": 0.2, \"stop_signal\": \"SIGKILL\"", StringComparison.Ordinal)
        .Replace("PORT", port.ToString(CultureInfo.InvariantCulture), StringComparison.Ordinal);

    private static string Container(JsonNode report, string workload) => (string)report["workloads"]![workload]!["container"]!;
}
