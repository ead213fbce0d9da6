using System.Globalization;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Parts of EdgeHost are killed, and their files damaged, while containers run.</summary>
public sealed class CrashTests(SharedDaemon shared) : IClassFixture<SharedDaemon>, IDisposable
{
    // Counts until it is told to stop, and says how far it came.
    private const string Counter = "i=0; while [ ! -e /host/stop ]; do i=$((i+1)); echo $i; [ $((i % 20)) -ne 0 ] || sleep 0.02; done; echo end $i";

    private readonly TemporaryDirectory _host = new();

    private DaemonUnderTest Daemon => shared.Daemon;

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task A_killed_daemon_costs_no_process_no_line_and_no_exit_code()
    {
        var counters = new List<string>();
        for (var i = 0; i < 3; i++)
        {
            counters.Add(await Daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", Counter));
        }

        var ending = await Daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", "while [ ! -e /host/go ]; do sleep 0.05; done; echo gone; exit 23");
        var passing = await Daemon.RunDetachedAsync("--rm", "-v", _host.Path + ":/host", "busybox", "sh", "-c", "while [ ! -e /host/go ]; do sleep 0.05; done");
        var pids = await PidsAsync(counters);
        var endingPid = await Daemon.PidOfAsync(ending);
        var passingPid = await Daemon.PidOfAsync(passing);
        await Daemon.LineAsync(counters[2], line => line == "100");

        await Daemon.KillAsync();
        await File.WriteAllTextAsync(_host.Sub("go"), string.Empty, TestContext.Current.CancellationToken);
        await DaemonUnderTest.GoneAsync(endingPid);
        await DaemonUnderTest.GoneAsync(passingPid);
        Assert.All(pids, pid => Assert.True(DaemonUnderTest.Lives(pid)));
        await Daemon.StartAsync();

        Assert.Equal(pids, await PidsAsync(counters));
        Assert.Equal("23\n", (await Daemon.DockerAsync("wait", ending)).Output);
        Assert.Equal(["gone"], await Daemon.LinesAsync(ending));
        _ = await Daemon.DockerAsync("wait", passing);
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("ps", "-aq", "--filter", "id=" + passing)).Output);
        await File.WriteAllTextAsync(_host.Sub("stop"), string.Empty, TestContext.Current.CancellationToken);
        foreach (var counter in counters)
        {
            Assert.Equal("0\n", (await Daemon.DockerAsync("wait", counter)).Output);
            AssertCounted(await Daemon.LinesAsync(counter));
        }
    }

    [Fact]
    public async Task What_a_killed_daemon_was_still_removing_is_removed_by_the_next_one()
    {
        var kept = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var facts = await File.ReadAllTextAsync($"{Daemon.Run}/containers/{kept}/container.json", TestContext.Current.CancellationToken);
        await Daemon.KillAsync();

        // As they are between the answer to a removal and its end.
        string[] left = [$"{Daemon.Data}/containers/.gone-{kept}", $"{Daemon.Run}/containers/.gone-{kept}", $"{Daemon.Data}/snapshots/.gone-{kept}"];
        foreach (var directory in left)
        {
            Directory.CreateDirectory(directory + "/fs");
            await File.WriteAllTextAsync(directory + "/container.json", facts, TestContext.Current.CancellationToken);
            await File.WriteAllTextAsync(directory + "/fs/file", "x", TestContext.Current.CancellationToken);
        }

        var removed = left.Select(RemovedAsync).ToList();
        await Daemon.StartAsync();

        await Task.WhenAll(removed);
        Assert.Equal(kept, (await Daemon.DockerAsync("ps", "-aq", "--no-trunc", "--filter", "id=" + kept)).Output.Trim());
        (await Daemon.DockerAsync("rm", "-f", kept)).Succeeds();
    }

    private static async Task RemovedAsync(string directory)
    {
        var gone = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var watch = new FileSystemWatcher(Path.GetDirectoryName(directory)!, Path.GetFileName(directory));
        watch.Deleted += (_, _) => gone.TrySetResult();
        watch.EnableRaisingEvents = true;
        if (Directory.Exists(directory))
        {
            await gone.Task.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task A_daemon_killed_at_any_moment_of_a_start_leaves_a_container_that_is_whole_or_not_there()
    {
        for (var round = 0; round < 6; round++)
        {
            var name = string.Create(CultureInfo.InvariantCulture, $"cut{round}");
            // Each round is cut some files later than the one before: nothing written yet, the container's facts, its run.
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            var written = 0;
            using var watch = new FileSystemWatcher(Daemon.Run) { IncludeSubdirectories = true };
            watch.Created += (_, _) => Count();
            watch.Renamed += (_, _) => Count();
            watch.EnableRaisingEvents = true;
            var run = Daemon.DockerAsync("run", "-d", "--name", name, "--restart", "unless-stopped", "busybox", "sleep", "1000");
            if (round > 0)
            {
                await Task.WhenAny(run, reached.Task);
            }

            void Count()
            {
                if (Interlocked.Increment(ref written) == round * 2)
                {
                    reached.TrySetResult();
                }
            }

            await Daemon.KillAsync();
            _ = await run;
            await Daemon.StartAsync();
            var status = await Daemon.DockerAsync("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", name);
            if (status.ExitCode == 0)
            {
                var pid = int.Parse(status.Output.Split(' ')[1], CultureInfo.InvariantCulture);
                Assert.Equal(status.Output.StartsWith("running", StringComparison.Ordinal), pid > 0 && DaemonUnderTest.Lives(pid));
                (await Daemon.DockerAsync("rm", "-f", name)).Succeeds();
            }

            // What nobody knows does not run either.
            (await Daemon.RunAsync("--rm", "--name", name, "busybox", "true")).Succeeds();
        }
    }

    [Fact]
    public async Task A_killed_logger_costs_no_container_and_the_output_goes_on()
    {
        var counter = await Daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", Counter);
        var pid = await Daemon.PidOfAsync(counter);
        await Daemon.LineAsync(counter, line => line == "100");
        for (var i = 0; i < 2; i++)
        {
            var before = Daemon.Said.Length;
            var logger = await Daemon.LoggerPidAsync();
            var lines = (await Daemon.LinesAsync(counter)).Length;
            await DaemonUnderTest.SignalAsync(logger, "KILL");
            await Daemon.SaysAsync($"the logger (pid {logger}) ended", before);
            await Daemon.LineAsync(counter, line => int.Parse(line, CultureInfo.InvariantCulture) >= lines + 200);
        }

        await File.WriteAllTextAsync(_host.Sub("stop"), string.Empty, TestContext.Current.CancellationToken);
        Assert.Equal("0\n", (await Daemon.DockerAsync("wait", counter)).Output);
        Assert.Equal(0, await Daemon.PidOfAsync(counter));
        Assert.True(pid > 0);
        Assert.StartsWith("end ", (await Daemon.LinesAsync(counter))[^1], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("deleted")]
    [InlineData("emptied")]
    [InlineData("cut")]
    [InlineData("garbage")]
    public async Task A_damaged_database_costs_nothing_that_runs_and_is_kept_aside(string damage)
    {
        var always = await Daemon.RunDetachedAsync("--name", "kept-" + damage, "--restart", "always", "busybox", "sleep", "1000");
        var plain = await Daemon.RunDetachedAsync("--label", "who=plain", "busybox", "sleep", "1000");
        List<string> all = [always, plain];
        var pids = await PidsAsync(all);
        var state = Path.Combine(Daemon.Data, "state.db");
        await Daemon.StopAsync();
        var aside = Aside();
        switch (damage)
        {
            case "deleted":
                Directory.EnumerateFiles(Daemon.Data, "state*.db").ToList().ForEach(File.Delete);
                break;
            case "emptied":
                await File.WriteAllBytesAsync(state, [], TestContext.Current.CancellationToken);
                break;
            case "cut":
                await using (var file = new FileStream(state, FileMode.Open))
                {
                    file.SetLength((file.Length / 2) + 100);
                }

                break;
            default:
                var garbage = new byte[100_000];
                new Random(1).NextBytes(garbage);
                await File.WriteAllBytesAsync(state, garbage, TestContext.Current.CancellationToken);
                break;
        }

        var before = Daemon.Said.Length;
        await Daemon.StartAsync();

        Assert.Equal(pids, await PidsAsync(all));
        Assert.Equal("/kept-" + damage, await Daemon.InspectAsync(always, "{{.Name}}"));
        Assert.Equal("plain", await Daemon.InspectAsync(plain, "{{.Config.Labels.who}}"));
        Assert.Contains($"container kept-{damage} ({always[..12]}) was taken back from its files", Daemon.Said[before..], StringComparison.Ordinal);
        if (damage is "cut" or "garbage")
        {
            Assert.NotEmpty(Aside().Except(aside));
            Assert.Contains("state.db", Daemon.Said[before..], StringComparison.Ordinal);
        }

        (await Daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", always, plain)).Succeeds();

        List<string> Aside() => [.. Directory.EnumerateFiles(Daemon.Data, "state.db.damaged-*")];
    }

    [Fact]
    public async Task When_shepherd_and_logger_are_killed_together_what_is_said_of_containers_is_true_and_policies_hold()
    {
        var always = await Daemon.RunDetachedAsync("--restart", "always", "busybox", "sh", "-c", "echo up; exec sleep 1000");
        var plain = await Daemon.RunDetachedAsync("busybox", "sleep", "1000");
        var pids = await PidsAsync([always, plain]);
        await Daemon.LineAsync(always, line => line == "up");
        var shepherd = await Daemon.ShepherdPidAsync();
        var ups = 0;
        var again = Daemon.LineAsync(always, line => line == "up" && ++ups == 2);

        // The one would start the other again.
        var (logger, before) = (await Daemon.LoggerPidAsync(), Daemon.Said.Length);
        await DaemonUnderTest.SignalAsync(shepherd, "STOP");
        await DaemonUnderTest.SignalAsync(logger, "KILL");
        await DaemonUnderTest.SignalAsync(shepherd, "KILL");
        await again;

        await Daemon.SaysAsync($"container {plain[..12]} (process {pids[1]}) is not taken back: its logger has died too", before);
        Assert.NotEqual(shepherd, await Daemon.ShepherdPidAsync());
        Assert.Equal("running", await Daemon.InspectAsync(always, "{{.State.Status}}"));
        _ = await Daemon.DockerAsync("wait", plain);
        Assert.Equal("exited 0", await Daemon.InspectAsync(plain, "{{.State.Status}} {{.State.Pid}}"));
        Assert.All(pids, pid => Assert.False(DaemonUnderTest.Lives(pid)));
        (await Daemon.DockerAsync("start", plain)).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", always, plain)).Succeeds();
    }

    [Fact]
    public async Task After_a_power_cut_containers_run_by_their_policies()
    {
        var passing = await Daemon.RunDetachedAsync("--rm", "busybox", "sleep", "1000");
        var created = (await Daemon.DockerAsync("create", "--name", "boot-created", "busybox", "true")).Succeeds().Output.Trim();
        var always = await Daemon.RunDetachedAsync("--name", "boot-always", "--restart", "always", "busybox", "sleep", "1000");
        var unlessStopped = await Daemon.RunDetachedAsync("--restart", "unless-stopped", "busybox", "sleep", "1000");
        var stopped = await Daemon.RunDetachedAsync("--restart", "unless-stopped", "busybox", "sleep", "1000");
        var stoppedAlways = await Daemon.RunDetachedAsync("--restart", "always", "busybox", "sleep", "1000");
        (await Daemon.DockerAsync("kill", stopped, stoppedAlways)).Succeeds();
        _ = await Daemon.DockerAsync("wait", stopped, stoppedAlways);

        // What is made by hand without a policy may take a moment until it is on disk.
        await Daemon.UntilStoredAsync(passing);
        await Daemon.UntilStoredAsync(created);
        await Daemon.RebootAsync();
        await Daemon.StartAsync();
        await Daemon.DockerAsync("wait", passing);

        await RunsAsync(always);
        await RunsAsync(unlessStopped);
        await RunsAsync(stoppedAlways);
        Assert.Equal("exited", await Daemon.InspectAsync(stopped, "{{.State.Status}}"));
        Assert.Equal(1, (await Daemon.DockerAsync("inspect", passing)).ExitCode);
        (await Daemon.DockerAsync("start", "-a", "boot-created")).Succeeds();
        (await Daemon.DockerAsync("rm", "-f", "boot-created", always, unlessStopped, stopped, stoppedAlways)).Succeeds();
    }

    // Started by policy a moment after the daemon is ready: its start is an event.
    private async Task RunsAsync(string container)
    {
        using var limit = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (await Daemon.InspectAsync(container, "{{.State.Status}}") != "running")
        {
            var events = await CommandRun.RunAsync("timeout", ["1", "docker", "-H", "unix://" + Daemon.Socket, "events", "--filter", "container=" + container, "--filter", "event=start"]);
            limit.Token.ThrowIfCancellationRequested();
            _ = events;
        }

        Assert.True(DaemonUnderTest.Lives(await Daemon.PidOfAsync(container)));
    }

    private async Task<List<int>> PidsAsync(IEnumerable<string> containers)
    {
        var pids = new List<int>();
        foreach (var container in containers)
        {
            pids.Add(await Daemon.PidOfAsync(container));
        }

        return pids;
    }

    private static void AssertCounted(string[] lines)
    {
        var count = lines.Length - 1;
        Assert.Equal($"end {count}", lines[^1]);
        for (var i = 0; i < count; i++)
        {
            if (lines[i] != (i + 1).ToString(CultureInfo.InvariantCulture))
            {
                Assert.Fail($"line {i + 1} is \"{lines[i]}\"");
            }
        }
    }
}
