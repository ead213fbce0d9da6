using System.Diagnostics;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Standard streams and terminals of containers themselves, by both clients.</summary>
public sealed class StreamTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    public static TheoryData<string> Clients => ["docker", "edgehost"];

    [Theory]
    [MemberData(nameof(Clients))]
    public async Task A_run_reads_our_input_to_its_end(string client)
    {
        Assert.Equal("3\n", (await WithInputAsync(client, "a\nb\nc\n", "run", "--rm", "-i", "busybox", "wc", "-l")).Succeeds().Output);
        Assert.Equal("0\n", (await WithInputAsync(client, "a\n", "run", "--rm", "busybox", "wc", "-l")).Succeeds().Output);

        var run = await WithInputAsync(client, "x", "run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo; echo oh >&2; exit 3");
        Assert.Equal((3, "x\n", "oh\n"), (run.ExitCode, run.Output, run.Error));

        // Only what was asked for.
        run = await WithInputAsync(client, "x", "run", "--rm", "-a", "stdout", "busybox", "sh", "-c", "echo out; echo oh >&2; exit 4");
        Assert.Equal((4, "out\n", string.Empty), (run.ExitCode, run.Output, run.Error));
    }

    [Theory]
    [MemberData(nameof(Clients))]
    public async Task A_run_at_a_terminal_is_left_by_its_keys_and_come_back_to(string client)
    {
        var name = "terminal-" + client;
        var seen = await AtTerminalAsync(
            client,
            ["run", "-it", "--name", name, "-u", "1234:99", "busybox", "sh"],
            "wait / $ ",
            "send tty; ls -ln $(tty); readlink /proc/self/fd/1; stty size; echo $TERM; echo mine > $(tty)\\n",
            "wait \\r\\n24 80\\r\\nxterm\\r\\nmine\\r\\n",
            "wait / $ ",
            "size 33 111",
            "send until [ \"$(stty size)\" = '33 111' ]; do :; done; echo grown\\n",
            "wait \\r\\ngrown\\r\\n",
            "wait / $ ",
            "send \\x10\\x11");
        Assert.Matches("\n/dev/pts/0\r\ncrw--w---- +1 1234 +5 ", seen);
        Assert.EndsWith("exit 0\n", seen, StringComparison.Ordinal);
        Assert.Equal("running true true true", await Daemon.InspectAsync(name, "{{.State.Status}} {{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}"));

        seen = await AtTerminalAsync(client, ["attach", name], "send echo back $((1 + 1))\\n", "wait \\r\\nback 2\\r\\n", "send exit 6\\n");
        Assert.EndsWith("exit 6\n", seen, StringComparison.Ordinal);
        Assert.Contains("grown\r\n", (await Daemon.DockerAsync("logs", name)).Succeeds().Output, StringComparison.Ordinal);

        seen = await AtTerminalAsync(client, ["start", "-ai", name], "wait / $ ", "send exit 7\\n");
        Assert.EndsWith("exit 7\n", seen, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", name)).Succeeds();
    }

    [Fact]
    public async Task Several_write_to_an_open_input_and_it_stays_open()
    {
        var id = (await Daemon.EdgehostAsync("run", "-d", "-i", "busybox", "sh", "-c", "while read line; do echo got $line; done; echo end")).Succeeds().Output.Trim();
        Assert.Equal("got one\n", (await WithInputAsync("edgehost", "one\n", "attach", id)).Succeeds().Output);
        using var docker = Start("attach", id);
        await docker.StandardInput.WriteLineAsync("two");
        await docker.StandardInput.FlushAsync(TestContext.Current.CancellationToken);
        Assert.Equal("got two", await docker.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        docker.Kill();
        Assert.Equal("got three\n", (await WithInputAsync("edgehost", "three\n", "attach", id)).Succeeds().Output);

        Assert.Equal("true", await Daemon.InspectAsync(id, "{{.State.Running}}"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Fact]
    public async Task A_client_that_vanishes_ends_the_input_that_is_open_once_and_lets_the_container_go_on()
    {
        using var run = Start("run", "-i", "--name", "vanished", "busybox", "sh", "-c", "echo here; cat; for i in $(seq 20000); do echo $i and more; done; exec sleep 1000");
        Assert.Equal("here", await run.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        run.Kill();
        Assert.Equal("20000 and more", await Daemon.LineAsync("vanished", line => line == "20000 and more"));
        Assert.Equal("true", await Daemon.InspectAsync("vanished", "{{.State.Running}}"));
        (await Daemon.DockerAsync("rm", "-f", "vanished")).Succeeds();
    }

    [Fact]
    public async Task A_hundred_megabytes_go_through_run_attach_and_logs_whole_and_cost_the_daemon_no_memory()
    {
        using var directory = new TemporaryDirectory();
        var file = directory.Sub("bytes");
        (await CommandRun.RunAsync("sh", ["-c", $"head -c 75000000 /dev/urandom | base64 -w 99 > {file}"])).Succeeds();
        var sum = (await CommandRun.RunAsync("sh", ["-c", $"sha256sum < {file}"])).Succeeds().Output;
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m", maxFiles = 8 };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var after = new List<long>();
        foreach (var client in (string[])["docker -H", await PublishedBinary.NativeAsync() + " --host"])
        {
            var command = $"{client} unix://{daemon.Socket}";
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} run --rm -i busybox sha256sum < {file}"])).Succeeds().Output);
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} run --name big -i busybox cat < {file} | sha256sum"])).Succeeds().Output);
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} logs big | sha256sum"])).Succeeds().Output);
            (await daemon.DockerAsync("rm", "big")).Succeeds();

            // A slow reader who was there before the start holds the container up, and loses nothing.
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} create --name slow -v {file}:/bytes busybox cat /bytes > /dev/null; {command} start -a slow | (sleep 2; sha256sum)"])).Succeeds().Output);
            (await daemon.DockerAsync("rm", "slow")).Succeeds();
            after.Add(Memory(daemon.Pid));
        }

        // What the collector leaves for later does not depend on how much goes through.
        Assert.True(after.TrueForAll(each => each < 40 << 10), $"{after[0]}, then {after[1]} KiB");
        Assert.True(Memory(await daemon.LoggerPidAsync()) < 16 << 10, $"{Memory(await daemon.LoggerPidAsync())} KiB");
    }

    [Fact]
    public async Task A_logger_that_is_killed_loses_those_who_are_attached_at_most_one_read()
    {
        using var run = Start("run", "--name", "logged", "busybox", "sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); echo $i; done");
        Assert.Equal("1", await run.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        await DaemonUnderTest.SignalAsync(await Daemon.LoggerPidAsync(), "KILL");
        var lines = (await run.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken)).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        await run.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal((0, "300000"), (run.ExitCode, lines[^1]));
        Assert.True(lines.Length > 299_999 - (64 << 10) / 2, $"{lines.Length} lines");
        (await Daemon.DockerAsync("rm", "logged")).Succeeds();
    }

    [Fact]
    public async Task With_an_init_signals_reach_the_program_orphans_are_reaped_and_the_exit_code_is_the_programs()
    {
        foreach (var users in (string[])["host", "auto"])
        {
            var id = (await Daemon.EdgehostAsync(
                "run", "-d", "--init", "--userns", users, "-u", "1234", "busybox", "sh", "-c", "trap 'echo term; exit 9' TERM; (sleep 0.1 &); echo $$ $PPID $(cat /proc/1/comm) $(tr '\\0' , < /proc/1/cmdline | cut -c-30); sleep 1000 & wait")).Succeeds().Output.Trim();
            Assert.Matches("^[2-9] 1 edgehost-init edgehost-init,/bin/sh,sh,-c,", await Daemon.LineAsync(id, _ => true));
            Assert.Equal("true", await Daemon.InspectAsync(id, "{{.HostConfig.Init}}"));

            // Nobody but the first process can reap it, and none is left as a zombie.
            (await Daemon.DockerAsync("exec", id, "sh", "-c", "while pidof sleep | grep -q ' '; do :; done; ! grep -q 'State:.Z' /proc/[0-9]*/status")).Succeeds();
            (await Daemon.DockerAsync("stop", id)).Succeeds();
            Assert.Equal("9", await Daemon.InspectAsync(id, "{{.State.ExitCode}}"));
            (await Daemon.DockerAsync("rm", id)).Succeeds();
        }

        Assert.Equal(7, (await Daemon.DockerAsync("run", "--rm", "--init", "busybox", "sh", "-c", "exit 7")).ExitCode);
        Assert.Contains("executable file not found", (await Daemon.DockerAsync("run", "--rm", "--init", "busybox", "nothing-like-it")).Exits(127).Error, StringComparison.Ordinal);
        Assert.Contains("permission denied", (await Daemon.DockerAsync("run", "--rm", "--init", "busybox", "/etc")).Exits(126).Error, StringComparison.Ordinal);
        Assert.EndsWith("exit 130\n", await AtTerminalAsync("edgehost", ["run", "-it", "--rm", "--init", "busybox", "sh", "-c", "echo here; sleep 1000"], "wait here", "send \\x03"), StringComparison.Ordinal);
    }

    private static long Memory(int pid) => long.Parse(
        File.ReadLines($"/proc/{pid}/status").Single(line => line.StartsWith("RssAnon:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2],
        System.Globalization.CultureInfo.InvariantCulture);

    private async Task<string> AtTerminalAsync(string client, string[] arguments, params string[] steps) => (await CommandRun.RunAsync(
        "python3",
        [Repository.PathOf("Edge.Tests", "EndToEnd", "terminal.py"), client == "docker" ? "docker" : await PublishedBinary.NativeAsync(), "--host", "unix://" + Daemon.Socket, .. arguments],
        string.Join('\n', steps) + "\n")).Succeeds().Output;

    private async Task<CommandRun> WithInputAsync(string client, string input, params string[] arguments) => await CommandRun.RunAsync(
        client == "docker" ? "docker" : await PublishedBinary.NativeAsync(), ["--host", "unix://" + Daemon.Socket, .. arguments], input);

    private Process Start(params string[] arguments) =>
        Process.Start(new ProcessStartInfo("docker", ["-H", "unix://" + Daemon.Socket, .. arguments]) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
}
