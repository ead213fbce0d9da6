using EdgeHost.Board;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What <c>edgehost check</c> says of the watchdog that a board has.</summary>
public sealed class WatchdogCheckTests : IDisposable
{
    private const string Advice = "\"RuntimeWatchdogSec=15\" in /etc/systemd/system.conf.d/watchdog.conf";
    private const string Etc = "/etc/systemd/system.conf";
    private static readonly BoardSettings OfRaspberryPi = new() { WatchdogDriver = "bcm2835-wdt", WatchdogMaxTimeout = 15 };
    private readonly BoardTree _tree = new();

    public void Dispose() => _tree.Dispose();

    [Fact]
    public void Nothing_is_said_where_none_is_and_none_is_known_of() => Assert.Empty(BoardCheck.Watchdog(new BoardSettings(), _tree.Root));

    [Theory]
    [InlineData("/boot/firmware/config.txt", "set \"dtparam=watchdog=on\" in /boot/firmware/config.txt, and reboot; where it is so already, modprobe bcm2835_wdt")]
    [InlineData("/boot/config.txt", "set \"dtparam=watchdog=on\" in /boot/config.txt")]
    [InlineData("/boot/grub", "modprobe bcm2835_wdt, and have it in /etc/modules-load.d/watchdog.conf")]
    public void The_one_that_the_profile_names_is_missed_and_how_to_have_it_is_said(string file, string remedy)
    {
        _tree.Put(file, string.Empty);
        Put("softdog", null);

        var said = Said("missing", "the board's (bcm2835-wdt) is not there: a board that hangs stays so");

        Assert.StartsWith(remedy, said.Remedy, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("15", "Broadcom BCM2835 Watchdog timer boots the board again when nobody has fed it for 15 s")]
    [InlineData("60", "Broadcom BCM2835 Watchdog timer boots the board again when nobody has fed it for 60 s; its hardware counts to 15 s, the kernel feeds it in between")]
    public void One_that_is_fed_is_told_with_what_its_hardware_can_hold(string timeout, string words)
    {
        Put("bcm2835-wdt", "active", timeout);

        Said("present", words);
    }

    [Theory]
    [InlineData(15, 15)]
    [InlineData(null, 15)]
    [InlineData(8, 8)]
    public void One_that_nobody_feeds_is_to_be_fed_within_what_it_can_count(int? most, int advised)
    {
        Put("bcm2835-wdt", "inactive");

        var said = Assert.Single(BoardCheck.Watchdog(new BoardSettings { WatchdogMaxTimeout = most }, _tree.Root));

        Assert.Equal(("missing", "Broadcom BCM2835 Watchdog timer is there and off: a board that hangs stays so"), (said.StateWord, said.Found));
        Assert.Contains($"\"RuntimeWatchdogSec={advised}\"", said.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void A_kernel_that_does_not_tell_is_not_taken_for_one_that_has_none()
    {
        Put("bcm2835-wdt", null);

        var said = Said("unknown", "watchdog0 is there; this kernel does not tell whether it is fed");

        Assert.Contains(Advice, said.Remedy, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("60")]
    [InlineData("16s")]
    [InlineData("1min")]
    [InlineData("1 h")]
    public void More_than_it_can_count_is_said_by_file_and_both_numbers(string asked)
    {
        Put("bcm2835-wdt", "inactive");
        _tree.Put(Etc, $"[Manager]\n#RuntimeWatchdogSec=off\nRuntimeWatchdogSec={asked}\n");

        var said = Said("missing", $"Broadcom BCM2835 Watchdog timer is there and off: systemd asks for {asked switch { "1min" => "60", "1 h" => "3600", _ => asked.TrimEnd('s') }} s ({Etc}), and it counts to 15 s at most");

        Assert.Contains(Advice, said.Remedy, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("15", null)]
    [InlineData("default", null)]
    [InlineData("60", "0")]
    public void What_the_kernel_would_take_is_not_blamed(string asked, string? most)
    {
        Put("bcm2835-wdt", "inactive", most: most);
        _tree.Put(Etc, $"RuntimeWatchdogSec={asked}\n");

        Said("missing", $"Broadcom BCM2835 Watchdog timer is there and off, though systemd is to feed it ({Etc})");
    }

    [Fact]
    public void The_kernel_is_believed_before_the_profile()
    {
        Put("bcm2835-wdt", "inactive", most: "2046");
        _tree.Put(Etc, "RuntimeWatchdogSec=3000\n");

        Said("missing", $"Broadcom BCM2835 Watchdog timer is there and off: systemd asks for 3000 s ({Etc}), and it counts to 2046 s at most");
    }

    [Fact]
    public void Of_systemds_files_the_one_counts_that_systemd_takes()
    {
        Put("bcm2835-wdt", "inactive");
        _tree.Put("/usr/lib/systemd/system.conf", "RuntimeWatchdogSec=40\n");
        _tree.Put(Etc, "RuntimeWatchdogSec=20\n");
        SaidOf(20, Etc);

        _tree.Put("/usr/lib/systemd/system.conf.d/40-rpi-enable-watchdog.conf", "RuntimeWatchdogSec=1m\n");
        SaidOf(60, "/usr/lib/systemd/system.conf.d/40-rpi-enable-watchdog.conf");

        _tree.Put(Etc + ".d/watchdog.conf", "RuntimeWatchdogSec=30\n");
        SaidOf(30, Etc + ".d/watchdog.conf");

        _tree.Put(Etc + ".d/watchdog.conf", string.Empty);
        _tree.Put(Etc + ".d/40-rpi-enable-watchdog.conf", "RuntimeWatchdogSec=off\n");
        Said("missing", "Broadcom BCM2835 Watchdog timer is there and off: a board that hangs stays so");

        void SaidOf(int seconds, string file) => Assert.Contains($": systemd asks for {seconds} s ({file}),", Assert.Single(BoardCheck.Watchdog(OfRaspberryPi, _tree.Root)).Found, StringComparison.Ordinal);
    }

    private FeatureStatus Said(string state, string words)
    {
        var said = Assert.Single(BoardCheck.Watchdog(OfRaspberryPi, _tree.Root));
        Assert.Equal((state, words), (said.StateWord, said.Found));
        return said;
    }

    // A kernel that does not tell has the device without its files.
    private void Put(string driver, string? state, string timeout = "15", string? most = null)
    {
        const string Device = "/sys/class/watchdog/watchdog0";
        _tree.Put($"{Device}/device/uevent", string.Empty);
        File.CreateSymbolicLink($"{_tree.Root}{Device}/device/driver", $"../../../../bus/platform/drivers/{driver}");
        foreach (var (file, text) in new[] { ("identity", "Broadcom BCM2835 Watchdog timer"), ("state", state), ("timeout", timeout), ("max_timeout", most) })
        {
            if (state is not null && text is not null)
            {
                _tree.Put($"{Device}/{file}", text + "\n");
            }
        }
    }
}
