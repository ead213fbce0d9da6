using System.Globalization;
using Edge.Tests.Images;
using EdgeHost.Board;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What a board tells of itself.</summary>
public sealed class BoardHealthTests
{
    [Fact]
    public void A_board_that_tells_everything_is_told_of_whole()
    {
        using var tree = BoardTree.OfRaspberryPi();

        var health = tree.Reader(boots: 3).Read();

        Assert.Equal(86412, health.UptimeSeconds);
        Assert.Equal(3, health.Boots);
        Assert.Equal(51.604m, health.TemperatureCelsius);
        Assert.Empty(health.Throttled!);
        Assert.Equal(["undervoltage"], health.ThrottledSinceBoot);
        Assert.Equal((0.84m, 0m, 0.12m), (health.CpuPressure, health.MemoryPressure, health.IoPressure));
        Assert.Equal(10, health.DiskWornPercent);
        Assert.False(health.DiskFailing);
        Assert.False(health.DiskReadOnly);
        Assert.InRange(health.DiskFreeBytes!.Value, 1, health.DiskBytes!.Value);
    }

    [Fact]
    public void What_a_board_does_not_tell_is_absent_and_no_error()
    {
        using var tree = new BoardTree();

        var health = tree.Reader().Read();

        Assert.Null(health.UptimeSeconds);
        Assert.Null(health.TemperatureCelsius);
        Assert.Null(health.Throttled);
        Assert.Null(health.CpuPressure);
        Assert.Null(health.DiskWornPercent);
        Assert.Null(health.DiskFailing);
        Assert.NotNull(health.DiskBytes);
    }

    [Theory]
    [InlineData("50001", "undervoltage; its power supply or cable is too weak")]
    [InlineData("8", "temperature_limit")]
    [InlineData("6", "frequency_capped", "throttled")]
    public void A_throttled_board_says_so(string flags, params string[] words)
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.Put("/sys/devices/platform/soc/soc:firmware/get_throttled", flags + "\n");

