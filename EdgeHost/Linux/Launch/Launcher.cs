using EdgeHost.Errors;

namespace EdgeHost.Linux.Launch;

/// <summary>
/// Clones the process that a plan describes. Only a process with one managed thread may call it: a copy of one whose
/// other threads were collecting garbage would hang.
/// </summary>
public static unsafe class Launcher
{
    private static int _collections = -1;

    /// <summary>Clones and lets the child execute the plan.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="cgroup">A directory of cgroup v2 that the child is born in; null where the plan joins v1 cgroups or none.</param>
    /// <param name="descriptors">What fills the caller's slots, in order.</param>
    /// <returns>The child, which is not yet past its plan: see <see cref="LaunchedProcess.Wait"/>.</returns>
    /// <exception cref="LinuxException">The clone failed; there is no child.</exception>
    public static LaunchedProcess Start(LaunchPlan plan, Fd? cgroup, ReadOnlySpan<int> descriptors)
    {
        if (descriptors.Length != plan.CallerSlots)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the launch plan wants {plan.CallerSlots} descriptors, {descriptors.Length} were given");
        }

        var slots = stackalloc int[LaunchPlan.SlotCount];
        for (var i = 0; i < LaunchPlan.SlotCount; i++)
        {
            slots[i] = i < descriptors.Length ? descriptors[i] : -1;
        }

        using var made = Make(plan, slots);
        var pipe = stackalloc int[2];
        Libc.Check(Libc.pipe2(pipe, Libc.O_CLOEXEC), "make the status pipe of a launch");
        using var read = new Fd(pipe[0]);
        using var write = new Fd(pipe[1]);
        var pidfd = -1;
        var arguments = new Libc.clone_args
        {
            flags = plan.CloneFlags | Libc.CLONE_PIDFD | Libc.CLONE_CLEAR_SIGHAND | (cgroup is null ? 0 : Libc.CLONE_INTO_CGROUP),
            pidfd = (ulong)(nint)(&pidfd),
            exit_signal = 17,
            cgroup = cgroup is null ? 0 : (ulong)cgroup.Value,
        };

        var hasNoHugePages = HugePages.AreRefused;
        LetFinalizersEnd();
        fixed (byte* block = plan.Bytes)
        {
            var pid = (int)Libc.bare_syscall(Nr.clone3, (nint)(&arguments), sizeof(Libc.clone_args), 0, 0, 0, 0);
            if (pid == 0)
            {
                LaunchChild.Run(block, slots, pipe[1], hasNoHugePages);
            }

            if (pid == -1)
            {
                throw new LinuxException("clone a process of the container", (Errno)(*Libc.errno_location()));
            }

            return new LaunchedProcess(plan, pid, new Fd(pidfd), new Fd(read.Release()));
        }
    }

    // A collection on the finalizer thread at the moment of a clone would leave the child's heap locked. Only a collection
    // gives that thread anything to do, and one that it makes itself is seen the next time.
    private static void LetFinalizersEnd()
    {
        var collections = GC.CollectionCount(0);
        if (collections != _collections)
        {
            _collections = collections;
            GC.WaitForPendingFinalizers();
        }
    }

    private static MadeNamespaces? Make(LaunchPlan plan, int* slots)
    {
        if (plan.UserNamespace is not { } wanted)
        {
            return null;
        }

        using var making = new UserNamespace(wanted.Users, wanted.Groups, wanted.NetworkSlot >= 0);
        var made = making.Take();
        slots[wanted.Slot] = made.User.Value;
        if (made.Network is { } network)
        {
            slots[wanted.NetworkSlot] = network.Value;
        }

        return made;
    }

    /// <summary>Clones a process that does nothing but wait until nobody holds the other end of a pipe any more.</summary>
    /// <param name="flags">The namespaces that it is born in.</param>
    /// <param name="read">The end on which it waits; of all other descriptors it keeps but the next.</param>
    /// <param name="status">Where it says what came of the second namespaces, as an errno.</param>
    /// <param name="second">The namespaces that it makes when a byte comes.</param>
    /// <returns>Its pid.</returns>
    /// <exception cref="LinuxException">The clone failed.</exception>
    internal static int CloneWaiting(ulong flags, int read, int status, ulong second)
    {
        var arguments = new Libc.clone_args { flags = flags | Libc.CLONE_CLEAR_SIGHAND, exit_signal = 17 };
        LetFinalizersEnd();
        var pid = (int)Libc.bare_syscall(Nr.clone3, (nint)(&arguments), sizeof(Libc.clone_args), 0, 0, 0, 0);
        if (pid == 0)
        {
            LaunchChild.Wait(read, status, (nint)second);
        }

        return pid != -1 ? pid : throw new LinuxException("make a user namespace", (Errno)(*Libc.errno_location()));
    }
}

/// <summary>A cloned process that executes its plan.</summary>
public sealed unsafe class LaunchedProcess : IDisposable
{
    private LaunchPlan? _plan;
    private Fd? _status;

    internal LaunchedProcess(LaunchPlan plan, int pid, Fd pidFd, Fd status)
    {
        _plan = plan;
        Pid = pid;
        PidFd = pidFd;
        _status = status;
    }

