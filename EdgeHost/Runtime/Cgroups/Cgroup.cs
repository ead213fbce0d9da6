using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>
/// The cgroup of one container, in v2 or in each controller of v1. Everything is read back from the kernel after it
/// is written; the kernel's files are the only truth.
/// </summary>
public abstract class Cgroup
{
    /// <summary>A cgroup by its path.</summary>
    /// <param name="path">Absolute within the hierarchy, as in <c>/edgehost/4f2a…</c>.</param>
    protected Cgroup(string path) => CgroupPath = path;

    /// <summary>The path within the hierarchy.</summary>
    public string CgroupPath { get; }

    /// <summary>The directory of v2 that a process can be born in; null for v1.</summary>
    public abstract string? BirthDirectory { get; }

    /// <summary>The files of v1 into which a process writes 0 to join; none for v2.</summary>
    public abstract IReadOnlyList<string> JoinFiles { get; }

    /// <summary>What was accepted although it cannot be seen to be held, for the user's eyes.</summary>
    public string? Remark { get; protected set; }

    /// <summary>Names the cgroup of this machine's version.</summary>
    /// <param name="mounts">Where the hierarchies are.</param>
    /// <param name="path">Absolute within the hierarchy; <c>..</c> is refused.</param>
    /// <param name="divided">
    /// Whether it is made with a place of its own for the container's processes, as far as the hierarchy allows: what
    /// comes in later lives beside it, and of the two only the first is killed as a whole for want of memory.
    /// </param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: not such a path.</exception>
    public static Cgroup At(CgroupMounts mounts, string path, bool divided = false)
    {
        if (!path.StartsWith('/') || path.Length == 1 || path.Split('/').Any(part => part is ".." or ".") || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"cgroup path \"{path}\" must be absolute, without . and .., and not the root");
        }

