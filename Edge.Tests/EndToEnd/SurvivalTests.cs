using System.Diagnostics;
using System.Globalization;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Shepherd, logger and daemon are updated or die under twenty busy containers.</summary>
public sealed class SurvivalTests : IDisposable
{
    private const int OneRead = 64 << 10;

    private readonly TemporaryDirectory _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task Daemon_shepherd_and_logger_of_an_older_build_are_replaced_and_not_one_line_is_lost()
    {
        await using var daemon = await StartAsync(await OlderBuild.NativeAsync());
        var (shepherd, logger) = (await daemon.ShepherdPidAsync(), await daemon.LoggerPidAsync());
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);
        File.Copy(await PublishedBinary.NativeAsync(), daemon.Program + ".new");
        File.Move(daemon.Program + ".new", daemon.Program!, overwrite: true);

        // The daemon first: beside a shepherd that is older.
        await daemon.StopAsync();
        await daemon.StartAsync();
        await busy.AssertSameProcessesAsync();
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();

        var replaced = await CommandRun.RunAsync(daemon.Program!, ["shepherd", "--replace", "--run-dir", daemon.Run]);

        Assert.Equal(
            string.Create(CultureInfo.InvariantCulture, $"the shepherd (pid {shepherd}) is now {daemon.Program}; the containers went on\n"), replaced.Succeeds().Output);
        await DaemonUnderTest.GoneAsync(logger);
        var program = await HandoverTests.FileOf(daemon.Program!);
        foreach (var pid in (int[])[shepherd, await daemon.LoggerPidAsync(), daemon.Pid])
        {
            Assert.Equal(program, await HandoverTests.FileOf($"/proc/{pid}/exe"));
        }

