namespace EdgeHost.Linux;

/// <summary>What is left in a file system for a process without privileges.</summary>
/// <param name="FreeBytes">Bytes.</param>
/// <param name="TotalBytes">Bytes in all.</param>
/// <param name="FreeFiles">Inodes; <see cref="long.MaxValue"/> where the file system does not count them.</param>
public readonly record struct DiskSpace(long FreeBytes, long TotalBytes, long FreeFiles)
{
    /// <summary>Asks the file system of a directory.</summary>
    /// <exception cref="LinuxException">It cannot be asked.</exception>
    public static unsafe DiskSpace Of(Fd directory)
    {
        Libc.statfs_t result;
        Libc.Check(Libc.fstatfs(directory.Value, &result), "ask for free space");
        var files = result.f_files == 0 ? long.MaxValue : (long)result.f_ffree;
        return new DiskSpace((long)result.f_bavail * result.f_bsize, (long)result.f_blocks * result.f_bsize, files);
    }

    /// <summary>As <see cref="Of(Fd)"/>; where less is free than is wanted, once what is being removed has gone.</summary>
    /// <exception cref="LinuxException">It cannot be asked.</exception>
    public static DiskSpace Of(Fd directory, long wanted)
    {
        var space = Of(directory);
        if (space.FreeBytes >= wanted)
        {
            return space;
        }

        Afterwards.Done.Wait();
        return Of(directory);
    }
}
