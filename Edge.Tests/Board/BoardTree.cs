using System.Globalization;
using Edge.Tests.Images;
using EdgeHost.Board;
using EdgeHost.Linux;

namespace Edge.Tests.Board;

/// <summary>Files of /proc and /sys as a board has them, in a directory.</summary>
internal sealed class BoardTree : IDisposable
{
    private readonly TemporaryDirectory _root = new();

    public void Dispose() => _root.Dispose();

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

        tree.Put(tree.Disk + "/partition", "2\n");
        tree.Put(tree.Disk + "/../device/life_time", "0x01 0x01\n");
        return tree;
    }

    /// <summary>The kernel's directory of the disk that holds the data.</summary>
    internal string Disk
    {
        get
        {
            var device = Files.Stat(_root.Path).Device;
            return string.Create(CultureInfo.InvariantCulture, $"/sys/dev/block/{device >> 32}:{device & uint.MaxValue}");
        }
    }

    internal void Put(string path, string text)
    {
        // As the kernel resolves it: the partition is there before its disk is looked for through it.
        var file = _root.Path + path;
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
        File.WriteAllText(file, text);
    }

    internal BoardHealthReader Reader(long? boots = null) => new(_root.Path, boots, _root.Path);
}