        return mounts.Unified is null ? new CgroupV1(mounts, path.TrimEnd('/')) : new CgroupV2(mounts.Unified, path.TrimEnd('/'), divided);
    }

    /// <summary>Lets a process go on that is held, by whichever of the cgroups around it.</summary>
    /// <returns>Whether it was held.</returns>
    internal static bool Thaw(CgroupMounts mounts, int pid)
    {
        var thawed = false;
        for (var cgroup = Of(mounts, pid); cgroup is { IsFrozen: true }; cgroup = cgroup.Parent(mounts))
        {
            cgroup.Thaw();
            thawed = true;
        }

        return thawed;
    }

    private Cgroup? Parent(CgroupMounts mounts) => CgroupPath.LastIndexOf('/') is > 0 and var end ? At(mounts, CgroupPath[..end]) : null;

    // By what can hold it still: the freezer of v1, or v2.
    private static Cgroup? Of(CgroupMounts mounts, int pid)
    {
        foreach (var line in (TryRead($"/proc/{pid}/cgroup") ?? string.Empty).Split('\n'))
        {
            // cgroups(7): hierarchy, controllers, path.
            var fields = line.Split(':', 3);
            if (fields.Length == 3 && fields[2].Length > 1 && (mounts.Unified is null ? fields[1].Split(',').Contains("freezer") : fields[1].Length == 0))
            {
                return At(mounts, fields[2]);
            }
        }

        return null;
    }

    /// <summary>Makes the cgroup, empty and without limits. One that holds processes is refused; an empty one is made anew.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/> or <see cref="ErrorKind.Infeasible"/>.</exception>
    public abstract void Create();

    /// <summary>Makes the cgroup where it is missing and leaves what is in it: for a parent of others.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: controllers cannot be handed on.</exception>
    public abstract void Ensure();

    /// <summary>Writes limits and reads each back.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: the kernel cannot hold one of them.</exception>
    public abstract void Apply(CgroupLimits limits);

    /// <summary>Takes away those limits that are not null, whatever they are now.</summary>
    public abstract void Lift(CgroupLimits limits);

    /// <summary>Asks the kernel to hold every process in it still; it may take a moment, and on v1 a second call.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: this kernel cannot.</exception>
    public abstract void Freeze();

    /// <summary>Lets them go on. Not frozen, or not there: no error.</summary>
    public abstract void Thaw();

    /// <summary>Whether all of them are held.</summary>
    public abstract bool IsFrozen { get; }

    /// <summary>Kills every process in it and beneath it. Ends when the kernel has taken the signals, not when all are gone.</summary>
    public abstract void Kill();

    /// <summary>Removes it and everything beneath it. Not there: no error.</summary>
    /// <returns>False while processes are still in it.</returns>
    public abstract bool TryDelete();

    /// <summary>
    /// Makes, where it is missing, a place beneath it for processes that come into the container later: within all of its
    /// limits, and with nothing of its own but that what is in there can be ended apart from the rest.
    /// </summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: no hierarchy is there in which it could be.</exception>
    public abstract CgroupEntry MakeEntry(string name);

    /// <summary>Where programs live that somebody starts in the container: beside its own processes when it is divided, else among them.</summary>
    public abstract CgroupEntry MakeExecEntry();

    /// <summary>Kills what is in the directory of an entry, if that is still there.</summary>
    /// <returns>Whether anything was in it, which is gone a moment later.</returns>
    internal static bool KillEntry(string directory)
    {
        if (CgroupFile.IsEmpty(directory + "/cgroup.procs"))
        {
            return false;
        }

        if (File.Exists(directory + "/cgroup.kill"))
        {
            WriteWhereThere(directory + "/cgroup.kill", "1", "end what a check left");
        }
        else
        {
            KillBeneath(directory);
        }

        return true;
    }

    /// <summary>Whether it exists.</summary>
    public abstract bool Exists { get; }

    /// <summary>The pids in it and beneath it.</summary>
    public abstract IReadOnlyList<int> ReadPids();

    /// <summary>The kernel's counters.</summary>
    public abstract CgroupStats ReadStats();

    /// <summary>How often the kernel killed the container's own processes for want of memory; when it is not divided, any process in it.</summary>
    public abstract long ReadOomKills();

    /// <summary>The same of what <see cref="MakeExecEntry"/> holds.</summary>
    public abstract long ReadExecOomKills();

    /// <summary>Whether the two are told apart.</summary>
    public abstract bool IsDivided { get; }

    /// <summary>The page size, to which the kernel rounds memory limits down.</summary>
    protected static long PageSize => Environment.SystemPageSize;

    /// <summary>Whether the board has swap in use.</summary>
    protected static bool BoardHasSwap => File.ReadLines("/proc/swaps").Skip(1).Any();

    /// <summary>Reads a cgroup file without its line end; null when it is not there.</summary>
    protected static string? TryRead(string file) => CgroupFile.TryRead(file);

    /// <summary>Reads the number in a cgroup file; null when it is not there or says <c>max</c>.</summary>
    protected static long? TryReadNumber(string file) =>
        TryRead(file) is { } text && long.TryParse(text.AsSpan().TrimEnd(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) ? value : null;

    /// <summary>Writes a limit and compares what the kernel holds then.</summary>
    /// <param name="file">The file.</param>
    /// <param name="value">What to write.</param>
    /// <param name="name">The limit in the user's words.</param>
    /// <param name="holds">Whether what was read back is what was meant; null compares the text.</param>
    protected static void WriteAndVerify(string file, string value, string name, Func<string, bool>? holds = null)
    {
        if (!File.Exists(file))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"{name} {value}: this kernel has no {Path.GetFileName(file)}; enable the controller (see edgehost check) or take the limit away");
        }

        CgroupFile.Write(file, value, name);
        var held = TryRead(file) ?? "nothing";
        if (!(holds?.Invoke(held) ?? held == value))
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"{name} {value}: the kernel holds {held} instead ({file})");
        }
    }

    /// <summary>Writes to a file of a cgroup that may be gone, or go in this moment with its last process.</summary>
    protected static void WriteWhereThere(string file, string value, string name)
    {
        try
        {
            CgroupFile.Write(file, value, name);
        }
        catch (LinuxException e) when (e.Errno is Errno.ENOENT or Errno.ENODEV)
        {
            // Nobody is in it any more, which is as good.
        }
    }

    /// <summary>What is said where device rules cannot be held: nothing is lost by it for who can neither make a node nor find one.</summary>
    private protected void RefuseDevices(bool required, string why, Exception? cause) =>
        Remark = required
            ? throw new EdgeHostException(ErrorKind.Infeasible, $"device rules: {why}", cause)
            : $"device rules are not held, and only what is in its /dev can be opened: {why}";

    /// <summary>Whether a memory limit read back is the one that was asked for, rounded down to pages.</summary>
    protected static bool HoldsBytes(string held, long asked) =>
        long.TryParse(held, CultureInfo.InvariantCulture, out var value) && value == asked / PageSize * PageSize;

    /// <summary>Whether two lists of CPUs or nodes name the same ones.</summary>
    protected static bool SameSet(string held, string asked) => ExpandList(held).SetEquals(ExpandList(asked));

    /// <summary>The numbers in a list as in <c>0-2,4</c>.</summary>
    internal static HashSet<int> ExpandList(string list)
    {
        var numbers = new HashSet<int>();
        foreach (var part in list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            var ends = part.Split('-');
            if (ends.Length > 2
                || !int.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out var first)
                || !int.TryParse(ends[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var last)
                || last < first || last > 8191)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"\"{list}\" is not a list like 0-2,4");
            }

            numbers.UnionWith(Enumerable.Range(first, last - first + 1));
        }

        return numbers;
    }

    /// <summary>The value of a key in a file of <c>key value</c> lines; 0 when it is not there.</summary>
    protected static long ReadKey(string file, string key)
    {
        foreach (var line in (TryRead(file) ?? string.Empty).Split('\n'))
        {
            if (line.StartsWith(key, StringComparison.Ordinal) && line.Length > key.Length && line[key.Length] == ' ')
            {
                return long.Parse(line.AsSpan(key.Length + 1), CultureInfo.InvariantCulture);
            }
        }

        return 0;
    }

    /// <summary>The directories beneath one, deepest first, itself last.</summary>
    protected static IEnumerable<string> DeepestFirst(string directory)
    {
        if (CgroupFile.HasNoneBeneath(directory))
        {
            yield return directory;
            yield break;
        }

        string[] children;
        try
        {
            children = Directory.GetDirectories(directory);
        }
        catch (DirectoryNotFoundException)
        {
            yield break;
        }

        foreach (var child in children)
        {
            foreach (var inner in DeepestFirst(child))
            {
                yield return inner;
            }
        }

        yield return directory;
    }

    /// <summary>The pids in a directory and beneath it.</summary>
    protected static List<int> PidsBeneath(string directory)
    {
        var pids = new List<int>();
        foreach (var each in DeepestFirst(directory))
        {
            foreach (var line in (TryRead(each + "/cgroup.procs") ?? string.Empty).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                pids.Add(int.Parse(line, CultureInfo.InvariantCulture));
            }
        }

        return pids;
    }

    /// <summary>Removes a directory and all beneath it.</summary>
    /// <returns>False while processes are in one of them.</returns>
    protected static bool RemoveBeneath(string directory) =>
        CgroupFile.TryRemoveDirectory(directory) || DeepestFirst(directory).ToList().TrueForAll(CgroupFile.TryRemoveDirectory);

    /// <summary>Kills what is in a directory and beneath it, again until nothing new appears.</summary>
    protected static void KillBeneath(string directory)
    {
        var seen = new HashSet<int>();
        for (var round = 0; round < 100; round++)
        {
            var fresh = PidsBeneath(directory).Where(seen.Add).ToList();
            if (fresh.Count == 0)
            {
                return;
            }

            foreach (var pid in fresh)
            {
                Processes.TryKill(pid, 9);
            }
        }
    }
}

