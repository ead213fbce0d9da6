using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>Clients of Docker's API that are not Docker's own: docker-py 5 and docker-compose 1.29, from Debian.</summary>
public sealed class OtherClientTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    private Dictionary<string, string?> Environment => new() { ["DOCKER_HOST"] = $"unix://{api.Socket}" };

    [Fact]
    public async Task Docker_py_runs_lists_reads_and_removes()
    {
        await NeedAsync("python3", "-c", "import docker");
        const string program = """
            import docker
            c = docker.from_env()
            assert c.ping() and c.version()["ApiVersion"] == "1.44" and c.info()["OSType"] == "linux"
            print(c.containers.run("busybox", ["echo", "from", "python"], network_mode="none", remove=True))
            x = c.containers.run("busybox", ["sleep"], detach=True, name="py", network_mode="none", mem_limit="64m", nano_cpus=500000000, labels={"a": "b"}, restart_policy={"Name": "always"})
            assert x.status == "created" and [y.name for y in c.containers.list(filters={"label": "a=b"})] == ["py"]
            x.reload(); assert x.status == "running" and x.attrs["HostConfig"]["Memory"] == 64 << 20
            s = x.stats(stream=False); assert s["memory_stats"]["limit"] == 64 << 20 and s["precpu_stats"]["cpu_usage"]["total_usage"] > 0
            x.kill("TERM"); print(x.wait())
            print(x.logs())
            x.rename("py2"); x.remove(v=True)
            assert c.containers.list(all=True) == []
            try: c.containers.run("busybox", "sleep", pid_mode="host")
            except docker.errors.APIError as e: print(e.explanation)
            try: c.containers.get("nosuch")
            except docker.errors.NotFound as e: print(e.explanation)
            i = c.images.pull("alpine", tag="latest"); print(i.tags)
            print([t for i in c.images.list() for t in i.tags])
            """;
        var run = (await CommandRun.RunAsync("python3", ["-c", program], environment: Environment)).Succeeds();
        Assert.Equal(
            """
            b'from python\n'
            {'StatusCode': 143}
            b''
            HostConfig.PidMode is not in this version (asked for: "host")
            No such container: nosuch
            ['alpine:latest']
            ['alpine:latest', 'busybox:latest']

            """,
            run.Output);
    }

    [Fact]
    public async Task Docker_compose_brings_a_project_up_and_down()
    {
        await NeedAsync("docker-compose", "version");
        using var project = new Project("""
            version: "2.4"
            services:
              one:
                image: busybox
                command: sleep
                network_mode: none
                mem_limit: 64m
                restart: unless-stopped
                volumes: ["/tmp:/host:ro"]
              two:
                image: busybox
                command: ["echo", "composed"]
                network_mode: none
            """);
        (await ComposeAsync(project, "up", "-d")).Succeeds();
        Assert.Contains("Up", (await ComposeAsync(project, "ps")).Succeeds().Output);
        Assert.Contains("composed", (await ComposeAsync(project, "logs", "--no-color", "two")).Succeeds().Output);
        // A second time nothing is to be done: the labels and the configuration are found again.
        Assert.Contains("up-to-date", (await ComposeAsync(project, "up", "-d", "one")).Succeeds().Error);
        (await ComposeAsync(project, "down")).Succeeds();
        Assert.Empty(api.Engine.List());
    }

    private Task<CommandRun> ComposeAsync(Project project, params string[] arguments) =>
        CommandRun.RunAsync("docker-compose", ["-f", project.File, "-p", "edge", .. arguments], environment: Environment);

    private static async Task NeedAsync(string program, params string[] arguments)
    {
        try
        {
            if ((await CommandRun.RunAsync(program, arguments)).ExitCode == 0)
            {
                return;
            }
        }
        catch (System.ComponentModel.Win32Exception)
        {
            // Not installed: said below.
        }

        Needs.Missing($"{program} {string.Join(' ', arguments)} does not work here: apt-get install python3-docker docker-compose");
    }

    private sealed class Project : IDisposable
    {
        private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-compose-").FullName;

        internal Project(string text) => System.IO.File.WriteAllText(File, text);

        internal string File => Path.Combine(_directory, "docker-compose.yml");

        public void Dispose() => Directory.Delete(_directory, true);
    }
}
