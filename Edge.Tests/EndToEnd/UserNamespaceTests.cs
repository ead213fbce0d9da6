using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Containers whose root is nobody of the machine, as the kernel and the disk show them.</summary>
public sealed class UserNamespaceTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task Root_inside_is_nobody_outside_and_its_files_on_the_disk_are_as_without()
    {
        (await Daemon.EdgehostAsync("run", "-d", "--name", "rootless", "--userns", "auto", "busybox", "sh", "-c", "touch /made; chown 7:8 /made; exec sleep 1000")).Succeeds();
        var pid = await Daemon.PidOfAsync("rootless");
        var status = await File.ReadAllLinesAsync($"/proc/{pid}/status", TestContext.Current.CancellationToken);
        var first = uint.Parse(status.Single(line => line.StartsWith("Uid:", StringComparison.Ordinal)).Split('\t')[1], System.Globalization.CultureInfo.InvariantCulture);
        Assert.True(first >= 0x7700_0000, $"uid {first}");
        Assert.Equal($"0 {first} 65536", string.Join(' ', (await File.ReadAllTextAsync($"/proc/{pid}/uid_map", TestContext.Current.CancellationToken)).Split(' ', StringSplitOptions.RemoveEmptyEntries)).Trim());
        Assert.Equal("0:0 7:8", (await InsideAsync("rootless", "stat -c %u:%g / /made")).ReplaceLineEndings(" ").Trim());
        Assert.Equal("auto", await Daemon.InspectAsync("rootless", "{{.HostConfig.UsernsMode}}"));

        // The topmost layer has it with the owner that it has inside.
        var made = Assert.Single(Directory.GetFiles(Path.Combine(Daemon.Data, "snapshots"), "made", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 3 }));
        Assert.Equal("7:8", (await CommandRun.RunAsync("stat", ["-c", "%u:%g", made])).Succeeds().Output.Trim());

        // Its range is its own, and stays it.
        (await Daemon.EdgehostAsync("run", "-d", "--name", "second", "--userns", "auto", "busybox", "sleep", "1000")).Succeeds();
        Assert.NotEqual(await UserAsync("rootless"), await UserAsync("second"));
        (await Daemon.DockerAsync("restart", "-t", "0", "rootless")).Succeeds();
        Assert.Equal(first.ToString(System.Globalization.CultureInfo.InvariantCulture), await UserAsync("rootless"));
        Assert.Equal("7:8", (await InsideAsync("rootless", "stat -c %u:%g /made")).Trim());
        (await Daemon.DockerAsync("rm", "-f", "rootless", "second")).Succeeds();
    }

    [Fact]
    public async Task Two_of_them_share_a_volume_whose_owners_both_see_alike()
    {
        const string Write = "id -u; touch /data/$HOSTNAME; chown 5 /data/$HOSTNAME; stat -c %n:%u /data/*";
        (await Daemon.EdgehostAsync("run", "--rm", "--hostname", "a", "--userns", "auto", "-v", "common:/data", "busybox", "sh", "-c", Write)).Succeeds();
        Assert.Equal("0\n/data/a:5\n/data/b:5\n", (await Daemon.EdgehostAsync("run", "--rm", "--hostname", "b", "--userns", "auto", "-v", "common:/data", "busybox", "sh", "-c", Write)).Succeeds().Output);
        Assert.Equal("/data/a:5\n/data/b:5\n", (await Daemon.RunAsync("--rm", "-v", "common:/data", "busybox", "sh", "-c", "stat -c %n:%u /data/*")).Succeeds().Output);
        (await Daemon.DockerAsync("volume", "rm", "common")).Succeeds();
    }

    [Fact]
    public async Task It_has_networks_names_and_low_ports_and_a_user_of_its_own()
    {
        var said = (await Daemon.EdgehostAsync(
            "run", "--rm", "--userns", "auto", "--user", "1000:1000", "busybox", "sh", "-c",
            "id -u; grep -c localhost /etc/hosts; timeout 1 nc -l -p 80 || echo $?; echo again > /dev/stdout")).Succeeds().Output;

        // busybox's timeout ends with 143 what listens: nothing was refused.
        Assert.Equal("1000\n2\n143\nagain\n", said);
        Assert.Equal("", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "busybox", "sh", "-c", "echo '10.0.0.9 more' >> /etc/hosts")).Succeeds().Error);
    }

    [Fact]
    public async Task Health_checks_come_into_it_as_its_own_user()
    {
        (await Daemon.EdgehostAsync("run", "-d", "--name", "checked", "--userns", "auto", "--health-interval", "200ms", "--health-cmd", "id -u; cat /proc/self/uid_map; test -O /etc", "busybox", "sleep", "1000")).Succeeds();
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (await Daemon.InspectAsync("checked", "{{.State.Health.Status}}") is var health && health != "healthy")
        {
            Assert.False(patience.IsCancellationRequested, await Daemon.InspectAsync("checked", "{{json .State.Health}}"));
        }

        Assert.StartsWith("0\n         0 ", await Daemon.InspectAsync("checked", "{{(index .State.Health.Log 0).Output}}"), StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", "checked")).Succeeds();
    }

    [Fact]
    public async Task What_it_cannot_be_is_refused()
    {
        Assert.Contains("invalid userns mode: keep-id; it is host or auto", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "keep-id", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains("this kernel cannot map the ids of its file system", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "auto", "-v", "/proc:/host", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Equal("0", (await Daemon.EdgehostAsync("run", "--rm", "--userns", "host", "busybox", "sh", "-c", "awk '{print $2}' /proc/self/uid_map")).Succeeds().Output.Trim());
    }

    private async Task<string> UserAsync(string container) =>
        (await CommandRun.RunAsync("stat", ["-c", "%u", $"/proc/{await Daemon.PidOfAsync(container)}"])).Succeeds().Output.Trim();

    private async Task<string> InsideAsync(string container, string script) =>
        (await Daemon.InAsync(container, "-m", "-U", "sh", "-c", script)).Succeeds().Output;
}
