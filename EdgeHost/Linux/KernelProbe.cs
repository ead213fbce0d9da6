using System.Buffers.Binary;

namespace EdgeHost.Linux;

/// <summary>
/// Questions to the kernel that change nothing: each asks for a thing in a way that can only be refused for a reason,
/// so that the reason tells whether the thing is there. The answer <see cref="Errno.None"/> means that it is.
/// </summary>
public static unsafe class KernelProbe
{
    /// <summary>Whether openat2 is there (Linux 5.6).</summary>
    public static Errno Openat2()
    {
        var how = new Libc.open_how { flags = (ulong)(Libc.O_PATH | Libc.O_CLOEXEC), resolve = Libc.RESOLVE_IN_ROOT };
        fixed (byte* root = "/\0"u8)
        {
            return Opened(Libc.openat2(Libc.AT_FDCWD, root, &how));
        }
    }

    /// <summary>Whether clone3 is there (Linux 5.3): a size of zero is refused with EINVAL, an unknown call with ENOSYS.</summary>
    public static Errno Clone3() => Known(Libc.syscall(Nr.clone3, 0, 0));

    /// <summary>Whether pidfd_open is there (Linux 5.3).</summary>
    public static Errno PidfdOpen() => Opened(Libc.syscall(Nr.pidfd_open, Environment.ProcessId, 0));

    /// <summary>Whether mount_setattr is there (Linux 5.12).</summary>
    public static Errno MountSetattr() => Known(Libc.syscall(Nr.mount_setattr, -1, 0, 0, 0, 0));

    /// <summary>Whether a file system is there, loading its module when there is one (needs CAP_SYS_ADMIN; Linux 5.2).</summary>
    /// <param name="type">The type, as in <c>overlay</c>.</param>
    /// <returns>None; ENODEV when the kernel has none of this type; EPERM when this process may not ask.</returns>
    public static Errno FileSystem(string type)
    {
        const int FSOPEN_CLOEXEC = 1;
        fixed (byte* name = Libc.Z(type))
        {
            return Opened(Libc.syscall(Nr.fsopen, (nint)name, FSOPEN_CLOEXEC));
        }
    }

    /// <summary>Whether a seccomp filter may give an action (Linux 4.14).</summary>
    /// <param name="action">The action, as in SECCOMP_RET_ERRNO.</param>
    /// <returns>None; EOPNOTSUPP for an unknown action; ENOSYS or EINVAL without seccomp filters.</returns>
    public static Errno SeccompAction(uint action)
    {
        const int SECCOMP_GET_ACTION_AVAIL = 2;
        return Libc.syscall(Nr.seccomp, SECCOMP_GET_ACTION_AVAIL, 0, (nint)(&action)) == -1 ? Libc.LastErrno : Errno.None;
    }

