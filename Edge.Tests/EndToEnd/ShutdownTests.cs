using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The end of all containers: the last started first, each in its own way, in the time that there is.</summary>
public sealed partial class ShutdownTests : IDisposable
{
    private const string Deaf = "trap '' TERM; echo up; while :; do sleep 1000; done";
    private const string Polite = "trap 'exit 7' TERM USR1; echo up; while :; do sleep 0.1; done";

    private readonly TemporaryDirectory _directory = new();
    private readonly Socket _supervisor = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);

    public void Dispose()
    {
        _supervisor.Dispose();
        _directory.Dispose();
    }

    [Fact]
    public async Task The_last_started_is_asked_first_by_its_own_signal_and_one_that_is_deaf_has_its_own_grace_and_is_killed()
    {
        await using var daemon = DaemonUnderTest.Make();
        var shepherd = await StartShepherdAsync(daemon, stopWithin: 60);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var first = await StartedAsync(daemon, Polite);
        var second = await StartedAsync(daemon, Deaf, "--stop-timeout", "1");
        var third = await StartedAsync(daemon, Polite, "--stop-signal", "USR1");
        await daemon.StopAsync();
        Assert.Contains("stopping; containers go on", daemon.Said, StringComparison.Ordinal);

        await DaemonUnderTest.SignalAsync(await daemon.ShepherdPidAsync(), "TERM");
        var said = (await shepherd).Succeeds().Error;

        Assert.Equal(
            [$"ended {third[..12]} 7 10", $"killed {second[..12]}", $"ended {second[..12]} 137 15", $"ended {first[..12]} 7 15"],
            Course(said));
        await HearAsync("STOPPING=1");
        Assert.Empty(daemon.CgroupPids());
    }

    [Fact]
    public async Task Graces_that_do_not_fit_into_the_time_are_shortened_the_order_stays_and_all_are_ended()
    {
        await using var daemon = DaemonUnderTest.Make();
        var shepherd = await StartShepherdAsync(daemon, stopWithin: 3);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var polite = await StartedAsync(daemon, Polite, "--stop-timeout", "600");
        var deaf = await StartedAsync(daemon, Deaf, "--stop-timeout", "600");
        var deafToo = await StartedAsync(daemon, Deaf, "--stop-timeout", "600");
        await daemon.StopAsync();

        await DaemonUnderTest.SignalAsync(await daemon.ShepherdPidAsync(), "TERM");
        var course = Course((await shepherd).Succeeds().Error);

        // The polite one, started first, was still asked, and needed no kill.
        Assert.Equal([$"ended {polite[..12]} 7 15"], course.Where(step => step.Contains(polite[..12], StringComparison.Ordinal)));
        Assert.Contains($"killed {deaf[..12]}", course);
        Assert.Contains($"ended {deafToo[..12]} 137 15", course);
        Assert.Empty(daemon.CgroupPids());
    }

    [Fact]
    public async Task A_container_that_is_paused_goes_on_to_end_in_its_own_way()
    {
        await using var daemon = DaemonUnderTest.Make();
        var shepherd = await StartShepherdAsync(daemon, stopWithin: 60);
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        var paused = await StartedAsync(daemon, Polite, "--stop-timeout", "600");
        (await daemon.DockerAsync("pause", paused)).Succeeds();
        await daemon.StopAsync();

        await DaemonUnderTest.SignalAsync(await daemon.ShepherdPidAsync(), "TERM");
        var said = (await shepherd).Succeeds().Error;

        Assert.Contains($"container {paused[..12]} was paused: it goes on, to end", said, StringComparison.Ordinal);
        Assert.Equal([$"ended {paused[..12]} 7 15"], Course(said));
        Assert.Empty(daemon.CgroupPids());
    }

    [Fact]
    public async Task Stop_all_stops_what_runs_the_last_started_first_and_none_starts_again()
    {
        await using var daemon = await DaemonUnderTest.StartWithImageAsync();
        await StartedAsync(daemon, Polite, "--name", "one", "--restart", "unless-stopped");
        await StartedAsync(daemon, Polite, "--name", "two");
        await StartedAsync(daemon, Polite, "--name", "three");
        (await daemon.DockerAsync("restart", "one")).Succeeds();
        (await daemon.DockerAsync("create", "--name", "never", "busybox", "true")).Succeeds();

        Assert.Equal("one\nthree\ntwo\n", (await daemon.EdgehostAsync("stop", "--all")).Succeeds().Output);

        Assert.Empty((await daemon.EdgehostAsync("ps", "-q")).Succeeds().Output);
        Assert.Empty((await daemon.EdgehostAsync("stop", "--all")).Succeeds().Output);
        (await daemon.EdgehostAsync("stop", "--all", "one")).Exits(1);
        (await daemon.EdgehostAsync("stop")).Exits(1);
    }

    private static async Task<string> StartedAsync(DaemonUnderTest daemon, string script, params string[] options)
    {
        var id = await daemon.RunDetachedAsync([.. options, "busybox", "sh", "-c", script]);
        await daemon.LineAsync(id, line => line == "up");
        return id;
    }

    /// <summary>What happened to containers, in the shepherd's order.</summary>
    private static List<string> Course(string said) =>
    [
        .. said.Split('\n').Select(line => Ended().Match(line) is { Success: true } ended ? $"ended {ended.Groups[1]} {ended.Groups[2]} {ended.Groups[3]}"
            : Killed().Match(line) is { Success: true } killed ? $"killed {killed.Groups[1]}" : null).OfType<string>(),
    ];

    /// <summary>Starts a shepherd as a service of its own; its end is awaited by the task.</summary>
    private async Task<Task<CommandRun>> StartShepherdAsync(DaemonUnderTest daemon, int stopWithin)
    {
        var name = _directory.Sub("notify");
        _supervisor.Bind(new UnixDomainSocketEndPoint(name));
        var shepherd = CommandRun.RunAsync(
            await PublishedBinary.NativeAsync(),
            ["shepherd", "--run-dir", daemon.Run, "--stop-within", stopWithin.ToString(System.Globalization.CultureInfo.InvariantCulture)],
            environment: new Dictionary<string, string?> { ["NOTIFY_SOCKET"] = name },
            patience: DaemonUnderTest.Patience * 2);
        await HearAsync("READY=1");
        return shepherd;
    }

    // Among what it is given to keep, which nobody reads until then: that must not hold the shepherd up.
    private async Task HearAsync(string state)
    {
        var message = new byte[256];
        using var patience = new CancellationTokenSource(DaemonUnderTest.Patience);
        while (Encoding.UTF8.GetString(message, 0, await _supervisor.ReceiveAsync(message, patience.Token)) != state)
        {
        }
    }

    [GeneratedRegex(@"container (\w+) ended with (\d+), \d+ ms after signal (\d+)")]
    private static partial Regex Ended();

    [GeneratedRegex(@"container (\w+) has not ended \d+ ms after signal \d+: it is killed")]
    private static partial Regex Killed();
}
