namespace EdgeHost.Linux.Launch;

/// <summary>
/// Executes a plan in the child of a clone. The child shares nothing with its parent but it is a copy of a .NET
/// process whose other threads are gone, so nothing here may allocate, throw, touch a static field that is not a
/// constant, or leave this class and <see cref="Libc"/>'s bare calls. A test holds the compiled code to it.
/// </summary>
internal static unsafe partial class LaunchChild
{
    private const int PathMaximum = 4096;
    private const int NameMaximum = 255;

    /// <summary>Runs all steps. Returns only never: the last step executes, a failure ends the process.</summary>
    /// <param name="block">The checked plan.</param>
    /// <param name="slots">The descriptor slots, -1 where empty.</param>
    /// <param name="status">Where a failure is reported as (step, errno); closed by a successful exec.</param>
    /// <param name="hasNoHugePages">Whether its parent goes without huge pages, which it inherited.</param>
    internal static void Run(byte* block, int* slots, int status, bool hasNoHugePages)
    {
        var count = *(int*)(block + 8);
        var steps = (LaunchStep*)(block + LaunchPlan.HeaderSize);
        Call(Nr.umask, 0);
        if (hasNoHugePages)
        {
            Call(Nr.prctl, Libc.PR_SET_THP_DISABLE, 0, 0, 0, 0);
        }

        for (var index = 0; index < count; index++)
        {
            var error = Execute(block, steps + index, slots, &status);
            if (error != 0)
            {
                long report = (uint)index | ((long)error << 32);
                Call(Nr.write, status, (nint)(&report), 8);
                break;
            }
        }

        Call(Nr.exit_group, 255);
    }

    /// <summary>Makes namespaces when a byte comes, and says what came of it; ends when the pipe's other end is closed everywhere.</summary>
    internal static void Wait(int read, int status, nint namespaces)
    {
        // Whoever was born before it and waits in the same way would wait for its end, too, and every reader of a pipe whose
        // writing end was open at the moment of the clone.
        var low = read < status ? read : status;
        var high = read < status ? status : read;
        CloseRange(0, low - 1);
        CloseRange(low + 1, high - 1);
        CloseRange(high + 1, int.MaxValue);
        byte go;
        nint count;
        while ((count = Call(Nr.read, read, (nint)(&go), 1)) == 1 || (count == -1 && LastError() == (int)Errno.EINTR))
        {
            if (count == 1)
            {
                var error = Error(Call(Nr.unshare, namespaces));
                Call(Nr.write, status, (nint)(&error), sizeof(int));
            }
        }

        Call(Nr.exit_group, 0);
    }

    private static void CloseRange(int first, int last)
    {
        if (first <= last)
        {
            Call(Nr.close_range, first, last, 0);
        }
    }

