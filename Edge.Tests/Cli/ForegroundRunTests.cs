using System.Diagnostics;
using Edge.Tests.Api;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>What needs a process of its own: raw output, exit codes, signals. With the native binary, as users have it.</summary>
public sealed class ForegroundRunTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    [Theory]
    [InlineData(0, "out there\n", "", "echo", "out", "there")]
    [InlineData(1, "", "err\n", "complain", "err")]
    [InlineData(42, "", "", "exit", "42")]
    public async Task Output_and_exit_code_are_the_containers(int exit, string output, string error, params string[] command)
    {
        var run = await RunAsync(["run", "--rm", "--network", "none", "busybox", .. command]);
        Assert.Equal((exit, output, error), (run.ExitCode, run.Output, run.Error));
    }

    [Fact]
    public async Task A_program_that_is_not_there_exits_with_127_and_the_container_is_gone()
    {
        var run = await RunAsync("run", "--rm", "--name", "absent", "--network", "none", "busybox", "missing");
        Assert.Equal((127, "edgehost: missing: executable file not found in $PATH\n"), (run.ExitCode, run.Error));
        Assert.DoesNotContain(api.Engine.List(), c => c.Name == "absent");
    }

    [Fact]
    public async Task A_signal_reaches_the_container_and_its_end_is_ours()
    {
        var start = new ProcessStartInfo(await PublishedBinary.NativeAsync(), ["--host", api.Socket, "run", "--rm", "--name", "signalled", "--network", "none", "busybox", "sleep"])
        {
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var cancel = TestContext.Current.CancellationToken;
        await foreach (var happened in api.Engine.WatchAsync(cancel))
        {
            if (happened.Action == "start")
            {
                break;
            }
        }

        api.Engine.Write("signalled", false, "up\n");
        Assert.Equal("up", await process.StandardOutput.ReadLineAsync(cancel));
        (await CommandRun.RunAsync("kill", ["-USR1", $"{process.Id}"])).Succeeds();
        await process.WaitForExitAsync(cancel);
        Assert.Equal(128 + 10, process.ExitCode);
    }

    [Fact]
    public async Task Logs_keep_the_streams_apart()
    {
        (await RunAsync("run", "-d", "--name", "wordy", "--network", "none", "busybox", "sleep")).Succeeds();
        api.Engine.Write("wordy", false, "one\n");
        api.Engine.Write("wordy", true, "two\n");
        var logs = await RunAsync("logs", "wordy");
        Assert.Equal(("one\n", "two\n"), (logs.Output, logs.Error));
        Assert.Equal("2026-01-02T03:04:05.000000000Z one\n", (await RunAsync("logs", "-t", "--tail", "2", "wordy")).Output);
    }

    [Fact]
    public async Task An_archive_is_loaded_from_standard_input()
    {
        var before = api.Images.LoadedBytes;
        var load = await CommandRun.RunAsync("sh", ["-c", $"head -c 3000000 /dev/zero | {await PublishedBinary.NativeAsync()} --host {api.Socket} load"]);
        Assert.Equal((0, "Loaded image: loaded:latest\n"), (load.ExitCode, load.Output));
        Assert.Equal(3_000_000, api.Images.LoadedBytes - before);
    }

    private async Task<CommandRun> RunAsync(params string[] arguments) => await PublishedBinary.RunAsync(["--host", api.Socket, .. arguments]);
}
