using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>How much of a disk a container may use in a second, where the kernel keeps it.</summary>
public sealed class DiskRateTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    // A disk that this machine has, whichever it is.
    private static string Disk => Directory.GetDirectories("/sys/block").Select(path => "/dev/" + Path.GetFileName(path)).Order(StringComparer.Ordinal).Last(File.Exists);

    [Fact]
    public async Task Rates_that_docker_asks_for_are_held_by_the_kernel_and_shown_as_they_were_asked_for()
    {
        var number = (await CommandRun.RunAsync("lsblk", ["-dno", "MAJ:MIN", Disk])).Succeeds().Output.Trim();
        var id = (await Daemon.DockerAsync(
            "run", "-d", "--network", "none", "--device-read-bps", $"{Disk}:1mb", "--device-write-bps", $"{Disk}:2mb", "--device-read-iops", $"{Disk}:30", "--device-write-iops", $"{Disk}:40", "busybox", "sleep", "1000")).Succeeds().Output.Trim();
        if (File.Exists("/sys/fs/cgroup/cgroup.controllers"))
        {
            Assert.Equal($"{number} rbps=1048576 wbps=2097152 riops=30 wiops=40\n", Daemon.CgroupFile(id, string.Empty, "io.max"));
        }
        else
        {
            foreach (var (file, rate) in (ReadOnlySpan<(string, int)>)[("read_bps", 1 << 20), ("write_bps", 2 << 20), ("read_iops", 30), ("write_iops", 40)])
            {
                Assert.Equal($"{number} {rate}\n", Daemon.CgroupFile(id, "blkio", $"blkio.throttle.{file}_device"));
            }
        }

        Assert.Equal(
            $$"""[{"Path":"{{Disk}}","Rate":1048576}] [{"Path":"{{Disk}}","Rate":40}]""",
            await Daemon.InspectAsync(id, "{{json .HostConfig.BlkioDeviceReadBps}} {{json .HostConfig.BlkioDeviceWriteIOps}}"));
        (await Daemon.DockerAsync("rm", "-f", id)).Succeeds();
    }

    [Theory]
    [InlineData("--device-read-bps", "/dev/no-such-disk:1m", 125, "rate of disk /dev/no-such-disk: it is not there; plug it in, or start the container without this limit")]
    [InlineData("--device-write-iops", "/dev/null:10", 125, "rate of disk /dev/null: it is no disk; lsblk lists them")]
    [InlineData("--device-read-bps", "/dev/null", 125, "--device-read-bps /dev/null: not a disk and a rate, as in /dev/sda:1m")]
    [InlineData("--device-read-bps", "/dev/null:fast", 125, "--device-read-bps fast: not a size like 64m")]
    [InlineData("--device-write-iops", "/dev/null:1m", 125, "--device-write-iops /dev/null:1m: 1m is not a number")]
    [InlineData("--device-write-iops", "null:1", 125, "\"null\" is not the absolute path of a disk, as /dev/sda is")]
    public async Task A_rate_that_cannot_be_held_is_refused_in_one_line(string option, string value, int code, string words)
    {
        var run = (await Daemon.EdgehostAsync("run", "--rm", "--network", "none", option, value, "busybox", "true")).Exits(code);
        Assert.Contains(words, run.Error, StringComparison.Ordinal);
        Assert.Single(run.Error.TrimEnd('\n').Split('\n'));
    }
}