/// <summary>Where processes that come into a running container live in its cgroup.</summary>
/// <param name="directory">The directory that holds them and nothing else.</param>
/// <param name="birthDirectory">The directory of v2 that they are born in; null for v1.</param>
/// <param name="joinFiles">The files of v1 into which such a process writes 0 to join.</param>
public sealed class CgroupEntry(string directory, string? birthDirectory, IReadOnlyList<string> joinFiles)
{
    /// <summary>The directory that holds them and nothing else.</summary>
    public string Directory { get; } = directory;

    /// <summary>The directory of v2 that they are born in; null for v1.</summary>
    public string? BirthDirectory { get; } = birthDirectory;

    /// <summary>The files of v1 into which such a process writes 0 to join.</summary>
    public IReadOnlyList<string> JoinFiles { get; } = joinFiles;
}

/// <summary>The kernel's counters of a cgroup.</summary>
public sealed class CgroupStats
{
    /// <summary>Bytes of memory, page cache included.</summary>
    public long MemoryBytes { get; init; }

    /// <summary>Bytes of page cache that can be dropped at once.</summary>
    public long InactiveFileBytes { get; init; }

    /// <summary>The memory limit in bytes; null without one.</summary>
    public long? MemoryLimitBytes { get; init; }

    /// <summary>The limit of memory and swap together in bytes; null where it is not accounted or not limited.</summary>
    public long? MemoryAndSwapLimitBytes { get; init; }

    /// <summary>Kills for want of memory.</summary>
    public long OomKills { get; init; }

    /// <summary>CPU time in nanoseconds.</summary>
    public long CpuNanoseconds { get; init; }

    /// <summary>Of it in user mode.</summary>
    public long CpuUserNanoseconds { get; init; }

    /// <summary>Of it in the kernel.</summary>
    public long CpuSystemNanoseconds { get; init; }

    /// <summary>The quota in billionths of a CPU; null without one.</summary>
    public long? NanoCpus { get; init; }

    /// <summary>Periods with anything to run.</summary>
    public long CpuPeriods { get; init; }

    /// <summary>Periods in which the quota was used up.</summary>
    public long CpuThrottledPeriods { get; init; }

    /// <summary>Time held back in nanoseconds.</summary>
    public long CpuThrottledNanoseconds { get; init; }

    /// <summary>Processes and threads.</summary>
    public long Pids { get; init; }

    /// <summary>Their limit; null without one.</summary>
    public long? PidsLimit { get; init; }

    /// <summary>How often a fork was refused.</summary>
    public long PidsRefused { get; init; }

    /// <summary>The CPUs that it may run on, as the kernel holds them.</summary>
    public string? CpusetCpus { get; init; }

    /// <summary>What went to and from block devices.</summary>
    public IReadOnlyList<BlockUse> Blocks { get; init; } = [];
}
