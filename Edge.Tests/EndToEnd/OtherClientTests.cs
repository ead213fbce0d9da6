using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Debian's docker-compose 1.29 and docker-py 5 against the daemon as it is published.</summary>
public sealed class OtherClientTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    private Dictionary<string, string?> Environment => new() { ["DOCKER_HOST"] = $"unix://{Daemon.Socket}" };

    [Fact]
    public async Task Docker_compose_brings_a_project_up_changes_it_and_takes_it_down()
    {
        await Packages.NeedAsync("docker-compose");
        using var project = new TemporaryDirectory();
        await WriteAsync("b");
        (await ComposeAsync("up", "-d")).Succeeds();
        Assert.Contains("Up", (await ComposeAsync("ps")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("composed\n", (await Daemon.DockerAsync("logs", "-f", "edge_two_1")).Succeeds().Output);
        Assert.Contains("composed", (await ComposeAsync("logs", "--no-color", "two")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("67108864 500000000 unless-stopped none", await Daemon.InspectAsync("edge_one_1", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.NetworkMode}}"));
        await Daemon.LineAsync("edge_one_1", line => line == "started with b");
        var first = await Daemon.InspectAsync("edge_one_1", "{{.Id}}");

        Assert.Contains("up-to-date", (await ComposeAsync("up", "-d", "one")).Succeeds().Error, StringComparison.Ordinal);
        Assert.Equal(first, await Daemon.InspectAsync("edge_one_1", "{{.Id}}"));
        await WriteAsync("c");
        Assert.Contains("Recreating edge_one_1", (await ComposeAsync("up", "-d", "one")).Succeeds().Error, StringComparison.Ordinal);
        await Daemon.LineAsync("edge_one_1", line => line == "started with c");
        Assert.NotEqual(first, await Daemon.InspectAsync("edge_one_1", "{{.Id}}"));

        (await ComposeAsync("restart", "-t", "5", "one")).Succeeds();
        Assert.Contains("busybox", (await ComposeAsync("images")).Succeeds().Output, StringComparison.Ordinal);
        (await ComposeAsync("stop", "-t", "5")).Succeeds();
        Assert.Equal("exited 3", await Daemon.InspectAsync("edge_one_1", "{{.State.Status}} {{.State.ExitCode}}"));
        (await ComposeAsync("start")).Succeeds();
        Assert.Equal("running", await Daemon.InspectAsync("edge_one_1", "{{.State.Status}}"));
        (await ComposeAsync("kill", "one")).Succeeds();
        Assert.Equal("edge_named\n", (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "label=of=compose")).Output);
        (await ComposeAsync("down", "-v")).Succeeds();
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "label=of=compose")).Output);
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("ps", "-aq", "--filter", "label=com.docker.compose.project=edge")).Output);

        Task WriteAsync(string value) => File.WriteAllTextAsync(
            project.Sub("docker-compose.yml"),
            $$"""
            version: "2.4"
            services:
              one:
                image: busybox
                command: ["sh", "-c", "trap 'exit 3' TERM; echo started with $$A; while :; do sleep 0.1; done"]
                environment: {A: {{value}}}
                network_mode: none
                mem_limit: 64m
                cpus: 0.5
                restart: unless-stopped
                volumes: ["{{project.Path}}:/host:ro", "/kept", "named:/named"]
              two:
                image: busybox
                command: ["echo", "composed"]
                network_mode: none
                depends_on: [one]
              three:
                image: busybox
                command: ["ls", "/sys/class/net"]
                network_mode: host
            volumes:
              named:
                labels: [of=compose]
            """,
            TestContext.Current.CancellationToken);

        Task<CommandRun> ComposeAsync(params string[] arguments) =>
            CommandRun.RunAsync("/usr/bin/docker-compose", ["-f", project.Sub("docker-compose.yml"), "-p", "edge", .. arguments], environment: Environment);
    }

    [Fact]
    public async Task Docker_compose_takes_the_files_of_the_samples()
    {
        await Packages.NeedAsync("docker-compose");
        var files = Directory.GetFiles(Repository.PathOf("images"), "compose.yaml", SearchOption.AllDirectories);
        Assert.NotEmpty(files);
        foreach (var file in files)
        {
            (await ComposeAsync(file, "config", "-q")).Succeeds();
        }

        var hogs = files.Single(file => file.EndsWith("/hog/compose.yaml", StringComparison.Ordinal));
        (await Daemon.DockerAsync("load", "-q", "-i", await SampleImage.PathAsync("hog", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64"))).Succeeds();
        (await ComposeAsync(hogs, "up", "-d")).Succeeds();
        Assert.Equal("137\n", (await Daemon.DockerAsync("wait", "hogs_memory_1")).Succeeds().Output);
        Assert.Equal("true 3", await Daemon.InspectAsync("hogs_memory_1", "{{.State.OOMKilled}} {{.RestartCount}}"));
        Assert.Equal("running 250000000", await Daemon.InspectAsync("hogs_cpu_1", "{{.State.Status}} {{.HostConfig.NanoCpus}}"));
        Assert.Equal("2\n", (await Daemon.DockerAsync("wait", "hogs_pids_1")).Succeeds().Output);
        Assert.Equal("32", await Daemon.InspectAsync("hogs_pids_1", "{{.HostConfig.PidsLimit}}"));
        Assert.Contains("holding 30 processes", (await Daemon.DockerAsync("logs", "hogs_pids_1")).Succeeds().Output, StringComparison.Ordinal);
        (await ComposeAsync(hogs, "down", "-t", "1")).Succeeds();

        Task<CommandRun> ComposeAsync(string file, params string[] arguments) =>
            CommandRun.RunAsync("/usr/bin/docker-compose", ["-f", file, "-p", "hogs", .. arguments], environment: Environment);
    }

    [Fact]
    public async Task Docker_py_runs_follows_counts_kills_and_removes()
    {
        await Packages.NeedAsync("python3-docker");
        const string program = """
            import docker, threading
            c = docker.from_env()
            assert c.ping()
            events = c.events(decode=True, filters={"container": "py"})
            seen = []
            ended = threading.Event()
            def watch():
                for e in events:
                    seen.append(e["Action"])
                    if e["Action"] == "destroy": return ended.set()
            threading.Thread(target=watch, daemon=True).start()
            print(c.containers.run("busybox", ["echo", "from", "python"], network_mode="none", remove=True))
            try: c.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], network_mode="none", remove=True)
            except docker.errors.ContainerError as e: print(e.exit_status, e.stderr)
            x = c.containers.run("busybox", ["sh", "-c", "trap 'echo heard; exit 4' USR1; echo up; while :; do sleep 0.1; done"],
                detach=True, name="py", network_mode="none", mem_limit="64m", nano_cpus=500000000, pids_limit=20, environment={"X": "y"},
                labels={"a": "b"}, volumes={"pyvol": {"bind": "/d", "mode": "rw"}}, tmpfs={"/t": "size=1m"})
            follow = x.logs(stream=True, follow=True)
            print(next(follow))
            x.reload()
            print(x.status, x.attrs["Config"]["Env"][0], [(m["Type"], m["Name"], m["Source"].endswith("/volumes/pyvol/_data")) for m in x.attrs["Mounts"]])
            s = x.stats(stream=False)
            print(s["memory_stats"]["limit"], s["pids_stats"]["limit"], s["cpu_stats"]["cpu_usage"]["total_usage"] > 0)
            s = x.stats(stream=True, decode=True); next(s); print(next(s)["precpu_stats"]["cpu_usage"]["total_usage"] > 0); s.close()
            x.kill("USR1")
            print(x.wait(), b"".join(follow), x.logs())
            x.start(); x.rename("py2"); x.restart(timeout=0); x.stop(timeout=0); x.reload(); print(x.status, x.wait()["StatusCode"]); x.remove(v=True)
            assert ended.wait(60)
            print(seen)
            y = c.containers.create("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; done"], network_mode="none")
            out = y.attach(stream=True); y.start(); print(b"".join(out), y.wait()["StatusCode"]); y.remove()
            i = c.images.get("busybox"); print(i.tags, [h["Size"] > 0 for h in i.history()])
            try: c.images.pull("127.0.0.1:1/Bad")
            except docker.errors.APIError as e: print(e.status_code)
            v = c.volumes.create("made", labels={"of": "py"}); print(v.name, v.attrs["Labels"], [w.name for w in c.volumes.list(filters={"label": "of=py"})])
            v.remove(); c.volumes.get("pyvol").remove()
            try: c.volumes.get("made")
            except docker.errors.NotFound as e: print(e.status_code)
            print(sorted(c.df()), c.containers.prune()["ContainersDeleted"], c.images.prune()["SpaceReclaimed"])
            for unsupported in (lambda: x.commit("made"),):
                try: unsupported()
                except docker.errors.APIError as e: print(e.status_code)
            print(c.containers.list(all=True, filters={"name": "py"}))
            """;
        var run = (await CommandRun.RunAsync("/usr/bin/python3", ["-c", program], environment: Environment)).Succeeds();
        Assert.Equal(
            """
            b'from python\n'
            3 b'bad\n'
            b'up\n'
            running X=y [('volume', 'pyvol', True)]
            67108864 20 True
            True
            {'StatusCode': 4} b'heard\n' b'up\nheard\n'
            exited 137
            ['create', 'start', 'kill', 'die', 'start', 'rename', 'die', 'stop', 'start', 'restart', 'die', 'stop', 'destroy']
            b'1\n2\n3\n' 0
            ['busybox:latest'] [False, True]
            400
            made {'of': 'py'} ['made']
            404
            ['BuildCache', 'BuilderSize', 'Containers', 'Images', 'LayersSize', 'Volumes'] None 0
            501
            []

            """,
            run.Output);
    }
}
