using System.Buffers.Binary;
using System.Globalization;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The parent of all containers among clients that die, loggers that die, and orders to end.</summary>
public sealed class ShepherdTests : IDisposable
{
    // One read of a pipe by the logger.
    private const int OneRead = 64 << 10;

    private readonly TemporaryDirectory _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task A_client_that_is_gone_before_its_answer_costs_no_container()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var containers = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            containers.Add(await daemon.RunDetachedAsync("busybox", "sleep", "1000"));
        }

        var shepherd = await daemon.ShepherdPidAsync();
        await DaemonUnderTest.SignalAsync(shepherd, "STOP");
        using (var client = PacketSocket.TryConnect(daemon.Run + "/shepherd.sock")!)
        {
            Assert.True(client.Send(Request(ShepherdMessageKind.List, 1)));
        }

        await DaemonUnderTest.SignalAsync(shepherd, "CONT");

        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        Assert.Equal(shepherd, await daemon.ShepherdPidAsync());
        foreach (var container in containers)
        {
            Assert.Equal("running", await daemon.InspectAsync(container, "{{.State.Status}}"));
        }

        (await daemon.DockerAsync(["kill", .. containers])).Succeeds();
    }

    [Fact]
    public async Task The_file_of_the_process_that_containers_are_cloned_from_cannot_be_written_by_way_of_it()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();

        // As root; that it is executed at present is another reason, which passes.
        (await CommandRun.RunAsync("test", ["-w", $"/proc/{await daemon.ShepherdPidAsync()}/exe"])).Exits(1);
        (await CommandRun.RunAsync("test", ["-w", $"/proc/{daemon.Pid}/exe"])).Succeeds();
    }

    [Fact]
    public async Task The_method_tables_of_processes_that_stay_cannot_be_written()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();

        foreach (var pid in (int[])[daemon.Pid, await daemon.ShepherdPidAsync(), await daemon.LoggerPidAsync()])
        {
            var maps = await File.ReadAllLinesAsync($"/proc/{pid}/maps", TestContext.Current.CancellationToken);
            var program = maps[0].Split(' ', StringSplitOptions.RemoveEmptyEntries)[^1];
            var own = maps.TakeWhile(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^1] == program).ToList();

            // The data around them can: what lies between two such parts was made read-only.
            var parts = own.SkipWhile(line => !line.Contains(" rw-p ", StringComparison.Ordinal)).ToList();
            Assert.Equal(["rw-p", "r--p", "rw-p"], parts.Select(line => line.Split(' ')[1]));
            Assert.True(Length(parts[1]) > 3 << 20, parts[1]);
            Assert.DoesNotContain(own, line => line.Contains("wx", StringComparison.Ordinal));
        }

        static long Length(string line)
        {
            var ends = line.Split(' ')[0].Split('-').Select(end => long.Parse(end, NumberStyles.HexNumber, CultureInfo.InvariantCulture)).ToArray();
            return ends[1] - ends[0];
        }
    }

    [Theory]
    [InlineData((ushort)ShepherdMessageKind.Launch)]
    [InlineData((ushort)ShepherdMessageKind.Signal)]
    [InlineData((ushort)ShepherdMessageKind.Check)]
    [InlineData((ushort)ShepherdMessageKind.CancelCheck)]
    [InlineData((ushort)999)]
    public async Task A_client_that_talks_nonsense_is_let_go_and_costs_no_container(ushort kind)
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var container = await daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var shepherd = await daemon.ShepherdPidAsync();
        var nonsense = new byte[200];
        nonsense.AsSpan().Fill(0xFF);
        BinaryPrimitives.WriteUInt16LittleEndian(nonsense, kind);
        using (var client = PacketSocket.TryConnect(daemon.Run + "/shepherd.sock")!)
        {
            Assert.True(client.Send(nonsense));
            Assert.True(client.Send(new byte[] { 1 }));
            var answer = new byte[PacketSocket.MaximumLength];
            while (client.Receive(answer, []) > 0)
            {
                // A refusal, then the end.
            }
        }

        Assert.Equal(shepherd, await daemon.ShepherdPidAsync());
        Assert.Equal("running", await daemon.InspectAsync(container, "{{.State.Status}}"));
        (await daemon.DockerAsync("kill", container)).Succeeds();
    }

    [Fact]
    public async Task A_shepherd_of_the_version_before_is_asked_for_no_check_and_a_daemon_of_the_version_before_is_understood()
    {
        using var listener = PacketSocket.Listen(_host.Sub("shepherd.sock"));
        var old = Task.Run(() =>
        {
            PacketSocket? daemon;
            while ((daemon = PacketSocket.TryAccept(listener)) is null)
            {
                SingleThread.WaitReadable([listener.Value], -1);
            }

            using (daemon)
            {
                var buffer = new byte[PacketSocket.MaximumLength];
                daemon.Receive(buffer, []);
                var welcome = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Welcome);
                welcome.Put(1);
                welcome.Put(4711);
                daemon.Send(welcome.Written);

                // What comes next, up to the end of the connection.
                return daemon.Receive(buffer, []);
            }
        });
        using (var client = await ShepherdClient.ConnectAsync(_host.Path, _ => { }, mayStart: false, TestContext.Current.CancellationToken))
        {
            Assert.False(client.CanCheck);
            using var plan = SealedMemory.Create("check", [1]);
            var refusal = await Assert.ThrowsAsync<EdgeHost.Errors.EdgeHostException>(() => client.CheckAsync("id", plan, new("/cg", null, []), TimeSpan.FromSeconds(1), TestContext.Current.CancellationToken));
            Assert.Contains("speaks protocol 1", refusal.Message, StringComparison.Ordinal);
        }

        Assert.Equal(0, await old.WaitAsync(DaemonUnderTest.Patience, TestContext.Current.CancellationToken));

        // The other way round: it is told the version that it knows.
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        using var before = PacketSocket.TryConnect(daemon.Run + "/shepherd.sock")!;
        Assert.Equal(1, Greet(before, 1));
        using var after = PacketSocket.TryConnect(daemon.Run + "/shepherd.sock")!;
        Assert.Equal(6, Greet(after, 7));

        static int Greet(PacketSocket shepherd, int version)
        {
            var buffer = new byte[PacketSocket.MaximumLength];
            var hello = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Hello);
            hello.Put(version);
            Assert.True(shepherd.Send(hello.Written));
            var reader = new ShepherdMessageReader(buffer.AsSpan(0, shepherd.Receive(buffer, [])));
            Assert.Equal(ShepherdMessageKind.Welcome, reader.Kind);
            return reader.TakeInt32();
        }
    }

    [Fact]
    public async Task When_daemon_and_shepherd_are_told_to_end_together_both_do_and_nothing_is_started_again()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var always = await daemon.RunDetachedAsync("--restart", "always", "busybox", "sh", "-c", "trap exit TERM; echo up; while :; do sleep 0.1; done");
        await daemon.LineAsync(always, line => line == "up");
        var shepherd = await daemon.ShepherdPidAsync();

        var pid = daemon.Pid;
        (await CommandRun.RunAsync("sh", ["-c", string.Create(CultureInfo.InvariantCulture, $"kill -TERM {shepherd} {pid}")])).Succeeds();
        await DaemonUnderTest.GoneAsync(shepherd);
        await daemon.EndedAsync();

        Assert.Equal(shepherd, await daemon.ShepherdPidAsync());
        Assert.Empty(daemon.CgroupPids());
        Assert.DoesNotContain("another one is started", daemon.Said, StringComparison.Ordinal);

        // Its policy holds at the next start.
        await daemon.StartAsync();
        var ups = 0;
        await daemon.LineAsync(always, line => line == "up" && ++ups == 2);
        Assert.NotEqual(shepherd, await daemon.ShepherdPidAsync());
        (await daemon.DockerAsync("rm", "-f", always)).Succeeds();
    }

    [Fact]
    public async Task A_shepherd_that_was_told_to_end_alone_is_followed_by_another()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        var always = await daemon.RunDetachedAsync("--restart", "always", "busybox", "sh", "-c", "trap exit TERM; echo up; while :; do sleep 0.1; done");
        await daemon.LineAsync(always, line => line == "up");
        var shepherd = await daemon.ShepherdPidAsync();
        var ups = 0;
        var again = daemon.LineAsync(always, line => line == "up" && ++ups == 2);

        await DaemonUnderTest.SignalAsync(shepherd, "TERM");
        await again;

        Assert.NotEqual(shepherd, await daemon.ShepherdPidAsync());
        (await daemon.DockerAsync("rm", "-f", always)).Succeeds();
    }

    [Fact]
    public async Task A_log_that_cannot_be_written_holds_up_its_own_container_until_it_can_and_no_other()
    {
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64k" };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var other = await daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", "while [ ! -e /host/other ]; do sleep 0.05; done; echo other");
        var broken = await daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", "echo up; while [ ! -e /host/go ]; do sleep 0.05; done; seq 100000; echo last");
        await daemon.LineAsync(broken, line => line == "up");
        var logger = await daemon.LoggerPidAsync();

        // Where the next segment is to be made there is no directory, and none can be.
        var log = daemon.LogDirectory(broken);
        Directory.Move(log, log + ".away");
        await File.WriteAllTextAsync(log, string.Empty, TestContext.Current.CancellationToken);
        var before = daemon.Said.Length;
        await File.WriteAllTextAsync(_host.Sub("go"), string.Empty, TestContext.Current.CancellationToken);
        await daemon.SaysAsync("the container's output waits until it can be written", before);
        await File.WriteAllTextAsync(_host.Sub("other"), string.Empty, TestContext.Current.CancellationToken);
        Assert.Equal("0\n", (await daemon.DockerAsync("wait", other)).Output);
        Assert.Equal(["other"], await daemon.LinesAsync(other));
        Assert.Equal("running", await daemon.InspectAsync(broken, "{{.State.Status}}"));

        File.Delete(log);
        Directory.Move(log + ".away", log);
        Assert.Equal("0\n", (await daemon.DockerAsync("wait", broken)).Output);
        Assert.Equal(logger, await daemon.LoggerPidAsync());
        var lines = await daemon.LinesAsync(broken);
        Assert.Equal("last", lines[^1]);
        Assert.Equal("100000", lines[^2]);

        // The oldest that is kept may begin in the middle of a line; from there to the last none is missing.
        Assert.Equal(100_000 - int.Parse(lines[1], CultureInfo.InvariantCulture) + 1, lines.Length - 2);
    }

    /// <summary>Also where a log is one file, which the logger writes at that moment.</summary>
    [Theory]
    [InlineData("1m")]
    [InlineData("64m")]
    public async Task The_logs_of_all_containers_keep_to_one_bound_and_who_has_most_gives_up_its_oldest(string maxSize)
    {
        const long Bound = 16 << 20;
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize, maxFiles = 100, maxTotal = "16m" };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var quiet = await daemon.RunDetachedAsync("busybox", "seq", "1000");
        var ended = await daemon.RunDetachedAsync("busybox", "seq", "700000");
        foreach (var container in (string[])[quiet, ended])
        {
            Assert.Equal("0\n", (await daemon.DockerAsync("wait", container)).Output);
        }

        var before = daemon.LogBytes(ended);
        Assert.InRange(before, 4_000_000, Bound / 2);
        var loud = await daemon.RunDetachedAsync("busybox", "seq", "3000000");
        Assert.Equal("0\n", (await daemon.DockerAsync("wait", loud)).Output);

        Assert.InRange(daemon.LogBytes(quiet) + daemon.LogBytes(ended) + daemon.LogBytes(loud), before, Bound);
        Assert.Equal(before, daemon.LogBytes(ended));
        Assert.Equal(1000, (await daemon.LinesAsync(quiet)).Length);
        var lines = await daemon.LinesAsync(loud);
        Assert.Equal("3000000", lines[^1]);
        Assert.NotEqual("1", lines[0]);

        // From the first whole line to the last none is missing.
        Assert.Equal(3_000_000 - int.Parse(lines[1], CultureInfo.InvariantCulture) + 1, lines.Length - 1);
        await daemon.SaysAsync($"reached log.maxTotal ({Bound} bytes)", 0);
    }

    [Fact]
    public async Task Each_kill_of_the_logger_costs_at_most_one_read_of_the_output_and_nothing_comes_twice_or_out_of_order()
    {
        const int First = 10_000_000, Width = 9, Kills = 5;
        await using var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m" };
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var counter = await daemon.RunDetachedAsync(
            "-v",
            _host.Path + ":/host",
            "busybox",
            "sh",
            "-c",
            string.Create(CultureInfo.InvariantCulture, $"i={First}; while [ ! -e /host/stop ]; do seq $i $((i+9999)); i=$((i+10000)); sleep 0.02; done; echo $i > /host/end"));
        for (var kill = 0; kill < Kills; kill++)
        {
            var logger = await daemon.LoggerPidAsync();
            var before = daemon.Said.Length;
            await DaemonUnderTest.SignalAsync(logger, "KILL");
            await daemon.SaysAsync($"the logger (pid {logger}) ended", before);

            // The next one works: what was written after the kill is followed.
            var written = daemon.LogBytes(counter);
            await daemon.UntilLogGrowsAsync(counter, written);
        }

        await File.WriteAllTextAsync(_host.Sub("stop"), string.Empty, TestContext.Current.CancellationToken);
        Assert.Equal("0\n", (await daemon.DockerAsync("wait", counter)).Output);
        var end = int.Parse(await File.ReadAllTextAsync(_host.Sub("end"), TestContext.Current.CancellationToken), CultureInfo.InvariantCulture);
        var gaps = Gaps(await daemon.LinesAsync(counter), First, end);
        Assert.InRange(gaps.Count, 0, Kills);
        Assert.All(gaps, lines => Assert.InRange(lines * Width, 0, OneRead + (2 * Width)));
        var beside = (await daemon.DockerAsync("logs", counter)).Succeeds().Error;
        Assert.Equal(Kills, beside.Split("edgehost: the logger was killed: up to 64 KiB of each stream may be missing here").Length - 1);
    }

    // How many lines are missing at each place. There the rest of one line and that of a later one may stand as one.
    internal static List<int> Gaps(string[] kept, int first, int end)
    {
        var gaps = new List<int>();
        var next = first;
        for (var i = 0; i < kept.Length; i++)
        {
            if (kept[i] == next.ToString(CultureInfo.InvariantCulture))
            {
                next++;
                continue;
            }

            if (!Follows(i))
            {
                i++;
            }

            var found = int.Parse(kept[i], CultureInfo.InvariantCulture);
            Assert.True(found > next, $"after {next - 1} comes {found}");
            gaps.Add(found - next);
            next = found + 1;
        }

        Assert.Equal(end, next);
        return gaps;

        bool Follows(int at) => at + 1 < kept.Length && int.TryParse(kept[at], CultureInfo.InvariantCulture, out var one) && kept[at + 1] == (one + 1).ToString(CultureInfo.InvariantCulture);
    }

    private static byte[] Request(ShepherdMessageKind kind, int number)
    {
        var message = new byte[6];
        BinaryPrimitives.WriteUInt16LittleEndian(message, (ushort)kind);
        BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(2), number);
        return message;
    }
}
