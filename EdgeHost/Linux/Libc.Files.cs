namespace EdgeHost.Linux;

/// <summary>Files, directories and their attributes.</summary>
internal static unsafe partial class Libc
{
    internal const int O_RDONLY = 0;
    internal const int O_WRONLY = 1;
    internal const int O_RDWR = 2;
    internal const int O_CREAT = 0x40;
    internal const int O_EXCL = 0x80;
    internal const int O_NOCTTY = 0x100;
    internal const int O_TRUNC = 0x200;
    internal const int O_APPEND = 0x400;
    internal const int O_NONBLOCK = 0x800;
    internal const int O_CLOEXEC = 0x80000;
    internal const int O_PATH = 0x200000;
    internal const uint RENAME_NOREPLACE = 1;
    internal const int TIOCGWINSZ = 0x5413;
    internal const int TIOCSWINSZ = 0x5414;
    internal const int TIOCSCTTY = 0x540E;
    internal const int TIOCSPTLCK = 0x40045431;
    internal const int TIOCGPTPEER = 0x5441;
    internal const nint DEVPTS_SUPER_MAGIC = 0x1cd1;

    // These two differ between x86 and ARM (asm/fcntl.h).
    internal static int O_DIRECTORY => ArmFlags ? 0x4000 : 0x10000;
    internal static int O_NOFOLLOW => ArmFlags ? 0x8000 : 0x20000;

    internal const ulong RESOLVE_NO_XDEV = 0x01;
    internal const ulong RESOLVE_NO_MAGICLINKS = 0x02;
    internal const ulong RESOLVE_NO_SYMLINKS = 0x04;
    internal const ulong RESOLVE_BENEATH = 0x08;
    internal const ulong RESOLVE_IN_ROOT = 0x10;

    internal const uint S_IFMT = 0xF000;
    internal const uint S_IFSOCK = 0xC000;
    internal const uint S_IFLNK = 0xA000;
    internal const uint S_IFREG = 0x8000;
    internal const uint S_IFBLK = 0x6000;
    internal const uint S_IFDIR = 0x4000;
    internal const uint S_IFCHR = 0x2000;
    internal const uint S_IFIFO = 0x1000;

    private static bool ArmFlags => System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture
        != System.Runtime.InteropServices.Architecture.X64;

    internal struct open_how
    {
        internal ulong flags;
        internal ulong mode;
        internal ulong resolve;
    }

    internal static int openat(int dir, byte* path, int flags, uint mode = 0) =>
        (int)syscall(Nr.openat, dir, (nint)path, flags, (nint)mode);

    internal static int openat2(int dir, byte* path, open_how* how) =>
        (int)syscall(Nr.openat2, dir, (nint)path, (nint)how, sizeof(open_how));

    internal static int close(int fd) => (int)syscall(Nr.close, fd);

    internal static nint read(int fd, void* buffer, nint count) => syscall(Nr.read, fd, (nint)buffer, count);

    internal static nint write(int fd, void* buffer, nint count) => syscall(Nr.write, fd, (nint)buffer, count);

    internal static int fsync(int fd) => (int)syscall(Nr.fsync, fd);

    internal static int fdatasync(int fd) => (int)syscall(Nr.fdatasync, fd);

    internal static int syncfs(int fd) => (int)syscall(Nr.syncfs, fd);

    internal static int renameat2(int oldDir, byte* oldPath, int newDir, byte* newPath, uint flags) =>
        (int)syscall(Nr.renameat2, oldDir, (nint)oldPath, newDir, (nint)newPath, (nint)flags);

    internal static int mkdirat(int dir, byte* path, uint mode) => (int)syscall(Nr.mkdirat, dir, (nint)path, (nint)mode);

    internal static int mknodat(int dir, byte* path, uint mode, ulong device) =>
        (int)syscall(Nr.mknodat, dir, (nint)path, (nint)mode, (nint)device);

    internal static int symlinkat(byte* target, int dir, byte* path) =>
        (int)syscall(Nr.symlinkat, (nint)target, dir, (nint)path);

    internal static int linkat(int oldDir, byte* oldPath, int newDir, byte* newPath, int flags) =>
        (int)syscall(Nr.linkat, oldDir, (nint)oldPath, newDir, (nint)newPath, flags);

    internal static int unlinkat(int dir, byte* path, int flags) => (int)syscall(Nr.unlinkat, dir, (nint)path, flags);

    internal static nint readlinkat(int dir, byte* path, byte* buffer, nint size) =>
        syscall(Nr.readlinkat, dir, (nint)path, (nint)buffer, size);

    internal static int fchownat(int dir, byte* path, uint uid, uint gid, int flags) =>
        (int)syscall(Nr.fchownat, dir, (nint)path, (nint)uid, (nint)gid, flags);

    internal static int fchmod(int fd, uint mode) => (int)syscall(Nr.fchmod, fd, (nint)mode);

    internal static int flock(int fd, int operation) => (int)syscall(Nr.flock, fd, operation);

    internal static int pipe2(int* fds, int flags) => (int)syscall(Nr.pipe2, (nint)fds, flags);

    internal static int fcntl(int fd, int command, nint argument) => (int)syscall(Nr.fcntl, fd, command, argument);

    /// <summary>The columns of a terminal, 0 if it does not know; null if it is none.</summary>
    internal static int? TerminalColumns(Fd descriptor)
    {
        // struct winsize: rows, columns, and both in pixels.
        var size = stackalloc ushort[4];
        return syscall(Nr.ioctl, descriptor.Value, TIOCGWINSZ, (nint)size) == 0 ? size[1] : null;
    }
}
