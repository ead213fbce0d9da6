using EdgeHost.Board;
using Xunit;

namespace Edge.Tests.Board;

public sealed class CgroupLayoutTests
{
    [Fact]
    public void Hierarchies_of_version_1_are_found_by_the_controllers_in_their_mount_options()
    {
        var layout = CgroupLayout.Parse(
            """
            26 21 0:23 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
            27 26 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw
            30 26 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:5 master:1 - cgroup cgroup rw,cpu,cpuacct
            31 26 0:28 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
            """, "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t3\t1\t1\n");

        Assert.Equal(("/sys/fs/cgroup/cpu,cpuacct", false), layout.Find("cpu"));
        Assert.Equal(("/sys/fs/cgroup/memory", false), layout.Find("memory"));
        Assert.Null(layout.Find("pids"));
        Assert.Equal("/sys/fs/cgroup/unified", layout.V2);
        Assert.Equal("v1 and v2 (hybrid)", layout.InWords);
    }

    [Fact]
    public void A_controller_that_the_kernel_command_line_turned_off_differs_from_one_that_is_not_built()
    {
        var layout = CgroupLayout.Parse(
            "27 26 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\ncpu\t0\t1\t1\n");

        Assert.True(layout.IsOff("memory"));
        Assert.False(layout.IsOff("cpu"));
        Assert.Null(layout.IsOff("pids"));
        Assert.Equal("v2", layout.InWords);
    }

    [Theory]
    [InlineData("27 26 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "cpu\t0\t1\t1\n", "not in this kernel, or off", "--device-read-bps")]
    [InlineData("27 26 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "blkio\t0\t1\t0\n", "in this kernel, but off", "--device-read-bps")]
    [InlineData("31 26 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "blkio\t0\t1\t1\n", "in this kernel, but in no mounted hierarchy", "mount -t cgroup2")]
    [InlineData("31 26 0:28 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n", "blkio\t5\t1\t1\n", "cgroup v1 at /sys/fs/cgroup/blkio", "")]
    public void That_rates_of_disks_cannot_be_held_is_said(string mountinfo, string cgroups, string found, string remedy)
    {
        var disks = BoardCheck.Disks(CgroupLayout.Parse(mountinfo, cgroups));

        Assert.Equal(("blkio controller", found), (disks.Name, disks.Found));
        Assert.Equal(FeatureNeed.Recommended, disks.Need);
        Assert.Contains(remedy, disks.Remedy ?? string.Empty, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("no separator here\n")]
    [InlineData("27 26 - cgroup2\n")]
    public void Lines_of_another_shape_are_passed_over(string mountinfo) => Assert.Equal("none", CgroupLayout.Parse(mountinfo, "nothing\n").InWords);

    [Theory]
    [InlineData("6.1.0-37-arm64", true, "quiet", true)]
    [InlineData("6.1.0-37-arm64", true, "swapaccount=0", true)]
    [InlineData("6.12.25+rpt-rpi-v8", true, "", true)]
    [InlineData("10.0", true, "", true)]
    [InlineData("6.12.25", false, "swapaccount=1", false)]
    [InlineData("5.15.84-v8+", true, "console=tty1 swapaccount=1 quiet\n", true)]
    [InlineData("5.15.84-v8+", true, "swapaccount=1 swapaccount=0", false)]
    [InlineData("5.15.84-v8+", true, "console=tty1", null)]
    [InlineData("nonsense", true, "", null)]
    public void Whether_swap_is_accounted_is_known_before_the_first_cgroup_where_it_can_be(string kernel, bool knowsSwap, string commandLine, bool? accounted) =>
        Assert.Equal(accounted, CgroupLayout.SwapIsAccounted(kernel, knowsSwap, commandLine));
}