    private static int Execute(byte* block, LaunchStep* step, int* slots, int* status)
    {
        var text1 = step->Text1 < 0 ? null : block + step->Text1;
        var text2 = step->Text2 < 0 ? null : block + step->Text2;
        var text3 = step->Text3 < 0 ? null : block + step->Text3;
        var slot = step->Slot < 0 ? -1 : slots[step->Slot];
        var slot2 = step->Slot2 < 0 ? -1 : slots[step->Slot2];
        switch (step->Op)
        {
            case LaunchOp.JoinCgroup:
                return WriteFile(Libc.AT_FDCWD, text1, Zero(), 1, Libc.O_WRONLY);
            case LaunchOp.NewSession:
                return Error(Call(Nr.setsid));
            case LaunchOp.NewKeyring:
                return NewKeyring();
            case LaunchOp.Unshare:
                return Error(Call(Nr.unshare, (nint)step->A));
            case LaunchOp.JoinNamespace:
                return JoinNamespace(text1, step->A);
            case LaunchOp.Propagation:
                return Error(Call(Nr.mount, 0, (nint)Root(), 0, (nint)step->A, 0));
            case LaunchOp.ChangeDirectory:
                return ChangeDirectory(text1);
            case LaunchOp.OpenHost:
                return Keep(slots, step->Slot, Call(Nr.openat, Libc.AT_FDCWD, (nint)text1, Libc.O_PATH | Libc.O_CLOEXEC));
            case LaunchOp.OpenNamespace:
                return Keep(slots, step->Slot, Call(Nr.openat, Libc.AT_FDCWD, (nint)text1, Libc.O_RDONLY | Libc.O_CLOEXEC));
            case LaunchOp.OpenFifo:
                return Keep(slots, step->Slot, Call(Nr.openat, Libc.AT_FDCWD, (nint)text1, Libc.O_RDWR | Libc.O_CLOEXEC | Libc.O_NOFOLLOW));
            case LaunchOp.OpenInRoot:
                return OpenInRoot(slots, step->Slot, slot2, text1, (int)step->A);
            case LaunchOp.Mount:
                return Mount(text1, text2, text3, (ulong)step->A, slot);
            case LaunchOp.MountByData:
                return MountByData(text1, text2, text3, (ulong)step->A, slot);
            case LaunchOp.Bind:
                return Bind(Libc.AT_FDCWD, text1, 0, step, slot);
            case LaunchOp.BindSlot:
                return Bind(slot2, Empty(), Libc.AT_EMPTY_PATH, step, slot);
            case LaunchOp.MakeNode:
                return MakeNode(slot, text1, step);
            case LaunchOp.MakeLink:
                return Tolerate(Call(Nr.symlinkat, (nint)text2, slot, (nint)text1), Errno.EEXIST);
            case LaunchOp.Pivot:
                return Pivot(slot);
            case LaunchOp.Mask:
                return Mask(slot, slot2, text1);
            case LaunchOp.MakeReadOnly:
                return MakeReadOnly(slot2, text1);
            case LaunchOp.WriteProc:
                return WriteProc(slot2, text1, text2);
            case LaunchOp.WriteHost:
                return WriteFile(Libc.AT_FDCWD, text1, text2, Length(text2), Libc.O_WRONLY);
            case LaunchOp.SetHostname:
                return Error(Call(Nr.sethostname, (nint)text1, Length(text1)));
            case LaunchOp.SetDomainname:
                return Error(Call(Nr.setdomainname, (nint)text1, Length(text1)));
            case LaunchOp.SetMountAttributes:
                return SetMountAttributes(slot, step);
            case LaunchOp.LoopbackUp:
                return LoopbackUp();
            case LaunchOp.SetRlimit:
                return Error(Call(Nr.prlimit64, 0, (nint)step->A, (nint)(&step->B), 0));
            case LaunchOp.LimitBounding:
                return LimitBounding((ulong)step->A);
            case LaunchOp.KeepCapabilities:
                return Error(Call(Nr.prctl, Libc.PR_SET_KEEPCAPS, (nint)step->A));
            case LaunchOp.SetGroups:
                return Error(Call(Nr.setgroups, (nint)step->A, (nint)text1));
            case LaunchOp.SetGid:
                return Error(Call(Nr.setresgid, (nint)step->A, (nint)step->A, (nint)step->A));
            case LaunchOp.SetUid:
                return Error(Call(Nr.setresuid, (nint)step->A, (nint)step->A, (nint)step->A));
            case LaunchOp.SetCapabilities:
                return SetCapabilities((ulong)step->A, (ulong)step->B, (ulong)step->C);
            case LaunchOp.SetAmbient:
                return SetAmbient((ulong)step->A);
            case LaunchOp.NoNewPrivileges:
                return Error(Call(Nr.prctl, Libc.PR_SET_NO_NEW_PRIVS, 1));
            case LaunchOp.LoadSeccomp:
                return LoadSeccomp((ushort)step->A, text1, (uint)step->B);
            case LaunchOp.SetUmask:
                Call(Nr.umask, (nint)step->A);
                return 0;
            case LaunchOp.Duplicate:
                return Error(slot == (int)step->A ? Call(Nr.fcntl, slot, Libc.F_SETFD, 0) : Call(Nr.dup3, slot, (nint)step->A, 0));
            case LaunchOp.WaitForStart:
                return WaitForStart(status, slot, slot2);
            case LaunchOp.CloseFrom:
                return Error(Call(Nr.close_range, (nint)step->A, unchecked((nint)uint.MaxValue), (nint)Libc.CLOSE_RANGE_CLOEXEC));
            case LaunchOp.ResetSignals:
                return ResetSignals();
            case LaunchOp.Execute:
                return ExecuteProgram(block, text1, text2, (int)step->B, text3, (int)step->C);
            case LaunchOp.NotDumpable:
                return Error(Call(Nr.prctl, Libc.PR_SET_DUMPABLE, 0));
            case LaunchOp.CloseOthers:
                return CloseOthers(slot, *status);
            case LaunchOp.JoinProcess:
                slots[step->Slot] = -1;
                return JoinProcess(slot, step->A);
            case LaunchOp.CloneAgain:
                return CloneAgain(status);
            case LaunchOp.EndWithParent:
                return EndWithParent((nint)step->A);
            case LaunchOp.MakeUserNamespace:
                // The launcher has made it.
                return slot < 0 ? (int)Errno.EBADF : 0;
            case LaunchOp.BindMapped:
                return BindMapped(text1, slot2, step, slot);
            case LaunchOp.JoinUserNamespace:
                return Error(Call(Nr.setns, slot, (nint)Libc.CLONE_NEWUSER));
            case LaunchOp.MakeAs:
                return MakeAs((nint)step->A, (nint)step->B);
            case LaunchOp.GivePipe:
                return GivePipe(slot, (nint)step->A, (nint)step->B);
            case LaunchOp.EnterProcess:
                return Error(Call(Nr.setns, slot, (nint)step->A));
            case LaunchOp.OpenInit:
                return OpenInit(slots, step->Slot, text1, (nint)step->A);
            case LaunchOp.ExecuteWithInit:
                return ExecuteWithInit(block, slot, text1, text2, (int)step->B, text3, (int)step->C);
            case LaunchOp.OpenTerminal:
                return OpenTerminal((nint)step->A, (nint)step->B, step->C);
            case LaunchOp.ControlTerminal:
                return Error(Call(Nr.ioctl, 0, Libc.TIOCSCTTY, 0));
            default:
                return (int)Errno.ENOSYS;
        }
    }

