namespace EdgeHost.Linux.Launch;

/// <summary>Mounts, and what hides or protects parts of them.</summary>
internal static unsafe partial class LaunchChild
{
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

    // Only what is in no namespace yet can be mapped (mount_setattr(2)).
    private static int BindMapped(byte* path, int users, LaunchStep* step, int target)
    {
        var recursive = step->C != 0 ? (uint)Libc.AT_RECURSIVE : 0;
        var mount = Call(Nr.open_tree, Libc.AT_FDCWD, (nint)path, (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC | recursive));
        if (mount == -1)
        {
            return LastError();
        }

        var error = SetAttributes((int)mount, (ulong)step->A | Libc.MOUNT_ATTR_IDMAP, (ulong)step->B, 0, recursive, users);
        if (error != 0)
        {
            Call(Nr.close, mount);
            return error;
        }

        return MoveOnto(mount, target);
    }

    // mount(2) marks "all beneath as well" in the propagation itself, mount_setattr(2) in its flags.
    private static int SetMountAttributes(int mount, LaunchStep* step)
    {
        var propagation = (ulong)step->C;
        var flags = (propagation & Libc.MS_REC) != 0 ? (uint)Libc.AT_RECURSIVE : 0;
        return SetAttributes(mount, (ulong)step->A, (ulong)step->B, propagation & ~(ulong)Libc.MS_REC, flags);
    }

    private static int SetAttributes(int mount, ulong set, ulong clear, ulong propagation, uint flags, int users = 0)
    {
        Libc.mount_attr attributes;
        attributes.attr_set = set;
        attributes.attr_clr = clear;
        attributes.propagation = propagation;
        attributes.userns_fd = (ulong)users;
        return Error(Call(
            Nr.mount_setattr, mount, (nint)Empty(), (nint)((uint)Libc.AT_EMPTY_PATH | flags), (nint)(&attributes), sizeof(Libc.mount_attr)));
    }

    private static int MoveOnto(nint mount, int target)
    {
        var error = Error(Call(
            Nr.move_mount, mount, (nint)Empty(), target, (nint)Empty(), (nint)(Libc.MOVE_MOUNT_F_EMPTY_PATH | Libc.MOVE_MOUNT_T_EMPTY_PATH)));
        Call(Nr.close, mount);

        // Where mount(2) says ENOTDIR, because only one of the two is a directory, move_mount(2) says EINVAL; nothing
        // else about what is mounted here is invalid.
        return error == (int)Errno.EINVAL ? (int)Errno.ENOTDIR : error;
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
    // needed in an image that may be read-only. The first step of the plan made all mounts private or slaves: the host
    // does not see that the old root goes. Marking "." once more would hit the new root, on which the old one is stacked.
    private static int Pivot(int root)
    {
        if (Call(Nr.fchdir, root) == -1
            || Call(Nr.pivot_root, (nint)Dot(), (nint)Dot()) == -1
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
}
