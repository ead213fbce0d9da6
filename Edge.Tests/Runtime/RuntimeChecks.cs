using System.Globalization;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>
/// What the runtime promises, read where the kernel keeps it. One script asks it of every kind of machine; the classes
/// beneath name the machine.
/// </summary>
public abstract class RuntimeChecks
{
    private protected abstract Task<CommandRun> RunScriptAsync();

    /// <summary>Whether page-sized limits come back as v1 or v2 tells them is the same; what differs is named here.</summary>
    private protected abstract string SwapOfMemoryLimit { get; }

    [Fact]
    public async Task A_container_has_a_world_of_its_own()
    {
        var world = await LineAsync("WORLD");

        Assert.Equal("1", world["pid"]);
        Assert.Equal("inside", world["host"]);
        Assert.Equal("99", world["files"]);
        Assert.Equal("1", world["links"]);
        Assert.Equal("14", world["devices"]);
        Assert.Equal("21", world["bounding"]);
        Assert.Equal("20", world["effective"]);
        Assert.Equal("1", world["nonewprivs"]);
        Assert.Equal("2", world["masked"]);
        Assert.Equal("1", world["readonly"]);
        Assert.Equal("0", world["cgroup"]);
    }

    [Fact]
    public async Task The_exit_code_of_the_program_is_that_of_run()
    {
        Assert.Equal("42", (await LineAsync("EXIT"))["code"]);
        Assert.Equal("3", (await LineAsync("INIT"))["code"]);
    }

