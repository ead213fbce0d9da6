using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Copying into and out of containers, and who would like to reach the host by it.</summary>
public sealed class CopyTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IDisposable
{
    private readonly TemporaryDirectory _host = new();

    private DaemonUnderTest Daemon => shared.Daemon;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _host.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_tree_comes_back_as_it_went(bool running)
    {
        var name = running ? "tree-running" : "tree-stopped";
        await MakeAsync(name, running, "--mount", $"type=volume,src={name},dst=/volume");
        await ShellAsync($"mkdir -p {_host.Path}/t/d/empty && cd {_host.Path}/t && echo one >one && ln one two && ln -s ../one d/link && echo s >d/set && chmod 4711 d/set && mkdir closed && echo c >closed/f && chmod 555 closed && touch -d 2001-02-03T04:05:06 one d && echo long >$(printf n%.0s $(seq 200)) && echo u >ümlaut && mkfifo fifo && truncate -s 5M hole");
        foreach (var place in new[] { "/tmp", "/volume" })
        {
            (await Daemon.EdgehostAsync("cp", _host.Sub("t"), $"{name}:{place}/ours")).Succeeds();
            (await Daemon.DockerAsync("cp", _host.Sub("t"), $"{name}:{place}/dockers")).Succeeds();
            (await Daemon.EdgehostAsync("cp", $"{name}:{place}/dockers", _host.Sub("back1"))).Succeeds();
            (await Daemon.DockerAsync("cp", $"{name}:{place}/ours", _host.Sub("back2"))).Succeeds();
            var before = await ShellAsync($"cd {_host.Path}/t && find . -printf '%p %y %m %s %T@ %n %l\\n' | sed -E 's/([0-9]{{9,}})\\.[0-9]+/\\1/' | sort");
            Assert.Equal(before, await ShellAsync($"cd {_host.Path}/back1 && find . -printf '%p %y %m %s %T@ %n %l\\n' | sed -E 's/([0-9]{{9,}})\\.[0-9]+/\\1/' | sort"));
            Assert.Equal(before, await ShellAsync($"cd {_host.Path}/back2 && find . -printf '%p %y %m %s %T@ %n %l\\n' | sed -E 's/([0-9]{{9,}})\\.[0-9]+/\\1/' | sort"));
            await ShellAsync($"diff -r {_host.Path}/t/d {_host.Path}/back1/d && cmp {_host.Path}/t/hole {_host.Path}/back2/hole && rm -rf {_host.Path}/back1 {_host.Path}/back2");
        }

        Assert.Equal("1\n", await ShellAsync($"docker -H unix://{Daemon.Socket} cp {name}:/tmp/ours/one - | tar x -O -f - | grep -c one"));
        (await Daemon.DockerAsync("rm", "-f", name)).Succeeds();
    }

