using System.Net.Sockets;
using System.Text;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What the daemon tells systemd (sd_notify(3), sd_watchdog_enabled(3)), heard at a socket as systemd's.</summary>
public sealed class SupervisorTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly Socket _systemd = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    public void Dispose()
    {
        _systemd.Dispose();
        _directory.Dispose();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_supervisor_hears_that_the_daemon_is_ready_then_that_it_works_then_that_it_stops(bool abstractName)
    {
        await using var daemon = Supervised(abstractName, watchdogPid: null);
        var started = daemon.StartAsync();

        await HearAsync("READY=1");
        await started;
        Assert.True(File.Exists(daemon.Socket));
        await HearAsync("WATCHDOG=1");
        await HearAsync("WATCHDOG=1");
        var stopped = daemon.StopAsync();
        await HearAsync("STOPPING=1");
        await stopped;
    }

    [Fact]
    public async Task A_daemon_that_is_not_ready_says_so_by_its_exit_code_alone()
    {
        await using var daemon = Supervised(abstractName: false, watchdogPid: null);
        daemon.Settings["no-such-key"] = 1;

        var (exitCode, _) = await daemon.StartInVainAsync();

        Assert.NotEqual(0, exitCode);
        Assert.Equal(0, _systemd.Available);
    }

    [Fact]
    public async Task The_watchdog_of_another_process_is_not_fed_and_the_shepherd_inherits_neither_socket_nor_watchdog()
    {
        await using var daemon = Supervised(abstractName: false, watchdogPid: "1");
        await daemon.StartAsync();
        var inherited = await File.ReadAllTextAsync($"/proc/{await daemon.ShepherdPidAsync()}/environ", TestContext.Current.CancellationToken);
        await daemon.StopAsync();

        Assert.Equal("READY=1", await ReceiveAsync());
        Assert.Equal("STOPPING=1", await ReceiveAsync());
        Assert.DoesNotContain("NOTIFY_SOCKET", inherited, StringComparison.Ordinal);
        Assert.DoesNotContain("WATCHDOG", inherited, StringComparison.Ordinal);
    }

    private DaemonUnderTest Supervised(bool abstractName, string? watchdogPid)
    {
        var daemon = DaemonUnderTest.Make();
        var name = abstractName ? "@" + Path.GetFileName(_directory.Path) : _directory.Sub("notify");
        _systemd.Bind(new UnixDomainSocketEndPoint(name.Replace('@', '\0')));
        daemon.Variables["NOTIFY_SOCKET"] = name;
        daemon.Variables["WATCHDOG_USEC"] = "200000";
        if (watchdogPid is not null)
        {
            daemon.Variables["WATCHDOG_PID"] = watchdogPid;
        }

        return daemon;
    }

    // Beats come between all others.
    private async Task HearAsync(string state)
    {
        string heard;
        while ((heard = await ReceiveAsync()) != state)
        {
            Assert.Equal("WATCHDOG=1", heard);
        }
    }

    private async Task<string> ReceiveAsync()
    {
        var message = new byte[4096];
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        return Encoding.UTF8.GetString(message, 0, await _systemd.ReceiveAsync(message, patience.Token));
    }
}
