using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Seccomp;

/// <summary>
/// The filter of every container that the daemon starts: an allow-list. A call that it does not name does not exist
/// (ENOSYS, so that programs fall back to what does); a dangerous one is forbidden (EPERM), which says that it is policy.
/// </summary>
public static class DefaultSeccomp
{
    // What an ordinary program of Debian, Alpine, .NET, Go, Java or Python uses, on any of the three architectures.
    private const string Allowed = """
        _llseek _newselect accept accept4 access alarm arch_prctl arm_breakpoint arm_cacheflush arm_set_tls arm_get_tls
        arm_fadvise64_64 arm_sync_file_range bind brk cachestat capget capset chdir chmod chown chown32
        clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
        close close_range connect copy_file_range creat dup dup2 dup3
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
        eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate
        fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr
        flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate
        ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list
        get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32
        getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid
        getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
        getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
        io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set kill
        landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen
        listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise map_shadow_stack membarrier
        memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
        mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep
        newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
        pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6
        pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
        recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir rseq
        rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
        rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
        sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget
        semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
        set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32
        setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid
        setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaction
        sigaltstack signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend socketpair splice
        stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee
        tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
        timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times
        tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64 utimes
        vfork vmsplice wait4 waitid write writev
        process_vm_readv process_vm_writev ptrace
        """;

    // Each is known to the kernel and refused as policy: they reach beyond the container, or have a history of doing so.
    private const string Forbidden = """
        acct add_key bpf chroot clock_adjtime clock_adjtime64 clock_settime clock_settime64 create_module
        delete_module fanotify_init finit_module fsconfig fsmount fsopen fspick init_module io_uring_enter
        io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
        mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree
        perf_event_open pidfd_getfd pivot_root process_madvise quotactl quotactl_fd reboot request_key setdomainname
        set_mempolicy set_mempolicy_home_node sethostname setns settimeofday swapoff swapon sysfs syslog
        umount2 unshare userfaultfd uselib ustat vhangup adjtimex
        """;

    private const ulong NewNamespaces = 0x7E020080;

    private static volatile Made? _last;

    /// <summary>The filter.</summary>
    /// <param name="bounding">The capabilities that the container may have: some calls come with them.</param>
    public static RuntimeSeccomp For(ulong bounding)
    {
        // Nearly all containers have the same capabilities.
        var last = _last;
        return last?.Bounding == bounding ? last.Filter : (_last = new Made(bounding, Make(bounding))).Filter;
    }

    private static RuntimeSeccomp Make(ulong bounding)
    {
        var forbidden = new HashSet<string>(Words(Forbidden), StringComparer.Ordinal);
        var allowed = new List<string>(Words(Allowed));
        foreach (var (capability, calls) in WithCapability)
        {
            if (Capabilities.TryParse(capability, out var bit) && (bounding & bit) != 0)
            {
                foreach (var call in Words(calls))
                {
                    forbidden.Remove(call);
                    allowed.Add(call);
                }
            }
        }

        var administrator = (bounding & 1UL << 21) != 0;
        List<RuntimeSyscall> rules =
        [
            new() { Names = [.. allowed.Distinct()], Action = "SCMP_ACT_ALLOW" },
            new() { Names = [.. forbidden], Action = "SCMP_ACT_ERRNO", ErrnoRet = (uint)Errno.EPERM },

            // Execution domains that only look old, none that turn address randomisation or protections off.
            .. new ulong[] { 0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF }.Select(value => new RuntimeSyscall
            {
                Names = ["personality"],
                Action = "SCMP_ACT_ALLOW",
                Args = [new() { Index = 0, Value = value, Op = "SCMP_CMP_EQ" }],
            }),
            new() { Names = ["personality"], Action = "SCMP_ACT_ERRNO", ErrnoRet = (uint)Errno.EPERM },

            // AF_ALG and AF_VSOCK reach the kernel's crypto code and the hypervisor. The kernel takes the family from the
            // lower half of the register and looks at no more: neither may the rule.
            .. new ulong[] { 38, 40 }.Select(family => new RuntimeSyscall
            {
                Names = ["socket"],
                Action = "SCMP_ACT_ERRNO",
                ErrnoRet = (uint)Errno.EAFNOSUPPORT,
                Args = [new() { Index = 0, Value = 0xFFFFFFFF, ValueTwo = family, Op = "SCMP_CMP_MASKED_EQ" }],
            }),
            new() { Names = ["socket"], Action = "SCMP_ACT_ALLOW" },
        ];

        // clone3 hides its flags behind a pointer that a filter cannot follow: it does not exist, and libraries fall back to clone.
        if (administrator)
        {
            rules.Add(new() { Names = ["clone", "clone3"], Action = "SCMP_ACT_ALLOW" });
        }
        else
        {
            rules.Add(new()
            {
                Names = ["clone"],
                Action = "SCMP_ACT_ALLOW",
                Args = [new() { Index = 0, Value = NewNamespaces, ValueTwo = 0, Op = "SCMP_CMP_MASKED_EQ" }],
            });
            rules.Add(new() { Names = ["clone"], Action = "SCMP_ACT_ERRNO", ErrnoRet = (uint)Errno.EPERM });
        }

        return new RuntimeSeccomp { DefaultAction = "SCMP_ACT_ERRNO", DefaultErrnoRet = (uint)Errno.ENOSYS, Syscalls = rules };
    }

    private static readonly (string Capability, string Calls)[] WithCapability =
    [
        ("CAP_SYS_ADMIN", "bpf fanotify_init fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns umount2 unshare lookup_dcookie"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_RAWIO", "iopl ioperm"),
        ("CAP_SYS_TIME", "adjtimex clock_adjtime clock_adjtime64 clock_settime clock_settime64 settimeofday"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_SYS_NICE", "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_BPF", "bpf"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ];

    private sealed class Made(ulong bounding, RuntimeSeccomp filter)
    {
        internal ulong Bounding => bounding;

        internal RuntimeSeccomp Filter => filter;
    }

    private static string[] Words(string text) => text.Split([' ', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}
