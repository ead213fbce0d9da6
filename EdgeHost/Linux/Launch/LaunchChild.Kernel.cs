namespace EdgeHost.Linux.Launch;

/// <summary>Keyring, namespaces, network interface, and files of the kernel.</summary>
internal static unsafe partial class LaunchChild
{
    // A kernel without keyrings, or a filter around us, must not keep a container from starting: the keyring that
    // it would inherit is then not to be reached from inside either.
    private static int NewKeyring()
    {
        if (Call(Nr.keyctl, Libc.KEYCTL_JOIN_SESSION_KEYRING, 0) == -1)
        {
            var error = LastError();
            return error is (int)Errno.ENOSYS or (int)Errno.EPERM or (int)Errno.EDQUOT ? 0 : error;
        }

        return 0;
    }

    private static int JoinNamespace(byte* path, long kind)
    {
        var fd = Call(Nr.openat, Libc.AT_FDCWD, (nint)path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (fd == -1)
        {
            return LastError();
        }

        var error = Error(Call(Nr.setns, fd, (nint)kind));
        Call(Nr.close, fd);
        return error;
    }

    private static int LoopbackUp()
    {
        const int AF_INET = 2, SOCK_DGRAM = 2, SOCK_CLOEXEC = 0x80000, SIOCSIFFLAGS = 0x8914, IFF_UP = 1;
        var socket = Call(Nr.socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (socket == -1)
        {
            return LastError();
        }

        var request = stackalloc byte[40];
        for (var i = 0; i < 40; i++)
        {
            request[i] = 0;
        }

        request[0] = (byte)'l';
        request[1] = (byte)'o';
        *(short*)(request + 16) = IFF_UP;
        var error = Error(Call(Nr.ioctl, socket, SIOCSIFFLAGS, (nint)request));
        Call(Nr.close, socket);
        return error;
    }

    private static int WriteFile(int directory, byte* path, byte* content, int length, int flags)
    {
        var fd = Call(Nr.openat, directory, (nint)path, flags | Libc.O_CLOEXEC);
        if (fd == -1)
        {
            return LastError();
        }

        var error = Write(fd, content, length);
        Call(Nr.close, fd);
        return error;
    }

    // A file that only looks like procfs (CVE-2019-16884) is not written.
    private static int WriteProc(int root, byte* path, byte* content)
    {
        var proc = Resolve(root, Constant("/proc\0"u8), (ulong)(Libc.O_PATH | Libc.O_DIRECTORY));
        if (proc == -1)
        {
            return LastError();
        }

        // Whatever was mounted or linked there, it is a file of this procfs that is written, at this name of it.
        Libc.open_how how;
        how.flags = (ulong)(Libc.O_WRONLY | Libc.O_CLOEXEC);
        how.mode = 0;
        how.resolve = Libc.RESOLVE_BENEATH | Libc.RESOLVE_NO_XDEV | Libc.RESOLVE_NO_SYMLINKS | Libc.RESOLVE_NO_MAGICLINKS;
        var statistics = stackalloc nint[32];
        var error = Error(Call(Nr.fstatfs, proc, (nint)statistics));
        if (error == 0 && statistics[0] != Libc.PROC_SUPER_MAGIC)
        {
            error = (int)Errno.EXDEV;
        }

        if (error == 0)
        {
            var fd = Call(Nr.openat2, proc, (nint)path, (nint)(&how), sizeof(Libc.open_how));
            error = fd == -1 ? LastError() : Write(fd, content, Length(content));
            if (fd != -1)
            {
                Call(Nr.close, fd);
            }
        }

        Call(Nr.close, proc);
        return error;
    }

    // One write is one request to a file of the kernel: a part of it was not what was asked.
    private static int Write(nint fd, byte* content, int length)
    {
        var count = Call(Nr.write, fd, (nint)content, length);
        return count == length ? 0 : count == -1 ? LastError() : (int)Errno.EIO;
    }
}
