using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>EdgeHost where there is no systemd, by the scripts of <c>device-configs/init</c> as <c>docs/boot.md</c> has them.</summary>
public sealed class InitTests
{
    [Theory]
    [InlineData("plain")]
    [InlineData("openrc")]
    public async Task The_scripts_start_it_replace_the_daemon_alone_and_end_the_containers_with_a_stop(string how)
    {
        Needs.Root();
        await Packages.NeedAsync("busybox-static");
        var image = await SampleImage.PathAsync("busybox", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        var run = await CommandRun.RunAsync(
            "bash",
            [Repository.PathOf("Edge.Tests", "EndToEnd", "init.sh"), how, await PublishedBinary.NativeAsync(), image, Repository.PathOf("device-configs", "init")],
            patience: TimeSpan.FromMinutes(5));

        Assert.Equal(
            [
                "BEFORE status=stopped",
                "STARTED status=runs",
                "RESTARTED daemon=new shepherd=same container=same",
                "STOPPED status=stopped container=gone",
                "ended with 7",
                "AGAIN container=true",
                "LEFT cgroups=0",
            ],
            run.Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }
}
