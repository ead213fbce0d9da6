namespace EdgeHost.Linux.Launch;

/// <summary>Names beneath the container's root, which may be hostile: resolved by the kernel as if it were / already.</summary>
internal static unsafe partial class LaunchChild
{
    /// <summary>As many as the kernel follows (path_resolution(7)).</summary>
    private const int LinksMaximum = 40;

    private static nint Resolve(int root, byte* path, ulong flags)
    {
        Libc.open_how how;
        how.flags = flags | (ulong)Libc.O_CLOEXEC;
        how.mode = 0;
        how.resolve = Libc.RESOLVE_IN_ROOT | Libc.RESOLVE_NO_MAGICLINKS;

        // EAGAIN: a ".." was met while something was mounted or renamed anywhere on the board (openat2(2)), as in another
        // container's start. The kernel asks to try again.
        nint fd;
        do
        {
            fd = Call(Nr.openat2, root, (nint)path, (nint)(&how), sizeof(Libc.open_how));
        }
        while (fd == -1 && LastError() is (int)Errno.EAGAIN or (int)Errno.EINTR);

        return fd;
    }

    // Descriptors of the host are open while this is done: no name in the container may lead through one of them.
    private static int ChangeDirectory(byte* path)
    {
        Libc.open_how how;
        how.flags = (ulong)(Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        how.mode = 0;
        how.resolve = Libc.RESOLVE_NO_MAGICLINKS;
        var fd = Call(Nr.openat2, Libc.AT_FDCWD, (nint)path, (nint)(&how), sizeof(Libc.open_how));
        if (fd == -1)
        {
            return LastError();
        }

        var error = Error(Call(Nr.fchdir, fd));
        Call(Nr.close, fd);
        return error;
    }

    private static int OpenInRoot(int* slots, int slot, int root, byte* path, int create)
    {
        var fd = Resolve(root, path, Libc.O_PATH);
        if (fd != -1 || create == 0 || LastError() != (int)Errno.ENOENT)
        {
            return Keep(slots, slot, fd);
        }

        // As a rule all but the last component is there, and no link in its place.
        if (MakeLast(root, path, create == 2) == 0 && (fd = Resolve(root, path, Libc.O_PATH)) != -1)
        {
            return Keep(slots, slot, fd);
        }

        var error = MakePath(root, path, create == 2, LinksMaximum);
        return error != 0 ? error : Keep(slots, slot, Resolve(root, path, Libc.O_PATH));
    }

    private static int MakeLast(int root, byte* path, bool file)
    {
        var end = Length(path);
        if (end >= PathMaximum)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        while (end > 0 && path[end - 1] == (byte)'/')
        {
            end--;
        }

        var start = end;
        while (start > 0 && path[start - 1] != (byte)'/')
        {
            start--;
        }

        var prefix = stackalloc byte[PathMaximum];
        Copy(prefix, path, end);
        return start == end ? 0 : MakeComponent(root, prefix, start, end, file, LinksMaximum);
    }

    // Each prefix is resolved again from the root, so that no component can be swapped for a link to elsewhere. A link to
    // what is not there yet is followed: images have /etc/resolv.conf as a link into a /run that they do not fill.
    private static int MakePath(int root, byte* path, bool file, int links)
    {
        var length = Length(path);
        if (length >= PathMaximum)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        var prefix = stackalloc byte[PathMaximum];
        Copy(prefix, path, length);
        var start = 0;
        while (true)
        {
            while (start < length && path[start] == (byte)'/')
            {
                start++;
            }

            if (start == length)
            {
                return 0;
            }

            var end = start;
            while (end < length && path[end] != (byte)'/')
            {
                end++;
            }

            prefix[end] = 0;
            var here = Resolve(root, prefix, Libc.O_PATH);
            var error = here != -1 ? 0 : LastError();
            if (here != -1)
            {
                Call(Nr.close, here);
            }
            else if (error == (int)Errno.ENOENT)
            {
                error = MakeComponent(root, prefix, start, end, file && IsLast(path, end, length), links);
            }

            if (error != 0)
            {
                return error;
            }

            prefix[end] = path[end];
            start = end;
        }
    }

    // The component from start to end of a path of which all before it is there. One that somebody made meanwhile stays.
    private static int MakeComponent(int root, byte* path, int start, int end, bool file, int links)
    {
        if (end - start > NameMaximum)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        var name = stackalloc byte[NameMaximum + 1];
        Copy(name, path + start, end - start);
        var first = path[start];
        path[start] = 0;
        var parent = Resolve(root, start == 0 ? Root() : path, (ulong)(Libc.O_PATH | Libc.O_DIRECTORY));
        path[start] = first;
        if (parent == -1)
        {
            return LastError();
        }

        var error = file
            ? Error(Call(Nr.mknodat, parent, (nint)name, (nint)(Libc.S_IFREG | 0x1A4), 0))
            : Error(Call(Nr.mkdirat, parent, (nint)name, 0x1ED));
        if (error == (int)Errno.EEXIST)
        {
            error = MakeTarget(root, path, start, (int)parent, name, file, links);
        }

        Call(Nr.close, parent);
        return error;
    }

    // What a link in the parent, which is the path up to start, leads to. What is no link was made by somebody meanwhile.
    private static int MakeTarget(int root, byte* path, int start, int parent, byte* name, bool file, int links)
    {
        var target = stackalloc byte[PathMaximum];
        var length = (int)Call(Nr.readlinkat, parent, (nint)name, (nint)target, PathMaximum);
        if (length == -1)
        {
            return LastError() == (int)Errno.EINVAL ? 0 : LastError();
        }

        if (links == 0)
        {
            return (int)Errno.ELOOP;
        }

        // From the parent, unless it begins at the root.
        var before = target[0] == (byte)'/' ? 0 : start;
        if (before + length >= PathMaximum)
        {
            return (int)Errno.ENAMETOOLONG;
        }

        var whole = stackalloc byte[PathMaximum];
        Copy(whole, path, before);
        Copy(whole + before, target, length);
        return MakePath(root, whole, file, links - 1);
    }

    private static void Copy(byte* target, byte* source, int length)
    {
        for (var i = 0; i < length; i++)
        {
            target[i] = source[i];
        }

        target[length] = 0;
    }

    private static bool IsLast(byte* path, int end, int length)
    {
        while (end < length && path[end] == (byte)'/')
        {
            end++;
        }

        return end == length;
    }
}
