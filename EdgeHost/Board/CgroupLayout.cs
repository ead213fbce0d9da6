using System.Globalization;

namespace EdgeHost.Board;

/// <summary>
/// Where the control groups of this board are: the hierarchy that each controller hangs in, and the mount of the v2
/// hierarchy, which may be there beside v1 ("hybrid") without a controller.
/// </summary>
internal sealed class CgroupLayout
{
    private readonly Dictionary<string, string> _v1 = new(StringComparer.Ordinal);
    private readonly Dictionary<string, bool> _enabled = new(StringComparer.Ordinal);
    private readonly HashSet<string> _v2Controllers = new(StringComparer.Ordinal);

    private CgroupLayout()
    {
    }

    /// <summary>The mount point of the v2 hierarchy; null when it is not mounted.</summary>
    internal string? V2 { get; private set; }

    /// <summary>In words: <c>v2</c>, <c>v1</c>, <c>v1 and v2 (hybrid)</c> or <c>none</c>.</summary>
    internal string InWords => (_v1.Count > 0, V2 is not null) switch
    {
        (true, true) => "v1 and v2 (hybrid)",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    };

    /// <summary>Looks at this board; the second and third hold nothing where the kernel or the mount is missing.</summary>
    /// <exception cref="IOException">/proc is not mounted.</exception>
    internal static CgroupLayout Observe()
    {
        var layout = Parse(
            File.ReadAllText("/proc/self/mountinfo"),
            File.Exists("/proc/cgroups") ? File.ReadAllText("/proc/cgroups") : string.Empty);
        if (layout.V2 is { } mount)
        {
            layout._v2Controllers.UnionWith(
                File.ReadAllText(Path.Combine(mount, "cgroup.controllers")).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries));
        }

        return layout;
    }

    /// <summary>Reads proc_pid_mountinfo(5) and /proc/cgroups (cgroups(7)).</summary>
    internal static CgroupLayout Parse(string mountinfo, string cgroups)
    {
        var layout = new CgroupLayout();
        foreach (var line in mountinfo.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            // 31 23 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory
            var separator = line.IndexOf(" - ", StringComparison.Ordinal);
            var left = separator < 0 ? [] : line[..separator].Split(' ');
            var right = separator < 0 ? [] : line[(separator + 3)..].Split(' ');
            if (left.Length < 5 || right.Length < 3)
            {
                continue;
            }

            if (right[0] == "cgroup2")
            {
                layout.V2 ??= left[4];
            }
            else if (right[0] == "cgroup")
            {
                foreach (var option in right[2].Split(','))
                {
                    _ = layout._v1.TryAdd(option, left[4]);
                }
            }
        }

        foreach (var line in cgroups.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.Split('\t') is [var name, _, _, var enabled] && name[0] != '#')
            {
                layout._enabled[name] = enabled == "1";
            }
        }

        return layout;
    }

    /// <summary>The mount point of the hierarchy that has a controller, and whether it is the v2 one; null when neither has it.</summary>
    internal (string Mount, bool IsV2)? Find(string controller) =>
        _v2Controllers.Contains(controller) ? (V2!, true)
        : _v1.TryGetValue(controller, out var mount) ? (mount, false)
        : null;

    /// <summary>Whether the kernel has a controller and keeps it off; null when it does not have it.</summary>
    internal bool? IsOff(string controller) => _enabled.TryGetValue(controller, out var on) ? !on : null;

    /// <summary>Whether some cgroup beneath a mount has a file; null when no cgroup there has the controller yet.</summary>
    /// <param name="mount">The mount point of the hierarchy.</param>
    /// <param name="file">The file asked for, which the root of the v2 hierarchy never has.</param>
    /// <param name="sibling">A file that every cgroup with this controller has.</param>
    internal static bool? SomeChildHas(string mount, string file, string sibling)
    {
        foreach (var child in Directory.EnumerateDirectories(mount))
        {
            if (File.Exists(Path.Combine(child, sibling)))
            {
                return File.Exists(Path.Combine(child, file));
            }
        }

        return null;
    }

    /// <summary>Whether a kernel accounts swap in v2, told without a cgroup to look into; null when only one would tell.</summary>
    /// <param name="release">The kernel's release, as in <c>6.1.0-37-arm64</c>.</param>
    /// <param name="knowsSwap">Whether it can have swap at all (CONFIG_SWAP).</param>
    /// <param name="commandLine">The command line that it was booted with.</param>
    internal static bool? SwapIsAccounted(string release, bool knowsSwap, string commandLine)
    {
        if (!knowsSwap)
        {
            return false;
        }

        // Since 6.1 accounting is a part of the memory controller, and swapaccount= is read and ignored. Before, its
        // default was a matter of CONFIG_MEMCG_SWAP_ENABLED, which no file of a running kernel must show.
        var digits = release.Split('-', '+', '_')[0].Split('.');
        if (digits.Length >= 2
            && int.TryParse(digits[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major)
            && int.TryParse(digits[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor)
            && (major, minor).CompareTo((6, 1)) >= 0)
        {
            return true;
        }

        return commandLine.Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries).LastOrDefault(argument => argument.StartsWith("swapaccount", StringComparison.Ordinal)) switch
        {
            "swapaccount" or "swapaccount=1" => true,
            "swapaccount=0" => false,
            _ => null,
        };
    }
}
