using EdgeHost.Errors;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;
using Xunit;

namespace Edge.Tests.Runtime;

/// <summary>What a start would do, before it does it.</summary>
public sealed class LaunchPlanTests
{
    private static readonly string[] V2 = ["25 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"];

    [Fact]
    public void The_same_configuration_gives_the_same_plan()
    {
        Assert.Equal(Compile(Spec()).Block.ToArray(), Compile(Spec()).Block.ToArray());
    }

    [Fact]
    public void The_root_is_left_before_privileges_are_and_the_filter_comes_last_with_no_new_privileges()
    {
        var steps = Steps(Spec());

        Assert.True(Index(steps, "Pivot") < Index(steps, "LimitBounding"));
        Assert.True(Index(steps, "LimitBounding") < Index(steps, "SetUid"));
        Assert.True(Index(steps, "SetUid") < Index(steps, "SetCapabilities"));
        Assert.True(Index(steps, "NoNewPrivileges") < Index(steps, "LoadSeccomp"));
        Assert.Equal(steps.Length - 2, Index(steps, "LoadSeccomp"));
        Assert.Equal(steps.Length - 1, Index(steps, "Execute"));
    }

    [Fact]
    public void A_filter_without_no_new_privileges_is_loaded_while_it_still_can_be()
    {
        var spec = Spec();
        var steps = Steps(spec with { Process = spec.Process! with { NoNewPrivileges = false } });

        Assert.True(Index(steps, "LoadSeccomp") < Index(steps, "SetCapabilities"));
    }

