using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Programs in running containers, terminals and an init, judged by the kernel. The classes beneath name the machine.</summary>
public abstract class ExecScriptTests
{
    private protected abstract Task<CommandRun> RunAsync(string script);

    /// <summary>User, owner of its terminal and lines of its map, in a user namespace.</summary>
    private protected abstract string Mapped { get; }

    [Fact]
    public async Task What_is_started_in_a_container_is_held_by_it()
    {
        var run = (await RunAsync("exec.sh")).Succeeds();
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output + run.Error);

        Assert.Contains("EXEC procs=2 code=7 missing=127 user=1234 input=2 filter=2\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("TERMINAL exec=/dev/pts/0,1234, run=/dev/pts/0\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("BYTES same=yes\n", run.Output, StringComparison.Ordinal);
        const string Oom = "code=137 said=1 box=running,false hungry=exited,true greedy=exited,true codes=";
        Assert.Contains(
            run.Output.Contains("OOM unified=yes ", StringComparison.Ordinal) ? $"OOM unified=yes {Oom}137,137,\n" : $"OOM unified=no {Oom}5,137,\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("INIT first=edgehost-init code=9\n", run.Output, StringComparison.Ordinal);
        Assert.Contains($"MAPPED {Mapped}\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("LEFT cgroups=0 mounts=0\n", run.Output, StringComparison.Ordinal);
    }
}

/// <summary>On this machine, with the cgroups that it has.</summary>
public sealed class ExecOnThisMachine : ExecScriptTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunHereAsync(script);

    private protected override string Mapped => "5,5,1,";
}

/// <summary>On the emulated arm64 board, with cgroup v2.</summary>
public sealed class ExecOnTheBoard(Arm64Board board) : ExecScriptTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunOnAsync(board, script);

    // Its /tmp, where the script keeps its daemon, is a tmpfs, whose ids Linux 6.1 cannot map.
    private protected override string Mapped => "none";
}
