namespace EdgeHost.Linux.Launch;

/// <summary>Coming into a container that runs already.</summary>
internal static unsafe partial class LaunchChild
{
    private static int CloseOthers(int kept, int status)
    {
        var first = 3;
        var error = 0;
        var low = kept < status ? kept : status;
        var high = kept < status ? status : kept;
        if (low >= first)
        {
            error = Close(first, low - 1);
            first = low + 1;
        }

        if (error == 0 && high >= first)
        {
            error = Close(first, high - 1);
            first = high + 1;
        }

        return error != 0 ? error : Error(Call(Nr.close_range, first, unchecked((nint)uint.MaxValue), 0));
    }

    private static int Close(int first, int last) => first > last ? 0 : Error(Call(Nr.close_range, first, last, 0));

    // By the pidfd of one of its processes all are joined at once, or none (Linux 5.8).
    private static int JoinProcess(int pidfd, long namespaces)
    {
        var error = Error(Call(Nr.setns, pidfd, (nint)namespaces));
        Call(Nr.close, pidfd);
        return error;
    }

    // A pid namespace takes in only children of whoever joined it. The child becomes a child of our parent, which is to
    // reap it and must know its pid for that: until it was told the child does not go on, and when we die before that it
    // ends, still in our process group, by which the parent finds it.
    private static int CloneAgain(int* status)
    {
        var pipe = stackalloc int[2];
        if (Call(Nr.pipe2, (nint)pipe, Libc.O_CLOEXEC) == -1)
        {
            return LastError();
        }

        Libc.clone_args arguments = default;
        arguments.flags = Libc.CLONE_PARENT;
        var pid = Call(Nr.clone3, (nint)(&arguments), sizeof(Libc.clone_args));
        if (pid == -1)
        {
            return LastError();
        }

        if (pid > 0)
        {
            var report = LaunchPlan.Entered | ((long)pid << 32);
            if (Call(Nr.write, *status, (nint)(&report), 8) == 8)
            {
                Call(Nr.write, pipe[1], (nint)Zero(), 1);
            }

            Call(Nr.exit_group, 0);
        }

        Call(Nr.close, pipe[1]);
        byte go;
        nint count;
        do
        {
            count = Call(Nr.read, pipe[0], (nint)(&go), 1);
        }
        while (count == -1 && LastError() == (int)Errno.EINTR);

        var error = count == 1 ? 0 : count == 0 ? (int)Errno.EPIPE : LastError();
        Call(Nr.close, pipe[0]);
        return error;
    }

    // After the last change of credentials, which would take it away again. A parent outside of our pid namespace is
    // seen as 0; anything else has inherited us from one that has ended already.
    private static int EndWithParent(nint signal)
    {
        var error = Error(Call(Nr.prctl, Libc.PR_SET_PDEATHSIG, signal));
        return error != 0 ? error : Call(Nr.getppid) == 0 ? 0 : (int)Errno.ESRCH;
    }
}
