using System.Globalization;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Twenty containers, unless fewer are asked for, that write numbered lines without a pause until they are told to stop, each with an exit code of its own.</summary>
internal sealed class BusyContainers
{
    private const int Usual = 20;
    private const int Batch = 1000;

    private readonly DaemonUnderTest _daemon;
    private readonly string _host;
    private readonly List<string> _ids = [];
    private readonly List<int> _pids = [];

    private BusyContainers(DaemonUnderTest daemon, string host) => (_daemon, _host) = (daemon, host);

    /// <summary>Starts them, and waits until all have written.</summary>
    /// <param name="daemon">Where.</param>
    /// <param name="host">A directory of this test.</param>
    /// <param name="count">How many.</param>
    internal static async Task<BusyContainers> StartAsync(DaemonUnderTest daemon, string host, int count = Usual)
    {
        var busy = new BusyContainers(daemon, host);
        for (var i = 0; i < count; i++)
        {
            busy._ids.Add(await daemon.RunDetachedAsync(
                "-v",
                host + ":/host",
                "busybox",
                "sh",
                "-c",
                string.Create(CultureInfo.InvariantCulture, $"i=0; while [ ! -e /host/stop ]; do seq $((i+1)) $((i+{Batch})); i=$((i+{Batch})); sleep 0.1; done; echo end $i; exit {ExitCodeOf(i)}")));
        }

        foreach (var id in busy._ids)
        {
            busy._pids.Add(await daemon.PidOfAsync(id));
        }

        await busy.GoOnAsync();
        return busy;
    }

    /// <summary>Waits until what each writes from now on has come into its log.</summary>
    internal async Task GoOnAsync()
    {
        foreach (var id in _ids)
        {
            await _daemon.UntilLogGrowsAsync(id, _daemon.LogBytes(id) + (64 << 10));
        }
    }

    /// <summary>None is another process than at the beginning.</summary>
    internal async Task AssertSameProcessesAsync()
    {
        for (var i = 0; i < _ids.Count; i++)
        {
            Assert.True(DaemonUnderTest.Lives(_pids[i]));
            Assert.Equal(_pids[i], await _daemon.PidOfAsync(_ids[i]));
        }
    }

    /// <summary>Stops them; each has the exit code that it gave itself.</summary>
    /// <returns>What each has written to its standard output, and what is in its log beside that.</returns>
    internal async Task<List<(string[] Lines, string Beside)>> StopAsync()
    {
        await File.WriteAllTextAsync(Path.Combine(_host, "stop"), string.Empty, TestContext.Current.CancellationToken);
        var logs = new List<(string[], string)>();
        for (var i = 0; i < _ids.Count; i++)
        {
            Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"{ExitCodeOf(i)}\n"), (await _daemon.DockerAsync("wait", _ids[i])).Output);
            var log = (await _daemon.DockerAsync("logs", _ids[i])).Succeeds();
            logs.Add((log.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries), log.Error));
        }

        return logs;
    }

    /// <summary>Every line is there once, in its order, and nothing else.</summary>
    internal static void AssertComplete(List<(string[] Lines, string Beside)> logs)
    {
        foreach (var (lines, beside) in logs)
        {
            Assert.Equal(string.Empty, beside);
            Assert.Equal(string.Create(CultureInfo.InvariantCulture, $"end {lines.Length - 1}"), lines[^1]);
            for (var i = 0; i < lines.Length - 1; i++)
            {
                if (lines[i] != (i + 1).ToString(CultureInfo.InvariantCulture))
                {
                    Assert.Fail($"line {i + 1} is \"{lines[i]}\"");
                }
            }
        }
    }

    private static int ExitCodeOf(int index) => 10 + index;
}
