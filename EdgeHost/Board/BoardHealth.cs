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

    /// <summary>
    /// How much of the life that its maker gives the disk is used, in percent: of an eMMC in steps of 10 and 110 beyond it (JESD84-B51 EXT_CSD
    /// 268 and 269), of an NVMe disk (Percentage Used of its SMART log) and of one of ATA (Percentage Used Endurance Indicator of its device
    /// statistics) to 255. Asked once an hour.
    /// </summary>
    public int? DiskWornPercent { get; init; }

    /// <summary>
    /// Whether it says that it will not last: an eMMC whose spare blocks are nearly used up (EXT_CSD 267), an NVMe disk by a critical warning,
    /// one of ATA by SMART RETURN STATUS.
    /// </summary>
    public bool? DiskFailing { get; init; }

    /// <summary>What needs somebody; empty when all is well.</summary>
    [JsonIgnore]
    public IReadOnlyList<BoardCondition> Problems { get; init; } = [];
}

/// <summary>Something of a board that needs somebody while it holds.</summary>
/// <param name="name">What it is called in events.</param>
/// <param name="words">What it is, and what to do.</param>
public sealed class BoardCondition(string name, string words)
{
    /// <summary>What it is called in events.</summary>
    public string Name => name;

    /// <summary>What it is, and what to do.</summary>
    public string Words => words;
}

/// <summary>Reads the health of a board from the kernel: a few small files, each time.</summary>
public sealed class BoardHealthReader
{
    private const int WornPercent = 90;

    // Each begins at the first and ends at the second, so that what stands at a limit is told of once.
    private static readonly (long Begins, long Ends) LittleDiskPercent = (5, 6), MuchPressurePercent = (20, 10);
    private const int CoolerBy = 5;

    // More than what keeps a clock right turns it by between two readings.
    private static readonly TimeSpan Jump = TimeSpan.FromSeconds(5);

    // get_throttled of the Raspberry Pi's firmware: the bit of now, and 16 bits above it that of the time since the boot.
    private static readonly string[] ThrottleWords = ["undervoltage", "frequency_capped", "throttled", "temperature_limit"];

    private readonly string _root;
    private readonly string _dataDirectory;
    private readonly long? _boots;
    private readonly int _hot;
    private readonly TimeProvider _time;
    private readonly DiskLifeReader _disk;
    private readonly Lock _lock = new();
    private List<BoardCondition> _begun = [];
    private DateTimeOffset? _bootedAt;

    /// <summary>Looks at this board.</summary>
    /// <param name="dataDirectory">Where EdgeHost's data are; its file system is told of.</param>
    /// <param name="boots">How often it was booted; null when that is not known.</param>
    /// <param name="hot">From which temperature on it is hot, in °C.</param>
    public BoardHealthReader(string dataDirectory, long? boots, int hot)
        : this(dataDirectory, boots, hot, string.Empty, TimeProvider.System)
    {
    }

    internal BoardHealthReader(string dataDirectory, long? boots, int hot, string root, TimeProvider time) =>
        (_dataDirectory, _boots, _hot, _root, _time, _disk) = (dataDirectory, boots, hot, root, time, new DiskLifeReader(dataDirectory, root, time));

    /// <summary>Is told what has begun or ended since the last reading, as an event and in words. A first reading tells what holds.</summary>
    public Action<string, string>? Changed { get; set; }

    /// <summary>Reads it now.</summary>
    public BoardHealth Read()
    {
        lock (_lock)
        {
            var uptime = FirstNumber("/proc/uptime");

            // When it was booted, by the clock of now: that changes only with the clock.
            DateTimeOffset? bootedAt = uptime is { } seconds ? _time.GetUtcNow() - TimeSpan.FromSeconds((double)seconds) : null;
            var health = Read(uptime);
            if (Changed is { } changed)
            {
                Tell(changed, health.Problems, bootedAt);
            }

            (_begun, _bootedAt) = ([.. health.Problems], bootedAt);
            return health;
        }
    }

    /// <summary>Reads what its firmware says of now and of the time since the boot, and nothing else.</summary>
    internal (IReadOnlyList<string>? Now, IReadOnlyList<string>? SinceBoot) Throttling()
    {
        var flags = Flags();
        return (Words(flags, 0), Words(flags, 16));
    }

    private bool Holds(string name) => _begun.Exists(each => each.Name == name);

