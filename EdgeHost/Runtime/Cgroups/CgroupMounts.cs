using EdgeHost.Errors;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>
/// Where the kernel shows its cgroup hierarchies, read from /proc/self/mountinfo: the unified one of v2 when its
/// controllers are there, else one of v1 per controller.
/// </summary>
public sealed class CgroupMounts
{
    private readonly Dictionary<string, string> _v1;

    private CgroupMounts(string? unified, Dictionary<string, string> v1, string? unifiedWithoutControllers)
    {
        Unified = unified;
        _v1 = v1;
        HybridUnified = unifiedWithoutControllers;
    }

    /// <summary>The mount point of v2 when it has controllers; null means v1.</summary>
    public string? Unified { get; }

    /// <summary>The mount point of a v2 hierarchy without controllers, beside v1.</summary>
    public string? HybridUnified { get; }

    /// <summary>The controllers of v1 and their mount points.</summary>
    public IReadOnlyDictionary<string, string> V1 => _v1;

    /// <summary>Reads them for this process.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: no cgroup is mounted at all.</exception>
    public static CgroupMounts Read() => Parse(File.ReadLines("/proc/self/mountinfo"), File.Exists, File.ReadAllText);

    /// <summary>Reads them from lines of a mountinfo file.</summary>
    internal static CgroupMounts Parse(IEnumerable<string> mountinfo, Func<string, bool> exists, Func<string, string> read)
    {
        string? unified = null, hybrid = null;
        var v1 = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var line in mountinfo)
        {
            var separator = line.IndexOf(" - ", StringComparison.Ordinal);
            if (separator < 0)
            {
                continue;
            }

            var mountPoint = Unescape(line.Split(' ')[4]);
            var tail = line[(separator + 3)..].Split(' ');
            if (tail[0] == "cgroup2")
            {
                var controllers = mountPoint + "/cgroup.controllers";
                if (exists(controllers) && read(controllers).Contains("memory", StringComparison.Ordinal))
                {
                    unified ??= mountPoint;
                }
                else
                {
                    hybrid ??= mountPoint;
                }
            }
            else if (tail[0] == "cgroup" && tail.Length > 2)
            {
                foreach (var controller in tail[2].Split(','))
                {
                    if (controller is "memory" or "cpu" or "cpuacct" or "cpuset" or "pids" or "freezer" or "devices" or "blkio")
                    {
                        v1.TryAdd(controller, mountPoint);
                    }
                }
            }
        }

        // v1 wins where it has the controllers that matter; a v2 hierarchy beside it then has none of them.
        if (v1.ContainsKey("memory"))
        {
            return new CgroupMounts(null, v1, unified ?? hybrid);
        }

        if (unified is null && v1.Count == 0)
        {
            // v2 whose memory controller is off is still where cpu and pids are limited.
            unified = hybrid ?? throw new EdgeHostException(
                ErrorKind.Infeasible,
                "no cgroup hierarchy is mounted: mount one (mount -t cgroup2 cgroup2 /sys/fs/cgroup), or run beneath an init system that does");
        }

        return new CgroupMounts(unified, v1, hybrid);
    }

    private static string Unescape(string path) => path
        .Replace("\\040", " ", StringComparison.Ordinal)
        .Replace("\\011", "\t", StringComparison.Ordinal)
        .Replace("\\012", "\n", StringComparison.Ordinal)
        .Replace("\\134", "\\", StringComparison.Ordinal);
}
