using System.Globalization;
using System.Text.Json.Serialization;

namespace EdgeHost.Board;

/// <summary>How a board is at one moment. What it does not tell is absent.</summary>
public sealed class BoardHealth
{
    /// <summary>Seconds since it was booted.</summary>
    public long? UptimeSeconds { get; init; }

    /// <summary>How often it was booted since EdgeHost keeps its data there.</summary>
    public long? Boots { get; init; }

    /// <summary>The warmest of its processors, in °C.</summary>
    public decimal? TemperatureCelsius { get; init; }

    /// <summary>What its firmware does or suffers now: <c>undervoltage</c>, <c>frequency_capped</c>, <c>throttled</c>, <c>temperature_limit</c>.</summary>
    public IReadOnlyList<string>? Throttled { get; init; }

    /// <summary>The same, of the whole time since it was booted.</summary>
    public IReadOnlyList<string>? ThrottledSinceBoot { get; init; }

    /// <summary>In how many percent of the last minute something waited for a CPU (<c>/proc/pressure/cpu</c>, some avg60).</summary>
    public decimal? CpuPressure { get; init; }

    /// <summary>The same of memory.</summary>
    public decimal? MemoryPressure { get; init; }

    /// <summary>The same of disks.</summary>
    public decimal? IoPressure { get; init; }

    /// <summary>The size of the file system that holds EdgeHost's data, in bytes.</summary>
    public long? DiskBytes { get; init; }

    /// <summary>What is free of it, in bytes.</summary>
    public long? DiskFreeBytes { get; init; }

    /// <summary>How many more files it takes; absent where it does not count them.</summary>
    public long? DiskFreeInodes { get; init; }

    /// <summary>Whether it takes no writes.</summary>
    public bool? DiskReadOnly { get; init; }

    /// <summary>How much of the life that its maker gives the disk is used, in percent, in steps of 10; 110 beyond it (eMMC, JESD84-B51 EXT_CSD 268 and 269).</summary>
    public int? DiskWornPercent { get; init; }

    /// <summary>What needs somebody, in words; empty when all is well.</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Problems { get; init; } = [];
}

/// <summary>Reads the health of a board from the kernel: a few small files, each time.</summary>
public sealed class BoardHealthReader
{
    private const long LittleDiskPercent = 5;
    private const int WornPercent = 90;

    // get_throttled of the Raspberry Pi's firmware: the bit of now, and 16 bits above it that of the time since the boot.
    private static readonly string[] ThrottleWords = ["undervoltage", "frequency_capped", "throttled", "temperature_limit"];

    private readonly string _root;
    private readonly string _dataDirectory;
    private readonly long? _boots;
    private readonly int _hot;

    /// <summary>Looks at this board.</summary>
    /// <param name="dataDirectory">Where EdgeHost's data are; its file system is told of.</param>
    /// <param name="boots">How often it was booted; null when that is not known.</param>
    /// <param name="hot">From which temperature on it is hot, in °C.</param>
    public BoardHealthReader(string dataDirectory, long? boots, int hot)
        : this(dataDirectory, boots, hot, string.Empty)
    {
    }

    internal BoardHealthReader(string dataDirectory, long? boots, int hot, string root) => (_dataDirectory, _boots, _hot, _root) = (dataDirectory, boots, hot, root);

    /// <summary>Reads it now.</summary>
    public BoardHealth Read()
    {
        var problems = new List<string>();
        var flags = Flags();
        var (now, sinceBoot) = (Words(flags, 0), Words(flags, 16));
        if (now is { Count: > 0 })
        {
            problems.Add($"the board's firmware says: {string.Join(", ", now)}{(now.Contains("undervoltage") ? "; its power supply or cable is too weak" : string.Empty)}");
        }

        var temperature = Temperature();
        if (temperature >= _hot)
        {
            problems.Add(string.Create(CultureInfo.InvariantCulture, $"the processor has {temperature:0.#} °C; give it air"));
        }

        var worn = Worn();
        if (worn >= WornPercent)
        {
            problems.Add($"the disk of {_dataDirectory} has used {worn} % of its life; replace it");
        }

        var space = Space(problems);
        return new BoardHealth
        {
            UptimeSeconds = FirstNumber("/proc/uptime") is { } seconds ? (long)seconds : null,
            Boots = _boots,
            TemperatureCelsius = temperature,
            Throttled = now,
            ThrottledSinceBoot = sinceBoot,
            CpuPressure = Pressure("cpu"),
            MemoryPressure = Pressure("memory"),
            IoPressure = Pressure("io"),
            DiskBytes = space?.TotalBytes,
            DiskFreeBytes = space?.FreeBytes,
            DiskFreeInodes = space is { TotalInodes: > 0 } counted ? counted.FreeInodes : null,
            DiskReadOnly = space?.ReadOnly,
            DiskWornPercent = worn,
            Problems = problems,
        };
    }

