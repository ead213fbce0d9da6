using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>
/// Looks for everything that EdgeHost needs of a board, and changes nothing but that the kernel may load a module of
/// its own for which it was asked.
/// </summary>
public static partial class BoardCheck
{
    /// <summary>Below this much free space the data directory cannot hold a small image and its update, in bytes.</summary>
    public const long LeastFreeSpace = 128L << 20;

    /// <summary>Below this much free space updates of usual images will not fit beside what runs, in bytes.</summary>
    public const long ComfortableFreeSpace = 1L << 30;

    /// <summary>A small Debian image unpacks to about this many files.</summary>
    public const long LeastFreeInodes = 10_000;

    /// <summary>Below this much memory no workload fits beside system and daemon, in bytes.</summary>
    public const long LeastMemory = 96L << 20;

    // A clock before this was never set: no certificate is valid at such a time.
    internal const int FirstSaneYear = 2025;
    private const int LastSaneYear = 2099;

    private const uint TmpfsMagic = 0x01021994;

    /// <summary>Looks at this board.</summary>
    /// <param name="dataDirectory">Where EdgeHost's data are or will be; it need not exist yet.</param>
    /// <param name="settings">What the configuration says of the board.</param>
    /// <param name="tryUsers">Tries a user namespace with files in a directory, and says what is refused; null when nobody can try.</param>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Invalid"/>: the directory has no name; <see cref="ErrorKind.Internal"/>: /proc or /sys cannot be read at all.
    /// </exception>
    public static BoardReport Observe(string dataDirectory, BoardSettings settings, Func<string, string?>? tryUsers)
    {
        if (dataDirectory.Length == 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "the data directory is \"\": name one, as in /var/lib/edgehost");
        }

