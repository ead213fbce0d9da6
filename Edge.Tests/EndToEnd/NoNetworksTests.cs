using Edge.Tests.Board;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A board whose kernel was built without what networks need: it says what that is, and runs containers without.</summary>
public sealed class NoNetworksTests
{
    private const string Lacking = "module_blacklist=bridge,veth,macvlan,nf_tables";

    [Fact]
    public async Task A_kernel_that_cannot_make_networks_is_told_of_by_its_options_and_runs_containers_without()
    {
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { KernelArguments = Lacking });

        var said = (await DaemonScript.RunOnAsync(board, "no-networks.sh")).Succeeds().Output;

        Assert.Matches("lacks +networks +this kernel lacks CONFIG_BRIDGE, CONFIG_VETH, CONFIG_MACVLAN, CONFIG_NF_TABLES\n", said);
        Assert.Contains("RUN rc=125 edgehost: networks need a kernel with CONFIG_BRIDGE, CONFIG_VETH, CONFIG_MACVLAN, CONFIG_NF_TABLES, and this one lacks that; containers run with --network none or host\n", said, StringComparison.Ordinal);
        Assert.Contains("PUBLISHED rc=125 edgehost: networks need a kernel with CONFIG_BRIDGE, ", said, StringComparison.Ordinal);
        Assert.Contains("NETWORK rc=1 edgehost: network somewhere: a network of driver bridge needs a kernel with CONFIG_BRIDGE, CONFIG_VETH, CONFIG_NF_TABLES, ", said, StringComparison.Ordinal);
        Assert.Contains("NONE rc=0 works\n", said, StringComparison.Ordinal);
        Assert.Contains("HOST rc=0 works\n", said, StringComparison.Ordinal);
        Assert.Contains("AFTER containers=0 interfaces=lo \n", said, StringComparison.Ordinal);
    }
}