    private Linux.FileSystemSpace? Space(List<string> problems)
    {
        try
        {
            var space = Linux.KernelProbe.Space(_dataDirectory);
            if (space.ReadOnly)
            {
                problems.Add($"the file system of {_dataDirectory} is read-only; dmesg says why");
            }
            else if (space.FreeBytes * 100 < space.TotalBytes * LittleDiskPercent)
            {
                problems.Add($"the file system of {_dataDirectory} has {space.FreeBytes >> 20} MiB free of {space.TotalBytes >> 20}; edgehost system df says what takes it");
            }
            else if (space.FreeInodes * 100 < space.TotalInodes * LittleDiskPercent)
            {
                problems.Add($"the file system of {_dataDirectory} takes {space.FreeInodes} more files of {space.TotalInodes}");
            }

            return space;
        }
        catch (Linux.LinuxException e)
        {
            problems.Add(e.Message);
            return null;
        }
    }

    // Thermal zones of processors have many names, all with one of these in it; a board with a single zone means it.
    private decimal? Temperature()
    {
        decimal? processor = null, any = null;
        foreach (var zone in Entries("/sys/class/thermal", "thermal_zone*"))
        {
            if (Number(zone + "/temp") is not { } millidegrees)
            {
                continue;
            }

            var type = Text(zone + "/type") ?? string.Empty;
            any = Math.Max(any ?? decimal.MinValue, millidegrees / 1000m);
            if (type.Contains("cpu", StringComparison.OrdinalIgnoreCase) || type.Contains("soc", StringComparison.OrdinalIgnoreCase) || type.Contains("pkg", StringComparison.OrdinalIgnoreCase))
            {
                processor = Math.Max(processor ?? decimal.MinValue, millidegrees / 1000m);
            }
        }

        return processor ?? any;
    }

    private long? Flags()
    {
        // Without 0x before it.
        if (long.TryParse(Text("/sys/devices/platform/soc/soc:firmware/get_throttled"), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var flags))
        {
            return flags;
        }

        // Without that file the voltage at least is told.
        foreach (var sensor in Entries("/sys/class/hwmon", "hwmon*"))
        {
            if (Text(sensor + "/name") == "rpi_volt" && Number(sensor + "/in0_lcrit_alarm") is { } alarm)
            {
                return alarm;
            }
        }

        return null;
    }

    private static List<string>? Words(long? flags, int shift)
    {
        if (flags is not { } bits)
        {
            return null;
        }

        var words = new List<string>();
        for (var bit = 0; bit < ThrottleWords.Length; bit++)
        {
            if ((bits >> (bit + shift) & 1) != 0)
            {
                words.Add(ThrottleWords[bit]);
            }
        }

        return words;
    }

    // "some avg10=0.00 avg60=0.12 avg300=0.05 total=1234"
    private decimal? Pressure(string of)
    {
        const string Name = " avg60=";
        var text = Text("/proc/pressure/" + of);
        var at = text?.IndexOf(Name, StringComparison.Ordinal) ?? -1;
        if (at < 0)
        {
            return null;
        }

        var value = text.AsSpan(at + Name.Length);
        var end = value.IndexOf(' ');
        return decimal.TryParse(end < 0 ? value : value[..end], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var percent) ? percent : null;
    }

    // "0x01 0x02": the two kinds of memory in it, in tenths; 0 is "not told".
    private int? Worn()
    {
        try
        {
            var device = Linux.Files.Stat(_dataDirectory).Device;

            // A link to where the kernel has the disk, in which the directories of its partitions are.
            var link = string.Create(CultureInfo.InvariantCulture, $"{_root}/sys/dev/block/{device >> 32}:{device & uint.MaxValue}");
            if (Directory.ResolveLinkTarget(link, returnFinalTarget: false)?.FullName[_root.Length..] is not { } whole)
            {
                return null;
            }

            whole = File.Exists($"{_root}{whole}/partition") ? Path.GetDirectoryName(whole)! : whole;
            int? worn = null;
            foreach (var word in (Text(whole + "/device/life_time") ?? string.Empty).Split(' ', StringSplitOptions.RemoveEmptyEntries))
            {
                if (word.StartsWith("0x", StringComparison.Ordinal)
                    && int.TryParse(word.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var tenths) && tenths is > 0 and <= 11)
                {
                    worn = Math.Max(worn ?? 0, tenths * 10);
                }
            }

            return worn;
        }
        catch (Exception e) when (e is Linux.LinuxException or IOException)
        {
            // No disk, as under a tmpfs; of a directory that is not there it is told with its space.
            return null;
        }
    }

    private IEnumerable<string> Entries(string directory, string pattern) =>
        Directory.Exists(_root + directory) ? Directory.EnumerateDirectories(_root + directory, pattern).Select(path => path[_root.Length..]) : [];

    private decimal? FirstNumber(string path) =>
        decimal.TryParse(Text(path)?.Split(' ')[0], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var number) ? number : null;

    private long? Number(string path) => long.TryParse(Text(path), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number) ? number : null;

    // A sensor that is there may refuse to be read at this moment.
    private string? Text(string path)
    {
        try
        {
            return File.Exists(_root + path) ? File.ReadAllText(_root + path).Trim() : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
