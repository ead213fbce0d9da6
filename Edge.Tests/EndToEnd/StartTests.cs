using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Starts that must fail, or must not.</summary>
public sealed class StartTests
{
    [Fact]
    public async Task A_second_daemon_on_the_same_directories_is_refused_and_the_first_goes_on()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();

        var (exitCode, said) = await daemon.StartInVainAsync();

        Assert.Equal(1, exitCode);
        Assert.Contains($"{daemon.Data} is in use by another edgehost daemon (pid {daemon.Pid})", said, StringComparison.Ordinal);
        Assert.Single(said.TrimEnd('\n').Split('\n'));
        (await daemon.DockerAsync("version")).Succeeds();
    }

    [Fact]
    public async Task What_a_killed_daemon_left_is_replaced()
    {
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();
        await daemon.KillAsync();
        Assert.True(File.Exists(daemon.Socket));
        Assert.Contains("daemon", (await daemon.EdgehostAsync("ps")).Exits(1).Error, StringComparison.Ordinal);

        await daemon.StartAsync();

        (await daemon.DockerAsync("version")).Succeeds();
        await daemon.StopAsync();
        Assert.False(File.Exists(daemon.Socket));
    }

    [Fact]
    public async Task A_port_that_is_taken_costs_the_broker_and_nothing_else()
    {
        await using var first = DaemonUnderTest.Make();
        await first.StartAsync();
        await using var second = DaemonUnderTest.Make();
        second.Settings["broker"] = first.Settings["broker"];

        await second.StartAsync();

        Assert.Contains("the embedded broker does not run", second.Said, StringComparison.Ordinal);
        Assert.Contains("in use", second.Said, StringComparison.Ordinal);
        (await second.DockerAsync("version")).Succeeds();
    }

    [Fact]
    public async Task A_data_directory_on_an_overlayfs_is_named_at_the_start_and_by_each_container_that_it_keeps_from_starting()
    {
        await using var daemon = DaemonUnderTest.Make();
        var data = daemon.Data;

        // As the root of a board that is written to memory alone; gone with the mount namespace.
        daemon.Before = ["unshare", "--mount", "sh", "-c", $"mkdir -p {data} && mount -t tmpfs none {data} && mkdir {data}/low {data}/up {data}/work && mount -t overlay none -o lowerdir={data}/low,upperdir={data}/up,workdir={data}/work {data} && exec \"$@\"", "sh"];
        var why = $"images cannot be unpacked for containers below {data}: it is on an overlayfs, which the kernel does not take as the upper layer of another; name another data directory by --data-dir or EDGEHOST_DATA_DIR";

        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var run = await daemon.EdgehostAsync("run", "--network", "none", "busybox", "true");

        Assert.Equal(125, run.ExitCode);
        Assert.Equal($"edgehost: {why}", run.Error.TrimEnd('\n'));
        Assert.Contains($"no container can start: {why}", daemon.Said, StringComparison.Ordinal);
        Assert.DoesNotContain("   at EdgeHost.", daemon.Said, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\n  \"broker\": {\n    \"lisen\": \"127.0.0.1:1\"\n  }\n}", ":3", "broker.lisen")]
    [InlineData("{\n  \"reserve\": { \"memory\": \"much\" }\n}", ":2", "reserve.memory")]
    [InlineData("{\n  \"device\": { \"id\": \"a b\" }\n}", ":2", "device.id")]
    [InlineData("{\n  \"device\": { \"id\": \"a\" },\n  \"device\": { \"id\": \"b\" }\n}", ":3", "device")]
    [InlineData("{\n  \"mqtt\": { \"url\": \"http://x\" }\n}", ":2", "mqtt.url")]
    [InlineData("{\n  \"log\": {\n", ":", "JSON")]
    public async Task A_configuration_error_names_file_line_and_key(string text, string line, string key)
    {
        await using var daemon = DaemonUnderTest.Make();
        await File.WriteAllTextAsync(daemon.ConfigFile, text, TestContext.Current.CancellationToken);

        var (exitCode, said) = await daemon.StartInVainWithFileAsync();

        Assert.Equal(1, exitCode);
        Assert.Contains(daemon.ConfigFile + line, said, StringComparison.Ordinal);
        Assert.Contains(key, said, StringComparison.Ordinal);
        Assert.Single(said.TrimEnd('\n').Split('\n'));
    }

    [Fact]
    public async Task A_full_disk_is_a_clear_error_and_what_runs_goes_on()
    {
        await using var daemon = DaemonUnderTest.Make();
        var small = await StartOnSmallDiskAsync(daemon);
        var id = await daemon.RunDetachedAsync("--restart", "always", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done");
        var pid = await daemon.PidOfAsync(id);
        await daemon.LineAsync(id, line => line == "3");
        (await CommandRun.RunAsync("sh", ["-c", $"cat /dev/zero > {small}/ballast"])).Exits(1);

        var create = (await daemon.DockerAsync("run", "-d", "--restart", "always", "busybox", "sleep", "1000")).Exits(125);
        Assert.Contains("no space left", create.Error, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("   at ", create.Error, StringComparison.Ordinal);
        var load = await daemon.DockerAsync("load", "-q", "-i", await DaemonUnderTest.TaggedImageAsync("sensor"));
        Assert.Contains("does not fit", load.Exits(1).Error, StringComparison.Ordinal);
        Assert.Equal(pid, await daemon.PidOfAsync(id));
        Assert.True(DaemonUnderTest.Lives(pid));

        // With room again everything goes on by itself, the lines that had to wait included.
        File.Delete(small + "/ballast");
        var lines = (await daemon.LinesAsync(id)).Length;
        await daemon.LineAsync(id, line => int.Parse(line, System.Globalization.CultureInfo.InvariantCulture) > lines + 10);
        Assert.Equal(Enumerable.Range(1, 10).Select(i => i.ToString(System.Globalization.CultureInfo.InvariantCulture)), (await daemon.LinesAsync(id)).Take(10));
        (await daemon.RunAsync("--rm", "busybox", "true")).Succeeds();
    }

    [Fact]
    public async Task A_disk_that_is_full_at_the_start_gives_no_container_the_hosts_users()
    {
        await using var daemon = DaemonUnderTest.Make();
        var small = await StartOnSmallDiskAsync(daemon);
        await daemon.StopAsync();
        (await CommandRun.RunAsync("sh", ["-c", $"cat /dev/zero > {small}/ballast"])).Exits(1);

        await daemon.StartAsync();
        Assert.Contains("containers get users of their own, though this host could not be asked whether it can do that: there is no room for the attempt", daemon.Said, StringComparison.Ordinal);
        File.Delete(small + "/ballast");
        var map = (await daemon.RunAsync("--rm", "--network", "none", "busybox", "cat", "/proc/self/uid_map")).Succeeds().Output;
        Assert.NotEqual("0", map.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]);
    }

    // With the busybox image loaded; where it is mounted.
    private static async Task<string> StartOnSmallDiskAsync(DaemonUnderTest daemon)
    {
        var small = Path.Combine(Path.GetDirectoryName(daemon.ConfigFile)!, "small");
        Directory.CreateDirectory(small);
        (await CommandRun.RunAsync("mount", ["-t", "tmpfs", "-o", "size=120m", "small", small])).Succeeds();
        daemon.Data = Path.Combine(small, "data");
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        return small;
    }
}
