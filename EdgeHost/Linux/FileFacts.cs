namespace EdgeHost.Linux;

/// <summary>What the kernel knows of a name (statx, symbolic links not followed).</summary>
/// <param name="Mode">Type and permission bits.</param>
/// <param name="Uid">The owner.</param>
/// <param name="Gid">The group.</param>
/// <param name="Size">In bytes.</param>
/// <param name="Links">How many names it has.</param>
/// <param name="DeviceMajor">Of a device node.</param>
/// <param name="DeviceMinor">Of a device node.</param>
/// <param name="ModifiedSeconds">Last change of its content, seconds since 1970.</param>
/// <param name="ModifiedNanoseconds">And nanoseconds.</param>
/// <param name="Inode">The number that its names share.</param>
public readonly record struct FileFacts(
    uint Mode,
    uint Uid,
    uint Gid,
    long Size,
    uint Links,
    uint DeviceMajor,
    uint DeviceMinor,
    long ModifiedSeconds,
    uint ModifiedNanoseconds,
    ulong Inode)
{
    /// <summary>Whether it is a directory.</summary>
    public bool IsDirectory => (Mode & Libc.S_IFMT) == Libc.S_IFDIR;

    /// <summary>Whether it is a regular file.</summary>
    public bool IsFile => (Mode & Libc.S_IFMT) == Libc.S_IFREG;

    /// <summary>Whether it is a symbolic link.</summary>
    public bool IsSymbolicLink => (Mode & Libc.S_IFMT) == Libc.S_IFLNK;

    /// <summary>Whether it is a fifo.</summary>
    public bool IsFifo => (Mode & Libc.S_IFMT) == Libc.S_IFIFO;

    /// <summary>Whether it is the character device 0/0, which overlayfs takes for "removed here".</summary>
    public bool IsWhiteout => (Mode & Libc.S_IFMT) == Libc.S_IFCHR && DeviceMajor == 0 && DeviceMinor == 0;
}
