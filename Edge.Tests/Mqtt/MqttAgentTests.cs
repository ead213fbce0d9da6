using System.Globalization;
using System.Text;
using System.Text.Json;
using Edge.Tests.Deployments;
using EdgeHost.Deployments;
using EdgeHost.Errors;
using EdgeHost.Mqtt;
using Xunit;
using JsonNode = System.Text.Json.Nodes.JsonNode;

namespace Edge.Tests.Mqtt;

public sealed class MqttAgentTests
{
    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task What_is_published_by_mosquitto_pub_is_deployed_changed_refused_and_removed(string kind)
    {
        await using var broker = await BrokerUnderTest.StartAsync(kind);
        await using var device = await DeviceUnderTest.StartAsync(broker);

        await Desired(BoardUnderTest.Document(5, "web=nginx:1", "db=redis:7"));
        var first = await device.SettledAsync(Runs(5));
        Assert.Equal("running", first.GetProperty("workloads").GetProperty("web").GetProperty("state").GetString());
        var database = device.Board.Workload("db");

        await Desired(BoardUnderTest.Document(6, "web=nginx:2", "db=redis:7"));
        await device.SettledAsync(Runs(6));
        Assert.Equal(database, device.Board.Workload("db"));

        await Desired(BoardUnderTest.Document(7, "web=broken:1", "db=redis:7"));
        var failed = await device.SettledAsync(Failed(7));
        Assert.Equal(("failed", "cannot_execute"), Failure(failed));
        Assert.Equal(6, failed.GetProperty("deployment").GetProperty("version").GetInt64());
        Assert.Equal("db=redis:7 web=nginx:2", device.Board.Running());

        await Desired(BoardUnderTest.Document(4, "web=nginx:9"));
        Assert.Equal(("refused", "conflict"), Failure(await device.SettledAsync(Failed(4))));

        await Desired([]);
        var emptied = await device.SettledAsync(state => state.GetProperty("deployment").TryGetProperty("notice", out _));
        Assert.Contains("emptied", emptied.GetProperty("deployment").GetProperty("notice").GetString(), StringComparison.Ordinal);
        Assert.Equal("db=redis:7 web=nginx:2", device.Board.Running());

        await Desired(Encoding.UTF8.GetBytes("""{"version":8,"workloads":{"web":{"image":"a","mem_limit":"64m","cpus":99}}}"""));
        Assert.Equal(("refused", "infeasible"), Failure(await device.SettledAsync(Failed(8))));

        await Desired(Encoding.UTF8.GetBytes("""{"payloadType":"application/vnd.edgehost","payload":"e30=","signatures":[]}"""));
        var signed = await device.SettledAsync(state => state.GetProperty("errors").ToString().Contains("DSSE", StringComparison.Ordinal));
        Assert.Equal(("refused", "unsupported"), Failure(signed));

        var large = new byte[(3 * DesiredState.MaximumBytes) / 2];
        Array.Fill(large, (byte)' ');
        await Desired(large);
        var oversized = await device.SettledAsync(state => state.GetProperty("errors").ToString().Contains("1572864 bytes", StringComparison.Ordinal));
        Assert.Equal(("refused", "invalid"), Failure(oversized));
        Assert.Equal("db=redis:7 web=nginx:2", device.Board.Running());

        await Desired(BoardUnderTest.Document(8));
        await device.SettledAsync(state => Runs(8)(state) && state.GetProperty("workloads").ToString() == "{}");
        await device.Board.UntilContainersAsync(containers => containers.Count == 0);

        Task Desired(byte[] document) => broker.PublishAsync(broker.Topics.Desired, document, "-r");
    }

    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task A_clean_stop_says_offline_and_a_new_start_online(string kind)
    {
        await using var broker = await BrokerUnderTest.StartAsync(kind);
        await using var status = await Subscription.StartAsync(broker, broker.Topics.Status);
        await using var device = await DeviceUnderTest.StartAsync(broker);
        var online = await status.UntilAsync(StateIs("online"));
        Assert.Equal("application/json", online.ContentType);

        await device.Agent.StopAsync(CancellationToken.None);
        await status.UntilAsync(StateIs("offline"));
        Assert.Equal("offline", JsonDocument.Parse(await broker.ReadAsync(broker.Topics.Status)).RootElement.GetProperty("state").GetString());

        await device.StartAgentAsync();
        await status.UntilAsync(StateIs("online"));
    }

