using System.Diagnostics;
using System.Text;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Beside the real dockerd of Debian with its iptables on, as on a machine that has had Docker for years.</summary>
public sealed class DockerdTests(MachineOfItsOwn machine) : IClassFixture<MachineOfItsOwn>
{
    private DaemonUnderTest Daemon => machine.Daemon;

    [Fact]
    public async Task Containers_of_both_engines_reach_out_and_not_each_other_and_dockerd_has_its_rules_as_before_when_we_have_left()
    {
        await Packages.NeedAsync("docker.io", "containerd", "iptables", "nftables");
        await using var dockerd = await DockerdUnderTest.StartAsync(machine);
        var before = await RulesAsync();
        Assert.Contains(":FORWARD DROP", before, StringComparison.Ordinal);

        var ours = await Daemon.RunDetachedAsync("busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "ours");
        (await dockerd.ClientAsync("load", "-q", "-i", await DaemonUnderTest.TaggedImageAsync("busybox"))).Succeeds();
        (await dockerd.ClientAsync("run", "-d", "--name", "theirs", "busybox", "nc", "-ll", "-p", "7000", "-e", "echo", "theirs")).Succeeds();
        var ourAddress = await Daemon.InspectAsync(ours, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        var theirAddress = (await dockerd.ClientAsync("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "theirs")).Succeeds().Output.Trim();
        string[] ping = ["run", "--rm", "busybox", "ping", "-c", "1", "-W", "10", MachineOfItsOwn.World];
        Assert.Contains("1 packets received", (await Daemon.DockerAsync(ping)).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("1 packets received", (await dockerd.ClientAsync(ping)).Succeeds().Output, StringComparison.Ordinal);
        Assert.DoesNotContain("theirs", (await Daemon.RunAsync("--rm", "busybox", "nc", "-w", "2", theirAddress, "7000")).Output, StringComparison.Ordinal);
        Assert.DoesNotContain("ours", (await dockerd.ClientAsync("run", "--rm", "busybox", "nc", "-w", "2", ourAddress, "7000")).Output, StringComparison.Ordinal);

        // A network of dockerd that is made while we are here is kept apart, too.
        var said = Daemon.Said.Length;
        (await dockerd.ClientAsync("network", "create", "later")).Succeeds();
        await Daemon.SaysAsync("chain DOCKER-USER has rules of ours", said);
        Assert.Contains(" to br-", (await machine.InAsync("iptables-nft", "-S", "DOCKER-USER")).Succeeds().Output, StringComparison.Ordinal);
        (await dockerd.ClientAsync("network", "rm", "later")).Succeeds();

        (await Daemon.DockerAsync("rm", "-f", ours)).Succeeds();
        (await dockerd.ClientAsync("rm", "-f", "theirs")).Succeeds();
        await Daemon.StopAsync();
        Assert.Equal(before, await RulesAsync());
        Assert.Contains("1 packets received", (await dockerd.ClientAsync(ping)).Succeeds().Output, StringComparison.Ordinal);
        await Daemon.StartAsync();
    }

    [Fact]
    public async Task What_one_engine_saves_the_other_loads_as_the_same_image()
    {
        await Packages.NeedAsync("docker.io", "containerd", "iptables", "nftables");
        await using var dockerd = await DockerdUnderTest.StartAsync(machine);
        var archive = Path.Combine(machine.Directory, "saved.tar");
        var id = (await Daemon.EdgehostAsync("image", "inspect", "-f", "{{.Id}}", "busybox")).Succeeds().Output;
        (await Daemon.EdgehostAsync("save", "-o", archive, "busybox")).Succeeds();
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(archive));
        Assert.Contains("Loaded image: busybox:latest", (await dockerd.ClientAsync("load", "-i", archive)).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal(id, (await dockerd.ClientAsync("image", "inspect", "-f", "{{.Id}}", "busybox")).Succeeds().Output);

        // And back, by way of docker's client at both ends.
        (await dockerd.ClientAsync("tag", "busybox", "back:1")).Succeeds();
        (await dockerd.ClientAsync("save", "-o", archive, "back:1")).Succeeds();
        (await Daemon.DockerAsync("load", "-i", archive)).Succeeds();
        Assert.Equal(id, (await Daemon.DockerAsync("image", "inspect", "-f", "{{.Id}}", "back:1")).Succeeds().Output);
        (await Daemon.DockerAsync("save", "-o", archive + "2", "back:1")).Succeeds();
        (await dockerd.ClientAsync("load", "-i", archive + "2")).Succeeds();

        // Nothing is left of what failed, and nothing that is no file is written over.
        Assert.Contains("No such image: nosuch", (await Daemon.EdgehostAsync("save", "-o", archive, "busybox", "nosuch")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("is a directory", (await Daemon.EdgehostAsync("save", "-o", machine.Directory, "busybox")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("got a device", (await Daemon.EdgehostAsync("save", "-o", "/dev/null", "busybox")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(machine.Directory, "*.tmp"));
    }

    /// <summary>All rules that anybody has, without what they have counted.</summary>
    private async Task<string> RulesAsync() => (await machine.InAsync("sh", "-c",
        "for i in iptables-nft ip6tables-nft; do $i-save; done | sed 's/ [[][0-9]*:[0-9]*[]]//; /^#/d'; nft list ruleset 2>/dev/null | sed 's/counter packets [0-9]* bytes [0-9]*/counter/'")).Succeeds().Output;

    /// <summary>dockerd and its containerd on a machine, with all that they write in a directory of that.</summary>
    private sealed class DockerdUnderTest : IAsyncDisposable
    {
        private readonly List<Process> _processes = [];
        private readonly List<Task> _readers = [];
        private readonly string _directory;
        private readonly string _cgroup = "eh-dockerd-" + Guid.NewGuid().ToString("N")[..8];

        private DockerdUnderTest(string directory) => _directory = directory;

        internal static async Task<DockerdUnderTest> StartAsync(MachineOfItsOwn machine)
        {
            var dockerd = new DockerdUnderTest(Path.Combine(machine.Directory, "dockerd"));
            var directory = Directory.CreateDirectory(dockerd._directory).FullName;
            try
            {
                await dockerd.StartAsync(machine, "containerd successfully booted", "containerd", "--root", $"{directory}/croot", "--state", $"{directory}/cstate", "--address", $"{directory}/c.sock");
                await dockerd.StartAsync(machine, "API listen on", "dockerd", "--containerd", $"{directory}/c.sock", "--data-root", $"{directory}/root", "--exec-root", $"{directory}/exec",
                    "--pidfile", $"{directory}/pid", "--storage-driver", "vfs", "--cgroup-parent", "/" + dockerd._cgroup, "-H", $"unix://{directory}/d.sock");
                return dockerd;
            }
            catch
            {
                await dockerd.DisposeAsync();
                throw;
            }
        }

        internal Task<CommandRun> ClientAsync(params string[] arguments) => CommandRun.RunAsync("docker", ["-H", $"unix://{_directory}/d.sock", .. arguments]);

        public async ValueTask DisposeAsync()
        {
            _processes.Reverse();
            foreach (var process in _processes)
            {
                await DaemonUnderTest.SignalAsync(process.Id, "TERM");
                await process.WaitForExitAsync().WaitAsync(DaemonUnderTest.Patience);
                process.Dispose();
            }

            await Task.WhenAll(_readers);
            foreach (var hierarchy in Directory.EnumerateDirectories("/sys/fs/cgroup").Append("/sys/fs/cgroup").Select(each => Path.Combine(each, _cgroup)).Where(Directory.Exists))
            {
                Directory.Delete(hierarchy);
            }
        }

        /// <summary>Starts a program, and returns when it has said that it is ready.</summary>
        private async Task StartAsync(MachineOfItsOwn machine, string ready, params string[] command)
        {
            var process = Process.Start(new ProcessStartInfo("nsenter", [machine.InNamespace, .. command]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
            _processes.Add(process);
            var isReady = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var said = new StringBuilder();
            _readers.Add(ReadAsync(process.StandardOutput));
            _readers.Add(ReadAsync(process.StandardError));
            await isReady.Task.WaitAsync(DaemonUnderTest.Patience);

            async Task ReadAsync(StreamReader reader)
            {
                while (await reader.ReadLineAsync() is { } line)
                {
                    lock (said)
                    {
                        said.AppendLine(line);
                    }

                    if (line.Contains(ready, StringComparison.Ordinal))
                    {
                        isReady.TrySetResult();
                    }
                }

                lock (said)
                {
                    isReady.TrySetException(new InvalidOperationException($"{command[0]} has ended:\n{said}"));
                }
            }
        }
    }
}
