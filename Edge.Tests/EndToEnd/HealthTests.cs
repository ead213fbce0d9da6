using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Health checks as Docker's client shows them, and as the kernel sees them.</summary>
public sealed class HealthTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IDisposable
{
    private readonly TemporaryDirectory _host = new();

    private DaemonUnderTest Daemon => shared.Daemon;

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task The_exit_code_of_the_check_decides_and_inspect_ps_filters_and_events_say_so()
    {
        var id = await Daemon.RunDetachedAsync(
            "-v", _host.Path + ":/host", "--health-cmd", "echo looking; test -e /host/good || exit 3", "--health-interval", "100ms", "--health-retries", "2", "busybox", "sleep", "1000");
        await BecomesAsync(Daemon, id, "unhealthy");
        var health = await HealthOfAsync(Daemon, id);
        Assert.Equal("unhealthy", (string?)health["Status"]);
        Assert.True((int)health["FailingStreak"]! >= 2, health.ToJsonString());
        Assert.Equal((3, "looking\n"), ((int)health["Log"]![0]!["ExitCode"]!, (string?)health["Log"]![0]!["Output"]));
        Assert.True(DateTimeOffset.Parse((string)health["Log"]![0]!["Start"]!, CultureInfo.InvariantCulture) < DateTimeOffset.Parse((string)health["Log"]![0]!["End"]!, CultureInfo.InvariantCulture));
        Assert.Contains("(unhealthy)", (await Daemon.DockerAsync("ps", "--filter", "health=unhealthy", "--filter", "id=" + id)).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("(unhealthy)", (await Daemon.EdgehostAsync("ps", "--filter", "health=unhealthy", "--filter", "id=" + id)).Succeeds().Output, StringComparison.Ordinal);
        Assert.Empty((await Daemon.DockerAsync("ps", "-q", "--filter", "health=healthy", "--filter", "id=" + id)).Succeeds().Output);

        await File.WriteAllTextAsync(_host.Sub("good"), string.Empty, TestContext.Current.CancellationToken);
        await BecomesAsync(Daemon, id, "healthy");
        Assert.Equal("healthy 0", await Daemon.InspectAsync(id, "{{.State.Health.Status}} {{.State.Health.FailingStreak}}"));
        Assert.Contains("(healthy)", (await Daemon.DockerAsync("ps", "--filter", "health=healthy", "--filter", "id=" + id)).Succeeds().Output, StringComparison.Ordinal);

        // As in Docker: what is not checked is not healthy, and after a start it begins anew.
        (await Daemon.DockerAsync("kill", id)).Succeeds();
        await Daemon.DockerAsync("wait", id);
        Assert.Equal("unhealthy", await Daemon.InspectAsync(id, "{{.State.Health.Status}}"));
        Assert.DoesNotContain("ealthy)", (await Daemon.DockerAsync("ps", "-a", "--filter", "id=" + id)).Succeeds().Output, StringComparison.Ordinal);
        var since = Now();
        (await Daemon.DockerAsync("start", id)).Succeeds();
        await BecomesAsync(Daemon, id, "healthy", since);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task Before_the_first_check_it_is_starting_and_without_one_it_has_no_health()
    {
        var starting = await Daemon.RunDetachedAsync("--health-cmd", "true", "busybox", "sleep", "1000");
        var none = await Daemon.RunDetachedAsync("--no-healthcheck", "busybox", "sleep", "1000");

        Assert.Equal("starting 0 []", await Daemon.InspectAsync(starting, "{{.State.Health.Status}} {{.State.Health.FailingStreak}} {{json .State.Health.Log}}"));
        Assert.Contains("(health: starting)", (await Daemon.DockerAsync("ps", "--filter", "health=starting", "--filter", "id=" + starting)).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("""{"Test":["CMD-SHELL","true"]}""", await Daemon.InspectAsync(starting, "{{json .Config.Healthcheck}}"));
        Assert.Equal("null", await Daemon.InspectAsync(none, "{{json .State.Health}}"));
        Assert.Equal(none[..12] + "\n", (await Daemon.DockerAsync("ps", "-q", "--filter", "health=none", "--filter", "id=" + none)).Succeeds().Output);
        Assert.Contains("invalid filter 'health=well'", (await Daemon.DockerAsync("ps", "--filter", "health=well")).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", starting, none)).Succeeds();
    }

    [Fact]
    public async Task A_check_is_what_the_container_is_and_has_what_it_has()
    {
        // Names of namespaces, user, rights, filter, limits, place and descriptors; not the numbers that each process has of its own.
        const string Look =
            "cd . && id && pwd && env | grep -v -e SHLVL -e '^_=' | sort && for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done; "
            + "grep -e '^Cap' -e NoNewPrivs -e '^Seccomp' -e '^[UG]id' -e Groups -e Umask -e '^Sig[BIC]' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; "
            + "sed 's,:/\\(../\\)*health$,:/,' /proc/self/cgroup; for f in /proc/$$/fd/*; do echo ${f##*/}; done; readlink /proc/self/fd/0; grep -c . /proc/self/mountinfo";
        var id = await Daemon.RunDetachedAsync(
            "-u", "1234:99", "-w", "/tmp", "-e", "GREETING=hello world", "--cap-drop", "CHOWN", "--pids-limit", "30", "--health-cmd", Look + "; true", "--health-interval", "100ms", "busybox", "sh", "-c", Look + "; echo; sleep 1000");
        await BecomesAsync(Daemon, id, "healthy");

        await Daemon.LineAsync(id, line => line.Length == 0);
        var own = (await Daemon.LinesAsync(id)).Where(line => line.Length > 0);
        var checks = ((string)(await HealthOfAsync(Daemon, id))["Log"]![0]!["Output"]!).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Contains("GREETING=hello world", checks);
        Assert.Contains("uid=1234 gid=99", checks);
        Assert.Equal(own, checks);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_check_that_takes_too_long_is_killed_with_all_that_it_has_started()
    {
        var id = await Daemon.RunDetachedAsync(
            "--health-cmd", "setsid sleep 2001 & (sleep 2002 &) ; echo waiting; sleep 2003", "--health-interval", "100ms", "--health-timeout", "300ms", "--health-retries", "2", "busybox", "sleep", "1000");
        await BecomesAsync(Daemon, id, "unhealthy");

        // None is begun while it is paused.
        (await Daemon.DockerAsync("pause", id)).Succeeds();
        var log = (await HealthOfAsync(Daemon, id))["Log"]!.AsArray();
        Assert.All(log, result => Assert.Equal((-1, "Health check exceeded timeout (300ms): waiting\n"), ((int)result!["ExitCode"]!, (string?)result["Output"])));
        Assert.Equal([await Daemon.PidOfAsync(id)], Pids(Daemon, id));
        (await Daemon.DockerAsync("unpause", id)).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task What_a_check_leaves_behind_is_ended_with_it()
    {
        var id = await Daemon.RunDetachedAsync("--health-cmd", "(setsid sleep 2001 &); true", "--health-interval", "100ms", "busybox", "sleep", "1000");
        await BecomesAsync(Daemon, id, "healthy");

        (await Daemon.DockerAsync("pause", id)).Succeeds();
        Assert.Equal([await Daemon.PidOfAsync(id)], Pids(Daemon, id));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task Of_a_flood_the_beginning_is_kept_and_nothing_grows()
    {
        var shepherd = await Daemon.ShepherdPidAsync();
        var flood = await Daemon.RunDetachedAsync("--cpus", "0.5", "--health-cmd", "yes", "--health-interval", "100ms", "--health-timeout", "1s", "--health-retries", "1", "busybox", "sleep", "1000");
        var ends = await Daemon.RunDetachedAsync("--health-cmd", "head -c 300000 /dev/zero | tr '\\0' x", "--health-interval", "100ms", "busybox", "sleep", "1000");
        await BecomesAsync(Daemon, flood, "unhealthy");
        await BecomesAsync(Daemon, ends, "healthy");

        var output = (string)(await HealthOfAsync(Daemon, flood))["Log"]![0]!["Output"]!;
        Assert.Equal("Health check exceeded timeout (1s): " + string.Concat(Enumerable.Repeat("y\n", 2048)) + "...", output);
        Assert.Equal(new string('x', 4096) + "...", (string?)(await HealthOfAsync(Daemon, ends))["Log"]![0]!["Output"]);
        var resident = File.ReadLines($"/proc/{shepherd}/status").First(line => line.StartsWith("RssAnon:", StringComparison.Ordinal));
        Assert.True(int.Parse(resident.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) < 8192, resident);
        (await Daemon.DockerAsync("rm", "-f", flood, ends)).Succeeds();
    }

    [Fact]
    public async Task A_container_that_takes_its_own_output_out_of_the_pipe_holds_nobody_up()
    {
        // Whoever has one end of a pipe can open the other one by /proc; after the last line nothing more comes.
        const string Thieves = "for i in 1 2 3 4; do cat </proc/self/fd/1 >/dev/null & done; for i in $(seq 100); do echo; usleep 1000; done; exec sleep 1000";
        var ids = new List<string>();
        for (var i = 0; i < 5; i++)
        {
            ids.Add(await Daemon.RunDetachedAsync(
                "--health-cmd", Thieves, "--health-interval", "50ms", "--health-timeout", "500ms", "--health-retries", "3", "busybox", "sh", "-c", Thieves));
        }

        foreach (var id in ids)
        {
            await BecomesAsync(Daemon, id, "unhealthy");
        }

        Assert.Equal("here\n", (await Daemon.RunAsync("--rm", "busybox", "echo", "here")).Succeeds().Output);
        (await Daemon.DockerAsync(["rm", "-f", .. ids])).Succeeds();
    }

    [Fact]
    public async Task A_program_that_is_missing_is_a_failure_with_the_reason()
    {
        var id = await CreateAsync("""{"Image":"busybox","Cmd":["sleep","1000"],"Healthcheck":{"Test":["CMD","no-such-program"],"Interval":100000000,"Retries":1}}""");
        (await Daemon.DockerAsync("start", id)).Succeeds();
        await BecomesAsync(Daemon, id, "unhealthy");

        var result = (await HealthOfAsync(Daemon, id))["Log"]![0]!;
        Assert.Equal(-1, (int)result["ExitCode"]!);
        Assert.Contains("no-such-program: executable file not found", (string?)result["Output"], StringComparison.Ordinal);
        Assert.Equal("running", await Daemon.InspectAsync(id, "{{.State.Status}}"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_check_lives_within_the_limits_of_its_container()
    {
        var few = await Daemon.RunDetachedAsync("--pids-limit", "2", "--health-cmd", "true", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "1000");
        var enough = await Daemon.RunDetachedAsync("--pids-limit", "3", "--health-cmd", "true", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "1000");
        var hungry = await Daemon.RunDetachedAsync("-m", "8m", "--health-cmd", "tail /dev/zero", "--health-interval", "100ms", "--health-retries", "1", "busybox", "sleep", "1000");
        await BecomesAsync(Daemon, few, "unhealthy");
        await BecomesAsync(Daemon, enough, "healthy");
        await BecomesAsync(Daemon, hungry, "unhealthy");

        Assert.Contains("clone a process in the container", (string?)(await HealthOfAsync(Daemon, few))["Log"]![0]!["Output"], StringComparison.Ordinal);
        Assert.Equal(137, (int)(await HealthOfAsync(Daemon, hungry))["Log"]![0]!["ExitCode"]!);
        Assert.Equal("running", await Daemon.InspectAsync(hungry, "{{.State.Status}}"));
        (await Daemon.DockerAsync("rm", "-f", few, enough, hungry)).Succeeds();
    }

    [Theory]
    [InlineData("""{"Interval":999999}""", "Interval in Healthcheck cannot be less than 1ms")]
    [InlineData("""{"Timeout":-1}""", "Timeout in Healthcheck cannot be less than 1ms")]
    [InlineData("""{"StartPeriod":1}""", "StartPeriod in Healthcheck cannot be less than 1ms")]
    [InlineData("""{"StartInterval":1}""", "StartInterval in Healthcheck cannot be less than 1ms")]
    [InlineData("""{"Retries":-1}""", "Retries in Healthcheck cannot be negative")]
    [InlineData("""{"Test":["RUN","true"]}""", "not one of NONE, CMD and CMD-SHELL")]
    [InlineData("""{"Test":["CMD"]}""", "without the command to run")]
    [InlineData("""{"Test":"true"}""", "Healthcheck")]
    [InlineData("""{"Interval":1e30}""", "Healthcheck")]
    public async Task What_no_check_can_be_is_refused(string check, string why)
    {
        var answer = await CommandRun.RunAsync("curl", ["-s", "-w", " %{http_code}", "--unix-socket", Daemon.Socket, "-d", $$"""{"Image":"busybox","Healthcheck":{{check}}}""", "http://edgehost/containers/create"]);

        Assert.EndsWith(" 400", answer.Output, StringComparison.Ordinal);
        Assert.Contains(why, answer.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_of_edgehost_takes_the_words_of_docker()
    {
        var id = (await Daemon.EdgehostAsync(
            "run", "-d", "--health-cmd", "true", "--health-interval", "1m30s", "--health-timeout", "500ms", "--health-start-period", "1h", "--health-start-interval", "100ms", "--health-retries", "7", "busybox", "sleep", "1000")).Succeeds().Output.Trim();
        await BecomesAsync(Daemon, id, "healthy");

        Assert.Equal(
            """{"Test":["CMD-SHELL","true"],"Interval":90000000000,"Timeout":500000000,"StartPeriod":3600000000000,"StartInterval":100000000,"Retries":7}""",
            await Daemon.InspectAsync(id, "{{json .Config.Healthcheck}}"));
        Assert.Contains("(healthy)", (await Daemon.EdgehostAsync("ps")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("edgehost: --no-healthcheck conflicts with --health-* options\n", (await Daemon.EdgehostAsync("run", "--no-healthcheck", "--health-cmd", "true", "busybox")).Exits(125).Error);
        Assert.Equal("edgehost: --health-timeout cannot be negative\n", (await Daemon.EdgehostAsync("run", "--health-timeout", "-1s", "busybox")).Exits(125).Error);
        Assert.Contains("--health-interval soon: not a duration", (await Daemon.EdgehostAsync("run", "--health-interval", "soon", "busybox")).Exits(125).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_daemon_that_comes_back_goes_on_from_what_was_known_and_no_check_piles_up()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var well = (await daemon.EdgehostAsync(
            "run", "-d", "--health-cmd", "echo once", "--health-interval", "1h", "--health-start-period", "1h", "--health-start-interval", "100ms", "busybox", "sleep", "1000")).Succeeds().Output.Trim();
        await BecomesAsync(daemon, well, "healthy");
        var slow = await daemon.RunDetachedAsync(
            "-v", _host.Path + ":/host", "--health-cmd", "echo begun >> /host/begun; exec sleep 2001", "--health-interval", "100ms", "--health-timeout", "1h", "busybox", "sh", "-c", "touch /host/begun; exec tail -f /host/begun");
        await daemon.LineAsync(slow, line => line == "begun");

        await daemon.KillAsync();
        await daemon.StartAsync();
        var begun = 0;
        await daemon.LineAsync(slow, line => line == "begun" && ++begun == 2);

        // The one of the daemon that was killed has gone with it.
        var main = await daemon.PidOfAsync(slow);
        Assert.Single(Pids(daemon, slow), pid => pid != main);
        var health = await HealthOfAsync(daemon, well);
        Assert.Equal("healthy", (string?)health["Status"]);
        Assert.Equal("once\n", (string?)Assert.Single(health["Log"]!.AsArray())!["Output"]);
        (await daemon.DockerAsync("rm", "-f", well, slow)).Succeeds();
    }

    [Fact]
    public async Task A_check_does_not_outlive_the_shepherd()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var id = await daemon.RunDetachedAsync(
            "-v", _host.Path + ":/host", "--health-cmd", "echo begun >> /host/begun; exec sleep 2001", "--health-interval", "100ms", "--health-timeout", "1h", "busybox", "sh", "-c", "touch /host/begun; exec tail -f /host/begun");
        await daemon.LineAsync(id, line => line == "begun");
        var main = await daemon.PidOfAsync(id);
        using var check = Processes.TryOpen(Pids(daemon, id).Single(pid => pid != main))!;

        // While the daemon stands still nobody else ends it, nor reaps the shepherd; the container's program reaps nothing.
        await DaemonUnderTest.SignalAsync(daemon.Pid, "STOP");
        try
        {
            var shepherd = await daemon.ShepherdPidAsync();
            await DaemonUnderTest.SignalAsync(shepherd, "KILL");
            Assert.Equal(0, SingleThread.WaitReadable([check.Value], (int)DaemonUnderTest.Patience.TotalMilliseconds));
            Assert.Equal([main], Pids(daemon, id));
        }
        finally
        {
            await DaemonUnderTest.SignalAsync(daemon.Pid, "CONT");
        }

        (await daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    private static string Now() => (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000.0).ToString("0.000", CultureInfo.InvariantCulture);

    private static List<int> Pids(DaemonUnderTest daemon, string id) =>
        [.. Directory.EnumerateFiles(Path.Combine("/sys/fs/cgroup/freezer", daemon.CgroupRoot, id), "cgroup.procs", SearchOption.AllDirectories)
            .SelectMany(File.ReadAllLines).Select(line => int.Parse(line, CultureInfo.InvariantCulture)).Where(DaemonUnderTest.Lives)];

    private static async Task<JsonNode> HealthOfAsync(DaemonUnderTest daemon, string id) =>
        JsonNode.Parse(await daemon.InspectAsync(id, "{{json .State.Health}}"))!;

    /// <summary>Waits for the event that tells of a health, also one that was told before.</summary>
    internal static async Task BecomesAsync(DaemonUnderTest daemon, string id, string health, string since = "1")
    {
        var start = new ProcessStartInfo(
            "docker", ["-H", "unix://" + daemon.Socket, "events", "--since", since, "--filter", "container=" + id, "--filter", "event=health_status", "--format", "{{.Action}}"])
        { RedirectStandardOutput = true };
        using var events = Process.Start(start)!;
        using var limit = new CancellationTokenSource(DaemonUnderTest.Patience);
        try
        {
            while (await events.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                if (line == "health_status: " + health)
                {
                    return;
                }
            }

            Assert.Fail($"the events of {id} ended before it became {health}\n{daemon.Said}");
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"{id} did not become {health}; it is {await HealthOfAsync(daemon, id)}\n{daemon.Said}");
        }
        finally
        {
            events.Kill();
            await events.WaitForExitAsync();
        }
    }

    private async Task<string> CreateAsync(string body)
    {
        var answer = await CommandRun.RunAsync("curl", ["-s", "--unix-socket", Daemon.Socket, "-d", body, "http://edgehost/containers/create"]);
        return (string?)JsonNode.Parse(answer.Output)!["Id"] ?? throw new InvalidOperationException(answer.Output);
    }
}