    [Fact]
    public async Task The_health_of_the_board_is_told_now_and_then_though_nothing_else_changes()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        await using var reports = await Subscription.StartAsync(broker, broker.Topics.Reported);
        await using var device = await DeviceUnderTest.StartAsync(broker, change: options => options with { UseInterval = TimeSpan.FromMilliseconds(20), HealthInterval = TimeSpan.FromMilliseconds(200) });

        JsonNode first = JsonNode.Parse((await reports.UntilAsync(_ => true)).Payload)!, second = JsonNode.Parse((await reports.UntilAsync(_ => true)).Payload)!;

        // Free disk and pressure change by themselves between two reports; the count of boots does not.
        Assert.Equal((17, 17), ((int)first["board"]!["health"]!["boots"]!, (int)second["board"]!["health"]!["boots"]!));
        Assert.NotEqual((string?)first["time"], (string?)second["time"]);
        first["time"] = second["time"]!.DeepClone();
        first["board"]!["health"] = second["board"]!["health"]!.DeepClone();
        Assert.Equal(first.ToJsonString(), second.ToJsonString());
    }

    [Fact]
    public async Task A_cut_connection_that_comes_back_at_once_is_no_outage()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        await using var wire = new CuttableProxy(broker.Port);
        await using var status = await Subscription.StartAsync(broker, broker.Topics.Status);
        await using var device = await DeviceUnderTest.StartAsync(broker, Through(broker, wire));
        await status.UntilAsync(StateIs("online"));

        wire.Cut();

        // What comes next is online again: the will was waiting, and is gone.
        Assert.True(StateIs("online")(await status.UntilAsync(_ => true)));
    }

    [Fact]
    public async Task With_MQTT_3_1_1_a_cut_connection_is_reported_by_the_will()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        var wire = new CuttableProxy(broker.Port);
        await using var status = await Subscription.StartAsync(broker, broker.Topics.Status);
        await using var device = await DeviceUnderTest.StartAsync(broker, Through(broker, wire) with { Protocol = MqttProtocol.V311 });
        await status.UntilAsync(StateIs("online"));

        await wire.DisposeAsync();

        await status.UntilAsync(StateIs("offline"));
    }

    [Fact]
    public async Task A_broker_without_MQTT_5_is_spoken_to_in_3_1_1()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        await using var wire = new CuttableProxy(broker.Port, refuseV5: true);
        await using var device = await DeviceUnderTest.StartAsync(broker, Through(broker, wire));

        await broker.PublishAsync(broker.Topics.Desired, BoardUnderTest.Document(1, "web=nginx:1"), "-r");

        await device.SettledAsync(Runs(1));
    }

    [Fact]
    public async Task A_broker_that_is_away_at_the_start_and_later_is_waited_for_and_events_are_kept_within_their_bound()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        await broker.StopProcessAsync();
        await using var device = await DeviceUnderTest.StartAsync(broker);
        Assert.Equal(DeploymentDecision.Accepted, await device.Board.Reconciler.OfferAsync(BoardUnderTest.Document(1, "web=nginx:1"), CancellationToken.None));
        await device.Board.UntilAsync(state => state.Version == 1);
        for (var i = 0; i < 100; i++)
        {
            await device.Board.Engine.RestartAsync(device.Board.Workload("web").Id, null, null, CancellationToken.None);
        }

        await broker.StartProcessAsync();
        await using var events = await Subscription.StartAsync(broker, broker.Topics.Events);
        await device.SettledAsync(Runs(1));
        await device.Board.Engine.StopAsync(device.Board.Workload("web").Id, null, null, CancellationToken.None);

        // 101 starts and 101 ends, of which 100 were kept; the subscriber may have come after some of them.
        var last = JsonDocument.Parse((await events.UntilAsync(heard => JsonDocument.Parse(heard.Payload).RootElement.GetProperty("sequence").GetInt64() == 202)).Payload).RootElement;
        Assert.Equal("die", last.GetProperty("action").GetString());
        Assert.Equal("web", last.GetProperty("workload").GetString());
    }

    [Fact]
    public async Task Dropped_events_are_told_with_the_next_one()
    {
        var queue = new EventQueue(2);
        for (var i = 1; i <= 5; i++)
        {
            queue.Add(Event(i));
        }

        var first = await queue.PeekAsync(CancellationToken.None);
        Assert.Equal((4, 3), (first.Sequence, first.Dropped));

        // While it is under way another one pushes it out.
        queue.Add(Event(6));
        queue.Acknowledge(first);
        var second = await queue.PeekAsync(CancellationToken.None);
        Assert.Equal((5, 1), (second.Sequence, second.Dropped));
        queue.Acknowledge(second);
        var third = await queue.PeekAsync(CancellationToken.None);
        Assert.Equal((6, null), (third.Sequence, third.Dropped));

        static EventMessage Event(long sequence) => new()
        {
            Id = $"b-{sequence}",
            BootId = "b",
            Sequence = sequence,
            Time = default,
            Type = "container",
            Action = "start",
            ObjectId = "x",
            Attributes = [],
        };
    }

    [Fact]
    public async Task TLS_with_a_private_authority_and_a_client_certificate()
    {
        await using var broker = await MosquittoUnderTest.StartAsync(
            """
            cafile {dir}/ca.pem
            certfile {dir}/server.pem
            keyfile {dir}/server.key
            require_certificate true
            """,
            MakeCertificates);
        var trusted = broker.DeviceConnection with
        {
            Url = broker.Url.Replace("mqtt://", "mqtts://", StringComparison.Ordinal),
            CaFile = broker.PathOf("ca.pem"),
            CertificateFile = broker.PathOf("client.pem"),
            KeyFile = broker.PathOf("client.key"),
        };

        await using (var connection = await BrokerConnection.OpenAsync(trusted, "tls", null, (_, _) => Task.CompletedTask, spokeV5: false, CancellationToken.None))
        {
            await connection.PublishAsync("a", "x"u8.ToArray(), 1, retain: false, null, CancellationToken.None);
        }

        var stranger = await Refused(trusted with { CaFile = broker.PathOf("other.pem") });
        Assert.Equal(ErrorKind.Unavailable, stranger.Kind);
        Assert.Contains("certificate", stranger.Message, StringComparison.OrdinalIgnoreCase);
        await Refused(trusted with { CertificateFile = null, KeyFile = null });
        Assert.Equal(ErrorKind.Denied, (await Refused(trusted with { Password = "wrong" })).Kind);
        Assert.Equal(ErrorKind.Invalid, (await Refused(trusted with { CaFile = "/no/such/file" })).Kind);

        static Task<EdgeHostException> Refused(MqttOptions options) => Assert.ThrowsAnyAsync<EdgeHostException>(() =>
            BrokerConnection.OpenAsync(options, "tls", null, (_, _) => Task.CompletedTask, spokeV5: false, CancellationToken.None));
    }

    [Fact]
    public async Task The_password_comes_from_the_first_line_of_its_file()
    {
        await using var broker = await MosquittoUnderTest.StartAsync();
        using var password = new TemporaryFile("secret\nand more"u8.ToArray());

        await using var connection = await BrokerConnection.OpenAsync(
            broker.DeviceConnection with { Password = null, PasswordFile = password.Path }, "file", null, (_, _) => Task.CompletedTask, spokeV5: false, CancellationToken.None);

        Assert.True(connection.IsV5);
    }

    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task A_retained_an_expired_and_a_malformed_command_are_not_carried_out(string kind)
    {
        await using var broker = await BrokerUnderTest.StartAsync(kind);
        await broker.PublishAsync(broker.Topics.Commands + "stop", """{"workload":"web"}"""u8.ToArray(), "-r");
        await using var device = await DeviceUnderTest.StartAsync(broker);
        await device.Board.DeployAsync(1, "web=nginx:1");
        var responses = broker.Topics.Responses + "me";
        await using var answers = await Subscription.StartAsync(broker, responses);
        await device.SettledAsync(Runs(1));

        Assert.Equal("unavailable", await Kind("stop", """{"workload":"web","expires_at":"2001-01-01T00:00:00Z"}"""));
        Assert.Equal("invalid", await Kind("stop", """{"workload":"web","grace":"soon"}"""));
        Assert.Equal("invalid", await Kind("stop", """{"workload":"web","force":true}"""));
        Assert.Equal("invalid", await Kind("stop", "{"));
        Assert.Equal("invalid", await Kind("stop", new string(' ', 20_000)));
        Assert.Equal("invalid", await Kind("logs", """{"workload":"web","tail":100000}"""));
        Assert.Equal("not_found", await Kind("stop", """{"workload":"nginx"}"""));
        Assert.Equal("unsupported", await Kind("format-disk", ""));
        Assert.Equal("web=nginx:1", device.Board.Running());

        async Task<string?> Kind(string command, string request)
        {
            await broker.PublishAsync(
                broker.Topics.Commands + command, Encoding.UTF8.GetBytes(request), "-V", "5", "-D", "publish", "response-topic", responses, "-D", "publish", "correlation-data", "c-" + command);
            var answer = await answers.UntilAsync(heard => heard.Correlation == "c-" + command);
            return JsonDocument.Parse(answer.Payload).RootElement.GetProperty("error").GetProperty("kind").GetString();
        }
    }

    [Fact]
    public async Task An_answer_is_never_published_as_somebodys_desired_state()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await using var device = await DeviceUnderTest.StartAsync(broker);
        await using var everything = await Subscription.StartAsync(broker, "edgehost/#", "free");
        await device.SettledAsync();
        foreach (var topic in (string[])["edgehost/v1/other/desired", broker.Topics.Desired, broker.Topics.Commands + "stop", "edgehost/v1/groups/all/desired", "free"])
        {
            await broker.PublishAsync(broker.Topics.Commands + "stats", "{}"u8.ToArray(), "-V", "5", "-D", "publish", "response-topic", topic);
        }

        var first = await everything.UntilAsync(heard => heard.Payload.Contains("\"stats\"", StringComparison.Ordinal));

        Assert.Equal("free", first.Topic);
    }

    [Theory]
    [InlineData("board_1-A", true)]
    [InlineData("", false)]
    [InlineData("a/b", false)]
    [InlineData("a+b", false)]
    public void A_configured_name_must_fit_into_topics(string name, bool fits)
    {
        var directory = Directory.CreateTempSubdirectory("edgehost-device-").FullName;
        try
        {
            if (fits)
            {
                Assert.Equal(name, DeviceId.Resolve(name, directory));
            }
            else
            {
                Assert.Throws<EdgeHostException>(() => DeviceId.Resolve(name, directory));
            }
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void A_derived_name_is_fixed_at_the_first_start()
    {
        var directory = Directory.CreateTempSubdirectory("edgehost-device-").FullName;
        var first = DeviceId.Resolve(null, directory);
        File.WriteAllText(Path.Combine(directory, "device-id"), "before-the-rename\n");

        Assert.Matches("^[A-Za-z0-9_-]+-[0-9a-f]{8}$", first);
        Assert.Equal("before-the-rename", DeviceId.Resolve(null, directory));
        Assert.Equal(64, DeviceId.Derive(new string('x', 100), "01234567").Length);
        Assert.Equal("a-b-01234567", DeviceId.Derive("a b.example.org", "01234567"));
        Directory.Delete(directory, recursive: true);
    }

    private static MqttOptions Through(MosquittoUnderTest broker, CuttableProxy wire) =>
        broker.DeviceConnection with { Url = string.Create(CultureInfo.InvariantCulture, $"mqtt://127.0.0.1:{wire.Port}") };

    private static Func<JsonElement, bool> Runs(long version) => state =>
        state.GetProperty("deployment").GetProperty("version").GetInt64() == version && state.GetProperty("deployment").GetProperty("phase").GetString() == "running";

    private static Func<JsonElement, bool> Failed(long version) => state =>
        state.GetProperty("deployment").GetProperty("phase").GetString() is "failed" or "running"
        && state.GetProperty("deployment").TryGetProperty("failure", out var failure)
        && failure.TryGetProperty("version", out var refused)
        && refused.GetInt64() == version;

    private static (string?, string?) Failure(JsonElement state)
    {
        var failure = state.GetProperty("deployment").GetProperty("failure");
        return (failure.GetProperty("outcome").GetString(), failure.GetProperty("kind").GetString());
    }

    private static Func<Heard, bool> StateIs(string state) => heard => JsonDocument.Parse(heard.Payload).RootElement.GetProperty("state").GetString() == state;

    private static void MakeCertificates(string directory)
    {
        const string Script = """
            set -e
            for ca in ca other; do openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem; done
            for name in server client; do
              openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
              echo subjectAltName=IP:127.0.0.1 > $name.ext
              openssl x509 -req -days 2 -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $name.ext -out $name.pem
            done
            """;
        using var shell = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("bash", ["-c", Script])
        {
            WorkingDirectory = directory,
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        })!;
        var output = shell.StandardOutput.ReadToEndAsync();
        var error = shell.StandardError.ReadToEnd();
        shell.WaitForExit();
        Assert.True(shell.ExitCode == 0, error + output.Result);
    }
}
