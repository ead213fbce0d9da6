using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Launch;

/// <summary>One more process in a container that runs: <c>exec</c>, and the checks of its health.</summary>
public static partial class LaunchPlanCompiler
{
    /// <summary>The slots that the caller of such a plan fills: standard input, output and error, and a pidfd of the container's first process.</summary>
    public const int EnterSlots = StandardSlots + 1;

    /// <summary>
    /// Compiles a process of the configuration's kind that joins the container: its namespaces and cgroup, its user,
    /// capabilities, filter and limits. Until its last step the plan is executed by a process that the container cannot
    /// see, and that holds nothing of the host's when it joins; what appears in the container's pid namespace has no
    /// more rights than the container, no descriptor but its output (CVE-2016-9962, CVE-2024-21626), and is not to be
    /// looked into.
    /// </summary>
    /// <param name="spec">The container's configuration, with the program to run in the place of its own.</param>
    /// <param name="entry">Where in the container's cgroup it lives.</param>
    /// <exception cref="EdgeHostException">As in <see cref="Compile"/>.</exception>
    public static LaunchPlan CompileEnter(RuntimeSpec spec, CgroupEntry entry) => Enter(spec, entry.JoinFiles, isCheck: true, 0);

    /// <summary>As <see cref="CompileEnter"/>, for a program that outlives whoever started it and has standard streams of its own.</summary>
    /// <param name="spec">The container's configuration, with the program to run in the place of its own.</param>
    /// <param name="entry">Where in the container's cgroup it lives.</param>
    /// <param name="terminalSize">As in <see cref="LaunchTarget.TerminalSize"/>, for a process with a terminal.</param>
    /// <exception cref="EdgeHostException">As in <see cref="Compile"/>.</exception>
    public static LaunchPlan CompileExec(RuntimeSpec spec, CgroupEntry entry, int terminalSize) => Enter(spec, entry.JoinFiles, isCheck: false, terminalSize);

    private static LaunchPlan Enter(RuntimeSpec spec, IReadOnlyList<string> joinFiles, bool isCheck, int terminalSize)
    {
        var process = spec.Process ?? throw Invalid("process: is missing");
        RefuseUnsupported(spec, process);
        var plan = new LaunchPlan.Builder(EnterSlots);
        foreach (var file in joinFiles)
        {
            plan.Add(LaunchOp.JoinCgroup, text1: file);
        }

        plan.Add(LaunchOp.NewSession);
        plan.Add(LaunchOp.NewKeyring);
        if (process.OomScoreAdj is { } adjustment)
        {
            plan.Add(LaunchOp.WriteHost, text1: "/proc/self/oom_score_adj", text2: adjustment.ToString(CultureInfo.InvariantCulture));
        }

        AddProfile(plan, process);
        var namespaces = new Namespaces(spec.Linux?.Namespaces ?? []);
        var maps = IdMaps.Of(spec, namespaces);
        if (!isCheck)
        {
            GiveStreams(plan, process, maps);
        }

        plan.Add(LaunchOp.NotDumpable);
        for (var descriptor = 0; descriptor < StandardSlots; descriptor++)
        {
            plan.Add(LaunchOp.Duplicate, slot: descriptor, a: descriptor);
        }

        plan.Add(LaunchOp.CloseOthers, slot: StandardSlots);
        plan.Add(maps is null ? LaunchOp.JoinProcess : LaunchOp.EnterProcess, slot: StandardSlots, a: (long)namespaces.Flags);
        if (process.Terminal)
        {
            AddTerminal(plan, spec, process, maps, terminalSize);
        }

        AddRlimits(plan, process);
        plan.Add(LaunchOp.ChangeDirectory, text1: process.Cwd);
        if (maps is not null)
        {
            plan.Add(LaunchOp.JoinProcess, slot: StandardSlots, a: (long)Libc.CLONE_NEWUSER);
        }

        if (process.NoNewPrivileges)
        {
            plan.Add(LaunchOp.NoNewPrivileges);
            AddCredentials(plan, process);
            AddAppearance(plan, process);
            AddEnd(plan, isCheck);
            AddSeccomp(plan, spec.Linux?.Seccomp);
        }
        else
        {
            // The filter must be loaded while there are capabilities, and may refuse the clone.
            AddAppearance(plan, process);
            AddSeccomp(plan, spec.Linux?.Seccomp);
            AddCredentials(plan, process);
            AddEnd(plan, isCheck);
        }

        AddExecute(plan, process);
        return plan.Build();
    }

    // A check that nobody waits for any more is of no use; a program that somebody started is, as the container's own.
    private static void AddEnd(LaunchPlan.Builder plan, bool isCheck)
    {
        if (isCheck)
        {
            plan.Add(LaunchOp.EndWithParent, a: Linux.Signals.SIGKILL);
        }
    }

    // A change of credentials sets what a dump may show anew (prctl(2), PR_SET_DUMPABLE).
    private static void AddAppearance(LaunchPlan.Builder plan, RuntimeProcess process)
    {
        plan.Add(LaunchOp.NotDumpable);
        plan.Add(LaunchOp.CloneAgain);
        plan.Add(LaunchOp.NewSession);
        if (process.Terminal)
        {
            plan.Add(LaunchOp.ControlTerminal);
        }

        plan.Add(LaunchOp.ResetSignals);
    }

    // While there are rights over the host: the file system belongs to it, and so does what is opened in it.
    private static void AddTerminal(LaunchPlan.Builder plan, RuntimeSpec spec, RuntimeProcess process, IdMaps? maps, int size)
    {
        var user = process.User?.Uid ?? 0;
        var group = TerminalGroup(spec);
        plan.Add(
            LaunchOp.OpenTerminal,
            a: maps?.ToHostUser(user, "process.user.uid") ?? user,
            b: group is null ? -1 : maps?.ToHostGroup(group.Value, "mounts: /dev/pts") ?? group.Value,
            c: (uint)size);
    }

    // As its other terminals: whom wall(1) and write(1) run as may write to them.
    private static uint? TerminalGroup(RuntimeSpec spec) =>
        (spec.Mounts ?? []).LastOrDefault(mount => mount.Type == "devpts")?.Options?.LastOrDefault(option => option.StartsWith("gid=", StringComparison.Ordinal)) is { } option
            && uint.TryParse(option.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture, out var group) ? group : null;
}