        var board = BoardFacts.Observe();
        try
        {
            var cgroups = CgroupLayout.Observe();
            var memory = Memory(cgroups);
            FeatureStatus[] features =
            [
                memory,
                SwapAccounting(cgroups, board.Kernel, board.Swap, memory.State),
                Cpu(cgroups),
                Controller(cgroups, "cpuset", FeatureNeed.Recommended, "--cpuset-cpus and a deployment's cpuset are refused without it"),
                Controller(cgroups, "pids", FeatureNeed.Required, "use a kernel with CONFIG_CGROUP_PIDS=y"),
                Disks(cgroups),
                Call("openat2", KernelProbe.Openat2(), "5.6"),
                Call("clone3", KernelProbe.Clone3(), "5.3"),
                Call("pidfd", KernelProbe.PidfdOpen(), "5.3"),
                Call("id-mapped mounts", KernelProbe.MountSetattr(), "5.12", FeatureNeed.Recommended),
                Namespaces(),
                UserNamespaces(dataDirectory, tryUsers),
                Seccomp(),
                Confinement(),
                Overlay(),
                NfTables(),
                KernelOfNetworks(),
                Pressure(),
                MemorySize(board),
                .. Disk(dataDirectory),
                .. Swaps(),
                .. Power(),
                .. Watchdog(settings),
                Year(),
                Synchronized(),
                .. Settings(settings),
            ];
            var verdict = memory.State == FeatureState.Missing ? BoardVerdict.MemoryControllerOff
                : features.Any(f => f is { Need: FeatureNeed.Required, State: FeatureState.Missing }) ? BoardVerdict.Lacking
                : BoardVerdict.Ok;
            return new BoardReport(verdict, board, cgroups.InWords, features, Neighbours.Observe(dataDirectory));
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Internal, $"cannot look at the board: {failure.Message}", failure);
        }
    }

    private static FeatureStatus Memory(CgroupLayout cgroups) => Controller(
        cgroups, "memory", FeatureNeed.Required, KernelCommandLine.HowToAdd("cgroup_enable=memory cgroup_memory=1"));

    // Version 2 calls it io; /proc/cgroups has the older name for both.
    internal static FeatureStatus Disks(CgroupLayout cgroups) => Controller(
        cgroups, cgroups.Find("io") is null ? "blkio" : "io", FeatureNeed.Recommended,
        "rates of disks (--device-read-bps and its siblings, blkio_config) are refused without it; use a kernel with CONFIG_BLK_CGROUP=y and CONFIG_BLK_DEV_THROTTLING=y");

    private static FeatureStatus Controller(CgroupLayout cgroups, string name, FeatureNeed need, string remedy)
    {
        var title = $"{name} controller";
        return cgroups.Find(name) is { } found
            ? new FeatureStatus(title, need, FeatureState.Present, $"cgroup {(found.IsV2 ? "v2" : "v1")} at {found.Mount}")
            : cgroups.IsOff(name) switch
            {
                true => new FeatureStatus(title, need, FeatureState.Missing, "in this kernel, but off", remedy),
                false => new FeatureStatus(title, need, FeatureState.Missing, "in this kernel, but in no mounted hierarchy",
                    "mount -t cgroup2 cgroup2 /sys/fs/cgroup, as systemd does"),
                null => new FeatureStatus(title, need, FeatureState.Missing, "not in this kernel, or off", remedy),
            };
    }

    // Without it a workload that reaches its memory limit goes on into swap, and the limit holds nothing.
    private static FeatureStatus SwapAccounting(CgroupLayout cgroups, string kernel, long swap, FeatureState memory)
    {
        const string Name = "swap accounting";
        if (memory != FeatureState.Present || cgroups.Find("memory") is not { } found)
        {
            return swap == 0
                ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, "no memory controller, and swap is off")
                : new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Missing, $"no memory controller, and {Size(swap)} of swap are on");
        }

        var there = found.IsV2
            ? CgroupLayout.SomeChildHas(found.Mount, "memory.swap.max", "memory.max")
                ?? CgroupLayout.SwapIsAccounted(kernel, File.Exists("/proc/swaps"), File.ReadAllText("/proc/cmdline"))
            : File.Exists(Path.Combine(found.Mount, "memory.memsw.limit_in_bytes"));
        var inWords = swap == 0 ? "swap is off" : $"{Size(swap)} of swap are on";
        return there switch
        {
            true => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, inWords),
            null => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Unknown, $"seen once the first cgroup exists; {inWords}"),
            false when swap == 0 => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, "not there, not needed: swap is off"),
            false => new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Missing, $"not there, and {inWords}: memory limits cannot be held",
                $"turn swap off (swapoff -a, and its line in /etc/fstab or dphys-swapfile), or {KernelCommandLine.HowToAdd("swapaccount=1")}"),
        };
    }

    private static FeatureStatus Cpu(CgroupLayout cgroups)
    {
        const string Remedy = "use a kernel with CONFIG_CFS_BANDWIDTH=y";
        var controller = Controller(cgroups, "cpu", FeatureNeed.Required, "use a kernel with CONFIG_CGROUP_SCHED=y and CONFIG_CFS_BANDWIDTH=y");
        if (cgroups.Find("cpu") is not { } found)
        {
            return controller;
        }

        var quota = found.IsV2
            ? CgroupLayout.SomeChildHas(found.Mount, "cpu.max", "cpu.weight")
            : File.Exists(Path.Combine(found.Mount, "cpu.cfs_quota_us"));
        return quota switch
        {
            true => new FeatureStatus(controller.Name, controller.Need, controller.State, $"{controller.Found}, with quotas", controller.Remedy),
            false => new FeatureStatus(controller.Name, controller.Need, FeatureState.Missing, $"{controller.Found}, without quotas", Remedy),
            null => controller,
        };
    }

    private static FeatureStatus Call(string name, Errno errno, string since, FeatureNeed need = FeatureNeed.Required) => errno switch
    {
        Errno.None => new FeatureStatus(name, need, FeatureState.Present, $"Linux {since}"),
        Errno.ENOSYS => new FeatureStatus(name, need, FeatureState.Missing, "not in this kernel", $"use Linux {since} or later"),
        _ => new FeatureStatus(name, need, FeatureState.Missing, $"refused: {errno.InWords()}",
            "something (a container's seccomp filter?) forbids it: run EdgeHost on the board itself"),
    };

    private static FeatureStatus Namespaces()
    {
        var missing = ((string[])["mnt", "pid", "uts", "ipc", "net", "cgroup"]).Where(n => !File.Exists($"/proc/self/ns/{n}")).ToArray();
        return missing.Length == 0
            ? new FeatureStatus("namespaces", FeatureNeed.Required, FeatureState.Present, "mnt pid uts ipc net cgroup")
            : new FeatureStatus("namespaces", FeatureNeed.Required, FeatureState.Missing, $"without {string.Join(' ', missing)}",
                "use a kernel with CONFIG_NAMESPACES=y and all kinds beneath it");
    }

    private static FeatureStatus UserNamespaces(string dataDirectory, Func<string, string?>? tryUsers)
    {
        const string Name = "user namespaces";
        if (!File.Exists("/proc/self/ns/user"))
        {
            return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, "not in this kernel", "use a kernel with CONFIG_USER_NS=y");
        }

        const string Maximum = "/proc/sys/user/max_user_namespaces";
        var maximum = File.Exists(Maximum) ? File.ReadAllText(Maximum).TrimEnd() : "?";
        if (maximum == "0")
        {
            return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, "turned off", "sysctl -w user.max_user_namespaces=15000");
        }

        // Where layers are in a data directory.
        var directory = Nearest(Path.Combine(dataDirectory, "snapshots"));
        return tryUsers is null || !Directory.Exists(directory)
            ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Unknown, $"up to {maximum}; only root may try one", "run edgehost check as root")
            : tryUsers(directory) is { } why
            ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, why, "containers have the host's users; for their own use Linux 5.19 or later, and a data directory on ext4, xfs, btrfs or f2fs")
            : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, $"up to {maximum}; one works with files in {directory}");
    }

    private static FeatureStatus Seccomp()
    {
        const uint SECCOMP_RET_ERRNO = 0x00050000;
        return KernelProbe.SeccompAction(SECCOMP_RET_ERRNO) is var errno and not Errno.None
            ? new FeatureStatus("seccomp filters", FeatureNeed.Required, FeatureState.Missing, errno.InWords(), "use a kernel with CONFIG_SECCOMP_FILTER=y")
            : new FeatureStatus("seccomp filters", FeatureNeed.Required, FeatureState.Present, "in this kernel");
    }

    private static FeatureStatus Confinement() => AppArmor.WhyNot is { } why
        ? new FeatureStatus("AppArmor", FeatureNeed.Recommended, FeatureState.Missing, why, "without, containers are confined by all else; with it, install the package apparmor and restart the daemon")
        : new FeatureStatus("AppArmor", FeatureNeed.Recommended, FeatureState.Present, "in this kernel, with apparmor_parser");

    private static FeatureStatus Overlay()
    {
        const string Name = "overlayfs";
        return KernelProbe.FileSystem("overlay") switch
        {
            Errno.None => new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Present, "in this kernel"),
            Errno.EPERM when File.ReadAllText("/proc/filesystems").Contains("\toverlay\n", StringComparison.Ordinal) =>
                new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Present, "in this kernel"),
            Errno.EPERM => new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Unknown, "not loaded, and only root may load it", "run edgehost check as root"),
            var errno => new FeatureStatus(Name, FeatureNeed.Required, FeatureState.Missing, errno.InWords(),
                "install the module overlay of this kernel (CONFIG_OVERLAY_FS)"),
        };
    }

    private static FeatureStatus NfTables()
    {
        const string Name = "nftables";
        return KernelProbe.NfTables() switch
        {
            Errno.None => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, "in this kernel"),
            Errno.EPERM => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Unknown, "only root may ask", "run edgehost check as root"),
            var errno => new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, errno.InWords(),
                "install the module nf_tables of this kernel (CONFIG_NF_TABLES): published ports need it"),
        };
    }

    private static FeatureStatus KernelOfNetworks()
    {
        const string Name = "networks";
        try
        {
            return NetworkProbe.MissingOptions() is { Count: > 0 } missing
                ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"this kernel lacks {string.Join(", ", missing)}",
                    "use a kernel that has it, or install its modules; without, containers run with --network none or host")
                : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, "bridge, veth, macvlan, and what NAT needs of nftables");
        }
        catch (LinuxException e) when (e.Errno is Errno.EPERM or Errno.EACCES)
        {
            return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Unknown, "only root may ask", "run edgehost check as root");
        }
    }

    private static FeatureStatus Pressure() => File.Exists("/proc/pressure/memory")
        ? new FeatureStatus("pressure stall information", FeatureNeed.Recommended, FeatureState.Present, "/proc/pressure")
        : new FeatureStatus("pressure stall information", FeatureNeed.Recommended, FeatureState.Missing, "not there", KernelCommandLine.HowToAdd("psi=1"));

    private static FeatureStatus MemorySize(BoardFacts board) => board.Memory < LeastMemory
        ? new FeatureStatus("memory", FeatureNeed.Required, FeatureState.Missing, $"{Size(board.Memory)}, {Size(LeastMemory)} are needed", "use a bigger board")
        : new FeatureStatus("memory", FeatureNeed.Required, FeatureState.Present, $"{Size(board.Memory)}, {Size(board.AvailableMemory)} available");

    private static IEnumerable<FeatureStatus> Disk(string dataDirectory)
    {
        const string Space = "disk space";
        var path = Nearest(dataDirectory);
        if (!Directory.Exists(path))
        {
            yield return new FeatureStatus(Space, FeatureNeed.Required, FeatureState.Missing, $"{path} is a file", "name a directory by --data-dir");
            yield break;
        }

        var disk = KernelProbe.Space(path);
        var free = $"{Size(disk.FreeBytes)} of {Size(disk.TotalBytes)} free for {dataDirectory}";
        yield return disk switch
        {
            { ReadOnly: true } => new FeatureStatus(Space, FeatureNeed.Required, FeatureState.Missing, $"{path} is mounted read-only",
                "remount it writable, or name another directory by --data-dir"),
            { FreeBytes: < LeastFreeSpace } => new FeatureStatus(Space, FeatureNeed.Required, FeatureState.Missing, free,
                $"free some, or name another directory by --data-dir: {Size(LeastFreeSpace)} is the least"),
            { FreeBytes: < ComfortableFreeSpace } => new FeatureStatus(Space, FeatureNeed.Recommended, FeatureState.Missing, free,
                $"updates need room for the old and the new image: {Size(ComfortableFreeSpace)} is comfortable"),
            _ => new FeatureStatus(Space, FeatureNeed.Required, FeatureState.Present, free),
        };

        const string Inodes = "inodes";
        yield return disk switch
        {
            { TotalInodes: 0 } => new FeatureStatus(Inodes, FeatureNeed.Required, FeatureState.Present, "made as needed"),
            { FreeInodes: < LeastFreeInodes } => new FeatureStatus(Inodes, FeatureNeed.Required, FeatureState.Missing,
                $"{disk.FreeInodes} of {disk.TotalInodes} free for {dataDirectory}", "remove files, or make the file system anew with more inodes (mke2fs -N)"),
            _ => new FeatureStatus(Inodes, FeatureNeed.Required, FeatureState.Present, $"{disk.FreeInodes} of {disk.TotalInodes} free"),
        };

        const string Layers = "file system for layers";
        yield return KernelProbe.WhyNoLayers(path) is { } why
            ? new FeatureStatus(Layers, FeatureNeed.Required, FeatureState.Missing, $"{path} {why}", "name a directory on ext4, xfs, btrfs or f2fs by --data-dir")
            : disk.Type == TmpfsMagic
            ? new FeatureStatus(Layers, FeatureNeed.Recommended, FeatureState.Missing, $"{path} is a tmpfs",
                "everything is lost with the power: name a directory on a disk by --data-dir")
            : new FeatureStatus(Layers, FeatureNeed.Required, FeatureState.Present, path);
    }

    // What is not made yet will be on the file system of the nearest parent that is.
    private static string Nearest(string dataDirectory)
    {
        var path = Path.GetFullPath(dataDirectory);
        while (!Path.Exists(path))
        {
            path = Path.GetDirectoryName(path) ?? "/";
        }

        return path;
    }

    private static FeatureStatus Year()
    {
        var now = DateTime.UtcNow;
        var text = now.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);
        return now.Year is >= FirstSaneYear and <= LastSaneYear
            ? new FeatureStatus("clock", FeatureNeed.Required, FeatureState.Present, text)
            : new FeatureStatus("clock", FeatureNeed.Required, FeatureState.Missing, $"{text} cannot be right: every certificate would be refused",
                "set it (date -s), and give the board a network time service or a clock with a battery");
    }

    private static FeatureStatus Synchronized()
    {
        const string Name = "time service";
        return KernelProbe.ClockIsSynchronized(out var error)
            ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, $"the clock is right within {error.TotalMilliseconds.ToString("0", CultureInfo.InvariantCulture)} ms")
            : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, "nothing keeps the clock right",
                "enable systemd-timesyncd or install chrony");
    }

    private static string Size(long bytes) => bytes switch
    {
        >= 1L << 30 => $"{(bytes / (double)(1L << 30)).ToString("0.#", CultureInfo.InvariantCulture)} GiB",
        _ => $"{(bytes / (double)(1L << 20)).ToString("0.#", CultureInfo.InvariantCulture)} MiB",
    };
}
