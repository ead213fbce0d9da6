using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Checks that pass, hang and flood, judged by the kernel. The classes beneath name the machine.</summary>
public abstract class HealthScriptTests
{
    private protected abstract Task<CommandRun> RunScriptAsync(string script);

    [Fact]
    public async Task A_check_is_what_its_container_is_and_nothing_of_it_is_left()
    {
        var run = (await RunScriptAsync(await File.ReadAllTextAsync(Repository.PathOf("Edge.Tests", "EndToEnd", "health.sh"), TestContext.Current.CancellationToken))).Succeeds();
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output + run.Error);

        Assert.Contains("WELL lines=22 same=yes\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("HANG exit=-1 left=1 output=Health_check_exceeded_timeout_(500ms)\n", run.Output, StringComparison.Ordinal);

        // 4096 bytes of "y" and a newline, which stands there as \n, and the words before and after them.
        Assert.Contains("FLOOD bytes=6184 ", run.Output, StringComparison.Ordinal);
        Assert.Contains("IDLE ticks=0\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("GONE cgroups=0\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("LEFT cgroups=0\n", run.Output, StringComparison.Ordinal);
    }
}

/// <summary>On this machine, with the cgroups that it has.</summary>
public sealed class HealthOnThisMachine : HealthScriptTests
{
    private protected override async Task<CommandRun> RunScriptAsync(string script)
    {
        Needs.Root();
        var binary = await PublishedBinary.NativeAsync();
        var image = await SampleImage.PathAsync("busybox", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        return await CommandRun.RunAsync("bash", ["-c", $"PATH={Path.GetDirectoryName(binary)}:$PATH\n{script}", "health.sh", image], patience: TimeSpan.FromMinutes(4));
    }
}

/// <summary>On the emulated arm64 board, with cgroup v2.</summary>
public sealed class HealthOnTheBoard(Arm64Board board) : HealthScriptTests
{
    private protected override async Task<CommandRun> RunScriptAsync(string script)
    {
        var image = await SampleImage.PathAsync("busybox", "arm64");
        File.Copy(image, Path.Combine(await board.ShareAsync(), "busybox.tar"), overwrite: true);
        return await board.RunAsync("set -- /mnt/share/busybox.tar\n" + script, TimeSpan.FromMinutes(6));
    }
}
