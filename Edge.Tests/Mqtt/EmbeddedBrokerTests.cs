using System.Diagnostics;
using System.Net.Sockets;
using Edge.Tests.Fixtures;
using EdgeHost.Errors;
using EdgeHost.Mqtt;
using Xunit;

namespace Edge.Tests.Mqtt;

public sealed class EmbeddedBrokerTests
{
    [Fact]
    public async Task One_that_listens_at_all_addresses_is_reached_by_its_own_daemon_and_operator()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(static options => options with { Address = "0.0.0.0" });

        Assert.Equal($"mqtt://127.0.0.1:{broker.Broker.Address.Port}", broker.DeviceConnection.Url);
        Assert.Equal(broker.DeviceConnection.Url, broker.OperatorConnection.Url);
    }

    [Theory]
    [InlineData("311")]
    [InlineData("5")]
    public async Task Nobody_gets_in_without_a_password(string version)
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (host, port) = Endpoint(broker);

        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", "-V", version, "-h", host, "-p", port, "-q", "1", "-t", broker.Topics.Desired, "-m", "{}")).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", "-V", version, "-h", host, "-p", port, "-u", "operator", "-P", "wrong", "-q", "1", "-t", broker.Topics.Desired, "-m", "{}")).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", "-V", version, "-h", host, "-p", port, "-u", "edgehost", "-P", "", "-q", "1", "-t", broker.Topics.Desired, "-m", "{}")).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", "-V", version, "-h", host, "-p", port, "-u", "workload.web", "-P", "x", "-q", "1", "-t", broker.Topics.Telemetry + "web/a", "-m", "{}")).Code);
    }

    [Theory]
    [InlineData("311")]
    [InlineData("5")]
    public async Task A_workload_publishes_beneath_its_own_telemetry_root_and_nowhere_else(string version)
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        await using var everything = await Subscription.StartAsync(broker, "#");
        string[] forbidden =
        [
            broker.Topics.Desired, broker.Topics.Commands + "stop", broker.Topics.Reported, broker.Topics.Status, broker.Topics.Events,
            broker.Topics.Telemetry + "web", broker.Topics.Telemetry + "web2/a", broker.Topics.Telemetry + "db/a", "edgehost/v1/other/telemetry/web/a", "a",
        ];

        foreach (var topic in forbidden)
        {
            await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-V", version, "-q", "1", "-r", "-t", topic, "-m", "forged"]);
        }

        var allowed = await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-V", version, "-q", "1", "-t", broker.Topics.Telemetry + "web/temperature", "-m", "21.5"]);

        // What arrives first is the last one: nothing of the others came through.
        Assert.Equal(0, allowed.Code);
        Assert.Equal("21.5", (await everything.UntilAsync(_ => true)).Payload);
    }

    [Fact]
    public async Task A_workload_subscribes_beneath_its_own_telemetry_root_and_nowhere_else()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        await broker.PublishAsync(broker.Topics.Desired, "secret"u8.ToArray(), "-r");

        foreach (var filter in (string[])["#", "+/v1/+/desired", broker.Topics.Desired, broker.Topics.Telemetry + "#", broker.Topics.Telemetry + "+/a", "$share/g/" + broker.Topics.Desired, "edgehost/v1/#"])
        {
            var (_, output, error) = await BrokerUnderTest.TryRunAsync("mosquitto_sub", [.. As(broker, user, password), "-V", "5", "-d", "-W", "2", "-t", filter]);
            Assert.Contains("All subscription requests were denied", output + error, StringComparison.Ordinal);
            Assert.DoesNotContain("secret", output, StringComparison.Ordinal);
        }

        await BrokerUnderTest.RunAsync("mosquitto_pub", [.. As(broker, user, password), "-q", "1", "-r", "-t", broker.Topics.Telemetry + "web/a/b", "-m", "mine"]);
        Assert.Equal("mine\n", await BrokerUnderTest.RunAsync("mosquitto_sub", [.. As(broker, user, password), "-C", "1", "-W", "30", "-t", broker.Topics.Telemetry + "web/#"]));
    }

    [Fact]
    public async Task A_workload_cannot_forge_by_its_last_will()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        await using var everything = await Subscription.StartAsync(broker, "edgehost/#");

        foreach (var topic in (string[])[broker.Topics.Desired, broker.Topics.Telemetry + "web/last"])
        {
            using var dying = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stdbuf",
                ["-oL", "mosquitto_sub", .. As(broker, user, password), "-d", "-t", broker.Topics.Telemetry + "web/x", "--will-topic", topic, "--will-payload", "gone", "--will-retain"])
            { RedirectStandardOutput = true })!;
            while (await dying.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && !line.StartsWith("Subscribed", StringComparison.Ordinal))
            {
            }

            dying.Kill();
            await dying.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal(broker.Topics.Telemetry + "web/last", (await everything.UntilAsync(_ => true)).Topic);
    }

    [Fact]
    public async Task Nobody_takes_over_the_client_id_of_somebody_with_other_rights()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        string[] publish = ["-q", "1", "-t", broker.Topics.Telemetry + "web/a", "-m", "x"];

        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-i", user, .. publish])).Code);
        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-i", user + "/2", .. publish])).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-i", MqttAgent.ClientIdOf(BrokerUnderTest.Device), .. publish])).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-i", "workload.db", .. publish])).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. broker.Arguments.Split(' '), "-i", MqttAgent.ClientIdOf(BrokerUnderTest.Device), .. publish])).Code);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. broker.Arguments.Split(' '), "-i", user, .. publish])).Code);
    }

    [Fact]
    public async Task A_containers_credential_outlives_a_restart_is_written_nowhere_and_ends_with_the_container()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        var (_, next) = broker.Grant("web", "c2");
        var before = broker.OperatorConnection.Password;
        await broker.StopBrokerAsync();

        await broker.StartAgainAsync();

        string[] publish = ["-q", "1", "-t", broker.Topics.Telemetry + "web/a", "-m", "x"];
        Assert.Equal(before, broker.OperatorConnection.Password);
        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), .. publish])).Code);
        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, next), .. publish])).Code);
        Assert.NotEqual(0, (await CommandRun.RunAsync("grep", ["-r", "-q", "-e", password, broker.Options.Directory])).ExitCode);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(broker.Options.Directory, "workloads.key")));

        broker.Granted.RemoveAt(0);
        Assert.NotEqual(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), .. publish])).Code);
        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, next), .. publish])).Code);
    }

    [Fact]
    public async Task A_workload_that_is_refused_again_and_again_fills_no_log()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        string[] publish = [.. As(broker, user, password), "-q", "1", "-l", "-t", broker.Topics.Desired];
        using var refused = Process.Start(new ProcessStartInfo("mosquitto_pub", publish) { RedirectStandardInput = true })!;
        for (var i = 0; i < 500; i++)
        {
            await refused.StandardInput.WriteLineAsync("{}");
        }

        refused.StandardInput.Close();
        await refused.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);

        Assert.InRange(broker.Warnings.Count(line => line.Contains("may not publish", StringComparison.Ordinal)), 1, 20);
        Assert.Single(broker.Warnings, line => line.Contains("are not said", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Who_is_connected_by_the_password_of_a_container_that_is_gone_is_disconnected()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("web");
        var (_, next) = broker.Grant("web", "c2");
        using var old = await ListenAsync(user, password);
        using var young = await ListenAsync(user + "/2", next);

        broker.Granted.RemoveAt(0);
        await broker.Broker.EndVoidAsync();

        // Nothing was published that could have ended it.
        await old.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);

        Assert.Equal(0, (await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. broker.Arguments.Split(' '), "-q", "1", "-t", broker.Topics.Telemetry + "web/a", "-m", "x"])).Code);
        await young.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);
        Assert.Equal(0, young.ExitCode);

        async Task<Process> ListenAsync(string clientId, string secret)
        {
            string[] listen = ["-oL", "mosquitto_sub", "-d", "-V", "5", "-C", "1", .. As(broker, user, secret), "-i", clientId, "-t", broker.Topics.Telemetry + "web/#"];
            var listening = Process.Start(new ProcessStartInfo("stdbuf", listen) { RedirectStandardOutput = true })!;
            while (await listening.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line && !line.StartsWith("Subscribed", StringComparison.Ordinal))
            {
            }

            return listening;
        }
    }

    [Fact]
    public async Task A_workload_reads_of_others_what_it_was_granted_and_no_more()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var (user, password) = broker.Grant("board", "c1", "sensor/#", "door/state");

        foreach (var (filter, isAllowed) in ((string, bool)[])
        [
            ("sensor/#", true), ("sensor/temperature", true), ("sensor/+/now", true), ("door/state", true), ("board/own", true),
            ("door/#", false), ("door/code", false), ("+/state", false), ("#", false), ("sensor", false), ("../desired", false),
        ])
        {
            var (_, output, error) = await BrokerUnderTest.TryRunAsync("mosquitto_sub", [.. As(broker, user, password), "-V", "5", "-d", "-W", "1", "-t", broker.Topics.Telemetry + filter]);
            Assert.True(!(output + error).Contains("denied", StringComparison.Ordinal) == isAllowed, $"{filter}: {output}{error}");
        }

        foreach (var filter in (string[])[broker.Topics.Desired, broker.Topics.Device + "#", broker.Topics.Commands + "#", "$share/x/" + broker.Topics.Telemetry + "door/#"])
        {
            var (_, output, error) = await BrokerUnderTest.TryRunAsync("mosquitto_sub", [.. As(broker, user, password), "-V", "5", "-d", "-W", "1", "-t", filter]);
            Assert.True((output + error).Contains("denied", StringComparison.Ordinal), $"{filter}: {output}{error}");
        }
    }

    [Theory]
    [InlineData("root", UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead)]
    [InlineData("no-such-group-here", UnixFileMode.UserRead | UnixFileMode.UserWrite)]
    public async Task The_operators_credential_is_for_root_and_its_group_where_there_is_one(string group, UnixFileMode mode)
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(options => options with { Group = group });

        Assert.Equal(mode, File.GetUnixFileMode(broker.Broker.OperatorFile));
        Assert.Equal(
            mode.HasFlag(UnixFileMode.GroupRead) ? UnixFileMode.GroupExecute : UnixFileMode.None,
            File.GetUnixFileMode(broker.Options.Directory) & (UnixFileMode.GroupExecute | UnixFileMode.OtherExecute | UnixFileMode.OtherRead));
    }

    [Fact]
    public async Task A_start_does_not_write_the_operators_credential_again()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await broker.StopBrokerAsync();
        await broker.StartAgainAsync();
        await broker.StopBrokerAsync();
        File.SetLastWriteTimeUtc(broker.Broker.OperatorFile, DateTime.UnixEpoch);

        await broker.StartAgainAsync();

        Assert.Equal(DateTime.UnixEpoch, File.GetLastWriteTimeUtc(broker.Broker.OperatorFile));
    }

    [Fact]
    public async Task A_group_that_was_made_anew_with_another_id_has_the_operators_credential_after_a_start()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(options => options with { Group = "root" });
        await broker.StopBrokerAsync();
        (await CommandRun.RunAsync("chgrp", ["4711", broker.Broker.OperatorFile])).Succeeds();

        await broker.StartAgainAsync();

        Assert.Equal("0\n", (await CommandRun.RunAsync("stat", ["-c", "%g", broker.Broker.OperatorFile])).Succeeds().Output);
    }

    [Fact]
    public async Task A_retained_message_is_on_disk_once_it_is_acknowledged_and_comes_back_after_a_restart()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await broker.PublishAsync("a/kept", "one"u8.ToArray(), "-r", "-V", "5", "-D", "publish", "content-type", "text/plain");
        Assert.Single(Directory.GetFiles(Path.Combine(broker.Options.Directory, "retained")));
        await broker.PublishAsync("a/changed", "one"u8.ToArray(), "-r");
        await broker.PublishAsync("a/changed", "two"u8.ToArray(), "-r");
        await broker.PublishAsync("a/deleted", "one"u8.ToArray(), "-r");
        await broker.PublishAsync("a/deleted", [], "-r");
        await broker.StopBrokerAsync();

        await broker.StartAgainAsync();

        Assert.Equal(2, Directory.GetFiles(Path.Combine(broker.Options.Directory, "retained")).Length);
        await using var all = await Subscription.StartAsync(broker, "a/#");
        var first = await all.UntilAsync(_ => true);
        var second = await all.UntilAsync(_ => true);
        Assert.Equal(["a/changed two", "a/kept one"], new[] { $"{first.Topic} {first.Payload}", $"{second.Topic} {second.Payload}" }.Order(StringComparer.Ordinal));
        Assert.True(first.Retained);
        Assert.Equal("text/plain", first.Topic == "a/kept" ? first.ContentType : second.ContentType);
    }

    [Fact]
    public async Task A_damaged_retained_message_is_put_aside_and_the_others_come_back()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await broker.PublishAsync("a/damaged", "one"u8.ToArray(), "-r");
        var file = Assert.Single(Directory.GetFiles(Path.Combine(broker.Options.Directory, "retained")));
        await broker.PublishAsync("a/whole", "two"u8.ToArray(), "-r");
        await broker.StopBrokerAsync();
        var bytes = await File.ReadAllBytesAsync(file, TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(file, bytes[..^3], TestContext.Current.CancellationToken);

        await broker.StartAgainAsync();

        Assert.Equal("two", await broker.ReadAsync("a/#"));
        Assert.True(File.Exists(file + ".damaged"));
    }

    [Fact]
    public async Task What_is_more_than_may_be_retained_is_refused_and_what_was_there_stays()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(options => options with { MaximumRetainedMessagesPerWorkload = 2 });
        var (user, password) = broker.Grant("web");
        for (var i = 1; i <= 2; i++)
        {
            await BrokerUnderTest.RunAsync("mosquitto_pub", [.. As(broker, user, password), "-q", "1", "-r", "-t", $"{broker.Topics.Telemetry}web/{i}", "-m", "x"]);
        }

        var (_, output, error) = await BrokerUnderTest.TryRunAsync("mosquitto_pub", [.. As(broker, user, password), "-V", "5", "-d", "-q", "1", "-r", "-t", $"{broker.Topics.Telemetry}web/3", "-m", "x"]);

        Assert.Contains("RC:151", output + error, StringComparison.Ordinal); // Quota exceeded
        Assert.Equal(2, Directory.GetFiles(Path.Combine(broker.Options.Directory, "retained")).Length);
        await BrokerUnderTest.RunAsync("mosquitto_pub", [.. As(broker, user, password), "-q", "1", "-r", "-t", $"{broker.Topics.Telemetry}web/2", "-m", "changed"]);
    }

    [Fact]
    public async Task A_stranger_who_announces_a_huge_packet_is_cut_off_before_anything_is_allocated()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        using var client = new TcpClient();
        await client.ConnectAsync(broker.Broker.Address, TestContext.Current.CancellationToken);
        var before = GC.GetTotalAllocatedBytes();

        // CONNECT of 268,435,455 bytes.
        await client.GetStream().WriteAsync((byte[])[0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4], TestContext.Current.CancellationToken);

        Assert.Equal(0, await ReadToEndAsync(client));
        Assert.True(GC.GetTotalAllocatedBytes() - before < 200_000_000);
    }

    [Fact]
    public async Task One_client_more_than_allowed_is_turned_away_and_let_in_once_another_has_gone()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(options => options with { MaximumConnections = 2 });
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        broker.Broker.ConnectionEnded += () => gone.TrySetResult();
        using var first = new TcpClient();
        await first.ConnectAsync(broker.Broker.Address, TestContext.Current.CancellationToken);
        using (var second = new TcpClient())
        {
            await second.ConnectAsync(broker.Broker.Address, TestContext.Current.CancellationToken);
            using var third = new TcpClient();
            await third.ConnectAsync(broker.Broker.Address, TestContext.Current.CancellationToken);
            Assert.Equal(0, await ReadToEndAsync(third));
        }

        await gone.Task.WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);
        await broker.PublishAsync("a", "x"u8.ToArray());
    }

    [Fact]
    public async Task What_is_retained_while_somebody_subscribes_reaches_the_subscriber()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await using var publisher = await OpenAsync(broker, "publisher", _ => { });
        for (var round = 0; round < 100; round++)
        {
            var last = $"value {round}";
            var heard = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var subscriber = await OpenAsync(broker, $"subscriber-{round}", message =>
            {
                if (System.Text.Encoding.UTF8.GetString(System.Buffers.BuffersExtensions.ToArray(message.Payload)) == last)
                {
                    heard.TrySetResult();
                }
            });

            var subscribing = subscriber.SubscribeAsync(["a/+"], CancellationToken.None);
            await publisher.PublishAsync("a/b", System.Text.Encoding.UTF8.GetBytes(last), 1, retain: true, null, CancellationToken.None);
            await subscribing;

            await heard.Task.WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task Properties_count_against_the_bound_of_retained_messages()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync(options => options with { MaximumRetainedBytes = 1000 });

        var (_, _, error) = await BrokerUnderTest.TryRunAsync("mosquitto_pub", [
            .. broker.Arguments.Split(' '), "-V", "5", "-d", "-q", "1", "-r", "-t", "a", "-m", "x", "-D", "publish", "user-property", "name", new string('y', 2000)]);
        var (code, output, _) = await BrokerUnderTest.TryRunAsync("mosquitto_sub", [.. broker.Arguments.Split(' '), "-t", "a", "-C", "1", "-W", "1"]);

        Assert.True(code != 0 && output.Length == 0, $"retained: {output}{error}");
    }

    [Fact]
    public async Task Clients_that_have_gone_are_forgotten_and_one_that_takes_over_the_id_of_another_is_not()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        var heard = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var first = await OpenAsync(broker, "same", static _ => { });
        await using (var second = await OpenAsync(broker, "same", _ => heard.TrySetResult()))
        {
            Assert.True((await first.Ended.WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken)).IsTakenOver);

            // Each comes with an id of its own.
            for (var i = 0; i < 5; i++)
            {
                await broker.PublishAsync("a", "x"u8.ToArray());
            }

            await KnowsAsync(1);
            await second.SubscribeAsync(["b"], TestContext.Current.CancellationToken);
            await second.PublishAsync("b", "x"u8.ToArray(), 1, retain: false, null, TestContext.Current.CancellationToken);
            await heard.Task.WaitAsync(BrokerUnderTest.Patience, TestContext.Current.CancellationToken);
        }

        await KnowsAsync(0);

        async Task KnowsAsync(int clients)
        {
            using var patience = new CancellationTokenSource(BrokerUnderTest.Patience);
            while (broker.Broker.KnownClients != clients)
            {
                await Task.Delay(20, patience.Token);
            }
        }
    }

    [Fact]
    public async Task An_address_that_is_taken_is_said_so()
    {
        await using var broker = await EmbeddedUnderTest.StartAsync();
        await using var other = broker.MakeAnother();

        var failure = await Assert.ThrowsAsync<EdgeHostException>(() => other.StartAsync(CancellationToken.None));

        Assert.Equal(ErrorKind.Conflict, failure.Kind);
        Assert.Contains(broker.Broker.Address.ToString(), failure.Message, StringComparison.Ordinal);
    }

    private static Task<BrokerConnection> OpenAsync(BrokerUnderTest broker, string clientId, Action<MQTTnet.MqttApplicationMessage> onMessage) =>
        BrokerConnection.OpenAsync(
            broker.OperatorConnection,
            clientId,
            null,
            (_, message) =>
            {
                onMessage(message);
                return Task.CompletedTask;
            },
            spokeV5: false,
            CancellationToken.None);

    private static string[] As(BrokerUnderTest broker, string user, string password)
    {
        var (host, port) = Endpoint(broker);
        return ["-h", host, "-p", port, "-u", user, "-P", password];
    }

    private static (string Host, string Port) Endpoint(BrokerUnderTest broker)
    {
        var parts = broker.Arguments.Split(' ');
        return (parts[1], parts[3]);
    }

    private static async Task<int> ReadToEndAsync(TcpClient client)
    {
        var buffer = new byte[16];
        try
        {
            return await client.GetStream().ReadAsync(buffer).AsTask().WaitAsync(BrokerUnderTest.Patience);
        }
        catch (IOException reset) when (reset.InnerException is SocketException)
        {
            return 0;
        }
    }
}
