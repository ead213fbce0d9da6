using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost;
using EdgeHost.Board;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Configuration;

/// <summary>A board has the profile that its device tree names, beneath what its operator says.</summary>
public sealed class ProfileTests : IDisposable
{
    private readonly TemporaryDirectory _root = new();

    public static TheoryData<string> Files => [.. Directory.GetFiles(Repository.PathOf("device-configs", "boards"), "*.json").Select(static path => Path.GetFileNameWithoutExtension(path)).Order()];

    [Theory]
    [InlineData("raspberrypi,model-zero-2-w\0brcm,bcm2837\0", "raspberrypi,model-zero-2-w")]
    [InlineData("raspberrypi,3-model-b-plus\0brcm,bcm2837\0", "brcm,bcm2837")]
    [InlineData("raspberrypi,4-model-b\0brcm,bcm2711\0", "brcm,bcm2711")]
    [InlineData("raspberrypi,4-compute-module\0brcm,bcm2711\0", "raspberrypi,4-compute-module")]
    [InlineData("raspberrypi,5-model-b\0brcm,bcm2712\0", "brcm,bcm2712")]
    public void The_device_tree_names_the_profile(string compatible, string profile)
    {
        Compatible(compatible);

        Assert.Equal(profile, BoardProfiles.Detect(_root.Path));
    }

    [Fact]
    public void A_board_that_no_profile_is_for_has_the_one_of_its_architecture_where_there_is_one()
    {
        Assert.Null(BoardProfiles.Detect(_root.Path));
        Compatible("linux,dummy-virt\0");
        Assert.Equal(PublishedBinary.NativeRid == "linux-arm64" ? "generic-arm64" : null, BoardProfiles.Detect(_root.Path));
    }

    [Theory]
    [MemberData(nameof(Files))]
    public void Each_profile_is_one_that_the_daemon_reads_and_the_page_names_and_names_no_other(string name)
    {
        var configuration = Read($$"""{ "profile": "{{name}}" }""", out var draft);

        Assert.Equal(name, configuration.Profile);
        Assert.True(configuration.Reserve.Memory > 0 && configuration.AllowedDevices is not null);
        Assert.All(draft.Given.Values.Where(line => line.Key != "profile"), line => Assert.StartsWith($"profile {name}:", line.From, StringComparison.Ordinal));
        Assert.Contains($"`{name}`", File.ReadAllText(Repository.PathOf("device-configs", "README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_operator_says_wins_over_the_profile_and_none_is_none()
    {
        Compatible("raspberrypi,4-model-b\0brcm,bcm2711\0");

        var mixed = Read("""{ "defaults": { "memory": "7m" } }""", out var draft);
        Assert.Equal(("brcm,bcm2711", 7 << 20, 1_000_000_000), (mixed.Profile, mixed.Defaults.Memory, mixed.Defaults.NanoCpus));
        Assert.Equal("device tree", draft.Given["profile"].From);
        Assert.Equal(80, mixed.HotCelsius);

        var none = Read("""{ "profile": "none" }""", out _);
        Assert.Equal((null, null, 85), (none.Defaults.Memory, none.AllowedDevices, none.HotCelsius));
    }

    [Theory]
    [InlineData("""{ "profile": "commodore,64" }""", "profile \"commodore,64\" is not brcm,bcm2711, ")]
    [InlineData("""{ "devices": { "allow": "i2c=i2c1, can0" } }""", "devices.allow \"can0\" is not a path beneath /dev")]
    [InlineData("""{ "devices": { "buses": "i2c" } }""", "devices.buses is not a key of the configuration; there are devices.allow")]
    [InlineData("""{ "thermal": { "warn": 400 } }""", "thermal.warn 400 is not between 40 and 120")]
    [InlineData("""{ "watchdog": { "maxTimeout": 0 } }""", "watchdog.maxTimeout 0 is not between 1 and 86400")]
    [InlineData("""{ "watchdog": { "driver": "../x" } }""", "watchdog.driver \"../x\" is not a driver's name")]
    [InlineData("""{ "watchdog": { "timeout": 15 } }""", "watchdog.timeout is not a key of the configuration; there are watchdog.driver, watchdog.maxTimeout")]
    public void What_is_wrong_with_it_is_said_by_file_line_and_key(string text, string words) =>
        Assert.Contains(":1: " + words, Assert.Throws<EdgeHostException>(() => Read(text, out _)).Message, StringComparison.Ordinal);

    [Fact]
    public void Check_names_the_profile_the_bus_that_the_board_lacks_and_how_to_turn_it_on()
    {
        using var tree = new BoardTree();
        tree.Put("/boot/firmware/config.txt", string.Empty);
        tree.Put("/dev/serial0", string.Empty);

        var said = BoardCheck.Settings(new BoardSettings { Profile = "brcm,bcm2711", Devices = "i2c=i2c1, /dev/serial0, gpioline=*" }, tree.Root).ToList();

        Assert.Equal(["profile", "devices"], said.Select(each => each.Name));
        Assert.Equal(("present", "brcm,bcm2711"), (said[0].StateWord, said[0].Found));
        Assert.Equal(("missing", "i2c=i2c1: not there, though workloads may ask for it"), (said[1].StateWord, said[1].Found));
        Assert.Contains("dtparam=i2c_arm=on", said[1].Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Check_says_that_a_configuration_cannot_be_read_and_the_board_will_not_do()
    {
        var said = Assert.Single(BoardCheck.Settings(new BoardSettings { Error = "/etc/edgehost/edgehost.json:3: x is not a key" }));

        Assert.Equal(("configuration", "required", "missing"), (said.Name, said.NeedWord, said.StateWord));
    }

    [Theory]
    [InlineData("0", "present", "never throttled")]
    [InlineData("50000", "missing", "undervoltage, throttled since it was booted")]
    [InlineData("50005", "missing", "undervoltage, throttled now; undervoltage, throttled since it was booted")]
    public void Check_tells_of_power_and_heat(string flags, string state, string words)
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.Put("/sys/devices/platform/soc/soc:firmware/get_throttled", flags + "\n");

        var said = Assert.Single(BoardCheck.Power(tree.Root));

        Assert.Equal(state, said.StateWord);
        Assert.Contains(words, said.Found, StringComparison.Ordinal);
    }

    [Fact]
    public void Check_finds_swap_on_flash_and_none_on_a_disk_or_in_memory()
    {
        using var tree = BoardTree.OfRaspberryPi();
        tree.Put("/var/swap", string.Empty);
        tree.Put("/proc/swaps", "Filename\t\tType\t\tSize\tUsed\tPriority\n/var/swap file\t102396\t0\t-2\n/dev/mmcblk0p3 partition\t1\t0\t-3\n/dev/zram0 partition\t1\t0\t100\n/dev/sda2 partition\t1\t0\t-4\n");

        Assert.Equal(["/var/swap is on flash, which swapping wears out", "/dev/mmcblk0p3 is on flash, which swapping wears out"], BoardCheck.Swaps(tree.Root).Select(each => each.Found));
    }

    public void Dispose() => _root.Dispose();

    private void Compatible(string names)
    {
        Directory.CreateDirectory(_root.Sub("proc/device-tree"));
        File.WriteAllText(_root.Sub("proc/device-tree/compatible"), names);
    }

    private EdgeHost.Configuration Read(string text, out ConfigurationDraft draft)
    {
        draft = new ConfigurationDraft();
        File.WriteAllText(_root.Sub("edgehost.json"), text);
        return ConfigurationReader.Read(DaemonPaths.From(_root.Sub("edgehost.json"), null, null, static _ => null), static _ => null, draft, _root.Path);
    }
}
