using System.Text.Json;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>Docker's own client is the judge.</summary>
public sealed class DockerClientTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    [Fact]
    public async Task Run_in_the_foreground_prints_what_the_container_prints_and_exits_with_its_code()
    {
        var run = await api.DockerAsync("run", "--rm", "--network", "none", "busybox", "echo", "hi", "there");
        Assert.Equal(("hi there\n", string.Empty, 0), (run.Output, run.Error, run.ExitCode));

        var complain = await api.DockerAsync("run", "--rm", "--network", "none", "busybox", "complain", "no");
        Assert.Equal((string.Empty, "no\n", 1), (complain.Output, complain.Error, complain.ExitCode));

        Assert.Equal(42, (await api.DockerAsync("run", "--network", "none", "busybox", "exit", "42")).ExitCode);
    }

    [Fact]
    public async Task Run_of_a_program_that_is_not_there_exits_with_127()
    {
        var run = await api.DockerAsync("run", "--rm", "--network", "none", "busybox", "missing");
        Assert.Equal(127, run.ExitCode);
        Assert.Contains("executable file not found", run.Error);
    }

    [Fact]
    public async Task Run_of_an_image_that_is_not_here_pulls_it_first()
    {
        var run = await api.DockerAsync("run", "--rm", "--network", "none", "alpine", "echo", "pulled");
        Assert.Equal("pulled\n", run.Output);
        Assert.Contains("Unable to find image 'alpine:latest' locally", run.Error);
    }

    [Fact]
    public async Task A_container_goes_through_its_whole_life()
    {
        var started = await api.DockerAsync("run", "-d", "--name", "life", "--network", "none", "-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "--restart", "unless-stopped", "-v", "/tmp:/host:ro", "-e", "A=b", "busybox", "sleep");
        Assert.Equal(0, started.ExitCode);
        var id = started.Output.Trim();
        Assert.Equal(64 << 20, api.Engine.LastSpec!.Limits.MemoryBytes);
        Assert.Equal(500_000_000, api.Engine.LastSpec.Limits.NanoCpus);
        Assert.Equal(20, api.Engine.LastSpec.Limits.Pids);

        Assert.Contains("life", (await api.DockerAsync("ps")).Output);
        Assert.Equal("true 4711 67108864 unless-stopped [/tmp:/host:ro]\n", (await api.DockerAsync("inspect", "-f", "{{.State.Running}} {{.State.Pid}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Binds}}", "life")).Output);
        Assert.Contains("8MiB / 64MiB", (await api.DockerAsync("stats", "--no-stream", "life")).Output);
        Assert.Equal(0, (await api.DockerAsync("rename", "life", "lived")).ExitCode);
        Assert.Equal("lived\n", (await api.DockerAsync("stop", "-t", "3", "lived")).Output);
        Assert.Equal(TimeSpan.FromSeconds(3), api.Engine.LastGrace);
        Assert.Equal("143\n", (await api.DockerAsync("wait", "lived")).Output);
        Assert.Contains("Exited (143)", (await api.DockerAsync("ps", "-a", "--filter", "name=^/lived$")).Output);
        Assert.Equal("lived\n", (await api.DockerAsync("start", "lived")).Output);
        Assert.Equal(1, (await api.DockerAsync("rm", "lived")).ExitCode);
        Assert.Equal("lived\n", (await api.DockerAsync("rm", "-f", "lived")).Output);
        Assert.DoesNotContain(id[..12], (await api.DockerAsync("ps", "-aq")).Output);
    }

    [Fact]
    public async Task Kill_sends_the_signal_that_was_named()
    {
        await api.DockerAsync("run", "-d", "--name", "kill-me", "--network", "none", "busybox", "sleep");
        await api.DockerAsync("kill", "-s", "USR1", "kill-me");
        Assert.Equal("138\n", (await api.DockerAsync("wait", "kill-me")).Output);
    }

    [Fact]
    public async Task Logs_keep_the_streams_apart_and_can_carry_times()
    {
        var id = (await api.DockerAsync("create", "--network", "none", "busybox", "sleep")).Output.Trim();
        api.Engine.Write(id, false, "one\n");
        api.Engine.Write(id, true, "two\n");
        api.Engine.Write(id, false, "three\n");
        var all = await api.DockerAsync("logs", id);
        Assert.Equal(("one\nthree\n", "two\n"), (all.Output, all.Error));
        Assert.Equal("three\n", (await api.DockerAsync("logs", "--tail", "1", id)).Output);
        Assert.StartsWith("2026-01-02T03:04:05.000000000Z one\n", (await api.DockerAsync("logs", "-t", id)).Output);
    }

    [Fact]
    public async Task What_came_with_version_1_44_of_the_API_is_taken_from_the_client()
    {
        (await api.DockerAsync("create", "--name", "newer", "--network", "none", "--health-cmd", "true", "--health-start-interval", "2s",
            "--mount", "type=bind,src=/usr,dst=/usr,readonly,bind-propagation=rprivate,bind-recursive=readonly", "busybox", "true")).Succeeds();
        Assert.Equal("2s\n", (await api.DockerAsync("inspect", "-f", "{{.Config.Healthcheck.StartInterval}}", "newer")).Succeeds().Output);
        Assert.Contains("EndpointsConfig.DriverOpts is not in this version", (await api.DockerAsync("create", "--network", "name=bridge,driver-opt=a=b", "busybox")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("Mounts.BindOptions is not in this version (asked for: {\"ReadOnlyNonRecursive\":true})", (await api.DockerAsync("create", "--mount", "type=bind,src=/usr,dst=/usr,readonly,bind-recursive=writable", "busybox")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Version_and_info_are_understood()
    {
        Assert.Equal("1.44 1.24 linux\n", (await api.DockerAsync("version", "-f", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}")).Output);
        var info = await api.DockerAsync("info", "--format", "{{json .}}");
        Assert.Equal(0, info.ExitCode);
        Assert.Equal("edgehost", JsonDocument.Parse(info.Output).RootElement.GetProperty("DefaultRuntime").GetString());
    }

    [Fact]
    public async Task Images_are_saved_and_what_fails_in_the_middle_fails_for_the_client()
    {
        Assert.Equal("archive of busybox:latest", (await api.DockerAsync("save", "busybox:latest")).Succeeds().Output);
        Assert.Contains("No such image: nosuch", (await api.DockerAsync("save", "nosuch")).Exits(1).Error, StringComparison.Ordinal);
        (await api.DockerAsync("save", "busybox")).Exits(1);
        Assert.Equal("archive of busybox:latest", await api.Http.GetStringAsync("/images/busybox:latest/get", TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Events_of_the_past_are_shown_and_end_with_until()
    {
        await api.DockerAsync("run", "--name", "eventful", "--network", "none", "busybox", "echo", "x");
        var events = await api.DockerAsync("events", "--since", "1h", "--until", (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000m).ToString(System.Globalization.CultureInfo.InvariantCulture), "--filter", "container=eventful", "--format", "{{.Action}} {{.Actor.Attributes.name}}");
        Assert.Equal("create eventful\nstart eventful\ndie eventful\n", events.Output);
    }

    [Fact]
    public async Task Images_are_listed_inspected_pulled_loaded_and_removed()
    {
        Assert.Contains("busybox", (await api.DockerAsync("images")).Output);
        Assert.Equal("linux\n", (await api.DockerAsync("image", "inspect", "-f", "{{.Os}}", "busybox")).Output);
        Assert.Equal("sha256:", (await api.DockerAsync("images", "-q", "--no-trunc", "busybox")).Output[..7]);
        Assert.Contains("Loaded image: loaded:latest", (await CommandRun.RunAsync("sh", ["-c", $"head -c 3000000 /dev/zero | docker -H unix://{api.Socket} load"])).Output);
        Assert.Equal(3_000_000, api.Images.LoadedBytes);
        Assert.Contains("Untagged: loaded:latest", (await api.DockerAsync("rmi", "loaded")).Output);
    }

    [Fact]
    public async Task A_pull_that_fails_on_the_way_says_why()
    {
        var pull = await api.DockerAsync("pull", "broken");
        Assert.Equal(1, pull.ExitCode);
        Assert.Contains("not what its digest promised", pull.Error);
        Assert.Contains("is not in its registry", (await api.DockerAsync("pull", "nowhere")).Error);
    }

    [Fact]
    public async Task A_pull_for_another_platform_is_refused_and_not_one_for_ours() =>
        Assert.Contains("platform linux/s390x cannot run here", (await api.DockerAsync("pull", "--platform", "linux/s390x", "alpine")).Exits(1).Error, StringComparison.Ordinal);

    [Theory]
    [InlineData("--pid=host", "HostConfig.PidMode")]
    [InlineData("--sysctl=net.core.somaxconn=1", "HostConfig.Sysctls")]
    [InlineData("--log-opt=labels=a", "HostConfig.LogConfig: log option labels")]
    [InlineData("--log-driver=syslog", "HostConfig.LogConfig: log driver syslog")]
    public async Task What_is_not_held_is_refused_by_name(string flag, string word)
    {
        var run = await api.DockerAsync("create", flag, "busybox", "sleep");
        Assert.Equal(1, run.ExitCode);
        Assert.Contains(word, run.Error);
    }
}
