namespace EdgeHost.Linux;

/// <summary>
/// Transparent huge pages (prctl(2), PR_SET_THP_DISABLE). Where every process has them, as with Debian's kernels, the first
/// touch of a thread's stack may take two megabytes for what needs twenty kilobytes.
/// </summary>
public static class HugePages
{
    /// <summary>Whether this process goes without; what it launches for others does not.</summary>
    public static bool AreRefused { get; private set; }

    /// <summary>This process and what it executes go without from now on. For processes that stay.</summary>
    // A kernel that has none says that it does not know them.
    public static void Refuse() => AreRefused = Libc.prctl(Libc.PR_SET_THP_DISABLE, 1) == 0;
}
