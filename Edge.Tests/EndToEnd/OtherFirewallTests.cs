using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Firewalls that people have, and that what edgehost check says of each is enough.</summary>
public sealed class OtherFirewallTests(MachineOfItsOwn machine) : IClassFixture<MachineOfItsOwn>
{
    private DaemonUnderTest Daemon => machine.Daemon;

    [Fact]
    public async Task Iptables_legacy_lets_containers_through_by_the_lines_that_check_prints()
    {
        await Packages.NeedAsync("iptables");
        await ShellAsync("iptables-legacy -A INPUT -i lo -j ACCEPT; iptables-legacy -P INPUT DROP; iptables-legacy -P FORWARD DROP");
        try
        {
            await HelpsAsync("iptables-legacy");
        }
        finally
        {
            await ShellAsync("for i in INPUT FORWARD; do iptables-legacy -P $i ACCEPT; iptables-legacy -F $i; done");
        }
    }

    [Fact]
    public async Task Ufw_lets_containers_through_by_the_lines_that_check_prints()
    {
        await Packages.NeedAsync("ufw", "iptables");
        await ShellAsync("ufw --force enable");
        try
        {
            await HelpsAsync("ufw");
        }
        finally
        {
            await ShellAsync("ufw --force disable; for i in iptables ip6tables; do $i -F; $i -X; done");
        }
    }

    /// <summary>A container reaches neither the world nor this machine's broker, and both when what the check names was done.</summary>
    private async Task HelpsAsync(string name)
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var gateway = await Daemon.InspectAsync(id, "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}");
        var broker = $"exec 3<>/dev/tcp/{gateway}/{Daemon.BrokerPort}";

        // Nobody listens there; who says so was reached.
        const string World = $"exec 3<>/dev/tcp/{MachineOfItsOwn.World}/9";
        Assert.NotEqual(0, (await AskAsync("1", broker)).ExitCode);
        Assert.DoesNotContain("refused", (await AskAsync("1", World)).Error, StringComparison.Ordinal);

        var lines = (await CommandRun.RunAsync("nsenter", ["-t", $"{Daemon.Pid}", "-n", "-m", await PublishedBinary.NativeAsync(), "check", "--data-dir", Daemon.Data])).Output.Split('\n');
        var at = Array.FindIndex(lines, line => line.Contains($" {name} ", StringComparison.Ordinal));
        Assert.True(at >= 0, string.Join('\n', lines));
        var remedy = lines.Skip(at).First(line => line.Contains("-> ", StringComparison.Ordinal)).Split("-> ")[1].Replace("if it does: ", string.Empty, StringComparison.Ordinal);
        await ShellAsync(remedy.Replace("edgehost0", Daemon.Bridge, StringComparison.Ordinal));

        (await AskAsync("30", broker)).Succeeds();
        Assert.Contains("refused", (await AskAsync("30", World)).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();

        Task<CommandRun> AskAsync(string seconds, string script) => Daemon.InAsync(id, "-n", "timeout", seconds, "bash", "-c", script);
    }

    /// <summary>Runs a script on the machine, with the /etc that it has.</summary>
    private async Task ShellAsync(string script) =>
        (await CommandRun.RunAsync("nsenter", ["-t", $"{Daemon.Pid}", "-n", "-m", "sh", "-c", script])).Succeeds();
}
