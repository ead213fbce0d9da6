using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>images/hog does what its page says: it takes all that it can get, and a limit stops it.</summary>
public sealed class HogTests
{
    [Fact]
    public async Task What_takes_all_it_can_get_is_held_by_its_limits()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();
        await daemon.LoadAsync("hog");

        var run = (await daemon.EdgehostAsync("run", "--name", "memory", "-m", "16m", "hog", "memory")).Exits(137);
        Assert.Contains("holding 1048576 bytes, asking for as many again", run.Output, StringComparison.Ordinal);
        Assert.Equal("137 true\n", (await daemon.EdgehostAsync("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", "memory")).Succeeds().Output);

        // Its fork fails: the shell says so and ends.
        run = await daemon.EdgehostAsync("run", "--name", "pids", "--pids-limit", "32", "-m", "16m", "hog", "pids");
        Assert.Contains("holding 20 processes", run.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("holding 40 processes", run.Output, StringComparison.Ordinal);
        Assert.Contains("fork", run.Error, StringComparison.Ordinal);

        Assert.Contains("memory, cpu or pids, not \"disk\"", (await daemon.EdgehostAsync("run", "--rm", "hog", "disk")).Exits(2).Error, StringComparison.Ordinal);
    }
}