    /// <summary>One that has long executed its plan.</summary>
    internal LaunchedProcess(int pid, Fd pidFd)
    {
        Pid = pid;
        PidFd = pidFd;
    }

    /// <summary>Its pid in the caller's namespace.</summary>
    public int Pid { get; }

    /// <summary>Its pidfd.</summary>
    public Fd PidFd { get; }

    /// <summary>Readable once the plan has ended, one way or the other; until <see cref="Wait"/> was called.</summary>
    public Fd Status => _status ?? throw new InvalidOperationException("its plan was executed before");

    /// <summary>Waits until the program was executed, or until a step failed. Then nothing of the launch is kept.</summary>
    /// <returns>Null when it runs, else what failed.</returns>
    public LaunchFailure? Wait()
    {
        try
        {
            return ReadOutcome(_plan!, Status);
        }
        finally
        {
            // This lives as long as the container: its plan takes ten times what else is known of it.
            _plan = null;
            _status!.Dispose();
            _status = null;
        }
    }

    /// <summary>Reads what a status pipe holds, blocking until its other end is closed or a report comes.</summary>
    /// <exception cref="LinuxException">It cannot be read.</exception>
    public static LaunchFailure? ReadOutcome(LaunchPlan plan, Fd status) =>
        ReadEntered(plan, status, out var failure) is var pid and > 0
            ? throw new EdgeHostException(ErrorKind.Internal, $"a launch has gone on in process {pid}, which it was not to")
            : failure;

    /// <summary>As <see cref="ReadOutcome"/>, of a plan that may go on in another process before its end.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="status">The pipe.</param>
    /// <param name="failure">What failed; null when nothing did, or the plan goes on.</param>
    /// <returns>The pid of a child of ours in which the plan goes on, and whose outcome is still to be read; 0 at the end.</returns>
    /// <exception cref="LinuxException">It cannot be read.</exception>
    public static int ReadEntered(LaunchPlan plan, Fd status, out LaunchFailure? failure)
    {
        long report;
        nint count;
        do
        {
            count = Libc.read(status.Value, &report, sizeof(long));
        }
        while (count == -1 && Libc.LastErrno == Errno.EINTR);

        Libc.Check(count, "read the outcome of a launch");
        failure = null;
        if (count == 0)
        {
            return 0;
        }

        if ((uint)report == LaunchPlan.Entered)
        {
            return (int)(report >> 32);
        }

        failure = new LaunchFailure(plan, (int)(report & 0xFFFFFFFF), (Errno)(report >> 32));
        return 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        PidFd.Dispose();
        _status?.Dispose();
    }
}

/// <summary>The step of a plan that failed.</summary>
public sealed class LaunchFailure
{
    private readonly LaunchPlan _plan;

    internal LaunchFailure(LaunchPlan plan, int step, Errno errno)
    {
        _plan = plan;
        Step = step;
        Errno = errno;
    }

    /// <summary>Which step.</summary>
    public int Step { get; }

    /// <summary>What the kernel said.</summary>
    public Errno Errno { get; }

    /// <summary>Whether the program itself could not be executed.</summary>
    public bool IsExecute => _plan.IsExecute(Step);

    /// <summary>As an exception, in one line.</summary>
    public EdgeHostException ToException() => IsExecute
        ? new EdgeHostException(ErrorKind.CannotExecute, Message)
        : _plan.IsMapping(Step) && IsUnmappable
        ? new EdgeHostException(ErrorKind.Unsupported, $"{Cause}; give the mount idmap=none, and it shows the host's users as 65534, or run the container with --userns host")
        : _plan.IsBind(Step) && Errno == Errno.ENOTDIR
        ? new EdgeHostException(ErrorKind.Invalid, $"{_plan.Describe(Step)}: one of the two is a file and the other a directory; mount a file on a file, or a directory on a directory")
        : _plan.Confines(Step) && Errno == Errno.ENOENT
        ? new EdgeHostException(ErrorKind.Infeasible, $"{_plan.Describe(Step)}: it is not loaded; load it with apparmor_parser --replace FILE, or restart the daemon for the profile of ours")
        : new LinuxException(_plan.Describe(Step), Errno);

    /// <summary>What failed and why, without what to do.</summary>
    internal string Cause => _plan.IsMapping(Step) && IsUnmappable
        ? $"{_plan.Describe(Step)}: this kernel cannot map the ids of its file system{(_plan.MapsAll(Step) ? ", or of one that is mounted in it" : string.Empty)} (ext4, xfs, btrfs and f2fs it can, tmpfs from Linux 6.3 on)"
        : _plan.IsOverlay(Step) ? $"{_plan.Describe(Step)}: {Errno.InWords()}; overlayfs takes mapped layers from Linux 5.19 on"
        : $"{_plan.Describe(Step)}: {Errno.InWords()}";

    // EPERM: its ids are mapped already.
    private bool IsUnmappable => Errno is Errno.EINVAL or Errno.EPERM;

    private string Message => Errno switch
    {
        Errno.ENOENT => $"{_plan.Describe(Step)}: executable file not found, or its interpreter is missing",
        Errno.ENOEXEC => $"{_plan.Describe(Step)}: exec format error (built for another architecture, or a script without #!)",
        _ => $"{_plan.Describe(Step)}: {Errno.InWords()}",
    };
}