    /// <summary>
    /// Whether nf_tables answers, loading its module when there is one: asks for the generation of the ruleset
    /// (NFT_MSG_GETGEN; linux/netfilter/nf_tables.h), which needs CAP_NET_ADMIN.
    /// </summary>
    /// <returns>None; EINVAL or EPROTONOSUPPORT when the kernel lacks it; EPERM when this process may not ask.</returns>
    public static Errno NfTables()
    {
        const int AF_NETLINK = 16;
        const int SOCK_RAW = 3;
        const int SOCK_CLOEXEC = 0x80000;
        const int NETLINK_NETFILTER = 12;
        const int NFNL_SUBSYS_NFTABLES = 10;
        const int NFT_MSG_GETGEN = 16;
        const int NLM_F_REQUEST = 1;
        const int NLMSG_ERROR = 2;

        var opened = Libc.syscall(Nr.socket, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
        if (opened == -1)
        {
            return Libc.LastErrno;
        }

        using var socket = new Fd((int)opened);

        // nlmsghdr (16 bytes) and nfgenmsg (4 bytes); netlink is in the byte order of the machine, little-endian here.
        Span<byte> request = stackalloc byte[20];
        request.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(request, request.Length);
        BinaryPrimitives.WriteInt16LittleEndian(request[4..], (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETGEN);
        BinaryPrimitives.WriteInt16LittleEndian(request[6..], NLM_F_REQUEST);
        Span<byte> answer = stackalloc byte[512];
        fixed (byte* sent = request, received = answer)
        {
            if (Libc.syscall(Nr.sendto, socket.Value, (nint)sent, request.Length) == -1)
            {
                return Libc.LastErrno;
            }

            // The kernel answers before sendto returns, so this waits for nothing.
            var length = Libc.syscall(Nr.recvfrom, socket.Value, (nint)received, answer.Length);
            if (length == -1)
            {
                return Libc.LastErrno;
            }

            return length >= 20 && BinaryPrimitives.ReadInt16LittleEndian(answer[4..]) == NLMSG_ERROR
                ? (Errno)(-BinaryPrimitives.ReadInt32LittleEndian(answer[16..]))
                : Errno.None;
        }
    }

    /// <summary>Whether a time service keeps the clock right (adjtimex(2), STA_UNSYNC).</summary>
    /// <param name="maximumError">The kernel's bound on the error; grows while nothing corrects the clock.</param>
    /// <exception cref="LinuxException">The kernel does not answer.</exception>
    public static bool ClockIsSynchronized(out TimeSpan maximumError)
    {
        const int STA_UNSYNC = 0x40;
        const int TIME_ERROR = 5;

        // struct timex of a 64-bit kernel is 208 bytes: maxerror (µs) is the fourth word, status the sixth.
        var timex = stackalloc long[26];
        new Span<long>(timex, 26).Clear();
        var state = Libc.Check(Libc.syscall(Nr.adjtimex, (nint)timex), "ask the kernel for the state of the clock");
        maximumError = TimeSpan.FromMicroseconds(timex[3]);
        return state != TIME_ERROR && ((int)timex[5] & STA_UNSYNC) == 0;
    }

    /// <summary>What the file system beneath a path has left for unprivileged users (statfs(2)).</summary>
    /// <param name="path">Anything on that file system.</param>
    /// <exception cref="LinuxException">The path is not there or may not be reached.</exception>
    public static FileSystemSpace Space(string path)
    {
        // struct statfs of a 64-bit kernel: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize, flags.
        const long ST_RDONLY = 1;
        var statfs = stackalloc long[15];
        fixed (byte* name = Libc.Z(path))
        {
            Libc.Check(Libc.syscall(Nr.statfs, (nint)name, (nint)statfs), $"ask for the free space at {path}");
        }

        var blockSize = statfs[9] != 0 ? statfs[9] : statfs[1];
        return new FileSystemSpace(
            (uint)statfs[0], statfs[2] * blockSize, statfs[4] * blockSize, statfs[5], statfs[6], (statfs[10] & ST_RDONLY) != 0);
    }

    /// <summary>Why the layers of images beneath a path cannot be put together for containers; null when nothing is known against it.</summary>
    /// <param name="path">A directory.</param>
    /// <exception cref="LinuxException">The path is not there or may not be reached.</exception>
    public static string? WhyNoLayers(string path)
    {
        const uint OVERLAYFS_SUPER_MAGIC = 0x794c7630, NFS_SUPER_MAGIC = 0x6969, MSDOS_SUPER_MAGIC = 0x4d44;
        return Space(path).Type switch
        {
            OVERLAYFS_SUPER_MAGIC => "is on an overlayfs, which the kernel does not take as the upper layer of another",
            NFS_SUPER_MAGIC => "is on NFS, which the kernel does not take as the upper layer of an overlayfs",
            MSDOS_SUPER_MAGIC => "is on FAT, which has no owners and no links",
            _ => null,
        };
    }

    // Closes what was opened to find out.
    private static Errno Opened(nint fd)
    {
        if (fd == -1)
        {
            return Libc.LastErrno;
        }

        _ = Libc.close((int)fd);
        return Errno.None;
    }

    private static Errno Known(nint result) => result == -1 && Libc.LastErrno == Errno.ENOSYS ? Errno.ENOSYS : Errno.None;
}

/// <summary>The room on a file system.</summary>
/// <param name="Type">Its magic number (linux/magic.h).</param>
/// <param name="TotalBytes">Its size.</param>
/// <param name="FreeBytes">What an unprivileged user may still write.</param>
/// <param name="TotalInodes">How many files it can hold; 0 when it makes them as needed (btrfs).</param>
/// <param name="FreeInodes">How many more files it can hold; meaningless when the total is 0.</param>
/// <param name="ReadOnly">Whether it is mounted read-only.</param>
public readonly record struct FileSystemSpace(
    uint Type, long TotalBytes, long FreeBytes, long TotalInodes, long FreeInodes, bool ReadOnly);
