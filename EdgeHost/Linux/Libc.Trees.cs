using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>What it takes to write and remove trees of files: attributes, times, listings, space.</summary>
internal static unsafe partial class Libc
{
    internal const int AT_SYMLINK_FOLLOW = 0x400;
    internal const int STATX_BASIC_STATS = 0x7ff;
    internal const int SYNC_FILE_RANGE_WRITE = 2;

    [StructLayout(LayoutKind.Sequential)]
    internal struct timespec64
    {
        internal long tv_sec;
        internal long tv_nsec;
    }

    /// <summary>struct statx of linux/stat.h, as far as it is read; 256 bytes in all.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct statx_t
    {
        [FieldOffset(0)]
        internal uint stx_mask;
        [FieldOffset(16)]
        internal uint stx_nlink;
        [FieldOffset(20)]
        internal uint stx_uid;
        [FieldOffset(24)]
        internal uint stx_gid;
        [FieldOffset(28)]
        internal ushort stx_mode;
        [FieldOffset(32)]
        internal ulong stx_ino;
        [FieldOffset(40)]
        internal ulong stx_size;
        [FieldOffset(48)]
        internal ulong stx_blocks;
        [FieldOffset(112)]
        internal long stx_mtime_sec;
        [FieldOffset(120)]
        internal uint stx_mtime_nsec;
        [FieldOffset(128)]
        internal uint stx_rdev_major;
        [FieldOffset(132)]
        internal uint stx_rdev_minor;
        [FieldOffset(136)]
        internal uint stx_dev_major;
        [FieldOffset(140)]
        internal uint stx_dev_minor;
    }

    /// <summary>struct statfs of 64-bit kernels (asm-generic/statfs.h); 120 bytes.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 120)]
    internal struct statfs_t
    {
        [FieldOffset(8)]
        internal long f_bsize;
        [FieldOffset(16)]
        internal ulong f_blocks;
        [FieldOffset(24)]
        internal ulong f_bfree;
        [FieldOffset(32)]
        internal ulong f_bavail;
        [FieldOffset(40)]
        internal ulong f_files;
        [FieldOffset(48)]
        internal ulong f_ffree;
    }

    private static int Nr_sync_file_range => RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 277 : 84;

    internal static int statx(int dir, byte* path, int flags, uint mask, statx_t* result) =>
        (int)syscall(Nr.statx, dir, (nint)path, flags, (nint)mask, (nint)result);

    internal static int fstatfs(int fd, statfs_t* result) => (int)syscall(Nr.fstatfs, fd, (nint)result);

    internal static int utimensat(int dir, byte* path, timespec64* times, int flags) =>
        (int)syscall(Nr.utimensat, dir, (nint)path, (nint)times, flags);

    internal static int fsetxattr(int fd, byte* name, void* value, nint size, int flags) =>
        (int)syscall(Nr.fsetxattr, fd, (nint)name, (nint)value, size, flags);

    internal static nint flistxattr(int fd, byte* list, nint size) => syscall(Nr.flistxattr, fd, (nint)list, size);

    internal static nint fgetxattr(int fd, byte* name, void* value, nint size) =>
        syscall(Nr.fgetxattr, fd, (nint)name, (nint)value, size);

    internal static int fchmodat(int dir, byte* path, uint mode) => (int)syscall(Nr.fchmodat, dir, (nint)path, (nint)mode);

    internal static nint getdents64(int fd, byte* buffer, nint size) => syscall(Nr.getdents64, fd, (nint)buffer, size);

    internal static int sync_file_range(int fd, long offset, long count, uint flags) =>
        (int)syscall(Nr_sync_file_range, fd, (nint)offset, (nint)count, (nint)flags);
}
