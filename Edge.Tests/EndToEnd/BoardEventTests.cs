using System.Text;
using System.Text.Json.Nodes;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What is wrong with a board is told when it begins and when it ends, at the broker and on the board.</summary>
public sealed class BoardEventTests
{
    [Fact]
    public async Task A_disk_that_is_nearly_full_is_told_at_the_broker_and_on_the_board_and_so_is_its_end()
    {
        await using var daemon = DaemonUnderTest.Make();
        var small = Path.Combine(Path.GetDirectoryName(daemon.ConfigFile)!, "small");
        Directory.CreateDirectory(small);
        (await CommandRun.RunAsync("mount", ["-t", "tmpfs", "-o", "size=32m", "small", small])).Succeeds();
        daemon.Data = Path.Combine(small, "data");
        await daemon.StartAsync();
        var broker = new DaemonBroker(daemon);
        await using var events = await Subscription.StartAsync(broker, broker.Topics.Events);

        await File.WriteAllBytesAsync(small + "/ballast", new byte[31 << 20], TestContext.Current.CancellationToken);
        var reason = await HearAsync("disk_full: begins");
        File.Delete(small + "/ballast");
        Assert.Equal(reason, await HearAsync("disk_full: ends"));

        Assert.StartsWith($"the file system of {daemon.Data} has ", reason, StringComparison.Ordinal);
        Assert.EndsWith(" MiB free of 32; edgehost system df says what takes it", reason, StringComparison.Ordinal);
        var shown = (await daemon.DockerAsync("events", "--since", "1h", "--until", $"{DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 1}", "--filter", "type=board", "--filter", "event=disk_full", "--format", "{{.Action}}, {{.Actor.Attributes.reason}}")).Succeeds();
        Assert.Equal($"disk_full: begins, {reason}\ndisk_full: ends, {reason}\n", shown.Output);
        Assert.Contains("warning board: disk_full: begins: " + reason, daemon.Said, StringComparison.Ordinal);

        async Task<string> HearAsync(string action)
        {
            // Whoever asks for figures has the board looked at, too, which would else be in half a minute.
            await broker.PublishAsync(broker.Topics.Commands + "stats", Encoding.UTF8.GetBytes("{}"));
            var heard = JsonNode.Parse((await events.UntilAsync(each => (string?)JsonNode.Parse(each.Payload)!["action"] == action)).Payload)!;
            Assert.Equal(("board", DaemonUnderTest.Device), ((string?)heard["type"], (string?)heard["object_id"]));
            return (string)heard["attributes"]!["reason"]!;
        }
    }
}
