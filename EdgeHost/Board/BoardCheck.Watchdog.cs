using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>Whether a board that hangs is booted again.</summary>
public static partial class BoardCheck
{
    // Time enough for a busy board, and about what the hardware of most can count.
    private const int UsualWatchdogSeconds = 15;

    /// <summary>
    /// Whether the board's watchdog is there, and somebody feeds it (Documentation/ABI/testing/sysfs-class-watchdog); nothing
    /// where none is, and none is known of.
    /// </summary>
    internal static IEnumerable<FeatureStatus> Watchdog(BoardSettings settings, string root = "")
    {
        const string Name = "watchdog";
        var devices = root + "/sys/class/watchdog";
        var all = Directory.Exists(devices) ? Directory.EnumerateFileSystemEntries(devices).Order(StringComparer.Ordinal).ToList() : [];
        if (all.Find(static device => State(device) == "active") is { } fed)
        {
            var timeout = Number(fed + "/timeout");
            var kernel = IsExpected(fed) && timeout > settings.WatchdogMaxTimeout ? $"; its hardware counts to {settings.WatchdogMaxTimeout} s, the kernel feeds it in between" : string.Empty;
            yield return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Present, $"{Words(fed)} boots the board again when nobody has fed it for {timeout} s{kernel}");
        }
        else if (all.Find(device => IsExpected(device) && (settings.WatchdogDriver is not null || State(device) is not null)) is not { } idle)
        {
            if (settings.WatchdogDriver is { } driver)
            {
                yield return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"the board's ({driver}) is not there: a board that hangs stays so", HowToLoad(driver, root));
            }
        }
        else if (State(idle) is null)
        {
            yield return new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Unknown, $"{Words(idle)} is there; this kernel does not tell whether it is fed",
                $"systemctl show -p RuntimeWatchdogUSec tells whether systemd feeds it; if not: {HowToFeed(settings.WatchdogMaxTimeout)}");
        }
        else
        {
            // 0 is of a driver that takes any.
            var most = Number(idle + "/max_timeout") is { } told ? told > 0 ? told : null : settings.WatchdogMaxTimeout;
            var asked = AskedOfSystemd(root, out var file);
            var off = $"{Words(idle)} is there and off";
            yield return file is null || asked == 0
                ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"{off}: a board that hangs stays so", $"let systemd feed it: {HowToFeed(most ?? settings.WatchdogMaxTimeout)}")
                : asked > most
                ? new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"{off}: systemd asks for {asked} s ({file}), and it counts to {most} s at most", HowToFeed(most))
                : new FeatureStatus(Name, FeatureNeed.Recommended, FeatureState.Missing, $"{off}, though systemd is to feed it ({file})", "systemctl daemon-reexec; journalctl -b | grep -i watchdog says why it does not");
        }

        bool IsExpected(string device) => settings.WatchdogDriver is not { } driver || Path.GetFileName(new FileInfo(device + "/device/driver").LinkTarget) == driver;

        static string? State(string device) => CgroupFile.TryRead(device + "/state");

        static int? Number(string file) => int.TryParse(CgroupFile.TryRead(file), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

        static string Words(string device) => CgroupFile.TryRead(device + "/identity") ?? Path.GetFileName(device);

        // A file there whose name begins with a letter is read after those of distributions, which begin with a number.
        static string HowToFeed(int? most) =>
            $"\"[Manager]\" and \"RuntimeWatchdogSec={Math.Min(most ?? UsualWatchdogSeconds, UsualWatchdogSeconds)}\" in /etc/systemd/system.conf.d/watchdog.conf, then systemctl daemon-reexec";
    }

    private static string HowToLoad(string driver, string root)
    {
        var module = driver.Replace('-', '_');
        return Array.Find(["/boot/firmware/config.txt", "/boot/config.txt"], file => File.Exists(root + file)) is { } config
            ? $"set \"dtparam=watchdog=on\" in {config}, and reboot; where it is so already, modprobe {module}"
            : $"modprobe {module}, and have it in /etc/modules-load.d/watchdog.conf for the next boot";
    }

    /// <summary>For how many seconds of silence systemd is to set the watchdog (systemd-system.conf(5)); null for what is not a number of them.</summary>
    /// <param name="root">Where its files are.</param>
    /// <param name="file">The one that says so; null when none does.</param>
    private static long? AskedOfSystemd(string root, out string? file)
    {
        const string Key = "RuntimeWatchdogSec=";
        var mains = new List<string>();
        var others = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var place in (string[])["/usr/lib", "/usr/local/lib", "/run", "/etc"])
        {
            var main = $"{place}/systemd/system.conf";
            if (File.Exists(root + main))
            {
                mains = [main];
            }

            foreach (var path in Directory.Exists($"{root}{main}.d") ? Directory.GetFiles($"{root}{main}.d", "*.conf") : [])
            {
                // Of two with one name the later place's counts, and by their names they follow each other.
                others[Path.GetFileName(path)] = path[root.Length..];
            }
        }

        file = null;
        long? asked = 0;
        foreach (var each in mains.Concat(others.Keys.Order(StringComparer.Ordinal).Select(name => others[name])))
        {
            foreach (var line in File.ReadLines(root + each))
            {
                if (line.StartsWith(Key, StringComparison.Ordinal))
                {
                    (asked, file) = (Seconds(line[Key.Length..].Trim()), each);
                }
            }
        }

        return asked;
    }

    // As far as systemd.time(7) is written for watchdogs: "30", "15s", "1min"; also "off".
    private static long? Seconds(string text)
    {
        var unit = text.TrimStart("0123456789".ToCharArray());
        var factor = unit.Trim() switch { "" or "s" or "sec" => 1, "m" or "min" => 60, "h" or "hr" => 3600, _ => 0 };
        return text is "" or "off" ? 0 : factor > 0 && int.TryParse(text[..^unit.Length], NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? (long)number * factor : null;
    }
}