    private void Tell(Action<string, string> changed, IReadOnlyList<BoardCondition> problems, DateTimeOffset? bootedAt)
    {
        if (bootedAt - _bootedAt is { } by && by.Duration() > Jump)
        {
            changed("clock_jump", string.Create(CultureInfo.InvariantCulture, $"the clock was set {(by > TimeSpan.Zero ? "forward" : "back")} by {by.Duration().TotalSeconds:0} s"));
        }

        foreach (var condition in problems)
        {
            if (!Holds(condition.Name))
            {
                changed(condition.Name + ": begins", condition.Words);
            }
        }

        foreach (var condition in _begun)
        {
            if (!problems.Any(each => each.Name == condition.Name))
            {
                changed(condition.Name + ": ends", condition.Words);
            }
        }
    }

    private BoardHealth Read(decimal? uptime)
    {
        var problems = new List<BoardCondition>();
        var (now, sinceBoot) = Throttling();
        foreach (var flag in now ?? [])
        {
            problems.Add(new BoardCondition(flag, $"the board's firmware says: {flag}{(flag == ThrottleWords[0] ? "; its power supply or cable is too weak" : string.Empty)}"));
        }

        const string Hot = "hot", MuchPressure = "memory_pressure";
        var temperature = Temperature();
        if (temperature >= _hot - (Holds(Hot) ? CoolerBy : 0))
        {
            problems.Add(new BoardCondition(Hot, string.Create(CultureInfo.InvariantCulture, $"the processor has {temperature:0.#} °C; give it air")));
        }

        var life = _disk.Read();
        if (life?.PercentUsed >= WornPercent)
        {
            problems.Add(new BoardCondition("disk_worn", $"the disk of {_dataDirectory} has used {life.PercentUsed} % of its life; replace it"));
        }

        if (life?.Failing == true)
        {
            problems.Add(new BoardCondition("disk_failing", $"the disk of {_dataDirectory} says that it will fail; save what is on it, and replace it"));
        }

        var space = Space(problems);
        var memoryPressure = Pressure("memory");
        if (memoryPressure >= Limit(MuchPressure, MuchPressurePercent))
        {
            problems.Add(new BoardCondition(MuchPressure, string.Create(CultureInfo.InvariantCulture, $"in {memoryPressure:0} % of the last minute something waited for memory; edgehost stats says which container takes how much")));
        }

        if (_time.GetUtcNow() is { Year: < BoardCheck.FirstSaneYear } clock)
        {
            problems.Add(new BoardCondition("clock_unset", string.Create(CultureInfo.InvariantCulture, $"the clock says {clock:yyyy-MM-dd}, which cannot be right; give the board a network time service or a clock with a battery")));
        }

        return new BoardHealth
        {
            UptimeSeconds = uptime is { } seconds ? (long)seconds : null,
            Boots = _boots,
            TemperatureCelsius = temperature,
            Throttled = now,
            ThrottledSinceBoot = sinceBoot,
            CpuPressure = Pressure("cpu"),
            MemoryPressure = memoryPressure,
            IoPressure = Pressure("io"),
            DiskBytes = space?.TotalBytes,
            DiskFreeBytes = space?.FreeBytes,
            DiskFreeInodes = space is { TotalInodes: > 0 } counted ? counted.FreeInodes : null,
            DiskReadOnly = space?.ReadOnly,
            DiskWornPercent = life?.PercentUsed,
            DiskFailing = life?.Failing,
            Problems = problems,
        };
    }

    private long Limit(string name, (long Begins, long Ends) limits) => Holds(name) ? limits.Ends : limits.Begins;

    private Linux.FileSystemSpace? Space(List<BoardCondition> problems)
    {
        const string Full = "disk_full", Files = "disk_files";
        try
        {
            var space = Linux.KernelProbe.Space(_dataDirectory);
            if (space.ReadOnly)
            {
                problems.Add(new BoardCondition("disk_read_only", $"the file system of {_dataDirectory} is read-only; dmesg says why"));
            }
            else if (space.FreeBytes * 100 < space.TotalBytes * Limit(Full, LittleDiskPercent))
            {
                problems.Add(new BoardCondition(Full, $"the file system of {_dataDirectory} has {space.FreeBytes >> 20} MiB free of {space.TotalBytes >> 20}; edgehost system df says what takes it"));
            }
            else if (space.FreeInodes * 100 < space.TotalInodes * Limit(Files, LittleDiskPercent))
            {
                problems.Add(new BoardCondition(Files, $"the file system of {_dataDirectory} takes {space.FreeInodes} more files of {space.TotalInodes}"));
            }

            return space;
        }
        catch (Linux.LinuxException e)
        {
            problems.Add(new BoardCondition("disk_unreadable", e.Message));
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

    private IEnumerable<string> Entries(string directory, string pattern)
    {
        try
        {
            return Directory.GetDirectories(_root + directory, pattern).Select(path => path[_root.Length..]);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No sensor is there, or it went away at this moment.
            return [];
        }
    }

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
