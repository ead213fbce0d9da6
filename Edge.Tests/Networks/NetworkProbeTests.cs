using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.Networks;

/// <summary>How a kernel that lacks something says so: it is asked for what no kernel has.</summary>
public sealed class NetworkProbeTests : IDisposable
{
    private readonly NamespacedNetwork _machine = new();

    public void Dispose() => _machine.Dispose();

    [Theory]
    [InlineData("bridge", true)]
    [InlineData("veth", true)]
    [InlineData("no-such-kind", false)]
    public void A_kind_of_interface_that_the_kernel_does_not_know_is_told_from_one_that_it_knows(string kind, bool isKnown)
    {
        using var route = _machine.Namespace.Run(() => NetlinkSocket.Open(NetlinkProtocol.Route));

        Assert.Equal(isKnown, NetworkProbe.AskForLink(route, kind) != Errno.EOPNOTSUPP);
    }

    [Theory]
    [InlineData("nat", true)]
    [InlineData("masq", true)]
    [InlineData("no-such-expression", false)]
    public void An_expression_of_nftables_that_the_kernel_does_not_know_is_told_from_one_that_it_knows(string expression, bool isKnown)
    {
        using var netfilter = _machine.Namespace.Run(() => NetlinkSocket.Open(NetlinkProtocol.Netfilter));

        Assert.Equal(isKnown, NetworkProbe.AskForExpression(netfilter, expression) != Errno.ENOENT);
    }

    [Fact]
    public void A_kernel_without_nftables_refuses_a_change_of_them_rather_than_never_answering()
    {
        using var netfilter = _machine.Namespace.Run(() => NetlinkSocket.Open(NetlinkProtocol.Netfilter));
        const byte noSuchSubsystem = 77;

        var refusal = Assert.Throws<LinuxException>(() => netfilter.Transact(noSuchSubsystem, [new NetlinkMessage(0, NetlinkFlags.Create, 0, 0, 0, 0)], "ask for what is not there"));

        Assert.True(refusal.Errno is Errno.EOPNOTSUPP or Errno.EINVAL, refusal.Message);
    }

    [Fact]
    public void Nothing_is_missing_where_networks_work_and_nothing_of_the_question_stays()
    {
        Assert.Equal([], NetworkProbe.MissingOptions());
        Assert.DoesNotContain("probe", _machine.Run("nft", "list", "ruleset"), StringComparison.Ordinal);
    }
}
