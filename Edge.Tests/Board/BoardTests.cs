using System.Text.Json;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>The arm64 binary on a board with cgroup v2 tells the truth about it.</summary>
public sealed class BoardTests(Arm64Board board)
{
    [Fact]
    public async Task Version_on_the_board_names_arm64_and_its_kernel()
    {
        var run = (await board.RunAsync("edgehost version --json; uname -r >&2")).Succeeds();

        using var json = JsonDocument.Parse(run.Output);
        Assert.Equal("linux-arm64", json.RootElement.GetProperty("rid").GetString());
        Assert.Equal(run.Error.TrimEnd(), json.RootElement.GetProperty("kernel").GetString());
    }

    [Fact]
    public async Task Check_on_the_board_finds_version_2_controllers_and_passes_with_a_data_directory_that_can_hold_layers()
    {
        var run = (await board.RunAsync("edgehost check --json --data-dir /tmp/edgehost")).Succeeds();

        using var json = JsonDocument.Parse(run.Output);
        Assert.Equal("v2", json.RootElement.GetProperty("cgroups").GetString());
        Assert.Equal("arm64", json.RootElement.GetProperty("board").GetProperty("architecture").GetString());
        foreach (var name in (string[])["memory", "cpu", "cpuset", "pids", "io"])
        {
            Assert.StartsWith("cgroup v2 at /sys/fs/cgroup", Feature(json, $"{name} controller").GetProperty("found").GetString(), StringComparison.Ordinal);
        }

        foreach (var name in (string[])["swap accounting", "openat2", "clone3", "pidfd", "id-mapped mounts", "seccomp filters", "overlayfs", "nftables"])
        {
            Assert.Equal("present", Feature(json, name).GetProperty("state").GetString());
        }

        Assert.Equal("generic-arm64", Feature(json, "profile").GetProperty("found").GetString());

        // Its directory is a tmpfs, which Linux 6.1 cannot map.
        Assert.Contains("this kernel cannot map the ids of its file system", Feature(json, "user namespaces").GetProperty("found").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Check_refuses_a_data_directory_on_the_overlayfs_that_is_the_root_of_the_board()
    {
        var run = (await board.RunAsync("edgehost check")).Exits(1);

        Assert.Contains("MISSING  file system for layers", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Check_finds_a_clock_that_was_never_set()
    {
        var run = (await board.RunAsync(
            """
            now=$(date +%s)
            date -s @86400 >/dev/null
            edgehost check --data-dir /tmp/edgehost
            code=$?
            date -s "@$now" >/dev/null
            exit $code
            """)).Exits(1);

        Assert.Contains("MISSING  clock", run.Output, StringComparison.Ordinal);
        Assert.Contains("1970-01-02", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_board_whose_memory_controller_is_off_gets_exit_code_3_and_the_edit_that_mends_it()
    {
        await using var off = await EmulatedBoard.StartAsync(new BoardSpec { KernelArguments = "cgroup_disable=memory", Memory = 256, Cpus = 1 });

        var run = (await off.RunAsync("mkdir -p /boot/firmware; touch /boot/firmware/cmdline.txt; edgehost check --data-dir /tmp/edgehost")).Exits(3);

        Assert.Contains("MISSING  memory controller", run.Output, StringComparison.Ordinal);
        Assert.Contains("add \"cgroup_enable=memory cgroup_memory=1\" to the end of the one line of /boot/firmware/cmdline.txt and reboot", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_board_that_does_not_come_up_fails_with_the_last_words_of_its_console()
    {
        var failure = await Assert.ThrowsAsync<Xunit.Sdk.FailException>(
            () => EmulatedBoard.StartAsync(new BoardSpec { KernelArguments = "rdinit=/bin/false", Memory = 256, Cpus = 1 }));

        Assert.Contains("Kernel panic", failure.Message, StringComparison.Ordinal);
    }

    private static JsonElement Feature(JsonDocument json, string name) =>
        json.RootElement.GetProperty("features").EnumerateArray().Single(f => f.GetProperty("name").GetString() == name);
}
