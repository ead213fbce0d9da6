using EdgeHost.Api;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>Signals, times, filters and references in docker's forms.</summary>
public sealed class TextTests
{
    private static readonly DateTimeOffset Now = new(2026, 5, 1, 12, 0, 0, TimeSpan.Zero);

    [Theory]
    [InlineData("KILL", 9)]
    [InlineData("SIGTERM", 15)]
    [InlineData("sigusr1", 10)]
    [InlineData("1", 1)]
    [InlineData("64", 64)]
    [InlineData("RTMIN", 34)]
    [InlineData("SIGRTMIN+3", 37)]
    [InlineData("RTMAX-1", 63)]
    public void Signals_have_names_and_numbers(string text, int number) => Assert.Equal(number, Signals.Parse(text));

    [Theory]
    [InlineData("0")]
    [InlineData("65")]
    [InlineData("-9")]
    [InlineData("SIG")]
    [InlineData("NOSUCH")]
    [InlineData("RTMIN+31")]
    [InlineData("RTMAX-31")]
    public void What_is_no_signal_is_refused(string text) => Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => Signals.Parse(text)).Kind);

    [Theory]
    [InlineData("1777636800", "2026-05-01T12:00:00.000000000Z")]
    [InlineData("1777636800.5", "2026-05-01T12:00:00.500000000Z")]
    [InlineData("2026-05-01T13:00:00+01:00", "2026-05-01T12:00:00.000000000Z")]
    [InlineData("2026-05-01", "2026-05-01T00:00:00.000000000Z")]
    [InlineData("10m", "2026-05-01T11:50:00.000000000Z")]
    [InlineData("1h30m", "2026-05-01T10:30:00.000000000Z")]
    [InlineData("500ms", "2026-05-01T11:59:59.500000000Z")]
    public void Times_are_read_in_all_forms(string text, string time) => Assert.Equal(time, DockerTime.Format(DockerTime.Parse("since", text, Now)));

    [Theory]
    [InlineData("0")]
    [InlineData("")]
    [InlineData(null)]
    public void No_time_is_no_time(string? text) => Assert.Null(DockerTime.Parse("since", text, Now));

    [Fact]
    public void What_is_no_time_is_refused() => Assert.Contains("since=soon", Assert.Throws<EdgeHostException>(() => DockerTime.Parse("since", "soon", Now)).Message);

    [Theory]
    [InlineData("docker.io/library/busybox:latest", "busybox:latest")]
    [InlineData("docker.io/me/app:1", "me/app:1")]
    [InlineData("registry.lan:5000/library/app:1", "registry.lan:5000/library/app:1")]
    public void References_are_shown_as_docker_shows_them(string reference, string shown) => Assert.Equal(shown, DockerReference.Short(reference));

    [Theory]
    [InlineData("busybox:latest", "busybox", true)]
    [InlineData("busybox:latest", "busy*", true)]
    [InlineData("busybox:latest", "busybox:l?test", true)]
    [InlineData("busybox:latest", "box", false)]
    [InlineData("reg:5000/a/b:1", "reg:5000/*/b", true)]
    [InlineData("reg:5000/a/b:1", "reg:5000/*", false)]
    public void Reference_filters_are_globs_within_a_path_part(string name, string pattern, bool fits) => Assert.Equal(fits, DockerReference.Fits(name, pattern));

    [Fact]
    public void Counters_of_interfaces_are_read_as_the_kernel_writes_them()
    {
        string[] lines =
        [
            "Inter-|   Receive                                                |  Transmit",
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed",
            "    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0",
            "  eth0: 1234567    9876    1    2    3     4          5         6 7654321    6789    7    8    9    10      11         12",
        ];
        var networks = NetworkCounters.Parse(lines);
        Assert.Equal(["eth0"], networks.Keys);
        Assert.Equal(
            new Dictionary<string, long>
            {
                ["rx_bytes"] = 1234567,
                ["rx_packets"] = 9876,
                ["rx_errors"] = 1,
                ["rx_dropped"] = 2,
                ["tx_bytes"] = 7654321,
                ["tx_packets"] = 6789,
                ["tx_errors"] = 7,
                ["tx_dropped"] = 8,
            },
            networks["eth0"]);

        // Those of this machine, whatever they are.
        Assert.Equal(NetworkCounters.Parse(File.ReadLines("/proc/self/net/dev")).Keys, NetworkCounters.Read(Environment.ProcessId)!.Keys);
        Assert.Null(NetworkCounters.Read(int.MaxValue));
    }

    [Fact]
    public void Both_forms_of_filters_are_read()
    {
        var list = new DockerFilters("""{"label":["a=b","c"]}""", "label");
        var map = new DockerFilters("""{"label":{"a=b":true,"c":true,"d":false}}""", "label");
        var labels = new Dictionary<string, string> { ["a"] = "b", ["c"] = "" };
        Assert.True(list.Labels(labels) && map.Labels(labels));
        Assert.False(list.Labels(new Dictionary<string, string> { ["a"] = "b" }));
    }
}
