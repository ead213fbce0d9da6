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
    /// <summary>The file system that it is in: with the inode it names one file.</summary>
    public ulong Device { get; init; }

    /// <summary>Type and permission bits as Go has them (io/fs.FileMode), which Docker's API speaks.</summary>
    public uint GoMode => (Mode & 0x1FF)
        | ((Mode & Libc.S_IFMT) switch
        {
            Libc.S_IFDIR => 1u << 31,
            Libc.S_IFLNK => 1u << 27,
            Libc.S_IFBLK => 1u << 26,
            Libc.S_IFCHR => (1u << 26) | (1u << 21),
            Libc.S_IFIFO => 1u << 25,
            Libc.S_IFSOCK => 1u << 24,
            _ => 0u,
        })
        | ((Mode & 0x800) != 0 ? 1u << 23 : 0)
        | ((Mode & 0x400) != 0 ? 1u << 22 : 0)
        | ((Mode & 0x200) != 0 ? 1u << 20 : 0);

    /// <summary>Whether it is a directory.</summary>
    public bool IsDirectory => (Mode & Libc.S_IFMT) == Libc.S_IFDIR;

    /// <summary>Whether it is a regular file.</summary>
    public bool IsFile => (Mode & Libc.S_IFMT) == Libc.S_IFREG;

    /// <summary>Whether it is a symbolic link.</summary>
    public bool IsSymbolicLink => (Mode & Libc.S_IFMT) == Libc.S_IFLNK;

    /// <summary>Whether it is a fifo.</summary>
    public bool IsFifo => (Mode & Libc.S_IFMT) == Libc.S_IFIFO;

    /// <summary>Whether it is a character or block device.</summary>
    public bool IsDevice => (Mode & Libc.S_IFMT) is Libc.S_IFCHR or Libc.S_IFBLK;

    /// <summary>Whether it is a block device.</summary>
    public bool IsBlockDevice => (Mode & Libc.S_IFMT) == Libc.S_IFBLK;

    /// <summary>Whether it is a socket.</summary>
    public bool IsSocket => (Mode & Libc.S_IFMT) == Libc.S_IFSOCK;

    /// <summary>Whether it is the character device 0/0, which overlayfs takes for "removed here".</summary>
    public bool IsWhiteout => (Mode & Libc.S_IFMT) == Libc.S_IFCHR && DeviceMajor == 0 && DeviceMinor == 0;
}
