namespace EdgeHost.Linux;

/// <summary>How much is in a tree of files.</summary>
public static class TreeSize
{
    private const int MaximumRemembered = 1_000_000;

    /// <summary>The bytes in all files of a tree; one with several names counts once, no symbolic link is followed.</summary>
    /// <param name="directory">On the host; what vanishes while it is counted does not count.</param>
    /// <param name="cancel">Ends it in the middle.</param>
    public static long Of(string directory, CancellationToken cancel)
    {
        using var root = TryOpen(directory);
        if (root is null)
        {
            return 0;
        }

        var waiting = new Stack<byte[]>([[]]);
        var named = new HashSet<ulong>();
        var sum = 0L;
        while (waiting.TryPop(out var path))
        {
            using var each = root.TryOpenDirectoryToRead(path, out _);
            if (each is null)
            {
                continue;
            }

            foreach (var (name, _) in RootedDirectory.List(each))
            {
                cancel.ThrowIfCancellationRequested();
                if (RootedDirectory.Stat(each, name) is not { } entry)
                {
                    continue;
                }

                if (entry.IsDirectory)
                {
                    waiting.Push(path.Length == 0 ? name : [.. path, (byte)'/', .. name]);
                }
                else if (entry.Links < 2 || named.Count == MaximumRemembered || named.Add(entry.Inode))
                {
                    sum += entry.Size;
                }
            }
        }

        return sum;
    }

    private static RootedDirectory? TryOpen(string directory)
    {
        try
        {
            return RootedDirectory.Open(directory);
        }
        catch (LinuxException e) when (e.Errno == Errno.ENOENT)
        {
            return null;
        }
    }
}
