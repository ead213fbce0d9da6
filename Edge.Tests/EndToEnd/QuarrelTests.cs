using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A neighbour that will not have it.</summary>
public sealed class QuarrelTests(MachineOfItsOwn machine) : IClassFixture<MachineOfItsOwn>
{
    [Fact]
    public async Task A_program_that_takes_the_table_away_again_and_again_gets_its_way_until_the_next_container_starts()
    {
        await Packages.NeedAsync("nftables");
        var daemon = machine.Daemon;
        var id = await daemon.RunDetachedAsync("-p", "18080:8080", "busybox", "sleep", "1000");
        string[] table = ["table", "inet", "edgehost-" + daemon.Bridge];
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (!daemon.Said.Contains("20 times within a minute, and is left so", StringComparison.Ordinal))
        {
            Assert.False(patience.IsCancellationRequested, daemon.Said);

            // Where it is not back yet, there is nothing to delete.
            await machine.InAsync(["nft", "delete", .. table]);
        }

        Assert.Equal(20, daemon.Said.Split('\n').Count(line => line.Contains("was written anew", StringComparison.Ordinal)));
        Assert.NotEqual(0, (await machine.InAsync(["nft", "list", .. table])).ExitCode);

        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        Assert.Contains("18080", (await machine.InAsync(["nft", "list", .. table])).Succeeds().Output, StringComparison.Ordinal);
        (await daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }
}
