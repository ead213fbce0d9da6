using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What a user of Docker's client sees of containers.</summary>
public sealed class ContainerTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task The_exit_code_of_run_is_that_of_the_program()
    {
        Assert.Equal(0, (await Daemon.RunAsync("--rm", "busybox", "true")).ExitCode);
        Assert.Equal(7, (await Daemon.RunAsync("--rm", "busybox", "sh", "-c", "exit 7")).ExitCode);
        Assert.Equal(137, (await Daemon.RunAsync("--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?")).ExitCode);
    }

    [Fact]
    public async Task Run_ends_with_125_126_and_127_as_Docker_does()
    {
        Assert.Equal(125, (await Daemon.RunAsync("--rm", "--pid", "host", "busybox", "true")).ExitCode);
        Assert.Equal(126, (await Daemon.RunAsync("--rm", "busybox", "/etc/passwd")).ExitCode);
        var missing = await Daemon.RunAsync("--rm", "busybox", "no-such-program");
        Assert.Equal(127, missing.ExitCode);
        Assert.Contains("no-such-program", missing.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("\n   at ", missing.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_container_that_its_policy_starts_again_and_again_is_removed_by_force_at_any_moment()
    {
        for (var round = 0; round < 10; round++)
        {
            var id = await Daemon.RunDetachedAsync("--restart", "always", "--network", "none", "busybox", "true");
            (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
            Assert.Equal(string.Empty, (await Daemon.DockerAsync("ps", "-aq", "--filter", "id=" + id)).Succeeds().Output);
        }
    }

    [Fact]
    public async Task A_container_that_writes_nothing_has_nothing_in_its_layer()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var facts = Directory.EnumerateFiles(Daemon.Data, "snapshot.json", SearchOption.AllDirectories).Single(file => File.ReadAllText(file).Contains(id, StringComparison.Ordinal));
        var layer = Path.Combine(Path.GetDirectoryName(facts)!, "fs");

        Assert.Equal((await Daemon.DockerAsync("exec", id, "cat", "/etc/hostname")).Succeeds().Output.Trim(), id[..12]);
        Assert.Empty(Directory.EnumerateFileSystemEntries(layer));
        (await Daemon.DockerAsync("exec", id, "sh", "-c", "echo kept > /etc/kept")).Succeeds();
        Assert.Equal("kept\n", await File.ReadAllTextAsync(layer + "/etc/kept", TestContext.Current.CancellationToken));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task Both_streams_arrive_apart_and_whole()
    {
        var run = await Daemon.RunAsync("--rm", "--network", "none", "busybox", "sh", "-c", "for i in $(seq 500); do echo out $i; echo err $i >&2; done");

        Assert.Equal(Numbered("out", 500), run.Output);
        Assert.Equal(Numbered("err", 500), run.Error);
    }

    [Fact]
    public async Task Five_megabytes_of_output_are_complete_and_in_order()
    {
        // Less than what a log keeps by default; more than all pipes and buffers on the way hold.
        const int lines = 60_000;
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", $"awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) printf \"line %06d with something behind it to make it long, and longer, and longer still\\n\", i }}'");
        await Daemon.DockerAsync("wait", id);

        var text = (await Daemon.DockerAsync("logs", id)).Succeeds().Output;
        var expected = new StringBuilder();
        for (var i = 1; i <= lines; i++)
        {
            expected.Append(CultureInfo.InvariantCulture, $"line {i:D6} with something behind it to make it long, and longer, and longer still\n");
        }

        Assert.Equal(expected.Length, text.Length);
        Assert.Equal(SHA256.HashData(Encoding.ASCII.GetBytes(expected.ToString())), SHA256.HashData(Encoding.ASCII.GetBytes(text)));
        Assert.Equal(3, (await Daemon.DockerAsync("logs", "--tail", "3", id)).Output.Count(c => c == '\n'));
    }

    [Fact]
    public async Task Logs_can_be_followed_to_the_end_of_the_container()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "echo first; sleep 0.5; echo last; exit 3");
        var whole = await Daemon.DockerAsync("logs", "-f", id);

        Assert.Equal("first\nlast\n", whole.Succeeds().Output);
        Assert.Equal("3", await Daemon.InspectAsync(id, "{{.State.ExitCode}}"));
    }

    [Fact]
    public async Task A_start_in_the_foreground_shows_what_that_run_writes_and_nothing_before()
    {
        (await Daemon.DockerAsync("create", "--name", "again", "busybox", "sh", "-c", "echo one; echo two")).Succeeds();
        for (var run = 0; run < 3; run++)
        {
            Assert.Equal("one\ntwo\n", (await Daemon.DockerAsync("start", "-a", "again")).Succeeds().Output);
        }

        (await Daemon.DockerAsync("rm", "again")).Succeeds();
    }

    [Fact]
    public async Task Logs_begin_and_end_where_they_are_told_to()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done");
        await Daemon.DockerAsync("wait", id);
        var stamps = (await Daemon.DockerAsync("logs", "-t", id)).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ')).ToList();
        Assert.Equal(["1", "2", "3", "4", "5"], stamps.Select(line => line[1]));
        var third = stamps[2][0];
        var seconds = ((DateTimeOffset.Parse(third, CultureInfo.InvariantCulture).UtcTicks - DateTime.UnixEpoch.Ticks) / 10_000_000m).ToString("0.000000000", CultureInfo.InvariantCulture);
        foreach (var moment in new[] { third, seconds })
        {
            await BothAsync("3\n4\n5\n", "--since", moment);
            await BothAsync("1\n2\n3\n", "--until", moment);
            await BothAsync("3\n", "--since", moment, "--until", moment);
            await BothAsync("5\n", "--since", moment, "--tail", "1");
        }

        await BothAsync("1\n2\n3\n4\n5\n", "--since", "1h30m");
        await BothAsync(string.Empty, "--until", "1h");
        await BothAsync(string.Empty, "--tail", "0");
        await BothAsync(string.Empty, "--since", "2100-01-02T03:04:05+01:00");
        await BothAsync("1\n2\n3\n4\n5\n", "--until", "2100-01-02");
        Assert.Equal(stamps[4][0] + " 5\n", (await Daemon.EdgehostAsync("logs", "-t", "-n", "1", id)).Succeeds().Output);
        Assert.Contains("yesterday", (await Daemon.EdgehostAsync("logs", "--since", "yesterday", id)).Exits(1).Error, StringComparison.Ordinal);

        async Task BothAsync(string expected, params string[] options)
        {
            Assert.Equal(expected, (await Daemon.DockerAsync(["logs", .. options, id])).Succeeds().Output);
            Assert.Equal(expected, (await Daemon.EdgehostAsync(["logs", .. options, id])).Succeeds().Output);
        }
    }

    [Fact]
    public async Task A_log_that_is_followed_until_a_moment_ends_then_although_its_container_is_silent()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "echo up; exec sleep 1000");
        await Daemon.LineAsync(id, line => line == "up");
        var until = DateTimeOffset.UtcNow.AddSeconds(1).ToString("O", CultureInfo.InvariantCulture);

        Assert.Equal("up\n", (await Daemon.DockerAsync("logs", "-f", "--until", until, id)).Succeeds().Output);
        Assert.Equal("running", await Daemon.InspectAsync(id, "{{.State.Status}}"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_paused_container_stands_still_until_it_goes_on_or_is_to_end()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "trap 'echo bye; exit 4' TERM; trap 'echo heard' USR1; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(id, line => line == "up");
        Assert.Contains("is not paused", (await Daemon.DockerAsync("unpause", id)).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("pause", id)).Succeeds();

        Assert.Equal("paused true true", await Daemon.InspectAsync(id, "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"));
        Assert.EndsWith("(Paused)\n", (await Daemon.DockerAsync("ps", "--filter", "status=paused", "--filter", "id=" + id, "--format", "{{.Status}}")).Output, StringComparison.Ordinal);
        Assert.Equal("frozen", FrozenInKernel(id));
        Assert.Contains("already paused", (await Daemon.DockerAsync("pause", id)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("cannot start a paused container", (await Daemon.DockerAsync("start", id)).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("kill", "-s", "USR1", id)).Succeeds();
        Assert.Equal("frozen", FrozenInKernel(id));
        (await Daemon.EdgehostAsync("unpause", id)).Succeeds();
        await Daemon.LineAsync(id, line => line == "heard");

        (await Daemon.EdgehostAsync("pause", id)).Succeeds();
        (await Daemon.DockerAsync("stop", id)).Succeeds();
        Assert.Equal("exited false 4", await Daemon.InspectAsync(id, "{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}"));

        (await Daemon.DockerAsync("start", id)).Succeeds();
        (await Daemon.DockerAsync("pause", id)).Succeeds();
        (await Daemon.DockerAsync("kill", id)).Succeeds();
        Assert.Equal("137\n", (await Daemon.DockerAsync("wait", id)).Output);
        (await Daemon.DockerAsync("start", id)).Succeeds();
        (await Daemon.DockerAsync("pause", id)).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.DoesNotContain(id, Daemon.CgroupNames());

        (await Daemon.DockerAsync("create", "--name", "never-ran", "busybox", "true")).Succeeds();
        Assert.Contains("is not running", (await Daemon.DockerAsync("pause", "never-ran")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "never-ran")).Succeeds();
    }

    [Fact]
    public async Task An_update_is_held_by_the_kernel_at_once_and_refused_whole()
    {
        var id = await Daemon.RunDetachedAsync("-m", "32m", "busybox", "sleep", "1000");
        (await Daemon.DockerAsync("update", "-m", "48m", "--memory-swap", "48m", "--cpus", "0.25", "--pids-limit", "7", "--restart", "unless-stopped", id)).Succeeds();
        Assert.Equal("50331648 250000000 7 unless-stopped", await Daemon.InspectAsync(id, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}"));
        Assert.Equal(("50331648\n", "7\n"), (Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"), Kernel(id, "pids.max", "pids", "pids.max")));
        Assert.True(File.Exists(Path.Combine(Daemon.Data, "containers", id, "container.json")));

        // The second of two cannot be held: the first is not there either.
        Assert.Contains("CPUs 511", (await Daemon.EdgehostAsync("update", "-m", "40m", "--cpuset-cpus", "511", id)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Equal(("50331648\n", "50331648"), (Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"), await Daemon.InspectAsync(id, "{{.HostConfig.Memory}}")));
        Assert.Contains("only limits", (await CommandRun.RunAsync("curl", ["-s", "--unix-socket", Daemon.Socket, "-d", """{"Binds":["/a:/b"]}""", $"http://edgehost/containers/{id}/update"])).Output, StringComparison.Ordinal);

        Assert.Equal(id + "\n", (await Daemon.EdgehostAsync("update", "--memory", "32m", "--restart", "no", id)).Succeeds().Output);
        Assert.Equal("33554432\n", Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"));
        Assert.False(File.Exists(Path.Combine(Daemon.Data, "containers", id, "container.json")));

        // It is still so after the next start.
        (await Daemon.DockerAsync("restart", "-t", "0", id)).Succeeds();
        Assert.Equal("33554432\n", Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"));
        Assert.Equal("7\n", Kernel(id, "pids.max", "pids", "pids.max"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task Less_memory_than_is_in_use_is_refused_and_what_runs_goes_on()
    {
        var id = await Daemon.RunDetachedAsync("-m", "64m", "busybox", "sh", "-c", "head -c 20000000 /dev/zero | tail -c 20000000 > /dev/shm/x; echo up; exec sleep 1000");
        await Daemon.LineAsync(id, line => line == "up");
        Assert.Contains("uses", (await Daemon.DockerAsync("update", "-m", "8m", "--memory-swap", "8m", id)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Equal("running", await Daemon.InspectAsync(id, "{{.State.Status}}"));
        Assert.Equal("67108864\n", Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task Top_shows_the_processes_of_the_container_and_no_others()
    {
        var id = await Daemon.RunDetachedAsync("-u", "4321", "busybox", "sh", "-c", "sleep 1001 & echo up; sleep 1002; true");
        await Daemon.LineAsync(id, line => line == "up");
        var pid = await Daemon.PidOfAsync(id);
        foreach (var top in new[] { await Daemon.DockerAsync("top", id), await Daemon.EdgehostAsync("top", id) })
        {
            var lines = top.Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], lines[0].Split(' ', StringSplitOptions.RemoveEmptyEntries));
            var first = lines[1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(("4321", pid.ToString(CultureInfo.InvariantCulture), "sh"), (first[0], first[1], first[7]));
            Assert.Contains(lines, line => line.EndsWith("sleep 1001", StringComparison.Ordinal) && line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[2] == first[1]);
            Assert.All(lines.Skip(1), line => Assert.Matches("^4321 ", line));
        }

        Assert.Contains("ps_args", (await Daemon.DockerAsync("top", id, "-o", "pid,rss")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.Contains("No such container", (await Daemon.DockerAsync("top", id)).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_log_that_is_followed_into_head_ends_when_head_has_enough()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "while true; do echo more; sleep 0.1; done");
        var binary = await PublishedBinary.NativeAsync();
        var run = await CommandRun.RunAsync("bash", ["-c", $"{binary} --host unix://{Daemon.Socket} logs -f {id} | head -n 3; echo ${{PIPESTATUS[0]}}"]);
        await Daemon.DockerAsync("rm", "-f", id);

        Assert.Equal("more\nmore\nmore\n141\n", run.Output);
        Assert.Empty(run.Error);
    }

    [Fact]
    public async Task A_container_over_its_memory_is_killed_and_said_to_be()
    {
        var id = await Daemon.RunDetachedAsync("-m", "16m", "busybox", "sh", "-c", "exec tail /dev/zero");
        Assert.Equal("137\n", (await Daemon.DockerAsync("wait", id)).Output);
        Assert.Equal("true 137 exited", await Daemon.InspectAsync(id, "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}}"));
    }

    [Fact]
    public async Task On_failure_starts_as_often_as_was_said_and_no_more()
    {
        var id = await Daemon.RunDetachedAsync("--restart", "on-failure:2", "busybox", "sh", "-c", "echo once; exit 5");

        // Waiting for a container that is between two runs goes on until its policy gives up.
        Assert.Equal("5\n", (await Daemon.DockerAsync("wait", id)).Output);
        Assert.Equal("2 exited", await Daemon.InspectAsync(id, "{{.RestartCount}} {{.State.Status}}"));
        Assert.Equal(["once", "once", "once"], await Daemon.LinesAsync(id));
    }

    [Fact]
    public async Task Each_start_by_policy_waits_longer_than_the_one_before()
    {
        // busybox's date knows no nanoseconds; the kernel's uptime has hundredths of a second.
        var id = await Daemon.RunDetachedAsync("--restart", "always", "busybox", "cut", "-d", " ", "-f", "1", "/proc/uptime");
        var starts = 0;
        await Daemon.LineAsync(id, _ => ++starts == 5);
        var times = (await Daemon.LinesAsync(id)).Take(5).Select(line => double.Parse(line, CultureInfo.InvariantCulture)).ToList();
        await Daemon.DockerAsync("rm", "-f", id);

        // 100, 200, 400, 800 ms at least; on a busy machine more.
        Assert.All(Enumerable.Range(0, 4), i => Assert.True(times[i + 1] - times[i] >= (0.1 * (1 << i)) - 0.03, string.Join(' ', times)));
    }

    [Fact]
    public async Task A_container_that_always_starts_again_stays_down_once_it_was_stopped()
    {
        var id = await Daemon.RunDetachedAsync("--restart", "always", "busybox", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(id, line => line == "up");
        (await Daemon.DockerAsync("stop", id)).Succeeds();

        Assert.Equal("exited 9", await Daemon.InspectAsync(id, "{{.State.Status}} {{.State.ExitCode}}"));
    }

    [Fact]
    public async Task Stop_gives_a_grace_and_then_kills()
    {
        var deaf = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(deaf, line => line == "up");
        (await Daemon.DockerAsync("stop", "-t", "1", deaf)).Succeeds();
        Assert.Equal("137", await Daemon.InspectAsync(deaf, "{{.State.ExitCode}}"));

        var polite = await Daemon.RunDetachedAsync("--stop-signal", "INT", "busybox", "sh", "-c", "trap 'echo bye; exit 4' INT; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(polite, line => line == "up");
        (await Daemon.DockerAsync("stop", polite)).Succeeds();
        Assert.Equal("4", await Daemon.InspectAsync(polite, "{{.State.ExitCode}}"));
        Assert.Equal(["up", "bye"], await Daemon.LinesAsync(polite));
    }

    [Fact]
    public async Task Stop_with_a_signal_sends_that_one_and_no_other()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "trap 'echo int; exit 5' INT; trap 'echo term; exit 6' TERM; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(id, line => line == "up");
        (await Daemon.DockerAsync("stop", "-s", "INT", id)).Succeeds();

        Assert.Equal("5", await Daemon.InspectAsync(id, "{{.State.ExitCode}}"));
        Assert.Equal(["up", "int"], await Daemon.LinesAsync(id));
    }

    [Fact]
    public async Task A_stop_goes_on_when_its_client_has_gone()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(id, line => line == "up");
        using var stop = System.Diagnostics.Process.Start("docker", ["-H", "unix://" + Daemon.Socket, "stop", "-t", "3", id]);
        await Daemon.LineAsync(id, line => line == "asked");
        stop.Kill();

        Assert.Equal("137\n", (await Daemon.DockerAsync("wait", id)).Output);
    }

    [Fact]
    public async Task A_container_between_two_runs_is_removed_by_force_only()
    {
        var id = await Daemon.RunDetachedAsync("--restart", "always", "busybox", "echo", "once");
        var starts = 0;
        // The fifth start is followed by a second and a half in which nothing runs.
        await Daemon.LineAsync(id, _ => ++starts == 5);
        Assert.Contains("container", (await Daemon.DockerAsync("rm", id)).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
        Assert.Equal(1, (await Daemon.DockerAsync("inspect", id)).ExitCode);
    }

    [Fact]
    public async Task Inspect_and_ps_tell_the_ports_that_are_exposed_and_how_much_was_written()
    {
        await Daemon.RunDetachedAsync("--name", "exposing", "--expose", "99", "-p", "127.0.0.1::80", "busybox", "sh", "-c", "head -c 5000 /dev/zero >/written; exec sleep 1000");
        var id = await Daemon.InspectAsync("exposing", "{{.Id}}");
        Assert.Equal("""{"80/tcp":{},"99/tcp":{}}""", await Daemon.InspectAsync("exposing", "{{json .Config.ExposedPorts}}"));
        Assert.Matches(@"^99/tcp, 127\.0\.0\.1:\d+->80/tcp\n$", (await Daemon.DockerAsync("ps", "--filter", "name=exposing", "--format", "{{.Ports}}")).Succeeds().Output);
        Assert.Equal("null", await Daemon.InspectAsync("exposing", "{{json .SizeRw}}"));
        (await Daemon.DockerAsync("exec", "exposing", "sh", "-c", "until test $(wc -c </written) = 5000; do :; done")).Succeeds();
        var sizes = (await Daemon.DockerAsync("inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", id)).Succeeds().Output.Split(' ');
        Assert.InRange(long.Parse(sizes[0], CultureInfo.InvariantCulture), 5000, 100_000);
        Assert.InRange(long.Parse(sizes[1], CultureInfo.InvariantCulture), 1_000_000, 10_000_000);
        (await Daemon.DockerAsync("rm", "-f", "exposing")).Succeeds();
    }

    [Theory]
    [InlineData(3, 64)]
    [InlineData(1, 128)]
    public async Task A_container_keeps_as_much_of_its_output_as_was_asked_for(int files, int kibibytes)
    {
        var id = (await Daemon.DockerAsync("create", "--network", "none", "--log-driver", "json-file", "--log-opt", $"max-size={kibibytes}k", "--log-opt", $"max-file={files}", "busybox", "seq", "1", "200000")).Succeeds().Output.Trim();
        Assert.Equal($$$"""{"Type":"json-file","Config":{"max-file":"{{{files}}}","max-size":"{{{kibibytes << 10}}}"}}""", await Daemon.InspectAsync(id, "{{json .HostConfig.LogConfig}}"));
        (await Daemon.DockerAsync("start", "-a", id)).Succeeds();
        var kept = await Daemon.LinesAsync(id);
        Assert.Equal("200000", kept[^1]);

        // A file may begin in the middle of a line.
        kept = kept[1..];
        Assert.Equal(Enumerable.Range(200_001 - kept.Length, kept.Length).Select(number => number.ToString(CultureInfo.InvariantCulture)), kept);
        Assert.InRange(Daemon.LogBytes(id), (files - 1) * kibibytes * 512L, files * kibibytes * 1024L);
        (await Daemon.DockerAsync("rm", id)).Succeeds();
    }

    [Fact]
    public async Task The_id_of_a_container_is_in_the_file_that_the_client_was_told()
    {
        using var directory = new Images.TemporaryDirectory();
        (await Daemon.RunAsync("--rm", "--network", "none", "--cidfile", directory.Sub("id"), "busybox", "true")).Succeeds();
        Assert.Matches("^[0-9a-f]{64}$", await File.ReadAllTextAsync(directory.Sub("id"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Inspect_and_ps_show_what_the_image_gives_beneath_what_was_asked_for()
    {
        using var layout = new Images.OciLayout();
        layout.AddImage("registry.lan/full:1", [Images.Layer.Gzip(Images.Layer.Files(("a", "a")))], PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64", change: config =>
        {
            config["config"] = System.Text.Json.Nodes.JsonNode.Parse("""{"Env":["PATH=/bin","A=image","B=image"],"Cmd":["serve"],"Entrypoint":["/enter"],"WorkingDir":"/work","User":"12:34","StopSignal":"SIGINT","Labels":{"of":"image","both":"image"}}""");
            config["history"] = System.Text.Json.Nodes.JsonNode.Parse("""[{"created_by":"ADD a"},{"created_by":"ENV A","empty_layer":true}]""");
        });
        (await CommandRun.RunAsync("bash", ["-c", $"tar -C {layout.Path} -c . | docker -H unix://{Daemon.Socket} load"])).Succeeds();
        (await Daemon.DockerAsync("create", "--network", "none", "--name", "merged", "-e", "A=asked", "-l", "both=asked", "registry.lan/full:1", "other")).Succeeds();

        Assert.Equal(
            """["A=asked","PATH=/bin","B=image"] ["other"] ["/enter"] /work 12:34 SIGINT {"both":"asked","of":"image"}""",
            string.Join(' ', (await Daemon.InspectAsync("merged", "{{json .Config.Env}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Config.WorkingDir}} {{.Config.User}} {{.Config.StopSignal}} {{json .Config.Labels}}")).Split(' ')));
        Assert.Equal("merged\n", (await Daemon.DockerAsync("ps", "-a", "--filter", "label=of=image", "--format", "{{.Names}}")).Output);
        Assert.Equal("ENV A 0B\nADD a 1B\n", (await Daemon.DockerAsync("history", "--format", "{{.CreatedBy}} {{.Size}}", "registry.lan/full:1")).Output);
        (await Daemon.DockerAsync("rm", "merged")).Succeeds();
    }

    [Fact]
    public async Task A_user_id_that_means_no_change_to_the_kernel_is_refused()
    {
        Assert.Contains("range", (await Daemon.RunAsync("--rm", "-u", "4294967295", "busybox", "id")).Exits(125).Error, StringComparison.Ordinal);
        Assert.Contains("range", (await Daemon.RunAsync("--rm", "-u", "1:4294967295", "busybox", "id")).Exits(125).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"Image":"busybox","Cmd":["tr\u0000ue"]}""", "zero byte")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"Env":["A=\u0000"]}""", "zero byte")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"Env":[null]}""", "Env has a null")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"HostConfig":{"Mounts":[null]}}""", "Mounts has a null")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"Hostname":"a\nb"}""", "hostname")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"HostConfig":{"CpuQuota":9223372036854775807,"CpuPeriod":1000}}""", "CPU limit")]
    [InlineData("""{"Image":"busybox","Cmd":["true"],"HostConfig":{"PidsLimit":99999999999999}}""", "process limit 99999999999999: a kernel has 4194304 at most")]
    public async Task What_no_container_can_have_is_refused_before_it_is_made(string body, string words)
    {
        var answer = await CommandRun.RunAsync("curl", ["-s", "-w", " %{http_code}", "--unix-socket", Daemon.Socket, "-d", body, "http://edgehost/containers/create"]);
        Assert.Contains(words, answer.Output, StringComparison.Ordinal);
        Assert.EndsWith(" 400", answer.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kill_sends_its_signal_and_a_forced_removal_leaves_nothing()
    {
        var id = await Daemon.RunDetachedAsync("busybox", "sh", "-c", "trap 'echo heard' USR1; echo up; while :; do sleep 0.1; done");
        await Daemon.LineAsync(id, line => line == "up");
        (await Daemon.DockerAsync("kill", "-s", "USR1", id)).Succeeds();
        await Daemon.LineAsync(id, line => line == "heard");
        var pid = await Daemon.PidOfAsync(id);

        Assert.Equal(1, (await Daemon.DockerAsync("rm", id)).ExitCode);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();

        Assert.False(DaemonUnderTest.Lives(pid));
        Assert.DoesNotContain(id, Daemon.CgroupNames());
        Assert.False(Directory.Exists(Path.Combine(Daemon.Run, "containers", id)));
        Assert.False(Directory.Exists(Path.Combine(Daemon.Data, "containers", id)));
        Assert.Equal(1, (await Daemon.DockerAsync("inspect", id)).ExitCode);
    }

    [Fact]
    public async Task Rm_removes_the_container_at_its_end()
    {
        Assert.Equal("here\n", (await Daemon.RunAsync("--rm", "--name", "passing", "busybox", "echo", "here")).Output);
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("ps", "-aq", "--filter", "name=^/passing$")).Output);
    }

    [Fact]
    public async Task Events_tell_the_life_of_a_container_in_order()
    {
        var since = Now();
        (await Daemon.RunAsync("--name", "eventful", "busybox", "sh", "-c", "exit 6")).Exits(6);
        (await Daemon.DockerAsync("rm", "eventful")).Succeeds();

        var events = await Daemon.DockerAsync("events", "--since", since, "--until", Now(), "--filter", "container=eventful", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}");
        Assert.Equal(["create", "start", "die 6", "destroy"], events.Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Replace(" <no value>", string.Empty, StringComparison.Ordinal).Trim()));

        static string Now() => (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000m).ToString(CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Stats_and_inspect_tell_what_the_kernel_holds()
    {
        var id = await Daemon.RunDetachedAsync("-m", "32m", "--cpus", "0.25", "--pids-limit", "9", "busybox", "sleep", "1000");
        using var stats = JsonDocument.Parse((await Daemon.DockerAsync("stats", "--no-stream", "--format", "{{json .}}", id)).Succeeds().Output);

        Assert.EndsWith("/ 32MiB", stats.RootElement.GetProperty("MemUsage").GetString(), StringComparison.Ordinal);
        Assert.Equal("1", stats.RootElement.GetProperty("PIDs").GetString());
        Assert.Equal("33554432 250000000 9", await Daemon.InspectAsync(id, "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}"));
        Assert.Equal("33554432\n", Kernel(id, "memory.max", "memory", "memory.limit_in_bytes"));
        Assert.Equal("9\n", Kernel(id, "pids.max", "pids", "pids.max"));
        await Daemon.DockerAsync("rm", "-f", id);
    }

    [Fact]
    public async Task Volumes_binds_and_tmpfs_hold_what_they_promise()
    {
        using var host = new Images.TemporaryDirectory();
        await File.WriteAllTextAsync(host.Sub("given"), "given\n", TestContext.Current.CancellationToken);
        (await Daemon.RunAsync("--rm", "-v", "kept:/data", "busybox", "sh", "-c", "echo kept > /data/file")).Succeeds();
        Assert.Equal("kept\n", (await Daemon.RunAsync("--rm", "-v", "kept:/data:ro", "busybox", "cat", "/data/file")).Output);
        Assert.Contains("Read-only", (await Daemon.RunAsync("--rm", "-v", "kept:/data:ro", "busybox", "touch", "/data/other")).Exits(1).Error, StringComparison.Ordinal);

        (await Daemon.RunAsync("--rm", "-v", host.Path + ":/host", "busybox", "cp", "/host/given", "/host/made")).Succeeds();
        Assert.Equal("given\n", await File.ReadAllTextAsync(host.Sub("made"), TestContext.Current.CancellationToken));
        Assert.Contains("Read-only", (await Daemon.RunAsync("--rm", "-v", host.Path + ":/host:ro", "busybox", "touch", "/host/no")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Equal(125, (await Daemon.RunAsync("--rm", "--mount", $"type=bind,source={host.Sub("absent")},target=/x", "busybox", "true")).ExitCode);

        var mount = (await Daemon.RunAsync("--rm", "--tmpfs", "/scratch:size=1m", "busybox", "grep", " /scratch ", "/proc/mounts")).Succeeds().Output;
        Assert.Contains("tmpfs", mount, StringComparison.Ordinal);
        Assert.Contains("size=1024k", mount, StringComparison.Ordinal);
        Assert.Contains("No space left", (await Daemon.RunAsync("--rm", "--tmpfs", "/scratch:size=1m", "busybox", "dd", "if=/dev/zero", "of=/scratch/x", "bs=64k", "count=32")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("size=1m,foo=bar", "invalid tmpfs option \"foo=bar\"; there are size,")]
    [InlineData("size=", "option \"size=\" has a value that it cannot have")]
    [InlineData("size=999999999999999999999", "option \"size=999999999999999999999\" has a value")]
    [InlineData("mode=99", "option \"mode=99\" has a value")]
    [InlineData("uid=nobody", "option \"uid=nobody\" has a value")]
    public async Task Options_that_no_tmpfs_has_are_refused_before_anything_is_made(string options, string words)
    {
        Assert.Contains($"tmpfs on /scratch: {words}", (await Daemon.DockerAsync("create", "--name", "no-such-tmpfs", "--tmpfs", "/scratch:" + options, "busybox", "true")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("inspect", "no-such-tmpfs")).Exits(1);
    }

    [Fact]
    public async Task Every_option_of_a_tmpfs_is_taken_and_shown_by_the_kernel()
    {
        var mount = (await Daemon.RunAsync("--rm", "--tmpfs", "/scratch:rw,noexec,size=50%,nr_inodes=10k,mode=0700,uid=1000,gid=1000", "busybox", "sh", "-c", "grep ' /scratch ' /proc/mounts; stat -c '%a %u %g' /scratch")).Succeeds().Output;

        Assert.Contains("noexec", mount, StringComparison.Ordinal);
        Assert.Contains("nr_inodes=10240", mount, StringComparison.Ordinal);
        Assert.EndsWith("700 1000 1000\n", mount, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_the_kernel_refuses_at_a_start_is_one_line_for_the_client_and_one_in_the_log()
    {
        var before = Daemon.Said.Length;
        Assert.Contains("change directory to /etc/passwd: not a directory", (await Daemon.RunAsync("--rm", "-w", "/etc/passwd", "busybox", "true")).Error, StringComparison.Ordinal);

        await Daemon.SaysAsync("failed: change directory to /etc/passwd: not a directory", before);
        Assert.DoesNotContain("   at ", Daemon.Said[before..], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_read_only_root_is_one_and_tmpfs_stays_writable()
    {
        Assert.Contains("Read-only", (await Daemon.RunAsync("--rm", "--read-only", "busybox", "touch", "/x")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.RunAsync("--rm", "--read-only", "--tmpfs", "/tmp", "busybox", "touch", "/tmp/x")).Succeeds();
    }

    [Theory]
    [InlineData("nobody", "uid=65534(nobody) gid=65534(nogroup)")]
    [InlineData("65534", "uid=65534(nobody) gid=65534(nogroup)")]
    [InlineData("1234:4321", "uid=1234 gid=4321")]
    [InlineData("1234", "uid=1234 gid=0(root)")]
    public async Task A_user_is_taken_by_name_and_by_number(string user, string identity)
    {
        var run = (await Daemon.RunAsync("--rm", "-u", user, "busybox", "sh", "-c", "id; grep CapEff /proc/self/status")).Succeeds();

        Assert.StartsWith(identity, run.Output, StringComparison.Ordinal);
        Assert.Contains("CapEff:\t0000000000000000", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unknown_user_is_an_error_that_names_it()
    {
        Assert.Contains("nosuchuser", (await Daemon.RunAsync("--rm", "-u", "nosuchuser", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Directory_environment_and_name_of_the_host_are_what_was_asked_for()
    {
        var run = await Daemon.RunAsync("--rm", "-w", "/made/here", "-e", "GREETING=hello there", "-e", "EMPTY=", "--hostname", "gateway", "busybox", "sh", "-c", "pwd; echo \"$GREETING|${EMPTY-unset}|$HOME\"; hostname; cat /etc/hostname");

        Assert.Equal("/made/here\nhello there||/root\ngateway\ngateway\n", run.Succeeds().Output);
    }

    [Fact]
    public async Task Capabilities_are_given_and_taken_one_by_one()
    {
        // Docker's default without CAP_MKNOD.
        Assert.Equal(0xa80425fbUL & ~(1UL << 27), await BoundingAsync());
        Assert.Equal(1UL << 12, await BoundingAsync("--cap-add", "NET_ADMIN") & (1UL << 12));
        Assert.Equal(0UL, await BoundingAsync("--cap-drop", "chown") & 1UL);
        Assert.Equal(1UL << 10, await BoundingAsync("--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"));
        Assert.Contains("permitted", (await Daemon.RunAsync("--rm", "--cap-drop", "CHOWN", "busybox", "chown", "1", "/etc/passwd")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("NO_SUCH", (await Daemon.RunAsync("--rm", "--cap-add", "NO_SUCH", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Swap_and_what_it_keeps_are_the_kernels_as_they_were_asked_for_and_changed()
    {
        var id = await Daemon.RunDetachedAsync("-m", "32m", "--memory-swap", "48m", "--memory-reservation", "8m", "busybox", "sleep", "1000");
        Assert.Equal("33554432 50331648 8388608", await Daemon.InspectAsync(id, "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}}"));
        if (Directory.Exists("/sys/fs/cgroup/memory"))
        {
            Assert.Equal("8388608\n", Daemon.CgroupFile(id, "memory", "memory.soft_limit_in_bytes"));
            Assert.Equal("50331648\n", Daemon.CgroupFile(id, "memory", "memory.memsw.limit_in_bytes"));
        }

        (await Daemon.DockerAsync("update", "--memory", "40m", id)).Succeeds();
        (await Daemon.DockerAsync("update", "--memory", "64m", "--memory-swap", "64m", id)).Succeeds();
        Assert.Equal("67108864 67108864", await Daemon.InspectAsync(id, "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"));
        if (Directory.Exists("/sys/fs/cgroup/memory"))
        {
            Assert.Equal("67108864\n", Daemon.CgroupFile(id, "memory", "memory.memsw.limit_in_bytes"));
        }

        (await Daemon.DockerAsync("update", "--memory-swap", "80m", id)).Succeeds();
        Assert.Equal("67108864 83886080", await Daemon.InspectAsync(id, "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"));
        Assert.Contains("cannot be less", (await Daemon.DockerAsync("update", "--memory-swap", "60m", id)).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("cannot be less", (await Daemon.DockerAsync("update", "--memory", "64m", "--memory-swap", "32m", id)).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_device_is_given_with_the_rights_that_were_asked_for_and_no_other_can_be_opened()
    {
        // The kernel's log, which every machine has; zero goes to another path; a directory stands for what is in it.
        const string Look = "stat -c '%n %t:%T %a' /dev/log /dev/nothing /dev/d/null; (: > /dev/log) && echo written; (: < /dev/log) || echo unread; (: < /dev/nothing) && echo read; ls /dev/kmsg";
        using var host = new Images.TemporaryDirectory();
        (await CommandRun.RunAsync("mknod", ["-m", "640", host.Path + "/null", "c", "1", "3"])).Succeeds();

        var run = await Daemon.RunAsync(
            "--rm", "--cap-add", "SYSLOG", "--device", "/dev/kmsg:/dev/log:w", "--device", "/dev/zero:/dev/nothing", "--device", host.Path + ":/dev/d", "busybox", "sh", "-c", Look);

        var lines = run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.StartsWith("/dev/log 1:b ", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("/dev/nothing 1:5 ", lines[1], StringComparison.Ordinal);
        Assert.Equal("/dev/d/null 1:3 640", lines[2]);
        Assert.Equal(["written", "unread", "read"], lines[3..]);
        Assert.Contains("/dev/kmsg: No such file", run.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--device", "/dev/no-such-device", 127, "device /dev/no-such-device: no such file or directory")]
    [InlineData("--device", "i2c=no-such-adapter:/dev/i2c-1", 125, "device i2c=no-such-adapter: no device of this machine is called so")]
    [InlineData("--device", "/etc/hostname", 125, "it is no device")]
    [InlineData("--device-cgroup-rule", "c 1 rwm", 125, "invalid device cgroup format")]
    public async Task A_device_that_cannot_be_given_is_refused_by_name(string option, string value, int code, string words) =>
        Assert.Contains(words, (await Daemon.RunAsync("--rm", option, value, "busybox", "true")).Exits(code).Error, StringComparison.Ordinal);

    [Fact]
    public async Task Who_may_make_nodes_can_open_those_that_a_rule_names()
    {
        const string Make = "mknod /tmp/log c 1 11; (: > /tmp/log) && echo written; mknod /tmp/disk b 7 0 && echo made; head -c 1 /tmp/disk";
        var rules = new[] { "--rm", "--userns", "host", "--cap-add", "MKNOD", "--tmpfs", "/tmp:dev" };

        var run = await Daemon.RunAsync([.. rules, "--device-cgroup-rule", "c 1:11 w", "busybox", "sh", "-c", Make]);
        Assert.Equal("written\nmade\n", run.Output);
        Assert.Contains("not permitted", run.Error, StringComparison.Ordinal);
        Assert.Equal("made\n", (await Daemon.RunAsync([.. rules, "busybox", "sh", "-c", Make])).Output);
    }

    [Fact]
    public async Task The_network_is_the_loopback_alone_or_that_of_the_host()
    {
        Assert.Equal("lo\n", (await Daemon.RunAsync("--rm", "--network", "none", "busybox", "ls", "/sys/class/net")).Output);

        // Other tests' interfaces come and go meanwhile: those of before that are there afterwards, too, are to be seen.
        var before = Interfaces();
        var seen = (await Daemon.RunAsync("--rm", "--network", "host", "busybox", "sh", "-c", "readlink /proc/self/ns/net; ls /sys/class/net"))
            .Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(File.ResolveLinkTarget("/proc/self/ns/net", returnFinalTarget: false)!.Name, seen[0]);
        Assert.Subset(seen[1..].ToHashSet(), before.Intersect(Interfaces()).ToHashSet());

        static string[] Interfaces() => [.. Directory.EnumerateFileSystemEntries("/sys/class/net").Select(path => Path.GetFileName(path)!)];
    }

    [Fact]
    public async Task Edgehosts_own_client_does_the_same()
    {
        Assert.Equal("hi\n", (await Daemon.EdgehostAsync("run", "--rm", "busybox", "echo", "hi")).Succeeds().Output);
        Assert.Equal(9, (await Daemon.EdgehostAsync("run", "--rm", "busybox", "sh", "-c", "exit 9")).ExitCode);
        Assert.Equal(127, (await Daemon.EdgehostAsync("run", "--rm", "busybox", "no-such-program")).ExitCode);
        var id = (await Daemon.EdgehostAsync("run", "-d", "--name", "ours", "busybox", "sleep", "1000")).Succeeds().Output.Trim();
        Assert.Contains("ours", (await Daemon.EdgehostAsync("ps")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains(id, (await Daemon.EdgehostAsync("inspect", "ours")).Succeeds().Output, StringComparison.Ordinal);
        (await Daemon.EdgehostAsync("rm", "-f", "ours")).Succeeds();
        Assert.Equal(1, (await Daemon.EdgehostAsync("stop", "ours")).ExitCode);
    }

    private static string Numbered(string word, int count) =>
        string.Concat(Enumerable.Range(1, count).Select(i => string.Create(CultureInfo.InvariantCulture, $"{word} {i}\n")));

    private string Kernel(string id, string unified, string controller, string legacy) => File.Exists("/sys/fs/cgroup/cgroup.controllers")
        ? Daemon.CgroupFile(id, string.Empty, unified)
        : Daemon.CgroupFile(id, controller, legacy);

    private string FrozenInKernel(string id) => Kernel(id, "cgroup.events", "freezer", "freezer.state") is var held
        && (held == "FROZEN\n" || held.Contains("frozen 1", StringComparison.Ordinal)) ? "frozen" : held;

    private async Task<ulong> BoundingAsync(params string[] flags)
    {
        var run = (await Daemon.RunAsync(["--rm", .. flags, "busybox", "grep", "CapBnd", "/proc/self/status"])).Succeeds();
        return ulong.Parse(run.Output.Split('\t')[1].Trim(), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }
}