    [Fact]
    public async Task Our_command_reads_paths_as_dockers_does()
    {
        await MakeAsync("paths", running: true);
        foreach (var client in new[] { "edgehost", "docker" })
        {
            await ShellAsync($"mkdir -p {_host.Path}/{client}/src/sub {_host.Path}/{client}/dir && cd {_host.Path}/{client} && echo a >src/a && ln -s a src/l && echo b >src/sub/b && touch file && ln -s dir ldir && ln -s nowhere lnone");
        }

        string[] cases =
        [
            "paths:/etc/passwd new", "paths:/etc/passwd dir", "paths:/etc/passwd ldir", "paths:/etc/passwd lnone", "paths:/etc/passwd newdir/", "paths:/etc/passwd no/x",
            "paths:/etc file", "paths:/etc dir", "paths:/etc/. dot", "paths:/etc/ slash", "paths:/nope x", "paths:/etc/passwd/ x", "paths:etc/group relative", "paths:/bin/sh link",
            "-L paths:/bin/sh followed", "src/a paths:/tmp/$C-a", "src/a paths:/tmp/", "src/a paths:/new/", "src/a paths:/no/such/x", "src paths:/tmp/$C-src", "src paths:/tmp/$C-src",
            "src/. paths:/tmp/$C-src", "src/. paths:/tmp/$C-dot", "src/sub/ paths:/tmp/$C-sub", "src/l paths:/tmp/$C-l", "-L src/l paths:/tmp/$C-L", "src paths:/bin/sh", "src/a paths:/tmp/$C-src/sub",
            "src/a paths:/dev/null", "nosuch paths:/tmp", "src nosuch:/tmp", "a b", "paths:/a paths:/b", "paths:/etc/../etc/./group/../group up",
        ];
        var ours = await RunAsync("edgehost");
        Assert.Equal(await RunAsync("docker"), ours);
        Assert.Equal(await ListAsync("docker"), await ListAsync("edgehost"));
        (await Daemon.DockerAsync("rm", "-f", "paths")).Succeeds();

        async Task<string> RunAsync(string client)
        {
            var result = new StringBuilder();
            foreach (var each in cases)
            {
                var run = await CommandRun.RunAsync(
                    client == "docker" ? "docker" : await PublishedBinary.NativeAsync(),
                    ["-H", "unix://" + Daemon.Socket, "cp", .. each.Replace("$C", client, StringComparison.Ordinal).Split(' ')],
                    directory: _host.Sub(client));
                result.AppendLine(CultureInfo.InvariantCulture, $"{each}: {run.ExitCode}");
            }

            return result.ToString();
        }

        // What is on the host, and what is in the container under the client's own names.
        async Task<string> ListAsync(string client) => (await ShellAsync($"cd {_host.Path}/{client} && find . -printf '%p %y %m %l\\n' | sort; docker -H unix://{Daemon.Socket} cp paths:/tmp - | tar t | grep {client} | sort"))
            .Replace(client, "CLIENT", StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_goes_into_a_container_before_its_first_start_is_there_when_it_starts()
    {
        (await Daemon.DockerAsync("create", "--name", "seeded", "--network", "none", "-v", "seeded:/made/deep", "busybox", "cat", "/made/deep/f", "/g")).Succeeds();
        await File.WriteAllTextAsync(_host.Sub("f"), "kept\n", Cancel);
        (await Daemon.EdgehostAsync("cp", _host.Sub("f"), "seeded:/made/deep")).Succeeds();
        (await Daemon.EdgehostAsync("cp", _host.Sub("f"), "seeded:/g")).Succeeds();
        Assert.Equal("kept\nkept\n", (await Daemon.DockerAsync("start", "-a", "seeded")).Succeeds().Output);
        Assert.Equal("kept\n", await File.ReadAllTextAsync($"{Daemon.Data}/volumes/seeded/_data/f", Cancel));
        (await Daemon.DockerAsync("rm", "seeded")).Succeeds();
    }

    [Fact]
    public async Task What_the_kernel_makes_when_it_is_read_comes_out_whole_though_it_says_no_size()
    {
        await MakeAsync("made", running: true);
        (await Daemon.DockerAsync("cp", "made:/proc/version", _host.Sub("version"))).Succeeds();
        Assert.Equal(await File.ReadAllTextAsync("/proc/version", Cancel), await File.ReadAllTextAsync(_host.Sub("version"), Cancel));
        (await Daemon.EdgehostAsync("cp", "made:/sys/kernel/mm/transparent_hugepage/enabled", _host.Sub("enabled"))).Succeeds();
        Assert.Equal(await File.ReadAllTextAsync("/sys/kernel/mm/transparent_hugepage/enabled", Cancel), await File.ReadAllTextAsync(_host.Sub("enabled"), Cancel));
        (await Daemon.DockerAsync("rm", "-f", "made")).Succeeds();
    }

    [Fact]
    public async Task What_the_kernel_does_not_let_be_written_is_said_to_who_asked_and_no_defect_in_the_log()
    {
        await File.WriteAllTextAsync(_host.Sub("unwritable"), "x\n", Cancel);
        await MakeAsync("kernel", running: true);
        Assert.Contains("create unwritable: no such file or directory", (await Daemon.EdgehostAsync("cp", _host.Sub("unwritable"), "kernel:/proc/")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("create unwritable: read-only file system", (await Daemon.EdgehostAsync("cp", _host.Sub("unwritable"), "kernel:/sys/")).Exits(1).Error, StringComparison.Ordinal);
        Assert.DoesNotContain("create unwritable", Daemon.Said, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", "kernel")).Succeeds();
    }

    [Fact]
    public async Task A_read_only_root_and_a_read_only_volume_are_not_written_and_a_tmpfs_is()
    {
        await File.WriteAllTextAsync(_host.Sub("f"), "x\n", Cancel);
        await MakeAsync("strict", running: true, "--read-only", "--tmpfs", "/t", "-v", "strict:/rw", "-v", "strict:/ro:ro", "-v", _host.Path + ":/bind:ro");
        foreach (var stop in new[] { false, true })
        {
            foreach (var (path, words) in new[] { ("/f", "container rootfs is marked read-only"), ("/ro/f", "mounted volume is marked read-only"), ("/bind/g", "mounted volume is marked read-only") })
            {
                Assert.Contains(words, (await Daemon.DockerAsync("cp", _host.Sub("f"), "strict:" + path)).Exits(1).Error, StringComparison.Ordinal);
                Assert.Contains(words, (await Daemon.EdgehostAsync("cp", _host.Sub("f"), "strict:" + path)).Exits(1).Error, StringComparison.Ordinal);
            }

            (await Daemon.EdgehostAsync("cp", _host.Sub("f"), "strict:/rw/")).Succeeds();
            if (!stop)
            {
                (await Daemon.EdgehostAsync("cp", _host.Sub("f"), "strict:/t/")).Succeeds();
                Assert.Equal("x\n", await File.ReadAllTextAsync($"/proc/{await Daemon.PidOfAsync("strict")}/root/t/f", Cancel));
                (await Daemon.DockerAsync("stop", "-t", "0", "strict")).Succeeds();
            }
        }

        (await Daemon.DockerAsync("rm", "strict")).Succeeds();
        Assert.False(File.Exists(_host.Sub("g")));
    }

    [Fact]
    public async Task With_archive_mode_it_belongs_to_the_containers_user_and_without_to_who_it_did()
    {
        (await Daemon.DockerAsync("create", "--name", "owned", "--user", "100:101", "--network", "none", "busybox", "true")).Succeeds();
        await ShellAsync($"echo x >{_host.Path}/f && chown 7:8 {_host.Path}/f");
        foreach (var (option, owner) in new[] { ("-aq", "100/101"), ("-q", "7/8") })
        {
            (await Daemon.EdgehostAsync("cp", option, _host.Sub("f"), "owned:/ours")).Succeeds();
            (await Daemon.DockerAsync("cp", option, _host.Sub("f"), "owned:/dockers")).Succeeds();
            Assert.Contains(owner, await ShellAsync($"docker -H unix://{Daemon.Socket} cp owned:/ours - | tar tv"), StringComparison.Ordinal);
            Assert.Contains(owner, await ShellAsync($"docker -H unix://{Daemon.Socket} cp owned:/dockers - | tar tv"), StringComparison.Ordinal);
        }

        (await Daemon.DockerAsync("rm", "owned")).Succeeds();
    }

    public static TheoryData<string, string> Hostile => new()
    {
        { "climbs", "climbs above" },
        { "absolute link", "no such file or directory" },
        { "relative link", "no such file or directory" },
        { "hard link", "which is not there" },
        { "climbing hard link", "climbs above" },
        { "device", "it is a device" },
        { "root", "no directory in the archive" },
        { "cut", "in the middle" },
    };

    [Theory]
    [MemberData(nameof(Hostile))]
    public async Task A_hostile_archive_is_refused_and_the_host_stays_as_it_is(string kind, string words)
    {
        // The host's directory is not there in a container: whatever appears in it came out of one.
        var outside = _host.Path.TrimStart('/');
        await File.WriteAllTextAsync(_host.Sub("kept"), "host\n", Cancel);
        var tar = new RawTar();
        byte[] archive = kind switch
        {
            "climbs" => tar.Add($"../../../../../../{outside}/written", content: "x").End(),
            "absolute link" => tar.Symlink("l", _host.Path).Add("l/written", content: "x").End(),
            "relative link" => tar.Symlink("l", $"../../../../../../../{outside}").Add("l/written", content: "x").End(),
            "hard link" => tar.Add("l", '1', link: _host.Sub("kept")).End(),
            "climbing hard link" => tar.Add("l", '1', link: $"../../../../..{_host.Sub("kept")}").End(),
            "device" => tar.Add("d", '4', major: 8).End(),
            "root" => tar.Add(".", '0').End(),
            _ => tar.Add("f", content: new string('x', 4000)).End()[..2048],
        };
        await File.WriteAllBytesAsync(_host.Sub("archive"), archive, Cancel);
        foreach (var running in new[] { true, false })
        {
            var name = $"hostile-{kind.Replace(' ', '-')}-{running}";
            await MakeAsync(name, running);
            var run = await CommandRun.RunAsync("sh", ["-c", $"docker -H unix://{Daemon.Socket} cp - {name}:/tmp <{_host.Path}/archive"]);
            Assert.Contains(words, run.Exits(1).Error, StringComparison.Ordinal);
            (await Daemon.DockerAsync("rm", "-f", name)).Succeeds();
        }

        Assert.Equal(["archive", "kept"], Directory.EnumerateFileSystemEntries(_host.Path).Select(Path.GetFileName).Order());
        Assert.Equal("host\n", await File.ReadAllTextAsync(_host.Sub("kept"), Cancel));
    }

    [Fact]
    public async Task A_container_that_swaps_a_directory_for_a_link_all_the_time_reaches_nothing_of_the_host()
    {
        // CVE-2018-15664.
        await File.WriteAllTextAsync(_host.Sub("canary"), "host\n", Cancel);
        await MakeWithAsync("swapper", running: true, $"mkdir -p /real{_host.Path} && echo inside >/real{_host.Path}/canary && cd / && echo ready && while :; do ln -s / swap; rm swap; ln -s ../../../../.. swap; rm swap; ln -s real swap; rm swap; mv real swap; mv swap real; done");
        await Daemon.LineAsync("swapper", line => line == "ready");
        using var http = Http();
        var archive = new RawTar().Add("written", content: "x").Add("canary", content: "overwritten").End();
        var (read, wrote) = (0, 0);
        var i = 0;
        for (; i < 400 || ((read == 0 || wrote == 0) && i < 40_000); i++)
        {
            try
            {
                using var answer = await http.GetAsync($"containers/swapper/archive?path=/swap{_host.Path}/canary", Cancel);
                if (answer.IsSuccessStatusCode)
                {
                    read++;
                    Assert.DoesNotContain("host\n", await answer.Content.ReadAsStringAsync(Cancel), StringComparison.Ordinal);
                }
            }
            catch (HttpRequestException)
            {
                // It went away in the middle: the answer is cut off.
            }

            using var written = await http.PutAsync($"containers/swapper/archive?path=/swap{_host.Path}", new ByteArrayContent(archive), Cancel);
            wrote += written.IsSuccessStatusCode ? 1 : 0;
        }

        Assert.Equal(["canary"], Directory.EnumerateFileSystemEntries(_host.Path).Select(Path.GetFileName));
        Assert.Equal("host\n", await File.ReadAllTextAsync(_host.Sub("canary"), Cancel));
        Assert.True(read > 0 && wrote > 0, $"of {i} copies each {read} were read and {wrote} written: the path was never there");
        (await Daemon.DockerAsync("rm", "-f", "swapper")).Succeeds();
    }

    [Fact]
    public async Task A_large_file_goes_by_in_bounded_memory_both_ways()
    {
        const long Size = 600L << 20;
        await MakeAsync("large", running: true);
        await ShellAsync($"truncate -s {Size} {_host.Path}/hole");
        var before = PeakMemory();
        (await Daemon.EdgehostAsync("cp", _host.Sub("hole"), "large:/dev/shm/../../tmp/hole")).Succeeds();
        (await Daemon.EdgehostAsync("cp", "large:/tmp/hole", _host.Sub("back"))).Succeeds();
        Assert.Equal(Size, new FileInfo(_host.Sub("back")).Length);
        Assert.InRange(PeakMemory() - before, 0, 96L << 20);
        (await Daemon.DockerAsync("rm", "-f", "large")).Succeeds();
    }

    [Fact]
    public async Task What_is_asked_wrongly_is_said()
    {
        await MakeAsync("asked", running: true);
        using var http = Http();
        foreach (var (method, path, status) in new[]
        {
            ("GET", "asked/archive", 400), ("GET", "asked/archive?path=", 400), ("GET", "asked/archive?path=/a%00b", 400), ("HEAD", "asked/archive?path=/nope", 404), ("GET", "nosuch/archive?path=/", 404),
            ("PUT", "asked/archive?path=/nope", 404), ("PUT", "asked/archive?path=/etc/passwd", 400), ("GET", $"asked/archive?path=/{new string('x', 300)}", 404), ("GET", $"asked/archive?path=/{string.Concat(Enumerable.Repeat("x/", 3000))}y", 400),
        })
        {
            using var request = new HttpRequestMessage(new HttpMethod(method), "containers/" + path);
            using var answer = await http.SendAsync(request, Cancel);
            Assert.True((int)answer.StatusCode == status, $"{method} {path[..Math.Min(path.Length, 60)]}: {(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(Cancel)}");
        }

        // What the kernel makes up is left out of a copy of all.
        var all = await ShellAsync($"docker -H unix://{Daemon.Socket} cp asked:/ - | tar t | grep -E '^/(proc|sys|dev)/' ");
        Assert.Equal("/dev/\n/proc/\n/sys/\n", string.Join('\n', all.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order()) + "\n");
        (await Daemon.DockerAsync("rm", "-f", "asked")).Succeeds();
    }

    private Task MakeAsync(string name, bool running, params string[] options) => MakeWithAsync(name, running, "trap 'exit 0' TERM; while :; do sleep 0.2; done", options);

    private async Task MakeWithAsync(string name, bool running, string script, params string[] options) =>
        (await Daemon.DockerAsync([.. running ? (string[])["run", "-d"] : ["create"], "--name", name, "--network", "none", .. options, "busybox", "sh", "-c", script])).Succeeds();

    private static async Task<string> ShellAsync(string script) => (await CommandRun.RunAsync("bash", ["-c", "set -e; " + script])).Succeeds().Output;

    private long PeakMemory() => long.Parse(
        File.ReadLines($"/proc/{Daemon.Pid}/status").First(line => line.StartsWith("VmHWM:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;

    private HttpClient Http() => new(new SocketsHttpHandler
    {
        ConnectCallback = async (_, cancel) =>
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(Daemon.Socket), cancel);
            return new NetworkStream(socket, true);
        },
    })
    {
        BaseAddress = new Uri("http://edgehost/v1.44/"),
    };
}