    private static nint Call(nint number, nint a = 0, nint b = 0, nint c = 0, nint d = 0, nint e = 0) =>
        Libc.bare_syscall(number, a, b, c, d, e, 0);

    private static int LastError() => *Libc.errno_location();

    private static int Error(nint result) => result == -1 ? LastError() : 0;

    private static int Tolerate(nint result, Errno errno) => result == -1 && LastError() != (int)errno ? LastError() : 0;

    // Read-only data of the program: constant addresses, no allocation.
    private static byte* Constant(ReadOnlySpan<byte> text) =>
        (byte*)System.Runtime.CompilerServices.Unsafe.AsPointer(ref System.Runtime.InteropServices.MemoryMarshal.GetReference(text));

    private static byte* Empty() => Constant("\0"u8);

    private static byte* Root() => Constant("/\0"u8);

    private static byte* Dot() => Constant(".\0"u8);

    private static byte* Zero() => Constant("0\0"u8);

    private static int Length(byte* text)
    {
        var length = 0;
        while (text[length] != 0)
        {
            length++;
        }

        return length;
    }

    private static int Keep(int* slots, int slot, nint descriptor)
    {
        if (descriptor == -1)
        {
            return LastError();
        }

        if (slot < 0)
        {
            return (int)Errno.EBADF;
        }

        if (slots[slot] >= 0)
        {
            Call(Nr.close, slots[slot]);
        }

        slots[slot] = (int)descriptor;
        return 0;
    }
}
