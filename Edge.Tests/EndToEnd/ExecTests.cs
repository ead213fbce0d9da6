using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Programs that are started in running containers, by both clients.</summary>
public sealed class ExecTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    public static TheoryData<string> Clients => ["docker", "edgehost"];

    [Theory]
    [MemberData(nameof(Clients))]
    public async Task Streams_and_exit_code_are_those_of_the_program(string client)
    {
        var id = await SleepingAsync();
        var run = await ByAsync(client, "exec", "-e", "GREETING=hello world", id, "sh", "-c", "echo $GREETING; echo oh >&2; exit 7");
        Assert.Equal((7, "hello world\n", "oh\n"), (run.ExitCode, run.Output, run.Error));

        // Its end of input is the end of ours.
        Assert.Equal("3\n", (await WithInputAsync(client, "a\nb\nc\n", "exec", "-i", id, "wc", "-l")).Succeeds().Output);
        Assert.Equal("0\n", (await WithInputAsync(client, "a\n", "exec", id, "wc", "-l")).Succeeds().Output);

        Assert.Contains("executable file not found", (await ByAsync(client, "exec", id, "nothing-like-it")).Exits(127).Error, StringComparison.Ordinal);
        Assert.Contains("permission denied", (await ByAsync(client, "exec", id, "/etc")).Exits(126).Error, StringComparison.Ordinal);
        Assert.Contains("change directory to /nowhere", (await ByAsync(client, "exec", "-w", "/nowhere", id, "true")).Exits(126).Error, StringComparison.Ordinal);
        Assert.Contains("no matching entries in passwd", (await ByAsync(client, "exec", "-u", "nobody-like-it", id, "true")).Exits(126).Error, StringComparison.Ordinal);

        (await ByAsync(client, "exec", "-d", id, "sh", "-c", "echo done > /tmp/detached; mkfifo /tmp/fifo; echo > /tmp/fifo")).Succeeds();
        Assert.Equal("done\n", (await ByAsync(client, "exec", id, "sh", "-c", "until [ -p /tmp/fifo ]; do :; done; read line < /tmp/fifo; cat /tmp/detached")).Succeeds().Output);
        await RemoveAsync(id);
    }

    [Fact]
    public async Task It_is_what_the_container_is_and_has_what_it_has()
    {
        // As in the test of health checks; the descriptors are pipes, and none is left of whoever started it.
        const string Look =
            "cd . && id && pwd && env | grep -v -e SHLVL -e '^_=' | sort && for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done; "
            + "grep -e '^Cap' -e NoNewPrivs -e '^Seccomp' -e '^[UG]id' -e Groups -e Umask -e '^Sig[BIC]' /proc/self/status; cat /proc/self/limits /proc/self/oom_score_adj; "
            + "sed 's,:/../exec$,:/,' /proc/self/cgroup; for f in /proc/$$/fd/*; do echo ${f##*/}; done; readlink /proc/self/fd/0; grep -c . /proc/self/mountinfo";
        foreach (var users in (string[])["host", "auto"])
        {
            var id = await MadeAsync(
                "--userns", users, "-u", "1234:99", "-w", "/tmp", "-e", "GREETING=hello world", "--cap-drop", "CHOWN", "--pids-limit", "30", "busybox", "sh", "-c", Look + "; echo; exec sleep 1000");
            await Daemon.LineAsync(id, line => line.Length == 0);
            var own = (await Daemon.LinesAsync(id)).Where(line => line.Length > 0);
            var its = (await Daemon.DockerAsync("exec", id, "sh", "-c", Look)).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(own, its);

            // Who it is and where can be said anew; the filter, and that nothing is gained by an execve, stay.
            var root = (await Daemon.DockerAsync("exec", "--privileged", "-u", "0", "-w", "/", id, "sh", "-c", "id -u; pwd; grep -e CapEff -e NoNewPrivs -e ^Seccomp: /proc/self/status")).Succeeds().Output.Split('\n');
            Assert.Equal(("0", "/", "NoNewPrivs:\t1", "Seccomp:\t2"), (root[0], root[1], root[3], root[4]));
            Assert.True((Convert.ToUInt64(root[2].Split('\t')[1], 16) & (1UL << 21)) != 0, root[2]);

            // Standard output can be opened once more by its name, whoever owns the pipe.
            Assert.Equal("again\n", (await Daemon.DockerAsync("exec", id, "sh", "-c", "echo again > /dev/stdout")).Succeeds().Output);
            await RemoveAsync(id);
        }
    }

    [Fact]
    public async Task It_counts_against_the_limits_of_the_container()
    {
        var id = await SleepingAsync("--pids-limit", "4", "-m", "32m");
        Assert.Contains("can't fork", (await Daemon.DockerAsync("exec", id, "sh", "-c", "for i in 1 2 3 4 5 6; do sleep 1000 & done; exit 3")).Error, StringComparison.Ordinal);
        var pids = Daemon.CgroupFile(id, "pids", "cgroup.procs").Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(3, pids.Length);
        await RemoveAsync(id);
    }

    [Fact]
    public async Task One_that_the_kernel_kills_for_want_of_memory_is_told_from_a_container_that_it_kills()
    {
        var id = await SleepingAsync("-m", "16m");
        var run = (await Daemon.EdgehostAsync("exec", id, "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")).Exits(137);
        Assert.Equal("edgehost: the kernel killed it: the memory limit of the container was reached\n", run.Error);
        Assert.Equal("running false", await Daemon.InspectAsync(id, "{{.State.Status}} {{.State.OOMKilled}}"));
        (await Daemon.DockerAsync("kill", id)).Succeeds();
        await Daemon.DockerAsync("wait", id);
        Assert.Equal("137 false", await Daemon.InspectAsync(id, "{{.State.ExitCode}} {{.State.OOMKilled}}"));
        await RemoveAsync(id);
    }

    [Fact]
    public async Task A_container_that_ends_ends_it_and_none_starts_where_nothing_runs()
    {
        var id = await SleepingAsync();
        using var exec = Start("exec", id, "sh", "-c", "echo here; exec sleep 1000");
        Assert.Equal("here", await exec.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        (await Daemon.DockerAsync("kill", id)).Succeeds();
        await exec.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(137, exec.ExitCode);

        await Daemon.DockerAsync("wait", id);
        Assert.Contains("is not running", (await Daemon.DockerAsync("exec", id, "true")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("start", id)).Succeeds();
        (await Daemon.DockerAsync("pause", id)).Succeeds();
        Assert.Contains("is paused", (await Daemon.DockerAsync("exec", id, "true")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("unpause", id)).Succeeds();
        (await Daemon.DockerAsync("exec", id, "true")).Succeeds();
        await RemoveAsync(id);
    }

    [Fact]
    public async Task A_client_that_vanishes_takes_the_pipes_with_it_and_nothing_else()
    {
        var id = await SleepingAsync();
        using var exec = Start("exec", id, "sh", "-c", "echo here; yes > /dev/null & yes; echo $? > /tmp/end; wait");
        Assert.Equal("here", await exec.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        exec.Kill();

        // Ended by SIGPIPE; what it had in the background goes on.
        Assert.Equal("141\n", (await Daemon.DockerAsync("exec", id, "sh", "-c", "until [ -s /tmp/end ]; do :; done; cat /tmp/end; killall yes")).Succeeds().Output);
        await RemoveAsync(id);
    }

    [Fact]
    public async Task A_hundred_megabytes_go_in_and_out_whole_and_cost_the_daemon_no_memory()
    {
        var id = await SleepingAsync();
        using var directory = new TemporaryDirectory();
        var file = directory.Sub("bytes");
        (await CommandRun.RunAsync("sh", ["-c", $"head -c 100000000 /dev/urandom > {file}"])).Succeeds();
        var sum = (await CommandRun.RunAsync("sh", ["-c", $"sha256sum < {file}"])).Succeeds().Output;
        var after = new List<long>();
        foreach (var client in (string[])["docker -H", await PublishedBinary.NativeAsync() + " --host"])
        {
            var command = $"{client} unix://{Daemon.Socket} exec -i {id}";
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} sha256sum < {file}"])).Succeeds().Output);
            Assert.Equal(sum, (await CommandRun.RunAsync("sh", ["-c", $"{command} cat < {file} | sha256sum"])).Succeeds().Output);
            after.Add(Memory());
        }

        // What the collector keeps room for; another 200 MB need no more of it.
        Assert.True(after[0] < 40 << 10 && after[1] < after[0] + (8 << 10), $"{string.Join(", ", after)} KiB");
        await RemoveAsync(id);

        long Memory() => long.Parse(
            File.ReadLines($"/proc/{Daemon.Pid}/status").Single(line => line.StartsWith("RssAnon:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Hundreds_of_them_leave_nothing_open()
    {
        var id = await SleepingAsync();
        (await Daemon.EdgehostAsync("exec", id, "true")).Succeeds();
        var shepherd = await Daemon.ShepherdPidAsync();
        var before = (Descriptors(Daemon.Pid), Descriptors(shepherd));
        var binary = await PublishedBinary.NativeAsync();
        (await CommandRun.RunAsync("sh", ["-c", $"for i in $(seq 300); do {binary} --host unix://{Daemon.Socket} exec {id} true || exit 1; done"], patience: TimeSpan.FromMinutes(4))).Succeeds();

        // The last connection is closed by the daemon after the client has what it wants.
        (await Daemon.EdgehostAsync("exec", id, "true")).Succeeds();
        var after = (Descriptors(Daemon.Pid), Descriptors(shepherd));
        Assert.True(after.Item1 <= before.Item1 + 4 && after.Item2 <= before.Item2 + 8, $"{before} {after}");
        Assert.Equal("null", await Daemon.InspectAsync(id, "{{json .ExecIDs}}"));
        await RemoveAsync(id);

        static int Descriptors(int pid) => Directory.EnumerateFileSystemEntries($"/proc/{pid}/fd").Count();
    }

    [Fact]
    public async Task Over_the_API_it_is_inspected_and_started_once_and_without_an_upgrade_the_stream_is_raw()
    {
        var id = await SleepingAsync();
        var created = await AskAsync("POST", $"/containers/{id}/exec", """{"cmd":["sh","-c","echo $$ > /tmp/pid; cat"],"AttachStdin":true,"AttachStdout":true,"Tty":false}""");
        Assert.StartsWith("HTTP/1.1 201", created, StringComparison.Ordinal);
        var exec = created.Split("\"Id\":\"")[1][..64];
        Assert.Contains("\"Running\":false,\"ExitCode\":null", await AskAsync("GET", $"/exec/{exec}/json", null), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 409", await AskAsync("POST", $"/exec/{exec}/resize?h=10&w=10", null), StringComparison.Ordinal);

        using var client = await ConnectAsync();
        await client.SendAsync(Request("POST", $"/exec/{exec}/start", "{}"), TestContext.Current.CancellationToken);
        await client.SendAsync("hello"u8.ToArray(), TestContext.Current.CancellationToken);
        Assert.Equal("HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n\u0001\0\0\0\0\0\0\u0005hello", await ReadAsync(client, "hello"));
        Assert.Contains("\"Running\":true", await AskAsync("GET", $"/exec/{exec}/json", null), StringComparison.Ordinal);
        Assert.Equal($"[\"{exec}\"]", await Daemon.InspectAsync(id, "{{json .ExecIDs}}"));
        Assert.Contains("already running", await AskAsync("POST", $"/exec/{exec}/start", "{}"), StringComparison.Ordinal);
        client.Shutdown(SocketShutdown.Send);
        Assert.Equal(0, await client.ReceiveAsync(new byte[100], TestContext.Current.CancellationToken));
        Assert.Contains("\"Running\":false,\"ExitCode\":0", await AskAsync("GET", $"/exec/{exec}/json", null), StringComparison.Ordinal);

        Assert.Contains("already run", await AskAsync("POST", $"/exec/{exec}/start", "{}"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 404", await AskAsync("POST", $"/exec/{new string('0', 64)}/start", "{}"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400", await AskAsync("POST", $"/containers/{id}/exec", "{\"Cmd\":[]}"), StringComparison.Ordinal);
        Assert.StartsWith("HTTP/1.1 400", await AskAsync("POST", $"/containers/{id}/exec", "{\"Cmd\":\"true\"}"), StringComparison.Ordinal);
        Assert.Contains("detach keys", await AskAsync("POST", $"/containers/{id}/exec", "{\"Cmd\":[\"true\"],\"DetachKeys\":\"ctrl-€\"}"), StringComparison.Ordinal);
        Assert.Contains("70000 lines", await AskAsync("POST", $"/exec/{exec}/resize?h=70000&w=10", null), StringComparison.Ordinal);
        await RemoveAsync(id);
    }

    [Theory]
    [MemberData(nameof(Clients))]
    public async Task A_terminal_is_the_containers_own_and_as_large_as_ours(string client)
    {
        foreach (var users in (string[])["host", "auto"])
        {
            var id = await SleepingAsync("--userns", users);
            var seen = await AtTerminalAsync(
                client,
                ["exec", "-it", "-u", "1234:99", id, "sh"],
                "wait / $ ",
                "send tty; ls -ln $(tty); readlink /proc/self/fd/0; stty size; echo mine > $(tty)\\n",
                "wait \\r\\n24 80\\r\\nmine\\r\\n",
                "wait / $ ",
                "size 33 111",
                "send until [ \"$(stty size)\" = '33 111' ]; do :; done; echo grown\\n",
                "wait \\r\\ngrown\\r\\n",
                "wait / $ ",
                "send sh -c 'echo sleeping; exec sleep 1000'\\n",
                "wait \\r\\nsleeping\\r\\n",
                "send \\x03",
                "wait / $ ",
                "send exit 5\\n");
            Assert.EndsWith("exit 5\n", seen, StringComparison.Ordinal);
            Assert.Matches("\n/dev/pts/0\r\ncrw--w---- +1 1234 +5 ", seen);
            await RemoveAsync(id);
        }
    }

    [Theory]
    [InlineData("docker", "\\x10\\x11", "")]
    [InlineData("edgehost", "\\x10\\x11", "")]
    [InlineData("edgehost", "x\\x01", "x,ctrl-a")]
    public async Task Who_leaves_a_terminal_by_its_keys_leaves_the_program_running(string client, string keys, string said)
    {
        var id = await SleepingAsync();
        var seen = await AtTerminalAsync(
            client,
            ["exec", "-it", .. said.Length > 0 ? ["--detach-keys", said] : Array.Empty<string>(), id, "sh", "-c", "echo here; read line; seq 100000; echo $? $line > /tmp/end"],
            "wait here\\r\\n",
            "send " + keys);
        Assert.Contains("read escape sequence", seen, StringComparison.Ordinal);

        // It is still there, at a terminal that nobody looks at.
        (await Daemon.DockerAsync("exec", id, "sh", "-c", "echo typed > /dev/pts/0; [ -n \"$(pidof sh)\" ]")).Succeeds();
        Assert.Equal("running", await Daemon.InspectAsync(id, "{{.State.Status}}"));
        await RemoveAsync(id);
    }

    [Fact]
    public async Task A_terminal_for_input_that_is_none_is_refused()
    {
        var id = await SleepingAsync();
        Assert.Contains("the input device is not a TTY", (await Daemon.EdgehostAsync("exec", "-it", id, "true")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Equal("/dev/pts/0\r\n", (await Daemon.EdgehostAsync("exec", "-t", id, "sh", "-c", "tty <&1")).Succeeds().Output);
        await RemoveAsync(id);
    }

    private async Task<string> AtTerminalAsync(string client, string[] arguments, params string[] steps) => (await CommandRun.RunAsync(
        "python3",
        [Repository.PathOf("Edge.Tests", "EndToEnd", "terminal.py"), client == "docker" ? "docker" : await PublishedBinary.NativeAsync(), "--host", "unix://" + Daemon.Socket, .. arguments],
        string.Join('\n', steps) + "\n")).Succeeds().Output;

    private Task<string> SleepingAsync(params string[] options) => MadeAsync(["--network", "none", .. options, "busybox", "sleep", "1000"]);

    // By our own client: Docker's knows no --userns auto.
    private async Task<string> MadeAsync(params string[] arguments) => (await Daemon.EdgehostAsync(["run", "-d", .. arguments])).Succeeds().Output.Trim();

    private async Task RemoveAsync(string id) => (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();

    private Task<CommandRun> ByAsync(string client, params string[] arguments) => client == "docker" ? Daemon.DockerAsync(arguments) : Daemon.EdgehostAsync(arguments);

    private async Task<CommandRun> WithInputAsync(string client, string input, params string[] arguments) => await CommandRun.RunAsync(
        client == "docker" ? "docker" : await PublishedBinary.NativeAsync(), ["--host", "unix://" + Daemon.Socket, .. arguments], input);

    private Process Start(params string[] arguments) =>
        Process.Start(new ProcessStartInfo("docker", ["-H", "unix://" + Daemon.Socket, .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    private async Task<Socket> ConnectAsync()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Daemon.Socket), TestContext.Current.CancellationToken);
        return socket;
    }

    private static byte[] Request(string method, string path, string? body) =>
        Encoding.UTF8.GetBytes($"{method} {path} HTTP/1.1\r\nHost: edgehost\r\nContent-Length: {Encoding.UTF8.GetByteCount(body ?? string.Empty)}\r\nContent-Type: application/json\r\n\r\n{body}");

    // To the end of the JSON object, which none of ours has in the middle.
    private async Task<string> AskAsync(string method, string path, string? body)
    {
        using var socket = await ConnectAsync();
        await socket.SendAsync(Request(method, path, body), TestContext.Current.CancellationToken);
        return await ReadAsync(socket, "}\n", "}");
    }

    private static async Task<string> ReadAsync(Socket socket, params string[] ends)
    {
        var text = new StringBuilder();
        var buffer = new byte[4096];
        while (!Array.Exists(ends, end => text.ToString().EndsWith(end, StringComparison.Ordinal)) && await socket.ReceiveAsync(buffer, TestContext.Current.CancellationToken) is > 0 and var count)
        {
            text.Append(Encoding.Latin1.GetString(buffer, 0, count));
        }

        return text.ToString();
    }
}
