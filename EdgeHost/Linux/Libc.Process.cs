using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Processes, namespaces, mounts and signals.</summary>
internal static unsafe partial class Libc
{
    internal const ulong CLONE_NEWTIME = 0x80;
    internal const ulong CLONE_PIDFD = 0x1000;
    internal const ulong CLONE_PARENT = 0x8000;
    internal const ulong CLONE_NEWNS = 0x20000;
    internal const ulong CLONE_NEWCGROUP = 0x2000000;
    internal const ulong CLONE_NEWUTS = 0x4000000;
    internal const ulong CLONE_NEWIPC = 0x8000000;
    internal const ulong CLONE_NEWUSER = 0x10000000;
    internal const ulong CLONE_NEWPID = 0x20000000;
    internal const ulong CLONE_NEWNET = 0x40000000;
    internal const ulong CLONE_CLEAR_SIGHAND = 0x100000000;
    internal const ulong CLONE_INTO_CGROUP = 0x200000000;

    internal const ulong MS_RDONLY = 1;
    internal const ulong MS_NOSUID = 2;
    internal const ulong MS_NODEV = 4;
    internal const ulong MS_NOEXEC = 8;
    internal const ulong MS_BIND = 0x1000;
    internal const ulong MS_REC = 0x4000;
    internal const ulong MS_UNBINDABLE = 0x20000;
    internal const ulong MS_PRIVATE = 0x40000;
    internal const ulong MS_SLAVE = 0x80000;
    internal const ulong MS_SHARED = 0x100000;
    internal const int MNT_DETACH = 2;

    internal const uint OPEN_TREE_CLONE = 1;
    internal const uint OPEN_TREE_CLOEXEC = 0x80000;
    internal const uint MOVE_MOUNT_F_EMPTY_PATH = 4;
    internal const uint MOVE_MOUNT_T_EMPTY_PATH = 0x40;
    internal const uint FSOPEN_CLOEXEC = 1;
    internal const uint FSMOUNT_CLOEXEC = 1;
    internal const uint FSCONFIG_SET_FLAG = 0;
    internal const uint FSCONFIG_SET_STRING = 1;
    internal const uint FSCONFIG_CMD_CREATE = 6;
    internal const ulong MOUNT_ATTR_RDONLY = 1;
    internal const ulong MOUNT_ATTR_NOSUID = 2;
    internal const ulong MOUNT_ATTR_NODEV = 4;
    internal const ulong MOUNT_ATTR_NOEXEC = 8;
    internal const ulong MOUNT_ATTR__ATIME = 0x70;
    internal const ulong MOUNT_ATTR_NOATIME = 0x10;
    internal const ulong MOUNT_ATTR_STRICTATIME = 0x20;
    internal const ulong MOUNT_ATTR_NODIRATIME = 0x80;
    internal const ulong MOUNT_ATTR_IDMAP = 0x100000;

    internal const int PR_SET_PDEATHSIG = 1;
    internal const int PR_SET_DUMPABLE = 4;
    internal const int PR_SET_KEEPCAPS = 8;
    internal const int PR_SET_NAME = 15;
    internal const int PR_CAPBSET_READ = 23;
    internal const int PR_CAPBSET_DROP = 24;
    internal const int PR_SET_SECUREBITS = 28;
    internal const int SECBIT_NO_SETUID_FIXUP = 4;
    internal const int PR_SET_NO_NEW_PRIVS = 38;
    internal const int PR_SET_THP_DISABLE = 41;
    internal const int PR_CAP_AMBIENT = 47;
    internal const int PR_CAP_AMBIENT_RAISE = 2;
    internal const int PR_CAP_AMBIENT_CLEAR_ALL = 4;
    internal const int PR_SET_CHILD_SUBREAPER = 36;

    internal const uint SECCOMP_SET_MODE_FILTER = 1;
    internal const uint SECCOMP_GET_ACTION_AVAIL = 2;
    internal const int KEYCTL_JOIN_SESSION_KEYRING = 1;
    internal const uint CLOSE_RANGE_CLOEXEC = 4;
    internal const nint PROC_SUPER_MAGIC = 0x9fa0;