        await busy.GoOnAsync();
        await busy.AssertSameProcessesAsync();
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        BusyContainers.AssertComplete(await busy.StopAsync());
    }

    [Fact]
    public async Task A_killed_shepherd_costs_no_process_no_line_and_no_exit_code()
    {
        await using var daemon = await StartAsync(await PublishedBinary.NativeAsync());
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);
        for (var round = 0; round < 3; round++)
        {
            var (shepherd, logger, before) = (await daemon.ShepherdPidAsync(), await daemon.LoggerPidAsync(), daemon.Said.Length);

            await DaemonUnderTest.SignalAsync(shepherd, "KILL");

            await daemon.SaysAsync("20 containers are taken back", before);
            await daemon.SaysAsync("of them running; the shepherd is process", before);
            await DaemonUnderTest.GoneAsync(logger);
            await busy.GoOnAsync();
            await busy.AssertSameProcessesAsync();
        }

        // Of its own: beside those whose parent has died.
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
        BusyContainers.AssertComplete(await busy.StopAsync());
    }

    [Fact]
    public async Task A_shepherd_that_is_killed_while_one_logger_takes_anothers_place_takes_back_what_either_has()
    {
        const int Lines = 1_000_000;
        await using var daemon = await StartAsync(await PublishedBinary.NativeAsync());
        var busy = await BusyContainers.StartAsync(daemon, _host.Path, 2);
        using var client = Process.Start(new ProcessStartInfo(
            "docker",
            ["-H", "unix://" + daemon.Socket, "run", "--name", "held", "-v", _host.Path + ":/host", "busybox", "sh", "-c", $"echo; until [ -e /host/go ]; do sleep 0.05; done; seq {Lines}; until [ -e /host/stop ]; do sleep 0.05; done; exit 7"])
        { RedirectStandardOutput = true })!;
        Assert.Equal(string.Empty, await client.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken));
        var (shepherd, logger, before) = (await daemon.ShepherdPidAsync(), await daemon.LoggerPidAsync(), daemon.Said.Length);
        var held = await daemon.InspectAsync("held", "{{.Id}}");

        // Of a container whose client does not read the logger has more than it can give away, and keeps its place until then.
        await DaemonUnderTest.SignalAsync(daemon.Pid, "STOP");
        await File.WriteAllTextAsync(_host.Sub("go"), string.Empty, TestContext.Current.CancellationToken);
        await daemon.UntilLogGrowsAsync(held, 1 << 20);
        await DaemonUnderTest.SignalAsync(shepherd, "HUP");
        await daemon.SaysAsync("has taken over 3 containers", before);
        await busy.GoOnAsync();
        Assert.True(DaemonUnderTest.Lives(logger));
        await DaemonUnderTest.SignalAsync(shepherd, "KILL");
        await DaemonUnderTest.SignalAsync(daemon.Pid, "CONT");

        await daemon.SaysAsync("3 containers are taken back", before);
        await daemon.SaysAsync("of them running; the shepherd is process", before);
        var output = client.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        await DaemonUnderTest.GoneAsync(logger);
        await busy.GoOnAsync();
        await busy.AssertSameProcessesAsync();
        BusyContainers.AssertComplete(await busy.StopAsync());
        var wanted = Enumerable.Range(1, Lines).Select(number => number.ToString(CultureInfo.InvariantCulture)).ToArray();
        Assert.Equal(wanted, (await output).Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(wanted, (await daemon.DockerAsync("logs", "held")).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        await client.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(7, client.ExitCode);
    }

    [Fact]
    public async Task A_container_that_ends_while_there_is_no_shepherd_has_all_its_output_in_the_log_and_no_exit_code_is_invented()
    {
        await using var daemon = await StartAsync(await PublishedBinary.NativeAsync());
        var ending = await daemon.RunDetachedAsync("-v", _host.Path + ":/host", "busybox", "sh", "-c", "while [ ! -e /host/go ]; do sleep 0.05; done; seq 10000; exit 23");
        var pid = await daemon.PidOfAsync(ending);
        await daemon.KillAsync();
        await DaemonUnderTest.SignalAsync(await daemon.ShepherdPidAsync(), "KILL");
        await File.WriteAllTextAsync(_host.Sub("go"), string.Empty, TestContext.Current.CancellationToken);
        await DaemonUnderTest.GoneAsync(pid);

        await daemon.StartAsync();

        Assert.Equal("255\n", (await daemon.DockerAsync("wait", ending)).Output);
        await daemon.SaysAsync("how it ended nobody saw");
        await daemon.LineAsync(ending, line => line == "10000");
        Assert.Equal(10_000, (await daemon.LinesAsync(ending)).Length);
    }

    [Fact]
    public async Task A_killed_logger_costs_at_most_one_read_of_each_stream_and_the_gap_is_marked()
    {
        // Lines are no shorter than this once so much was written.
        const int Width = 6;
        await using var daemon = await StartAsync(await PublishedBinary.NativeAsync());
        var busy = await BusyContainers.StartAsync(daemon, _host.Path);
        await busy.GoOnAsync();
        var (logger, before) = (await daemon.LoggerPidAsync(), daemon.Said.Length);

        await DaemonUnderTest.SignalAsync(logger, "KILL");

        await daemon.SaysAsync($"the logger (pid {logger}) ended", before);
        await busy.GoOnAsync();
        await busy.AssertSameProcessesAsync();
        foreach (var (lines, beside) in await busy.StopAsync())
        {
            Assert.Equal("\nedgehost: the logger was killed: up to 64 KiB of each stream may be missing here\n", beside);
            var end = int.Parse(lines[^1].Split(' ')[1], CultureInfo.InvariantCulture);
            var gaps = ShepherdTests.Gaps(lines[..^1], 1, end + 1);
            Assert.InRange(gaps.Sum() * Width, 0, OneRead + (2 * Width));
        }
    }

    [Fact]
    public async Task A_record_that_a_power_cut_tore_is_cut_off_and_the_place_is_marked()
    {
        await using var daemon = await StartAsync(await PublishedBinary.NativeAsync());
        var container = await daemon.RunDetachedAsync("busybox", "echo", "line");
        _ = await daemon.DockerAsync("wait", container);
        var segment = Directory.EnumerateFiles(daemon.LogDirectory(container)).Single();
        var whole = await File.ReadAllBytesAsync(segment, TestContext.Current.CancellationToken);
        await File.WriteAllBytesAsync(segment, [.. whole, .. whole[..18]], TestContext.Current.CancellationToken);

        (await daemon.DockerAsync("start", container)).Succeeds();
        _ = await daemon.DockerAsync("wait", container);

        var log = (await daemon.DockerAsync("logs", container)).Succeeds();
        Assert.Equal("line\nline\n", log.Output);
        Assert.Equal("\nedgehost: 18 bytes here were not wholly written and are cut off\n", log.Error);
    }

    private async Task<DaemonUnderTest> StartAsync(string program)
    {
        var daemon = DaemonUnderTest.Make();
        daemon.Settings["log"] = new { maxSize = "64m" };
        daemon.Program = _host.Sub("edgehost");
        File.Copy(program, daemon.Program);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        return daemon;
    }
}
