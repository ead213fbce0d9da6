using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>A container from which nothing of the machine is kept, as Docker's is, and what is its own all the same.</summary>
public sealed class PrivilegedTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task It_has_all_rights_and_devices_and_nothing_is_hidden_read_only_or_filtered()
    {
        (await Daemon.EdgehostAsync("run", "-d", "--name", "mighty", "--privileged", "-m", "32m", "busybox", "sleep", "1000")).Succeeds();
        Assert.Equal("true []", await Daemon.InspectAsync("mighty", "{{.HostConfig.Privileged}} {{.HostConfig.SecurityOpt}}"));

        var own = Line(await File.ReadAllTextAsync($"/proc/{Daemon.Pid}/status", TestContext.Current.CancellationToken), "CapPrm:");
        foreach (var said in (string[])
        [
            await File.ReadAllTextAsync($"/proc/{await Daemon.PidOfAsync("mighty")}/status", TestContext.Current.CancellationToken),
            await InsideAsync("cat /proc/self/status"),
        ])
        {
            Assert.Equal((own, own, "0", "0"), (Line(said, "CapEff:"), Line(said, "CapBnd:"), Line(said, "Seccomp:"), Line(said, "NoNewPrivs:")));
        }

        Assert.Equal(
            "host\nmounted\n1\nunmasked\nsys\ncgroup\n",
            await InsideAsync(
                "grep -q '^ *0 *0 ' /proc/self/uid_map && echo host; mkdir /m && mount -t tmpfs none /m && echo mounted; echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward; "
                + "grep -q ' /proc/keys ' /proc/self/mounts || echo unmasked; grep -q ' /sys sysfs rw,' /proc/self/mounts && echo sys; "
                + "d=/sys/fs/cgroup; [ -f $d/cgroup.procs ] || d=$d/memory; mkdir $d/mine && rmdir $d/mine && echo cgroup"));

        // Each device of the machine, by its numbers; and its cgroup lets it use any.
        const string List = "find /dev -xdev \\( -type c -o -type b \\) ! -name console ! -name ptmx -exec stat -c '%n %t:%T' {} + | sort";
        var devices = (await Fixtures.CommandRun.RunAsync("sh", ["-c", List])).Succeeds().Output;
        Assert.Equal(devices, await InsideAsync(List));
        Assert.Equal("opened\n", await InsideAsync("mknod /log c 1 11 && (: < /log) && echo opened"));

        // Its processes, network and limits are its own.
        Assert.Contains("eth0", await InsideAsync("ls /sys/class/net"), StringComparison.Ordinal);
        Assert.True(int.Parse(await InsideAsync("ls /proc | grep -c '^[0-9]'"), System.Globalization.CultureInfo.InvariantCulture) < 10);
        Assert.Contains("means nothing in a user namespace", (await Daemon.EdgehostAsync("run", "--rm", "--privileged", "--userns", "auto", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);

        // A user other than root has none of the rights, and may get them by a program that is root's.
        Assert.Equal("0000000000000000\n", await InsideAsync("sed -n 's/^CapEff:.//p' /proc/self/status", "-u", "1000"));
        (await Daemon.DockerAsync("restart", "-t", "0", "mighty")).Succeeds();
        Assert.Equal("mounted\n", await InsideAsync("mount -t tmpfs none /m && echo mounted"));
        (await Daemon.DockerAsync("rm", "-f", "mighty")).Succeeds();
    }

    private async Task<string> InsideAsync(string script, params string[] options) => (await Daemon.DockerAsync(["exec", .. options, "mighty", "sh", "-c", script])).Succeeds().Output;

    private static string Line(string status, string name) => status.Split('\n').Single(line => line.StartsWith(name, StringComparison.Ordinal)).Split('\t')[1];
}
