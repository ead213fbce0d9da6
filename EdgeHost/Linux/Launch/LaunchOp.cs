namespace EdgeHost.Linux.Launch;

/// <summary>
/// What one step of a launch plan does. Numbers are part of the shepherd's protocol: new ones are added at the end,
/// none is ever given another meaning.
/// </summary>
public enum LaunchOp
{
    /// <summary>Ends the plan; never executed.</summary>
    None = 0,

    /// <summary>Joins a cgroup of v1: writes 0 into the file Text1.</summary>
    JoinCgroup = 1,

    /// <summary>setsid(2).</summary>
    NewSession = 2,

    /// <summary>A new anonymous session keyring.</summary>
    NewKeyring = 3,

    /// <summary>unshare(2) with the flags A.</summary>
    Unshare = 4,

    /// <summary>Joins the namespace in file Text1 of kind A.</summary>
    JoinNamespace = 5,

    /// <summary>Propagation A of all mounts.</summary>
    Propagation = 6,

    /// <summary>chdir(2) to Text1.</summary>
    ChangeDirectory = 7,

    /// <summary>Opens the host's path Text1 into Slot, O_PATH.</summary>
    OpenHost = 8,

    /// <summary>Opens Text1 beneath the root in Slot2 into Slot, O_PATH; A: 0 must exist, 1 makes directories, 2 makes a file.</summary>
    OpenInRoot = 9,

    /// <summary>Mounts a new file system of type Text1, source Text2, options Text3 (a zero-separated list), attributes A, on Slot.</summary>
    Mount = 10,

    /// <summary>As <see cref="Mount"/>, by mount(2): options Text3 are one string of up to 4095 bytes.</summary>
    MountByData = 11,

    /// <summary>Binds the host's path Text1 on Slot; attributes A are set and B cleared; C is 1 for all mounts beneath as well.</summary>
    Bind = 12,

    /// <summary>Binds what Slot2 holds on Slot; attributes as in <see cref="Bind"/>.</summary>
    BindSlot = 13,

    /// <summary>Makes a node Text1 in the directory in Slot: mode A, device B, owner C (uid, group in the upper half).</summary>
    MakeNode = 14,

    /// <summary>Makes a symbolic link Text1 in the directory in Slot that leads to Text2; one that is there stays.</summary>
    MakeLink = 15,

    /// <summary>Makes Slot the root and lets go of the old one.</summary>
    Pivot = 16,

    /// <summary>Hides Text1 beneath the root in Slot2: a directory under an empty read-only one, a file under the device in Slot. Absent: nothing.</summary>
    Mask = 17,

    /// <summary>Makes Text1 beneath the root in Slot2 read-only. Absent: nothing.</summary>
    MakeReadOnly = 18,

    /// <summary>Writes Text2 into the file Text1 of the procfs that is at /proc beneath the root in Slot2.</summary>
    WriteProc = 19,

    /// <summary>Writes Text2 into the host's file Text1.</summary>
    WriteHost = 20,

    /// <summary>sethostname(2) Text1.</summary>
    SetHostname = 21,

    /// <summary>setdomainname(2) Text1.</summary>
    SetDomainname = 22,

    /// <summary>mount_setattr(2) on Slot: sets A, clears B, propagation C; with MS_REC in C on all mounts beneath as well.</summary>
    SetMountAttributes = 23,

    /// <summary>Brings the loopback interface up.</summary>
    LoopbackUp = 24,

    /// <summary>prlimit(2): resource A, soft B, hard C.</summary>
    SetRlimit = 25,

    /// <summary>Drops every capability from the bounding set that is not in A.</summary>
    LimitBounding = 26,

    /// <summary>PR_SET_KEEPCAPS A.</summary>
    KeepCapabilities = 27,

    /// <summary>setgroups(2) with A ids at Text1.</summary>
    SetGroups = 28,

    /// <summary>setresgid(2) A.</summary>
    SetGid = 29,

    /// <summary>setresuid(2) A.</summary>
    SetUid = 30,

    /// <summary>capset(2): effective A, permitted B, inheritable C.</summary>
    SetCapabilities = 31,

    /// <summary>Raises the ambient capabilities A.</summary>
    SetAmbient = 32,

    /// <summary>PR_SET_NO_NEW_PRIVS.</summary>
    NoNewPrivileges = 33,

    /// <summary>Loads the filter of A instructions at Text1 with the flags B.</summary>
    LoadSeccomp = 34,

    /// <summary>umask(2) A.</summary>
    SetUmask = 35,

    /// <summary>Duplicates Slot to the descriptor A.</summary>
    Duplicate = 36,

    /// <summary>Reports from now on into Slot, closes the first status pipe, and waits for a byte from Slot2.</summary>
    WaitForStart = 37,

    /// <summary>Opens the host's fifo Text1 for reading and writing into Slot.</summary>
    OpenFifo = 38,

    /// <summary>Marks every descriptor from A on to be closed by exec.</summary>
    CloseFrom = 39,

    /// <summary>Every signal unblocked and at its default.</summary>
    ResetSignals = 40,

    /// <summary>execve(2) of the first of the zero-separated candidates Text1 that can be; B arguments at Text2, C variables at Text3 (tables of offsets).</summary>
    Execute = 41,

    /// <summary>PR_SET_DUMPABLE 0: nobody in the same user looks into this process until its program runs.</summary>
    NotDumpable = 42,

    /// <summary>Closes every descriptor from 3 on but Slot and the one for reports.</summary>
    CloseOthers = 43,

    /// <summary>setns(2) into the namespaces A of the process whose pidfd is in Slot, and closes it.</summary>
    JoinProcess = 44,

    /// <summary>Goes on in a new child of this process's parent, whose pid it reports, and ends.</summary>
    CloneAgain = 45,

    /// <summary>The signal A when the parent ends, which is outside of the pid namespace.</summary>
    EndWithParent = 46,

    /// <summary>
    /// Before the clone: a user namespace with the maps Text1 of users and Text2 of groups, into Slot; where Slot2 is given,
    /// a network namespace that belongs to it, into that.
    /// </summary>
    MakeUserNamespace = 47,

    /// <summary>As <see cref="Bind"/>; files belong to whom the user namespace in Slot2 says.</summary>
    BindMapped = 48,

    /// <summary>setns(2) into the user namespace in Slot.</summary>
    JoinUserNamespace = 49,

    /// <summary>setfsuid(2) A and setfsgid(2) B, with all capabilities as before: what is made from now on is theirs.</summary>
    MakeAs = 50,

    /// <summary>Gives the pipe in Slot to user A and group B; anything but a pipe stays as it is.</summary>
    GivePipe = 51,

    /// <summary>As <see cref="JoinProcess"/>, and Slot stays open; it may be a namespace of kind A, too.</summary>
    EnterProcess = 52,

    /// <summary>Opens the namespace that the host's path Text1 is, into Slot.</summary>
    OpenNamespace = 53,

    /// <summary>
    /// Opens a terminal of the file system at /dev/pts, whose slave takes the place of descriptors 0 to 2 and belongs to
    /// user A and group B, with C lines (upper half: columns); its master is sent through the socket that descriptor 0 was.
    /// </summary>
    OpenTerminal = 60,

    /// <summary>Makes descriptor 0 the controlling terminal of this session.</summary>
    ControlTerminal = 61,

    /// <summary>The program of A bytes at Text1, in sealed memory, into Slot.</summary>
    OpenInit = 62,

    /// <summary>As <see cref="Execute"/>, through the program in Slot: its second argument becomes the path that can be executed.</summary>
    ExecuteWithInit = 63,
}
