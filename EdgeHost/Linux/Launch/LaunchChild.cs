namespace EdgeHost.Linux.Launch;

/// <summary>
/// Executes a plan in the child of a clone. The child shares nothing with its parent but it is a copy of a .NET
/// process whose other threads are gone, so nothing here may allocate, throw, touch a static field that is not a
/// constant, or leave this file and <see cref="Libc"/>'s bare calls. A test holds the compiled code to it.
/// </summary>
internal static unsafe class LaunchChild
{
    private const int PathMaximum = 4096;

    /// <summary>Runs all steps. Returns only never: the last step executes, a failure ends the process.</summary>
    /// <param name="block">The checked plan.</param>
    /// <param name="slots">The descriptor slots, -1 where empty.</param>
    /// <param name="status">Where a failure is reported as (step, errno); closed by a successful exec.</param>
    internal static void Run(byte* block, int* slots, int status)
    {
        var count = *(int*)(block + 8);
        var steps = (LaunchStep*)(block + LaunchPlan.HeaderSize);
        Call(Nr.umask, 0);
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
                return Error(Call(Nr.chdir, (nint)text1));
            case LaunchOp.OpenHost:
                return Keep(slots, step->Slot, Call(Nr.openat, Libc.AT_FDCWD, (nint)text1, Libc.O_PATH | Libc.O_CLOEXEC));
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
                return SetAttributes(slot, (ulong)step->A, (ulong)step->B, (ulong)step->C, 0);
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

    private static nint Resolve(int root, byte* path, ulong flags)
    {
        Libc.open_how how;
        how.flags = flags | (ulong)Libc.O_CLOEXEC;
        how.mode = 0;
        how.resolve = Libc.RESOLVE_IN_ROOT | Libc.RESOLVE_NO_MAGICLINKS;
        return Call(Nr.openat2, root, (nint)path, (nint)(&how), sizeof(Libc.open_how));
    }

    private static int OpenInRoot(int* slots, int slot, int root, byte* path, int create)
    {
        var fd = Resolve(root, path, Libc.O_PATH);
        if (fd != -1 || create == 0 || LastError() != (int)Errno.ENOENT)
        {
            return Keep(slots, slot, fd);
        }

        var length = Length(path);
        if (length >= PathMaximum)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        // Each prefix is resolved again from the root, so that no component can be swapped for a link to elsewhere.
        var prefix = stackalloc byte[PathMaximum];
        var name = stackalloc byte[256];
        var start = 0;
        while (start < length)
        {
            while (start < length && path[start] == (byte)'/')
            {
                start++;
            }

            var end = start;
            while (end < length && path[end] != (byte)'/')
            {
                end++;
            }

            if (end == start)
            {
                break;
            }

            for (var i = 0; i < end; i++)
            {
                prefix[i] = path[i];
            }

            prefix[end] = 0;
            var here = Resolve(root, prefix, Libc.O_PATH);
            if (here == -1)
            {
                if (LastError() != (int)Errno.ENOENT)
                {
                    return LastError();
                }

                prefix[start] = 0;
                var parent = Resolve(root, start == 0 ? Root() : prefix, (ulong)(Libc.O_PATH | Libc.O_DIRECTORY));
                if (parent == -1)
                {
                    return LastError();
                }

                if (end - start > 255)
                {
                    return (int)Errno.ENAMETOOLONG;
                }

                for (var i = start; i < end; i++)
                {
                    name[i - start] = path[i];
                }

                name[end - start] = 0;
                var last = IsLast(path, end, length);
                var error = last && create == 2
                    ? Tolerate(Call(Nr.mknodat, parent, (nint)name, (nint)(Libc.S_IFREG | 0x1A4), 0), Errno.EEXIST)
                    : Tolerate(Call(Nr.mkdirat, parent, (nint)name, 0x1ED), Errno.EEXIST);
                Call(Nr.close, parent);
                if (error != 0)
                {
                    return error;
                }
            }
            else
            {
                Call(Nr.close, here);
            }

            start = end;
        }

        return Keep(slots, slot, Resolve(root, path, Libc.O_PATH));
    }

    private static bool IsLast(byte* path, int end, int length)
    {
        while (end < length && path[end] == (byte)'/')
        {
            end++;
        }

        return end == length;
    }

    private static int MoveOnto(nint mount, int target)
    {
        var error = Error(Call(
            Nr.move_mount, mount, (nint)Empty(), target, (nint)Empty(), (nint)(Libc.MOVE_MOUNT_F_EMPTY_PATH | Libc.MOVE_MOUNT_T_EMPTY_PATH)));
        Call(Nr.close, mount);
        return error;
    }

    private static int Mount(byte* type, byte* source, byte* options, ulong attributes, int target)
    {
        var context = Call(Nr.fsopen, (nint)type, (nint)Libc.FSOPEN_CLOEXEC);
        if (context == -1)
        {
            return LastError();
        }

        var error = 0;
        if (source != null && source[0] != 0)
        {
            error = Error(Call(Nr.fsconfig, context, (nint)Libc.FSCONFIG_SET_STRING, (nint)Constant("source\0"u8), (nint)source, 0));
        }

        for (var option = options; error == 0 && option != null && *option != 0; option += Length(option) + 1)
        {
            error = SetOption(context, option);
        }

        if (error == 0)
        {
            error = Error(Call(Nr.fsconfig, context, (nint)Libc.FSCONFIG_CMD_CREATE, 0, 0, 0));
        }

        if (error == 0)
        {
            var mount = Call(Nr.fsmount, context, (nint)Libc.FSMOUNT_CLOEXEC, (nint)attributes);
            error = mount == -1 ? LastError() : MoveOnto(mount, target);
        }

        Call(Nr.close, context);
        return error;
    }

    private static int SetOption(nint context, byte* option)
    {
        var equals = 0;
        while (option[equals] is not 0 and not (byte)'=')
        {
            equals++;
        }

        if (option[equals] == 0)
        {
            return Error(Call(Nr.fsconfig, context, (nint)Libc.FSCONFIG_SET_FLAG, (nint)option, 0, 0));
        }

        var key = stackalloc byte[256];
        if (equals > 255)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        for (var i = 0; i < equals; i++)
        {
            key[i] = option[i];
        }

        key[equals] = 0;
        return Error(Call(Nr.fsconfig, context, (nint)Libc.FSCONFIG_SET_STRING, (nint)key, (nint)(option + equals + 1), 0));
    }

    // fsconfig(2) takes values of up to 255 bytes, too few for the layers of an image, so overlayfs goes this way
    // until kernels with lowerdir+ (6.5) are everywhere.
    private static int MountByData(byte* type, byte* source, byte* data, ulong flags, int target)
    {
        var path = stackalloc byte[32];
        Descriptor(path, target);
        return Error(Call(Nr.mount, (nint)source, (nint)path, (nint)type, (nint)flags, (nint)data));
    }

    private static void Descriptor(byte* path, int number)
    {
        var prefix = Constant("/proc/self/fd/"u8);
        var at = 14;
        for (var i = 0; i < at; i++)
        {
            path[i] = prefix[i];
        }

        var divisor = 1;
        while (number / divisor >= 10)
        {
            divisor *= 10;
        }

        while (divisor > 0)
        {
            path[at++] = (byte)('0' + (number / divisor % 10));
            divisor /= 10;
        }

        path[at] = 0;
    }

    private static int Bind(int directory, byte* path, uint flags, LaunchStep* step, int target)
    {
        var recursive = step->C != 0 ? (uint)Libc.AT_RECURSIVE : 0;
        var mount = Call(Nr.open_tree, directory, (nint)path, (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | flags | recursive));
        if (mount == -1)
        {
            return LastError();
        }

        if (step->A != 0 || step->B != 0)
        {
            var error = SetAttributes((int)mount, (ulong)step->A, (ulong)step->B, 0, recursive);
            if (error != 0)
            {
                Call(Nr.close, mount);
                return error;
            }
        }

        return MoveOnto(mount, target);
    }

    private static int SetAttributes(int mount, ulong set, ulong clear, ulong propagation, uint flags)
    {
        Libc.mount_attr attributes;
        attributes.attr_set = set;
        attributes.attr_clr = clear;
        attributes.propagation = propagation;
        attributes.userns_fd = 0;
        return Error(Call(
            Nr.mount_setattr, mount, (nint)Empty(), (nint)((uint)Libc.AT_EMPTY_PATH | flags), (nint)(&attributes), sizeof(Libc.mount_attr)));
    }

    private static int MakeNode(int directory, byte* name, LaunchStep* step)
    {
        var error = Error(Call(Nr.mknodat, directory, (nint)name, (nint)step->A, (nint)step->B));
        if (error != 0 || step->C == 0)
        {
            return error;
        }

        return Error(Call(
            Nr.fchownat, directory, (nint)name, (nint)(step->C & 0xFFFFFFFF), (nint)(step->C >> 32), Libc.AT_SYMLINK_NOFOLLOW));
    }

    // pivot_root(".", ".") stacks the old root on the new one (pivot_root(2), NOTES), so no directory for it is
    // needed in an image that may be read-only.
    private static int Pivot(int root)
    {
        if (Call(Nr.fchdir, root) == -1
            || Call(Nr.pivot_root, (nint)Dot(), (nint)Dot()) == -1
            || Call(Nr.mount, 0, (nint)Dot(), 0, (nint)(Libc.MS_REC | Libc.MS_PRIVATE), 0) == -1
            || Call(Nr.umount2, (nint)Dot(), Libc.MNT_DETACH) == -1)
        {
            return LastError();
        }

        return Error(Call(Nr.chdir, (nint)Root()));
    }

    private static int Mask(int device, int root, byte* path)
    {
        var target = Resolve(root, path, Libc.O_PATH);
        if (target == -1)
        {
            return LastError() is (int)Errno.ENOENT or (int)Errno.ENOTDIR ? 0 : LastError();
        }

        // Only a directory can be opened as one: the kind is known without a stat structure per architecture.
        var directory = Call(Nr.openat, target, (nint)Dot(), Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        int error;
        if (directory != -1)
        {
            Call(Nr.close, directory);
            error = Mount(Constant("tmpfs\0"u8), Constant("tmpfs\0"u8), Constant("size=0\0nr_inodes=1\0mode=555\0\0"u8), Libc.MOUNT_ATTR_RDONLY | Libc.MOUNT_ATTR_NOSUID | Libc.MOUNT_ATTR_NODEV | Libc.MOUNT_ATTR_NOEXEC, (int)target);
        }
        else
        {
            var mount = Call(Nr.open_tree, device, (nint)Empty(), (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | (uint)Libc.AT_EMPTY_PATH));
            error = mount == -1 ? LastError() : MoveOnto(mount, (int)target);
        }

        Call(Nr.close, target);
        return error;
    }

    private static int MakeReadOnly(int root, byte* path)
    {
        var target = Resolve(root, path, Libc.O_PATH);
        if (target == -1)
        {
            return LastError() is (int)Errno.ENOENT or (int)Errno.ENOTDIR ? 0 : LastError();
        }

        var mount = Call(Nr.open_tree, target, (nint)Empty(), (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | (uint)(Libc.AT_EMPTY_PATH | Libc.AT_RECURSIVE)));
        var error = mount == -1 ? LastError() : SetAttributes((int)mount, Libc.MOUNT_ATTR_RDONLY, 0, 0, Libc.AT_RECURSIVE);
        if (error == 0)
        {
            error = MoveOnto(mount, (int)target);
        }

        Call(Nr.close, target);
        return error;
    }

    private static int WriteFile(int directory, byte* path, byte* content, int length, int flags)
    {
        var fd = Call(Nr.openat, directory, (nint)path, flags | Libc.O_CLOEXEC);
        if (fd == -1)
        {
            return LastError();
        }

        var error = Call(Nr.write, fd, (nint)content, length) == length ? 0 : LastError();
        Call(Nr.close, fd);
        return error;
    }

    // A file that only looks like procfs (CVE-2019-16884) is not written.
    private static int WriteProc(int root, byte* path, byte* content)
    {
        var fd = Resolve(root, path, Libc.O_WRONLY);
        if (fd == -1)
        {
            return LastError();
        }

        var statistics = stackalloc nint[32];
        var error = Error(Call(Nr.fstatfs, fd, (nint)statistics));
        if (error == 0 && statistics[0] != Libc.PROC_SUPER_MAGIC)
        {
            error = (int)Errno.EXDEV;
        }

        var length = Length(content);
        if (error == 0 && Call(Nr.write, fd, (nint)content, length) != length)
        {
            error = LastError();
        }

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
