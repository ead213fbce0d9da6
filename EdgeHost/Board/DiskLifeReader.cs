using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Board;

/// <summary>Asks the disk that a directory is on for the life that it has left, now and then.</summary>
/// <param name="directory">The directory.</param>
/// <param name="root">What stands before /dev and /sys.</param>
/// <param name="time">The clock.</param>
internal sealed class DiskLifeReader(string directory, string root, TimeProvider time)
{
    // An answer changes in weeks.
    private static readonly TimeSpan AskedEach = TimeSpan.FromHours(1);

    // Disks answer in milliseconds. What one says that takes longer is told of in the next reading, so that nothing is held up.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    // JESD84-B51, EXT_CSD 267: 1 is normal, 3 when nine tenths of the spare blocks are used.
    private const int SpareIsUsed = 3;

    private volatile DiskLife? _life;
    private volatile bool _isLetAlone;
    private Task? _asking;
    private long _askedAt;

    /// <summary>What it said when it was last asked; null where it says nothing.</summary>
    internal DiskLife? Read()
    {
        if (_asking is null || (_asking.IsCompleted && !_isLetAlone && time.GetElapsedTime(_askedAt) >= AskedEach))
        {
            _askedAt = time.GetTimestamp();
            _asking = Task.Run(Ask);
            _ = _asking.Wait(Patience);
        }

        return _life;
    }

    private void Ask()
    {
        try
        {
            var device = Files.Stat(directory).Device;

            // A link to where the kernel has the disk, in which the directories of its partitions are.
            var link = string.Create(CultureInfo.InvariantCulture, $"{root}/sys/dev/block/{device >> 32}:{device & uint.MaxValue}");
            if (Directory.ResolveLinkTarget(link, returnFinalTarget: false)?.FullName is not { } whole)
            {
                return;
            }

            whole = File.Exists(whole + "/partition") ? Path.GetDirectoryName(whole)! : whole;
            var node = $"{root}/dev/{Path.GetFileName(whole)}";
            if (Path.GetFileName(whole).StartsWith("nvme", StringComparison.Ordinal))
            {
                _life = NvmeDisk.Life(node);
            }
            else if (MayBeAta(whole))
            {
                // One that the kernel has put to sleep would wake when it is opened.
                _life = Text(whole + "/device/power/runtime_status") == "suspended" ? _life : AtaDisk.Life(node, _life);
            }
            else
            {
                _life = OfMemoryCard(whole);
            }
        }
        catch (LinuxException e) when (e.Errno == Errno.ETIMEDOUT)
        {
            // Each such question costs a reset, which what is written to the disk waits for.
            _isLetAlone = true;
        }
        catch (Exception e) when (e is LinuxException or IOException)
        {
            // No disk, as under a tmpfs; of a directory that is not there it is told with its space.
            _life = null;
        }
    }

    // Those whom udev asks, too, when they are plugged in (ata_id of 60-persistent-storage.rules): nothing is asked here that could not be
    // borne then. A memory card in a reader is "removable".
    private static bool MayBeAta(string disk) =>
        Path.GetFileName(disk).StartsWith("sd", StringComparison.Ordinal)
        && (Text(disk + "/device/vendor") == "ATA" || (disk.Contains("/usb", StringComparison.Ordinal) && Text(disk + "/removable") == "0"));

    // "0x01 0x02": the two kinds of memory in it, in tenths; 0 is "not told".
    private static DiskLife? OfMemoryCard(string disk)
    {
        int? used = null;
        foreach (var word in (Text(disk + "/device/life_time") ?? string.Empty).Split(' '))
        {
            used = Number(word) is > 0 and <= 11 and var tenths ? Math.Max(used ?? 0, tenths * 10) : used;
        }

        bool? fails = Number(Text(disk + "/device/pre_eol_info")) is > 0 and <= SpareIsUsed and var spare ? spare == SpareIsUsed : null;
        return used is null && fails is null ? null : new DiskLife { PercentUsed = used, Failing = fails };
    }

    private static int Number(string? word) =>
        word is ['0', 'x', .. var digits] && int.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var number) ? number : 0;

    private static string? Text(string path)
    {
        try
        {
            return File.Exists(path) ? File.ReadAllText(path).Trim() : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The disk went away at this moment.
            return null;
        }
    }
}
