using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Checks that pass, hang and flood, judged by the kernel. The classes beneath name the machine.</summary>
public abstract class HealthScriptTests
{
    private protected abstract Task<CommandRun> RunAsync(string script);

    [Fact]
    public async Task A_check_is_what_its_container_is_and_nothing_of_it_is_left()
    {
        var run = (await RunAsync("health.sh")).Succeeds();
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output + run.Error);

        Assert.Contains("WELL lines=22 same=yes\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("HANG exit=-1 left=1 output=Health_check_exceeded_timeout_(500ms)\n", run.Output, StringComparison.Ordinal);

        // 4096 bytes of "y" and a newline, which stands there as \n, and the words before and after them.
        Assert.Contains("FLOOD bytes=6184 ", run.Output, StringComparison.Ordinal);
        Assert.Contains("IDLE ticks=0\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("GONE cgroups=0\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("LEFT cgroups=0 mounts=0\n", run.Output, StringComparison.Ordinal);
    }
}

/// <summary>On this machine, with the cgroups that it has.</summary>
public sealed class HealthOnThisMachine : HealthScriptTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunHereAsync(script);
}

/// <summary>On the emulated arm64 board, with cgroup v2.</summary>
public sealed class HealthOnTheBoard(Arm64Board board) : HealthScriptTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunOnAsync(board, script);
}
