using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>What a board is configured for, and how it is treated.</summary>
public static partial class BoardCheck
{
    internal static IEnumerable<FeatureStatus> Settings(BoardSettings settings, string root = "")
    {
        if (settings.Error is { } error)
        {
            yield return new FeatureStatus("configuration", FeatureNeed.Required, FeatureState.Missing, error, "mend it; edgehost config check says when it is right");
        }

        if (settings.Profile is { } profile)
        {
            yield return new FeatureStatus("profile", FeatureNeed.Recommended, FeatureState.Present, profile);
        }

        if (settings.Devices is { } devices && Devices(devices, root) is { } absent)
        {
            yield return absent;
        }
    }

    /// <summary>Of the devices that workloads may ask for those that are not there; null where none is named singly.</summary>
    private static FeatureStatus? Devices(string devices, string root)
    {
        const string Name = "devices";
        var named = devices.Split(',', StringSplitOptions.TrimEntries).Where(static each => !each.EndsWith('*')).ToList();
        var absent = named.Where(each => IsAbsent(each, root)).ToList();
        return named.Count == 0 ? null
            : absent.Count == 0 ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, string.Join(", ", named))
            : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"{string.Join(", ", absent)}: not there, though workloads may ask for it", HowToTurnOn(absent[0], root));

        static bool IsAbsent(string source, string root)
        {
            try
            {
                return DeviceNames.Has(source) ? DeviceNames.Find(source, root) is null : !Path.Exists(root + source);
            }
            catch (Errors.EdgeHostException)
            {
                // More than one.
                return false;
            }
        }
    }

    private static string HowToTurnOn(string device, string root)
    {
        const string Config = "/boot/firmware/config.txt";
        return !File.Exists(root + Config) || !device.Contains("i2c", StringComparison.Ordinal)
            ? "plug it in, or turn it on in the device tree; where nothing needs it, take it from devices.allow"
            : $"add \"dtparam=i2c_arm=on\" to {Config} and i2c-dev to /etc/modules, and reboot";
    }

    /// <summary>Whether the board has too little power or too much heat; nothing where its firmware does not tell.</summary>
    internal static IEnumerable<FeatureStatus> Power(string root = "")
    {
        const string Name = "power and heat";
        var (throttled, sinceBoot) = new BoardHealthReader(string.Empty, null, int.MaxValue, root, TimeProvider.System).Throttling();
        if (throttled is { } now && sinceBoot is { } since)
        {
            yield return now.Count + since.Count == 0
                ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, "never throttled since it was booted")
                : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"{Words(now, "now")}{(now.Count * since.Count == 0 ? string.Empty : "; ")}{Words(since, "since it was booted")}",
                    "undervoltage: use the power supply that is made for this board, and a short cable; all else: give it air");
        }

        static string Words(IReadOnlyList<string> flags, string when) => flags.Count == 0 ? string.Empty : $"{string.Join(", ", flags)} {when}";
    }

    /// <summary>Whether it swaps to a card or an eMMC, which that wears out.</summary>
    internal static IEnumerable<FeatureStatus> Swaps(string root = "")
    {
        const string Swaps = "/proc/swaps";

        // "Filename Type Size Used Priority"
        foreach (var line in File.Exists(root + Swaps) ? File.ReadLines(root + Swaps).Skip(1) : [])
        {
            if (line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries) is [var path, var kind, ..] && DiskOf(path, kind == "file", root).Contains("/mmcblk", StringComparison.Ordinal))
            {
                yield return new FeatureStatus("swap", FeatureNeed.Recommended, FeatureState.Missing, $"{path} is on flash, which swapping wears out",
                    "turn it off (swapoff -a, and its line in /etc/fstab, or apt purge dphys-swapfile); zram-tools compresses memory instead");
            }
        }
    }

    private static string DiskOf(string path, bool isFile, string root)
    {
        try
        {
            if (!isFile)
            {
                return path;
            }

            var device = Files.Stat(root + path).Device;
            var link = string.Create(CultureInfo.InvariantCulture, $"{root}/sys/dev/block/{device >> 32}:{device & uint.MaxValue}");
            return Directory.ResolveLinkTarget(link, returnFinalTarget: false)?.FullName ?? string.Empty;
        }
        catch (Exception e) when (e is LinuxException or IOException)
        {
            // In a file system without a disk of its own.
            return string.Empty;
        }
    }
}
