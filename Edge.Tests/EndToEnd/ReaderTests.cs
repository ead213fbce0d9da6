using System.Diagnostics;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Those who read from the daemon and stop reading.</summary>
public sealed class ReaderTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Theory]
    [InlineData("logs", "-f")]
    [InlineData("attach", "--no-stdin")]
    [InlineData("stats", "--no-trunc")]
    public async Task A_reader_that_is_killed_in_the_middle_of_the_output_is_let_go_without_a_word(string verb, string flag)
    {
        var id = await Daemon.RunDetachedAsync("--network", "none", "busybox", "sh", "-c", "while :; do echo more and more and more; done");
        var before = Daemon.Said.Length;
        for (var i = 0; i < 5; i++)
        {
            using var reader = Process.Start(new ProcessStartInfo("docker", ["-H", "unix://" + Daemon.Socket, verb, flag, id]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            Assert.NotEqual(-1, await reader.StandardOutput.BaseStream.ReadAsync(new byte[4096], TestContext.Current.CancellationToken));
            reader.Kill();
            await reader.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        // What was asked after them is answered after them; a removal waits for who still counts as a reader.
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.DoesNotContain("failed", Daemon.Said[before..], StringComparison.Ordinal);
        Assert.DoesNotContain("xception", Daemon.Said[before..], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Events_and_stats_into_head_end_when_head_has_enough()
    {
        var binary = await PublishedBinary.NativeAsync();
        var id = await Daemon.RunDetachedAsync("--network", "none", "--restart", "always", "busybox", "true");
        var events = await CommandRun.RunAsync("bash", ["-c", $"{binary} --host unix://{Daemon.Socket} events --filter container={id} | head -n 2 | wc -l; echo ${{PIPESTATUS[0]}}"]);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        var stats = await CommandRun.RunAsync("bash", ["-c", $"{binary} --host unix://{Daemon.Socket} stats | head -n 1; echo ${{PIPESTATUS[0]}}"]);

        Assert.Equal(("2\n141\n", string.Empty), (events.Output, events.Error));
        Assert.EndsWith("\n141\n", stats.Output, StringComparison.Ordinal);
        Assert.Empty(stats.Error);
    }
}
