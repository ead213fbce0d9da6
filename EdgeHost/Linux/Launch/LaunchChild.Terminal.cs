namespace EdgeHost.Linux.Launch;

/// <summary>A terminal of the container's own.</summary>
internal static unsafe partial class LaunchChild
{
    // The container may have put anything at these names: what is opened must be in a devpts, and its other side is asked
    // of the kernel, not of a path (CVE-2025-52565 is about such a path).
    private static int OpenTerminal(nint user, nint group, long size)
    {
        var directory = Call(Nr.openat, Libc.AT_FDCWD, (nint)Constant("/dev/pts\0"u8), Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        if (directory == -1)
        {
            return LastError();
        }

        var statistics = stackalloc nint[32];
        var error = Error(Call(Nr.fstatfs, directory, (nint)statistics));
        if (error == 0 && statistics[0] != Libc.DEVPTS_SUPER_MAGIC)
        {
            error = (int)Errno.EXDEV;
        }

        nint master = -1, slave = -1;
        if (error == 0)
        {
            master = Call(Nr.openat, directory, (nint)Constant("ptmx\0"u8), Libc.O_RDWR | Libc.O_NOCTTY | Libc.O_NOFOLLOW | Libc.O_CLOEXEC);
            error = Error(master);
        }

        Call(Nr.close, directory);
        if (error == 0)
        {
            var unlocked = 0;
            error = Error(Call(Nr.ioctl, master, Libc.TIOCSPTLCK, (nint)(&unlocked)));
        }

        if (error == 0)
        {
            slave = Call(Nr.ioctl, master, Libc.TIOCGPTPEER, Libc.O_RDWR | Libc.O_NOCTTY | Libc.O_CLOEXEC);
            error = Error(slave);
        }

        if (error == 0)
        {
            error = Error(Call(Nr.fchown, slave, user, group));
        }

        if (error == 0 && size != 0)
        {
            var lines = stackalloc ushort[4];
            lines[0] = (ushort)size;
            lines[1] = (ushort)(size >> 16);
            lines[2] = lines[3] = 0;
            error = Error(Call(Nr.ioctl, master, Libc.TIOCSWINSZ, (nint)lines));
        }

        if (error == 0)
        {
            error = SendDescriptor(0, (int)master);
        }

        for (var descriptor = 0; error == 0 && descriptor <= 2; descriptor++)
        {
            error = Error(Call(Nr.dup3, slave, descriptor, 0));
        }

        if (slave != -1)
        {
            Call(Nr.close, slave);
        }

        if (master != -1)
        {
            Call(Nr.close, master);
        }

        return error;
    }

    private static int SendDescriptor(int socket, int descriptor)
    {
        byte nothing = 0;
        Libc.iovec part;
        part.iov_base = &nothing;
        part.iov_len = 1;

        // struct cmsghdr: length, level, type, then the descriptor.
        var control = stackalloc int[6];
        *(nint*)control = 20;
        control[2] = Libc.SOL_SOCKET;
        control[3] = Libc.SCM_RIGHTS;
        control[4] = descriptor;
        control[5] = 0;
        Libc.msghdr message;
        message.msg_name = null;
        message.msg_namelen = 0;
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = 24;
        message.msg_flags = 0;
        return Error(Call(Nr.sendmsg, socket, (nint)(&message), Libc.MSG_NOSIGNAL));
    }
}
