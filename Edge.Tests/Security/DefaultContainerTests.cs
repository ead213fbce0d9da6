using Edge.Tests.EndToEnd;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Security;

/// <summary>What a container that the daemon starts as it does by default can ask of the kernel, and can use up.</summary>
public sealed class DefaultContainerTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task Calls_that_reach_beyond_a_container_are_forbidden_or_do_not_exist()
    {
        using var host = new TemporaryDirectory();

        var lines = (await ProbeAsync(host, "--rm")).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

        Assert.Equal(30, lines.Length);
        Assert.Equal(["clone3: ENOSYS"], lines.Where(line => line.EndsWith(": ENOSYS", StringComparison.Ordinal)));
        Assert.Equal(
            ["process_vm_readv: Invalid argument", "AF_ALG: Address family not supported by protocol", "AF_VSOCK: Address family not supported by protocol"],
            lines.Where(line => !line.EndsWith(": EPERM", StringComparison.Ordinal) && !line.EndsWith(": ENOSYS", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("pipes")]
    [InlineData("inodes")]
    public async Task What_has_no_limit_of_its_own_counts_as_memory(string what)
    {
        using var host = new TemporaryDirectory();

        var id = (await ProbeAsync(host, "-d", ["-m", "24m", "--memory-swap", "24m"], [what, "10000000"])).Succeeds().Output.Trim();

        Assert.Equal("137\n", (await Daemon.DockerAsync("wait", id)).Succeeds().Output);
        Assert.Equal("true", await Daemon.InspectAsync(id, "{{.State.OOMKilled}}"));
    }

    [Fact]
    public async Task Shared_memory_and_the_devices_directory_are_full_before_the_memory_of_the_board_is()
    {
        const string Fill = "for d in /dev/shm /dev; do dd if=/dev/zero of=$d/fill bs=1M count=200 2>&1 | grep -o 'No space left on device'; rm $d/fill; done";

        Assert.Equal("No space left on device\nNo space left on device\n", (await Daemon.RunAsync("--rm", "-m", "300m", "busybox", "sh", "-c", Fill)).Output);
    }

    // CVE-2020-15257: a container in the host's network namespace reaches every abstract socket.
    [Fact]
    public async Task No_process_of_EdgeHost_has_an_abstract_socket()
    {
        var held = new HashSet<string>(StringComparer.Ordinal);
        foreach (var pid in new[] { Daemon.Pid, await Daemon.ShepherdPidAsync(), await Daemon.LoggerPidAsync() })
        {
            held.UnionWith(Directory.GetFiles($"/proc/{pid}/fd").Select(fd => new FileInfo(fd).LinkTarget ?? string.Empty).Where(target => target.StartsWith("socket:", StringComparison.Ordinal)));
        }

        Assert.NotEmpty(held);
        foreach (var line in await File.ReadAllLinesAsync("/proc/net/unix", TestContext.Current.CancellationToken))
        {
            // Num RefCount Protocol Flags Type St Inode Path
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.False(fields.Length > 7 && fields[7][0] == '@' && held.Contains($"socket:[{fields[6]}]"), line);
        }
    }

    // CVE-2021-41091, CVE-2021-41103: what containers own on the disk, set-user-ID programs among it, in reach of the host's users.
    [Fact]
    public async Task Users_of_the_host_reach_no_file_of_a_container_and_no_socket()
    {
        var id = await Daemon.RunDetachedAsync("-v", "shared:/data", "busybox", "sleep", "1000");
        var paths = string.Join(' ', Daemon.Data + "/snapshots", Daemon.Data + "/containers", Daemon.Data + "/volumes", Daemon.Run + "/containers/" + id, Daemon.Socket, Daemon.Run + "/shepherd.sock");

        var run = await CommandRun.RunAsync("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", $"for p in {paths}; do ls $p 2>/dev/null; [ -w $p ] && echo $p; done; exit 0"]);

        Assert.Equal(string.Empty, run.Succeeds().Output);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    // CVE-2024-21626, CVE-2022-29162: what is started in a container has a directory, descriptors or capabilities of who started it.
    [Fact]
    public async Task What_is_started_in_a_container_brings_nothing_of_the_host_with_it()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");

        for (var descriptor = 3; descriptor < 20; descriptor++)
        {
            var run = await Daemon.EdgehostAsync("exec", "-w", $"/proc/self/fd/{descriptor}", id, "pwd");
            Assert.True(run.ExitCode != 0, run.ToString());
        }

        var own = (await Daemon.EdgehostAsync("exec", id, "sh", "-c", "cat /proc/self/status; ls /proc/self/fd; cat /proc/self/cgroup; ulimit -c")).Succeeds().Output;
        Assert.Contains("CapInh:\t0000000000000000", own, StringComparison.Ordinal);
        Assert.Contains("NoNewPrivs:\t1", own, StringComparison.Ordinal);
        Assert.Contains("Seccomp:\t2", own, StringComparison.Ordinal);
        Assert.Contains("\n0\n1\n2\n3\n", own, StringComparison.Ordinal);
        Assert.DoesNotContain("\n4\n", own, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    // CVE-2016-9962, CVE-2019-5736: a container watches for what comes into it, to open its program or descriptors.
    [Theory]
    [InlineData("auto")]
    [InlineData("host")]
    public async Task Whoever_watches_what_comes_into_its_container_can_open_nothing_of_it(string users)
    {
        const string Watch = """
            echo watching
            while :; do
              for p in /proc/[0-9]*; do
                case $p in /proc/1|/proc/self) continue;; esac
                e=$(readlink $p/exe) && case $e in /bin/*) ;; *) echo "program $e";; esac
                for f in $p/fd/*; do t=$(readlink $f) && case $t in pipe:*|/dev/null|/dev/pts/*|/proc/*|/) ;; *) echo "descriptor $t";; esac; done
                (exec 8<> $p/exe) && echo "opened $e"
              done
            done 2> /dev/null
            """;
        var id = (await Daemon.EdgehostAsync("run", "-d", "--userns", users, "busybox", "sh", "-c", Watch)).Succeeds().Output.Trim();
        await Daemon.LineAsync(id, line => line == "watching");

        for (var run = 0; run < 60; run++)
        {
            (await Daemon.EdgehostAsync("exec", id, "true")).Succeeds();
        }

        Assert.Equal(["watching"], await Daemon.LinesAsync(id));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    // CVE-2019-14271: a library of the image is loaded by who copies.
    [Fact]
    public async Task Copying_runs_nothing_of_the_image()
    {
        await Packages.NeedAsync("gcc", "libc6-dev");
        using var host = new TemporaryDirectory();
        await File.WriteAllTextAsync(
            host.Sub("evil.c"), $"#include <fcntl.h>\n__attribute__((constructor)) static void f(void) {{ open(\"{host.Sub("ran")}\", O_CREAT, 0600); open(\"/ran\", O_CREAT, 0600); }}\n", TestContext.Current.CancellationToken);
        (await CommandRun.RunAsync("gcc", ["-shared", "-fPIC", "-o", host.Sub("libnss_files.so.2"), host.Sub("evil.c")])).Succeeds();
        const string Plant = "for d in /lib /lib64 /usr/lib /lib/x86_64-linux-gnu; do mkdir -p $d; for n in libnss_files libnss_compat libnss_dns; do cp /evil $d/$n.so.2; done; done; echo 'passwd: files compat dns' > /etc/nsswitch.conf; echo planted; sleep 1000";
        var id = await Daemon.RunDetachedAsync("-v", host.Sub("libnss_files.so.2") + ":/evil:ro", "busybox", "sh", "-c", Plant);
        await Daemon.LineAsync(id, line => line == "planted");

        (await Daemon.DockerAsync("cp", id + ":/etc", host.Sub("etc"))).Succeeds();
        (await Daemon.DockerAsync("cp", "-a", host.Sub("etc"), id + ":/copy")).Succeeds();
        (await Daemon.EdgehostAsync("cp", id + ":/etc/passwd", host.Sub("passwd"))).Succeeds();

        Assert.False(File.Exists(host.Sub("ran")) || File.Exists("/ran"));
        Assert.Contains("No such file", (await Daemon.InAsync(id, "-m", "--", "/bin/ls", "/ran")).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    // CVE-2022-23648 and its like: a volume of the image that is named so that its content comes from the host.
    [Fact]
    public async Task What_is_copied_into_a_volume_comes_from_the_image()
    {
        await Packages.NeedAsync("busybox-static");
        using var host = new TemporaryDirectory();
        const string Make = """
            cd "$1"; mkdir -p root/bin root/etc "root$1/kept"; cp "$(command -v busybox)" root/bin/; ln -s busybox root/bin/sh; ln -s /../../../../../../../../etc root/link; ln -s "$1/kept" root/kept
            mkdir kept; echo word-of-the-host > kept/word; tar -C root -cf layer.tar .
            echo "{\"architecture\":\"$2\",\"os\":\"linux\",\"config\":{\"Volumes\":{\"/../../../../..$1/kept\":{},\"/kept\":{},\"/link\":{}}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$(sha256sum < layer.tar | cut -d' ' -f1)\"]}}" > config.json
            echo '[{"Config":"config.json","RepoTags":["hostile:latest"],"Layers":["layer.tar"]}]' > manifest.json
            tar -cf image.tar manifest.json config.json layer.tar
            """;
        (await CommandRun.RunAsync("bash", ["-euc", Make, "make", host.Path, PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64"])).Succeeds();
        (await Daemon.DockerAsync("load", "-i", host.Sub("image.tar"))).Succeeds();

        var run = await Daemon.RunAsync("--rm", "hostile", "sh", "-c", $"busybox cat /kept/word /link/hostname {host.Path}/kept/word; true; echo looked");

        Assert.Equal("looked\n", run.Succeeds().Output);
    }

    private async Task<CommandRun> ProbeAsync(TemporaryDirectory host, string how, string[]? options = null, string[]? words = null)
    {
        await Packages.NeedAsync("gcc", "libc6-dev");
        (await CommandRun.RunAsync("gcc", ["-static", "-O2", "-o", host.Sub("probe"), Repository.PathOf("Edge.Tests", "Security", "probe.c")])).Succeeds();
        return await Daemon.RunAsync([how, "--network", "none", "-v", host.Sub("probe") + ":/probe:ro", .. options ?? [], "busybox", "/probe", .. words ?? []]);
    }
}
