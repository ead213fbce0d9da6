using System.Globalization;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Three containers misbehave at once; the figures are the kernel's own. The classes beneath name the machine.</summary>
public abstract class StrictnessTests
{
    private protected abstract Task<CommandRun> RunAsync(string script);

    [Fact]
    public async Task A_memory_hog_a_CPU_hog_and_a_fork_bomb_stay_within_their_limits_and_the_daemon_answers()
    {
        var run = (await RunAsync("strictness.sh")).Succeeds();
        TestContext.Current.SendDiagnosticMessage("{0}", run.Output);
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output);

        Assert.Equal(24 << 20, Number("MEMORY", "limit"));
        Assert.True(Number("MEMORY", "kills") >= 2, run.ToString());
        if (Text("MEMORY", "peak") != "unknown")
        {
            Assert.InRange(Number("MEMORY", "peak"), 0, 24 << 20);
        }

        Assert.Equal(30_000, Number("CPU", "quota"));
        Assert.True(Number("CPU", "throttled") >= 30, run.ToString());

        // 30 % of a CPU in each period that there was; two ticks more for where a period is cut.
        Assert.InRange(Number("CPU", "usage"), 1, (Number("CPU", "periods") + 2) * 30_000 * 11 / 10);
        Assert.Equal(20, Number("PIDS", "limit"));
        Assert.InRange(Number("PIDS", "now"), 2, 20);
        Assert.True(Number("PIDS", "refused") >= 50, run.ToString());
        Assert.True(Number("API", "answers") >= 1, run.ToString());
        Assert.True(Number("BLOCK", "counted") > 0, run.ToString());
        Assert.Equal(Number("BLOCK", "counted"), Number("BLOCK", "shown"));
        Assert.True(Number("CALM", "lines") >= 1, run.ToString());
        Assert.Equal("running", Text("CALM", "state"));
        Assert.Equal("0 0", $"{Text("GONE", "cgroups")} {Text("GONE", "containers")}");
        Assert.Equal("0 0", $"{Text("LEFT", "cgroups")} {Text("LEFT", "mounts")}");

        string Text(string check, string key)
        {
            var line = run.Output.Split('\n').FirstOrDefault(each => each.StartsWith(check + " ", StringComparison.Ordinal));
            Assert.True(line is not null, $"no line {check} in\n{run}");
            return line.Split(' ').First(word => word.StartsWith(key + "=", StringComparison.Ordinal))[(key.Length + 1)..];
        }

        long Number(string check, string key) => long.Parse(Text(check, key), CultureInfo.InvariantCulture);
    }
}

/// <summary>On this machine, with the cgroups that it has.</summary>
public sealed class StrictnessOnThisMachine : StrictnessTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunHereAsync(script);
}

/// <summary>On the emulated arm64 board, with cgroup v2.</summary>
public sealed class StrictnessOnTheBoard(Arm64Board board) : StrictnessTests
{
    private protected override Task<CommandRun> RunAsync(string script) => DaemonScript.RunOnAsync(board, script);
}
