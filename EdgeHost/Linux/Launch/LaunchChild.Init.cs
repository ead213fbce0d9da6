namespace EdgeHost.Linux.Launch;

/// <summary>A first process of ours in front of the program.</summary>
internal static unsafe partial class LaunchChild
{
    private const int AT_EACCESS = 0x200;
    private const int X_OK = 1;
    private const uint MFD_EXEC = 0x10;

    // Sealed, so that no process of the container changes what is the first of it.
    private static int OpenInit(int* slots, int slot, byte* program, nint length)
    {
        var name = Constant("edgehost-init\0"u8);
        var memory = Call(Nr.memfd_create, (nint)name, (nint)(Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING | MFD_EXEC));
        if (memory == -1 && LastError() == (int)Errno.EINVAL)
        {
            // Before Linux 6.3 all memory can be executed.
            memory = Call(Nr.memfd_create, (nint)name, (nint)(Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING));
        }

        var error = Keep(slots, slot, memory);
        if (error == 0)
        {
            error = Write(memory, program, (int)length);
        }

        return error != 0 ? error : Error(Call(
            Nr.fcntl, memory, Libc.F_ADD_SEALS, Libc.F_SEAL_SEAL | Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_WRITE));
    }

    // What cannot be executed is said as it is without an init, as far as that can be known before.
    private static int ExecuteWithInit(byte* block, int init, byte* candidates, byte* arguments, int argumentCount, byte* variables, int variableCount)
    {
        var argv = Pointers(block, arguments, argumentCount);
        var envp = Pointers(block, variables, variableCount);
        var denied = false;
        for (var path = candidates; *path != 0; path += Length(path) + 1)
        {
            if (Call(Nr.faccessat2, Libc.AT_FDCWD, (nint)path, X_OK, AT_EACCESS) == 0 && !IsDirectory(path))
            {
                argv[1] = (nint)path;
                Call(Nr.execveat, init, (nint)Empty(), (nint)argv, (nint)envp, Libc.AT_EMPTY_PATH);
                return LastError();
            }

            denied |= LastError() is not ((int)Errno.ENOENT or (int)Errno.ENOTDIR);
        }

        return denied ? (int)Errno.EACCES : (int)Errno.ENOENT;
    }

    private static bool IsDirectory(byte* path)
    {
        var directory = Call(Nr.openat, Libc.AT_FDCWD, (nint)path, Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        if (directory == -1)
        {
            return false;
        }

        Call(Nr.close, directory);
        *Libc.errno_location() = (int)Errno.EACCES;
        return true;
    }
}
