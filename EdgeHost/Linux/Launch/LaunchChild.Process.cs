namespace EdgeHost.Linux.Launch;

/// <summary>The last steps: what the program will be allowed, then the program.</summary>
internal static unsafe partial class LaunchChild
{
    private static int LimitBounding(ulong keep)
    {
        for (var capability = 0; capability < 64; capability++)
        {
            if ((keep >> capability & 1) == 0 && Call(Nr.prctl, Libc.PR_CAPBSET_DROP, capability) == -1)
            {
                // Beyond the last capability that this kernel knows.
                return LastError() == (int)Errno.EINVAL ? 0 : LastError();
            }
        }

        return 0;
    }

    private static int SetCapabilities(ulong effective, ulong permitted, ulong inheritable)
    {
        const int Version3 = 0x20080522;
        var header = stackalloc int[2];
        header[0] = Version3;
        header[1] = 0;
        var data = stackalloc uint[6];
        data[0] = (uint)effective;
        data[1] = (uint)permitted;
        data[2] = (uint)inheritable;
        data[3] = (uint)(effective >> 32);
        data[4] = (uint)(permitted >> 32);
        data[5] = (uint)(inheritable >> 32);
        return Error(Call(Nr.capset, (nint)header, (nint)data));
    }

    private static int SetAmbient(ulong capabilities)
    {
        var error = Error(Call(Nr.prctl, Libc.PR_CAP_AMBIENT, Libc.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
        for (var capability = 0; error == 0 && capability < 64; capability++)
        {
            if ((capabilities >> capability & 1) != 0)
            {
                error = Error(Call(Nr.prctl, Libc.PR_CAP_AMBIENT, Libc.PR_CAP_AMBIENT_RAISE, capability, 0, 0));
            }
        }

        return error;
    }

    // A change of the user for files takes the capabilities over files along, but for SECBIT_NO_SETUID_FIXUP; that goes
    // away with the join of a user namespace.
    private static int MakeAs(nint user, nint group)
    {
        var error = Error(Call(Nr.prctl, Libc.PR_SET_SECUREBITS, Libc.SECBIT_NO_SETUID_FIXUP));
        if (error != 0)
        {
            return error;
        }

        // Neither says whether it has worked; to ask for what cannot be tells who it is now.
        Call(Nr.setfsgid, group);
        Call(Nr.setfsuid, user);
        return (int)Call(Nr.setfsgid, -1) == (int)group && (int)Call(Nr.setfsuid, -1) == (int)user ? 0 : (int)Errno.EPERM;
    }

    private static int GivePipe(int descriptor, nint user, nint group) =>
        Call(Nr.fcntl, descriptor, Libc.F_GETPIPE_SZ) == -1 ? 0 : Error(Call(Nr.fchown, descriptor, user, group));

    private static int LoadSeccomp(ushort count, byte* filter, uint flags)
    {
        var program = stackalloc nint[2];
        program[0] = count;
        program[1] = (nint)filter;
        return Error(Call(Nr.seccomp, (nint)Libc.SECCOMP_SET_MODE_FILTER, (nint)flags, (nint)program));
    }

    private static int WaitForStart(int* status, int report, int fifo)
    {
        Call(Nr.close, *status);
        *status = report;
        byte go;
        nint count;
        do
        {
            count = Call(Nr.read, fifo, (nint)(&go), 1);
        }
        while (count == -1 && LastError() == (int)Errno.EINTR);

        var error = count == 1 ? 0 : count == 0 ? (int)Errno.EPIPE : LastError();
        Call(Nr.close, fifo);
        return error;
    }

    // Ignored signals stay ignored across CLONE_CLEAR_SIGHAND, and .NET ignores SIGPIPE.
    private static int ResetSignals()
    {
        var action = stackalloc ulong[4];
        action[0] = action[1] = action[2] = action[3] = 0;
        for (var signal = 1; signal <= 64; signal++)
        {
            if (signal is not 9 and not 19)
            {
                Call(Nr.rt_sigaction, signal, (nint)action, 0, 8);
            }
        }

        ulong none = 0;
        return Error(Call(Nr.rt_sigprocmask, Libc.SIG_SETMASK, (nint)(&none), 0, 8));
    }

    private static int ExecuteProgram(byte* block, byte* candidates, byte* arguments, int argumentCount, byte* variables, int variableCount)
    {
        var argv = Pointers(block, arguments, argumentCount);
        var envp = Pointers(block, variables, variableCount);
        var denied = false;
        for (var path = candidates; *path != 0; path += Length(path) + 1)
        {
            Call(Nr.execve, (nint)path, (nint)argv, (nint)envp);
            var error = LastError();
            denied |= error == (int)Errno.EACCES;
            if (error is not ((int)Errno.ENOENT or (int)Errno.ENOTDIR or (int)Errno.EACCES))
            {
                return error;
            }
        }

        return denied ? (int)Errno.EACCES : (int)Errno.ENOENT;
    }

    private static nint* Pointers(byte* block, byte* table, int count)
    {
        var offsets = (long*)table;
        for (var i = 0; i < count; i++)
        {
            offsets[i] += (nint)block;
        }

        offsets[count] = 0;
        return (nint*)offsets;
    }
}