    [Fact]
    public void The_cgroup_namespace_is_made_only_inside_the_cgroup()
    {
        var v1 = CgroupMounts.Parse(["30 25 0:30 / /cg/memory rw - cgroup cgroup rw,memory"], _ => false, _ => string.Empty);
        var steps = Compile(Spec(), v1).ToString().Split('\n');

        Assert.True(Index(steps, "JoinCgroup") < Index(steps, "Unshare"));
        Assert.DoesNotContain("2000000", steps[0], StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_without_a_slash_is_looked_for_on_the_path_of_the_container()
    {
        var spec = Spec();
        var plan = Compile(spec with { Process = spec.Process! with { Args = ["tool"], Env = ["PATH=/a:/b"] } }).ToString();

        Assert.Contains("try=[/a/tool /b/tool]", plan, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_later_process_brings_nothing_of_the_host_and_is_seen_by_the_container_only_when_it_has_no_more_rights(bool v2)
    {
        var mounts = v2 ? CgroupMounts.Parse(V2, _ => true, _ => "cpu memory pids") : CgroupMounts.Parse(["30 25 0:30 / /cg/memory rw - cgroup cgroup rw,memory"], _ => false, _ => string.Empty);
        var plan = LaunchPlanCompiler.CompileEnter(Spec(), new CgroupEntry("/cg/x/health", v2 ? "/cg/x/health" : null, v2 ? [] : ["/cg/memory/x/tasks"]));
        var steps = plan.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);

        Assert.Equal(0ul, plan.CloneFlags);
        Assert.Equal(LaunchPlanCompiler.EnterSlots, plan.CallerSlots);
        Assert.Equal(!v2, steps[1].StartsWith("JoinCgroup", StringComparison.Ordinal));
        string[] order =
        [
            "NotDumpable", "Duplicate", "CloseOthers", "JoinProcess", "ChangeDirectory", "NoNewPrivileges", "LimitBounding", "SetUid", "SetCapabilities",
            "CloneAgain", "NewSession", "ResetSignals", "EndWithParent", "LoadSeccomp", "Execute",
        ];
        var at = 0;
        foreach (var op in order)
        {
            at = Array.FindIndex(steps, at, step => step == op || step.StartsWith(op + " ", StringComparison.Ordinal));
            Assert.True(at >= 0, $"no step {op} in its place in:\n{string.Join('\n', steps)}");
        }

        // What a change of credentials shows again is hidden again before anybody can look.
        Assert.Equal("NotDumpable", steps[Index(steps, "CloneAgain") - 1]);
        Assert.DoesNotContain(steps, step => step.StartsWith("Open", StringComparison.Ordinal) || step.StartsWith("Bind", StringComparison.Ordinal));

        // Mount, pid, uts and cgroup: those that the container has of its own.
        Assert.Contains("0x26020000", steps[Index(steps, "JoinProcess")], StringComparison.Ordinal);
    }

    public static TheoryData<string, RuntimeSpec> Refused
    {
        get
        {
            var spec = Spec();
            return new()
            {
                { "process.args", spec with { Process = spec.Process! with { Args = [] } } },
                { "process.cwd", spec with { Process = spec.Process! with { Cwd = "relative" } } },
                { "process.terminal", spec with { Process = spec.Process! with { Terminal = true } } },
                { "process.apparmorProfile", spec with { Process = spec.Process! with { ApparmorProfile = "two words" } } },
                { "process.rlimits", spec with { Process = spec.Process! with { Rlimits = [new() { Type = "RLIMIT_NONSENSE" }] } } },
                { "linux.namespaces", spec with { Linux = spec.Linux! with { Namespaces = [new() { Type = "pid" }] } } },
                { "linux.namespaces", spec with { Linux = spec.Linux! with { Namespaces = [new() { Type = "mount" }, new() { Type = "user", Path = "/proc/1/ns/user" }] } } },
                { "linux.uidMappings", spec with { Linux = spec.Linux! with { Namespaces = [new() { Type = "mount" }, new() { Type = "user" }] } } },
                { "idmap means nothing without a user namespace", spec with { Mounts = [new() { Destination = "/x", Source = "/tmp", Options = ["bind", "idmap"] }] } },
                { "linux.sysctl", spec with { Linux = spec.Linux! with { Sysctl = new Dictionary<string, string> { ["vm.swappiness"] = "1" } } } },
                { "bind mount takes no option", spec with { Mounts = [new() { Destination = "/x", Source = "/tmp", Options = ["bind", "size=1"] }] } },
            };
        }
    }

    [Theory]
    [MemberData(nameof(Refused), DisableDiscoveryEnumeration = true)]
    public void What_cannot_be_done_is_refused_by_its_name(string name, RuntimeSpec spec)
    {
        Assert.Contains(name, Assert.Throws<EdgeHostException>(() => Compile(spec)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_plan_that_was_changed_on_its_way_is_refused_or_stays_within_its_bounds()
    {
        var block = Compile(Spec()).Block.ToArray();
        var random = new Random(1);
        for (var round = 0; round < 20_000; round++)
        {
            var changed = block.ToArray();
            for (var i = random.Next(1, 4); i > 0; i--)
            {
                changed[random.Next(random.Next(8) == 0 ? changed.Length : Math.Min(4096, changed.Length))] = (byte)random.Next(256);
            }

            try
            {
                // Every text that the child would read is read here: one that ran out of the block would throw.
                _ = LaunchPlan.Parse(changed).ToString();
            }
            catch (EdgeHostException e)
            {
                Assert.Equal(ErrorKind.Invalid, e.Kind);
            }
        }
    }

    private static RuntimeSpec Spec() => new()
    {
        Root = new() { Path = "root" },
        Hostname = "h",
        Mounts = [new() { Destination = "/proc", Type = "proc", Source = "proc" }, new() { Destination = "/data", Type = "bind", Source = "/srv", Options = ["rbind", "ro"] }],
        Process = new() { Args = ["/bin/true"], Cwd = "/", Env = ["A=1"], NoNewPrivileges = true },
        Linux = new()
        {
            Namespaces = [new() { Type = "mount" }, new() { Type = "pid" }, new() { Type = "uts" }, new() { Type = "cgroup" }],
            MaskedPaths = ["/proc/keys"],
            Seccomp = new() { DefaultAction = "SCMP_ACT_ALLOW" },
        },
    };

    private static LaunchPlan Compile(RuntimeSpec spec, CgroupMounts? mounts = null)
    {
        mounts ??= CgroupMounts.Parse(V2, _ => true, _ => "cpu memory pids");
        return LaunchPlanCompiler.Compile(spec, new LaunchTarget { Bundle = "/bundle", CgroupMounts = mounts, Cgroup = Cgroup.At(mounts, "/edgehost/x") });
    }

    private static string[] Steps(RuntimeSpec spec) => Compile(spec).ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static int Index(string[] steps, string op)
    {
        var index = Array.FindIndex(steps, step => step == op || step.StartsWith(op + " ", StringComparison.Ordinal));
        Assert.True(index >= 0, $"no step {op} in:\n{string.Join('\n', steps)}");
        return index;
    }
}