    [Fact]
    public async Task A_program_that_cannot_be_executed_is_told_from_one_that_is_missing()
    {
        Assert.Equal("127", (await LineAsync("MISSING"))["code"]);
        Assert.Equal("126", (await LineAsync("DENIED"))["code"]);
        Assert.Equal("127", (await LineAsync("BADSTART"))["code"]);
        Assert.Contains("exec no-such-program: executable file not found", (await LineAsync("MISSING"))["message"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_start_that_fails_is_undone_whole_and_said_in_words()
    {
        var undone = await LineAsync("UNDONE");

        Assert.Equal("1", undone["code"]);
        Assert.Equal("0", undone["state"]);
        Assert.Equal("0", undone["cgroups"]);
        Assert.Equal("edgehost oci run: mount nosuchfs on /dev/mqueue: no such device", undone["message"]);
    }

    [Fact]
    public async Task A_memory_limit_is_held_without_swap_and_the_end_is_told_from_others()
    {
        var memory = await LineAsync("MEMORY");

        Assert.True(Number(memory, "kills") >= 1, $"oom_kill {memory["kills"]}");
        Assert.Equal("19996672", memory["limit"]);
        Assert.Equal(SwapOfMemoryLimit, memory["swap"]);
        Assert.Equal("1", memory["told"]);
    }

    [Fact]
    public async Task A_process_limit_refuses_the_next_fork()
    {
        var pids = await LineAsync("PIDS");

        Assert.Equal("12", pids["limit"]);
        Assert.True(Number(pids, "refused") >= 1, $"pids.events max {pids["refused"]}");
    }

    [Fact]
    public async Task A_CPU_quota_is_held_and_the_CPUs_are_those_that_were_given()
    {
        var cpu = await LineAsync("CPU");

        Assert.Equal("20000", cpu["quota"]);
        Assert.Equal("0", cpu["cpus"]);
        Assert.True(Number(cpu, "throttled") >= 1, $"nr_throttled {cpu["throttled"]}");

        // A fifth of a CPU in every period that had anything to run, and a little for the last tick of each.
        Assert.InRange(Number(cpu, "usage"), 1, (Number(cpu, "periods") + 1) * 20000 * 5 / 4);
    }

    [Fact]
    public async Task A_rate_of_a_disk_is_held()
    {
        var disk = await LineAsync("DISK");

        Assert.StartsWith(disk["number"] + ",", disk["held"], StringComparison.Ordinal);
        Assert.Contains("1048576", disk["held"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_limit_that_cannot_be_held_is_refused_and_leaves_nothing()
    {
        var refused = await LinesAsync("REFUSED");

        Assert.Equal(6, refused.Count);
        Assert.All(refused, line =>
        {
            Assert.Equal("1", line["code"]);
            Assert.Equal("0", line["left"]);
            Assert.StartsWith("edgehost oci run: ", line["message"], StringComparison.Ordinal);
            Assert.DoesNotContain("never", line["message"], StringComparison.Ordinal);
        });
    }

    [Fact]
    public async Task A_container_goes_from_created_to_running_to_stopped_to_gone_and_no_other_way()
    {
        var life = await LineAsync("LIFE");

        Assert.Equal("created", life["created"]);
        Assert.Equal("0", life["silent"]);
        Assert.Equal("yes", life["pid"]);

        // What waits is still the file that it was cloned from, and its program may be one that opens it (CVE-2019-5736).
        Assert.Equal("yes", life["sealed"]);
        Assert.Equal("0", life["start"]);
        Assert.Equal("running", life["running"]);
        Assert.Equal("1", life["again"]);
        Assert.Equal("1", life["delete"]);
        Assert.Equal("0", life["kill"]);
        Assert.Equal("stopped", life["then"]);
        Assert.Equal("1", life["gone"]);
    }

    [Fact]
    public async Task Mount_points_that_are_links_lead_into_the_container_never_to_the_host()
    {
        var evil = await LineAsync("EVIL");

        Assert.Equal("0", evil["outside"]);
        Assert.Equal("0", evil["etc"]);
    }

    [Fact]
    public async Task What_the_host_mounts_later_is_seen_by_a_slave_mount_alone()
    {
        var follow = await LineAsync("FOLLOW");

        Assert.Equal("1", follow["seen"]);
        Assert.Equal("2", follow["unseen"]);
    }

    [Fact]
    public async Task A_mount_that_would_have_to_reach_the_host_is_refused_never_quietly_kept_inside()
    {
        var shared = await LineAsync("SHARED");

        Assert.Equal("1", shared["code"]);
        Assert.StartsWith("edgehost oci run: mount on /s: ", shared["message"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_no_container_id_reaches_no_file()
    {
        var ids = await LineAsync("IDS");

        Assert.Equal("kept", ids["beside"]);
        Assert.Equal("kept", ids["other"]);
        Assert.StartsWith("edgehost oci delete: container id \"../beside\" must be", ids["message"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Closed_standard_streams_become_the_null_device_never_a_file_of_the_runtime()
    {
        var streams = await LineAsync("STREAMS");

        // The middle one is the file that the answer is written to.
        Assert.Equal("2", streams["null"]);
        Assert.Equal("3", streams["lines"]);
    }

    [Fact]
    public async Task Root_of_a_user_namespace_is_nobody_outside_and_owns_what_was_made_for_it()
    {
        var users = await LineAsync("USERS");

        Assert.Equal("0:200000:1000", users["map"]);
        Assert.Equal("200000", users["host"]);
        Assert.Equal("200000", users["group"]);
        Assert.Equal("20", users["effective"]);
        Assert.Equal("3", users["devices"]);
        Assert.Equal("1", users["dev"]);
        Assert.Equal("1", users["stdout"]);
        Assert.Equal("1", users["mount"]);
        Assert.Equal("200000", users["made"]);
    }

    [Fact]
    public async Task A_network_that_is_made_with_a_user_namespace_belongs_to_it()
    {
        var pings = await LineAsync("PINGS");

        Assert.True((pings["code"], pings["received"], pings["down"]) == ("0", "1", "1"), pings["message"]);
    }

    [Fact]
    public async Task A_mapped_volume_has_the_owners_inside_that_it_has_on_the_disk_or_is_refused()
    {
        var mapped = await LineAsync("MAPPED");

        if (mapped["kind"] == "tmpfs" && mapped["code"] != "0")
        {
            // Before Linux 6.3.
            Assert.Contains("on /volume: this kernel cannot map the ids of its file system, or of one that is mounted in it (", mapped["message"], StringComparison.Ordinal);
            return;
        }

        Assert.Equal("0", mapped["code"]);
        Assert.Equal("1", mapped["kept"]);
        Assert.Equal("0", mapped["inside"]);
        Assert.Equal("0", mapped["made"]);
    }

    [Fact]
    public async Task Only_devices_that_the_rules_name_can_be_opened_by_who_can_make_any_node()
    {
        var devices = await LinesAsync("DEVICES");

        Assert.Equal(
            ["made-disk,null,disk-denied,", "made-disk,null,disk-denied,log-written,", "made-disk,null,log-written,log-read,", "made-disk,null,", ","],
            devices.Select(line => line["can"]));
        Assert.Equal("edgehost oci run: linux.resources.devices: c 1:11 rwm is denied after c *:* rwm was allowed as a whole, which cgroups cannot hold; name the single devices instead", devices[^1]["message"]);
    }

    [Fact]
    public async Task Maps_that_make_no_sense_are_refused_by_name()
    {
        var said = (await LinesAsync("BADMAP")).Select(line => line["message"]).ToList();

        Assert.Collection(
            said,
            line => Assert.StartsWith("edgehost oci run: linux.uidMappings: 0 200000 0: the size must be 1 or more", line, StringComparison.Ordinal),
            line => Assert.Equal("edgehost oci run: linux.uidMappings: 0 is in none of the maps of the user namespace", line),
            line => Assert.StartsWith("edgehost oci run: linux.uidMappings: mean nothing without a user namespace", line, StringComparison.Ordinal),
            line => Assert.Equal("edgehost oci run: process.user.uid: 1000 is in none of the maps of the user namespace", line));
    }

    private static long Number(Dictionary<string, string> line, string key) => long.Parse(line[key], CultureInfo.InvariantCulture);

    private async Task<Dictionary<string, string>> LineAsync(string check) => Assert.Single(await LinesAsync(check));

    private async Task<List<Dictionary<string, string>>> LinesAsync(string check)
    {
        var run = (await RunScriptAsync()).Succeeds();
        var lines = run.Output.Split('\n').Where(line => line.StartsWith(check + " ", StringComparison.Ordinal)).Select(Parse).ToList();
        Assert.True(lines.Count > 0, $"no line {check} in:\n{run}");
        return lines;
    }

    // A message is the last of its line and may hold anything.
    private static Dictionary<string, string> Parse(string line)
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        var message = line.IndexOf(" message=", StringComparison.Ordinal);
        if (message >= 0)
        {
            values["message"] = line[(message + 9)..].Trim();
            line = line[..message];
        }

        foreach (var pair in line.Split(' ').Skip(1).Select(word => word.Split('=', 2)).Where(pair => pair.Length == 2))
        {
            values[pair[0]] = pair[1];
        }

        return values;
    }
}

/// <summary>The script's one run on a machine, shared by all its checks.</summary>
public sealed class RuntimeScript
{
    private readonly Lazy<Task<string>> _text = new(() => File.ReadAllTextAsync(Repository.PathOf("Edge.Tests", "Runtime", "runtime-checks.sh")));
    private Task<CommandRun>? _run;

    internal async Task<CommandRun> OnceAsync(Func<string, Task<CommandRun>> run)
    {
        var text = await _text.Value;
        return await (_run ??= run(text));
    }
}

/// <summary>On this machine, with the cgroups that it has.</summary>
public sealed class RuntimeOnThisMachine(RuntimeScript script) : RuntimeChecks, IClassFixture<RuntimeScript>
{
    private protected override string SwapOfMemoryLimit => File.Exists("/sys/fs/cgroup/cgroup.controllers") ? "0" : "19996672";

    private protected override Task<CommandRun> RunScriptAsync() => script.OnceAsync(async text =>
    {
        Needs.Root();
        await Packages.NeedAsync("busybox-static");
        var binary = await PublishedBinary.NativeAsync();
        return await CommandRun.RunAsync("bash", ["-c", $"PATH={Path.GetDirectoryName(binary)}:$PATH\n{text}"]);
    });
}

/// <summary>On the emulated arm64 board, with cgroup v2.</summary>
public sealed class RuntimeOnTheBoard(RuntimeScript script, Arm64Board board) : RuntimeChecks, IClassFixture<RuntimeScript>
{
    private protected override string SwapOfMemoryLimit => "0";

    private protected override Task<CommandRun> RunScriptAsync() => script.OnceAsync(text => board.RunAsync(text, TimeSpan.FromMinutes(5)));
}