    internal const int SIG_BLOCK = 0;
    internal const int SIG_SETMASK = 2;
    internal const int SFD_CLOEXEC = 0x80000;
    internal const int SFD_NONBLOCK = 0x800;
    internal const int P_PIDFD = 3;
    internal const int WEXITED = 4;
    internal const int WNOHANG = 1;
    internal const int __WALL = 0x40000000;
    internal const int F_GETPIPE_SZ = 1032;
    internal const int F_SETFD = 2;
    internal const int F_GETFD = 1;
    internal const int FD_CLOEXEC = 1;

    /// <summary><c>struct clone_args</c> (linux/sched.h), version 2.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct clone_args
    {
        internal ulong flags;
        internal ulong pidfd;
        internal ulong child_tid;
        internal ulong parent_tid;
        internal ulong exit_signal;
        internal ulong stack;
        internal ulong stack_size;
        internal ulong tls;
        internal ulong set_tid;
        internal ulong set_tid_size;
        internal ulong cgroup;
    }

    /// <summary><c>struct mount_attr</c> (linux/mount.h).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct mount_attr
    {
        internal ulong attr_set;
        internal ulong attr_clr;
        internal ulong propagation;
        internal ulong userns_fd;
    }

    internal const uint PIDFD_GET_INFO = 0xC040FF0B;
    internal const ulong PIDFD_INFO_EXIT = 8;

    /// <summary><c>struct pidfd_info</c> (linux/pidfd.h), its first version, 64 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct pidfd_info
    {
        internal ulong mask;
        internal ulong cgroupid;
        internal fixed uint ids[11];
        internal int exit_code;
    }

    /// <summary><c>struct signalfd_siginfo</c> (linux/signalfd.h), 128 bytes.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 128)]
    internal struct signalfd_siginfo
    {
        internal uint ssi_signo;
        internal int ssi_errno;
        internal int ssi_code;
        internal uint ssi_pid;
        internal uint ssi_uid;
    }

    /// <summary>The system call without a garbage collector transition: for the child of a clone, and for the clone itself.</summary>
    [DllImport("libc", EntryPoint = "syscall")]
    [SuppressGCTransition]
    internal static extern nint bare_syscall(nint number, nint a = 0, nint b = 0, nint c = 0, nint d = 0, nint e = 0, nint f = 0);

    [DllImport("libc", EntryPoint = "__errno_location")]
    [SuppressGCTransition]
    internal static extern int* errno_location();

    internal static int signalfd4(int fd, ulong mask, int flags) =>
        (int)syscall(Nr.signalfd4, fd, (nint)(&mask), sizeof(ulong), flags);

    internal static int rt_sigprocmask(int how, ulong* set, ulong* old) =>
        (int)syscall(Nr.rt_sigprocmask, how, (nint)set, (nint)old, sizeof(ulong));

    internal static int pidfd_open(int pid, uint flags) => (int)syscall(Nr.pidfd_open, pid, (nint)flags);

    internal static int pidfd_send_signal(int pidfd, int signal) => (int)syscall(Nr.pidfd_send_signal, pidfd, signal);

    internal static int kill(int pid, int signal) => (int)syscall(Nr.kill, pid, signal);

    internal static int wait4(int pid, int* status, int options) => (int)syscall(Nr.wait4, pid, (nint)status, options);

    internal static int execve(byte* path, byte** argv, byte** envp) =>
        (int)syscall(Nr.execve, (nint)path, (nint)argv, (nint)envp);

    internal static int memfd_create(byte* name, uint flags) => (int)syscall(Nr.memfd_create, (nint)name, (nint)flags);

    internal static int prctl(int option, nint a, nint b = 0, nint c = 0, nint d = 0) =>
        (int)syscall(Nr.prctl, option, a, b, c, d);
}
