using System.Globalization;
using Edge.Tests.Images;
using EdgeHost.Board;
using EdgeHost.Linux;

namespace Edge.Tests.Board;

/// <summary>Files of /proc and /sys as a board has them, in a directory.</summary>
internal sealed class BoardTree : IDisposable
{
    private const string Disk = "/sys/devices/platform/mmc0/mmc0:0001/block/mmcblk0";

    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

    internal string Root => _root.Path;

    /// <summary>One with all that a Raspberry Pi with an eMMC tells, its data directory on a partition of that.</summary>
    internal static BoardTree OfRaspberryPi()
    {
        var tree = new BoardTree();
        tree.Put("/proc/uptime", "86412.51 330012.10\n");
        tree.Put("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
        tree.Put("/sys/class/thermal/thermal_zone0/temp", "51604\n");
        tree.Put("/sys/devices/platform/soc/soc:firmware/get_throttled", "10000\n");
        foreach (var (kind, percent) in new[] { ("cpu", "0.84"), ("memory", "0.00"), ("io", "0.12") })
        {
            tree.Put("/proc/pressure/" + kind, $"some avg10=9.99 avg60={percent} avg300=0.05 total=1234\nfull avg10=0.00 avg60=7.00 avg300=0.00 total=0\n");
        }

        tree.Put(Disk + "/mmcblk0p2/partition", "2\n");
        tree.PutLifeTime("0x01 0x01");
        tree.PutSpare("0x01");
        var device = Files.Stat(tree._root.Path).Device;
        var links = tree._root.Sub("sys/dev/block");
        Directory.CreateDirectory(links);
        File.CreateSymbolicLink(string.Create(CultureInfo.InvariantCulture, $"{links}/{device >> 32}:{device & uint.MaxValue}"), $"../..{Disk["/sys".Length..]}/mmcblk0p2");
        return tree;
    }

    /// <summary>What the eMMC says of its life.</summary>
    internal void PutLifeTime(string text) => Put(Disk + "/device/life_time", text + "\n");

    /// <summary>What it says of its spare blocks.</summary>
    internal void PutSpare(string text) => Put(Disk + "/device/pre_eol_info", text + "\n");

    internal void Put(string path, string text)
    {
        var file = _root.Path + path;
        Directory.CreateDirectory(Path.GetDirectoryName(file)!);
        File.WriteAllText(file, text);
    }

    internal BoardHealthReader Reader(long? boots = null, TimeProvider? time = null) => new(_root.Path, boots, 85, _root.Path, time ?? TimeProvider.System);
}
