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
        Assert.NotNull(health.DiskBytes);
    }

    [Theory]
    [InlineData("50005", "undervoltage, throttled; its power supply or cable is too weak")]
    [InlineData("8", "temperature_limit")]
    [InlineData("2", "frequency_capped")]
    public void A_throttled_board_says_so(string flags, string words)
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.Put("/sys/devices/platform/soc/soc:firmware/get_throttled", flags + "\n");

        Assert.Equal(["the board's firmware says: " + words], tree.Reader().Read().Problems);
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
        Assert.Equal(["the processor has 85.3 °C; give it air"], health.Problems);
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
        Assert.Equal(percent >= 90, health.Problems.Any(problem => problem.Contains($"has used {percent} % of its life; replace it", StringComparison.Ordinal)));
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
}
