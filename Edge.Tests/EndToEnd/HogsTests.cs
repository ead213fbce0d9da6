using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using EdgeHost.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board whose workloads take all that they can get is still in the operator's hands.</summary>
public sealed class HogsTests
{
    private const string Start =
        """
        set -eu
        mkdir -p /tmp/hogs
        echo '{ "device": { "id": "board-1" }, "cgroupRoot": "edgehost-hogs", "broker": { "listen": "0.0.0.0:1883" } }' > /tmp/hogs/edgehost.json
        mkfifo /tmp/hogs/log
        setsid edgehost daemon --config /tmp/hogs/edgehost.json --data-dir /tmp/hogs/data --run-dir /tmp/hogs/run 2> /tmp/hogs/log &
        exec 3< /tmp/hogs/log
        while read -r line <&3; do
          case $line in *"ready; the API"*) break ;; esac
        done
        setsid cat <&3 > /tmp/hogs/said 2>&1 &
        edgehost --host unix:///tmp/hogs/run/edgehost.sock load -i /mnt/share/busybox.tar > /dev/null
        cp /tmp/hogs/data/broker/operator.json /mnt/share/
        """;

    private const string Hogs =
        """
        {"version":1,"workloads":{
          "memory":{"image":"localhost/busybox:latest","command":["sh","-c","sleep 1; tail /dev/zero"],"mem_limit":"24m","cpus":0.5,"pids_limit":16,"restart":"always","network_mode":"none","pull_policy":"never"},
          "cpu":{"image":"localhost/busybox:latest","command":["sh","-c","while :; do :; done & while :; do :; done"],"mem_limit":"16m","cpus":0.5,"pids_limit":16,"network_mode":"none","pull_policy":"never"},
          "forks":{"image":"localhost/busybox:latest","command":["awk","BEGIN { while (1) system(\"sleep 1000 &\") }"],"mem_limit":"16m","cpus":0.5,"pids_limit":20,"network_mode":"none","pull_policy":"never"}}}
        """;

    [Fact]
    public async Task A_fork_bomb_a_memory_hog_and_a_CPU_hog_at_once_leave_commands_over_MQTT_answered()
    {
        await BrokerUnderTest.NeedMosquittoAsync();
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Network = true, Forward = 1883 });
        File.Copy(await SampleImage.PathAsync("busybox", "arm64"), Path.Combine(board.Share, "busybox.tar"));
        (await board.RunAsync(Start)).Succeeds();
        var broker = new BoardBroker(board);
        await broker.PublishAsync(broker.Topics.Desired, System.Text.Encoding.UTF8.GetBytes(Hogs), "-r");

        var answers = new List<TimeSpan>();
        JsonNode? stats = null;
        var began = Stopwatch.GetTimestamp();
        while (!AllAreHeld(stats))
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromMinutes(4), $"not all of them have come to their limits: {stats}");
            var asked = Stopwatch.GetTimestamp();
            stats = (await AskAsync(board, broker, "stats", "{}"))["stats"];
            answers.Add(Stopwatch.GetElapsedTime(asked));
        }

        // To the board and back, with the start of the client.
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"HOGS answers={answers.Count} median={answers.Order().ElementAt(answers.Count / 2).TotalMilliseconds:0} ms longest={answers.Max().TotalMilliseconds:0} ms"));

        // It is carried out, too.
        var stop = await AskAsync(board, broker, "stop", """{"workload":"forks","grace":"1s"}""");
        Assert.Equal("exited", (string?)stop["state"]?["state"]);
    }

    private static async Task<JsonNode> AskAsync(EmulatedBoard board, BoardBroker broker, string command, string request)
    {
        const string Root = $"edgehost/v1/{BrokerUnderTest.Device}";
        var asked = await BrokerUnderTest.TryRunAsync(
            "mosquitto_rr", [.. broker.Arguments.Split(' '), "-V", "mqttv5", "-q", "1", "-W", "50", "-t", $"{Root}/commands/{command}", "-e", $"{Root}/responses/hogs", "-m", request]);
        if (asked.Code != 0)
        {
            Assert.Fail($"{command} was not answered: {asked.Error}\n{await board.RunAsync("cat /tmp/hogs/said")}");
        }

        var answer = JsonNode.Parse(asked.Output)!;
        Assert.True((bool)answer["ok"]!, asked.Output);
        return answer;
    }

    private static bool AllAreHeld(JsonNode? stats) =>
        stats?["memory"] is { } memory && (long?)memory["restarts"] >= 2
        && (double?)stats["cpu"]?["use"]?["throttled_seconds"] > 1
        && (long?)stats["forks"]?["use"]?["pids"] == 20;

    private sealed class BoardBroker(EmulatedBoard board) : BrokerUnderTest
    {
        public override MqttOptions DeviceConnection => throw new NotSupportedException("the daemon connects to it inside its process");

        public override MqttOptions OperatorConnection =>
            DeployClient.ReadOperator(Path.Combine(board.Share, "operator.json")) with { Url = string.Create(CultureInfo.InvariantCulture, $"mqtt://127.0.0.1:{board.ForwardedPort}") };

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