        Assert.Equal(words.Select(each => "the board's firmware says: " + each), tree.Reader().Read().Problems.Select(each => each.Words));
    }

    [Fact]
    public void Without_the_firmware_s_flags_the_sensor_of_the_voltage_is_asked()
    {
        using var tree = new BoardTree();
        tree.Put("/sys/class/hwmon/hwmon0/name", "cpu_thermal\n");
        tree.Put("/sys/class/hwmon/hwmon1/name", "rpi_volt\n");
        tree.Put("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");

        Assert.Equal(["undervoltage"], tree.Reader().Read().Throttled);
    }

    [Fact]
    public void The_warmest_processor_counts_and_no_other_sensor_beside_it()
    {
        using var tree = new BoardTree();
        foreach (var (zone, type, temperature) in new[] { (0, "battery", 99000), (1, "soc-thermal", 61000), (2, "cpu0-thermal", 85250), (3, "gpu-thermal", 12) })
        {
            tree.Put($"/sys/class/thermal/thermal_zone{zone}/type", type + "\n");
            tree.Put($"/sys/class/thermal/thermal_zone{zone}/temp", temperature.ToString(CultureInfo.InvariantCulture) + "\n");
        }

        var health = tree.Reader().Read();

        Assert.Equal(85.25m, health.TemperatureCelsius);
        Assert.Equal(["the processor has 85.3 °C; give it air"], health.Problems.Select(each => each.Words));
    }

    [Theory]
    [InlineData("0x00 0x00", null)]
    [InlineData("0x02 0x0A", 100)]
    [InlineData("0x0B 0x01", 110)]
    [InlineData("nonsense", null)]
    public void The_more_worn_part_of_an_eMMC_counts(string lifeTime, int? percent)
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.PutLifeTime(lifeTime);

        var health = tree.Reader().Read();

        Assert.Equal(percent, health.DiskWornPercent);
        Assert.Equal(percent >= 90, health.Problems.Any(problem => problem.Words.Contains($"has used {percent} % of its life; replace it", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("0x00", null)]
    [InlineData("0x01", false)]
    [InlineData("0x02", false)]
    [InlineData("0x03", true)]
    [InlineData("nonsense", null)]
    public void An_eMMC_fails_when_nine_tenths_of_its_spare_blocks_are_used(string spare, bool? fails)
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.PutSpare(spare);

        var health = tree.Reader().Read();

        Assert.Equal(fails, health.DiskFailing);
        Assert.Equal(
            fails == true ? [$"disk_failing: the disk of {tree.Root} says that it will fail; save what is on it, and replace it"] : [],
            health.Problems.Select(problem => $"{problem.Name}: {problem.Words}"));
    }

    [Fact]
    public void What_begins_and_ends_between_two_readings_is_told_once_and_not_again_at_its_limit()
    {
        const string Flags = "/sys/devices/platform/soc/soc:firmware/get_throttled", Heat = "/sys/class/thermal/thermal_zone0/temp";
        using var tree = BoardTree.OfRaspberryPi();
        var reader = tree.Reader();
        var told = new List<string>();
        reader.Changed = (what, words) => told.Add($"{what} ({words})");

        Assert.Empty(After(Flags, "10000"));
        Assert.Equal(["undervoltage: begins (the board's firmware says: undervoltage; its power supply or cable is too weak)"], After(Flags, "10001"));
        Assert.Empty(After(Flags, "10001"));
        Assert.Equal(["throttled: begins (the board's firmware says: throttled)", "undervoltage: ends (the board's firmware says: undervoltage; its power supply or cable is too weak)"], After(Flags, "50004"));
        Assert.Equal(["throttled: ends (the board's firmware says: throttled)"], After(Flags, "50000"));

        // Warm is no longer hot only when it is well beneath.
        Assert.Empty(After(Heat, "84900"));
        Assert.Equal(["hot: begins (the processor has 85 °C; give it air)"], After(Heat, "85000"));
        Assert.Empty(After(Heat, "80100"));
        Assert.Empty(After(Heat, "86000"));
        Assert.Equal(["hot: ends (the processor has 86 °C; give it air)"], After(Heat, "79900"));
        Assert.Empty(After(Heat, "81000"));

        Assert.StartsWith("memory_pressure: begins (in 20 % of the last minute something waited for memory", Assert.Single(Pressed("20.00")), StringComparison.Ordinal);
        Assert.Empty(Pressed("10.00"));
        Assert.StartsWith("memory_pressure: ends", Assert.Single(Pressed("9.99")), StringComparison.Ordinal);

        string[] Pressed(string percent) => After("/proc/pressure/memory", $"some avg10=0.00 avg60={percent} avg300=0.00 total=1");

        string[] After(string file, string text)
        {
            told.Clear();
            tree.Put(file, text + "\n");
            _ = reader.Read();
            return [.. told.Order(StringComparer.Ordinal)];
        }
    }

    [Fact]
    public void What_holds_when_it_is_first_read_is_told_as_what_begins()
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.PutLifeTime("0x0A 0x01");
        var reader = tree.Reader();
        var told = new List<string>();
        reader.Changed = (what, _) => told.Add(what);

        _ = reader.Read();

        Assert.Equal(["disk_worn: begins"], told);
    }

    [Fact]
    public void A_clock_that_was_never_set_and_one_that_is_set_are_told_of_and_the_passing_of_time_is_not()
    {
        using var tree = BoardTree.OfRaspberryPi();
        var clock = new WallClock { Now = new DateTimeOffset(1970, 1, 1, 0, 1, 0, TimeSpan.Zero) };
        var reader = tree.Reader(time: clock);
        var told = new List<string>();
        reader.Changed = (what, words) => told.Add($"{what} ({words})");

        tree.Put("/proc/uptime", "60.00 1.00\n");
        _ = reader.Read();
        Assert.StartsWith("clock_unset: begins (the clock says 1970-01-01", Assert.Single(told), StringComparison.Ordinal);

        (told, clock.Now) = ([], new DateTimeOffset(1970, 1, 1, 0, 1, 32, TimeSpan.Zero));
        tree.Put("/proc/uptime", "90.00 1.00\n");
        _ = reader.Read();
        Assert.Empty(told);

        clock.Now = new DateTimeOffset(2026, 11, 27, 12, 0, 0, TimeSpan.Zero);
        _ = reader.Read();
        Assert.Contains("clock_jump (the clock was set forward by 1795780708 s)", told);
        Assert.Contains(told, each => each.StartsWith("clock_unset: ends", StringComparison.Ordinal));

        (told, clock.Now) = ([], clock.Now.AddHours(-1));
        _ = reader.Read();
        Assert.Equal(["clock_jump (the clock was set back by 3600 s)"], told);
    }

    [Fact]
    public void A_disk_is_asked_for_its_life_once_an_hour()
    {
        using var tree = BoardTree.OfRaspberryPi();
        var clock = new WallClock { Now = DateTimeOffset.UnixEpoch.AddYears(60) };
        var reader = tree.Reader(time: clock);
        Assert.Equal(10, reader.Read().DiskWornPercent);

        tree.PutLifeTime("0x02 0x01");
        clock.Passed = TimeSpan.FromMinutes(59);
        Assert.Equal(10, reader.Read().DiskWornPercent);
        clock.Passed = TimeSpan.FromMinutes(60);
        Assert.Equal(20, reader.Read().DiskWornPercent);
    }

    [Fact]
    public void Boots_are_counted_once_each_whatever_stood_there_before()
    {
        using var data = new TemporaryDirectory();

        Assert.Equal(1, BootCounter.Count(data.Path, "first"));
        Assert.Equal(1, BootCounter.Count(data.Path, "first"));
        Assert.Equal(2, BootCounter.Count(data.Path, "second"));
        File.WriteAllText(data.Sub("boots"), "-7 \0\n");
        Assert.Equal(1, BootCounter.Count(data.Path, "third"));
        Assert.Equal(2, BootCounter.Count(data.Path, "fourth"));
        Assert.Null(BootCounter.Count(data.Sub("nowhere"), "fifth"));
    }

    private sealed class WallClock : TimeProvider
    {
        internal DateTimeOffset Now { get; set; }

        internal TimeSpan Passed { get; set; }

        public override DateTimeOffset GetUtcNow() => Now;

        public override long GetTimestamp() => (long)(Passed.TotalSeconds * TimestampFrequency);
    }
}
