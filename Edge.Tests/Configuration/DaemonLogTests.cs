using System.Text;
using Edge.Tests.Fixtures;
using EdgeHost;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Edge.Tests.Configuration;

/// <summary>What the journal reads from the lines of our processes (sd-daemon(3)).</summary>
public sealed class DaemonLogTests
{
    [Theory]
    [InlineData(LogLevel.Critical, 2)]
    [InlineData(LogLevel.Error, 3)]
    [InlineData(LogLevel.Warning, 4)]
    [InlineData(LogLevel.Information, 6)]
    [InlineData(LogLevel.Debug, 7)]
    public void Each_line_has_its_priority_in_front(LogLevel level, int priority)
    {
        using var output = new MemoryStream();
        using var log = new DaemonLog(output, journal: true) { Least = LogLevel.Debug };
        log.CreateLogger("EdgeHost.Test").Log(level, 0, "one\ntwo", null, (text, _) => text);
        Assert.Equal($"<{priority}>one\n<{priority}>two\n", Encoding.UTF8.GetString(output.ToArray()));
    }

    [Fact]
    public void Elsewhere_it_has_the_time_and_a_word()
    {
        using var output = new MemoryStream();
        using var log = new DaemonLog(output, journal: false);
        log.CreateLogger("EdgeHost.Test").LogWarning(new EdgeHostException(ErrorKind.NotFound, "it is not there"), "failed");
        Assert.Matches(@"^\d\d:\d\d:\d\d warning failed: it is not there\n$", Encoding.UTF8.GetString(output.ToArray()));
    }

    [Theory]
    [InlineData("daemon --config /nonexistent.json", "edgehost: configuration file /nonexistent.json is not there")]
    [InlineData("shepherd --bogus", "edgehost shepherd: argument --bogus is not understood")]
    [InlineData("ps -H unix:///nonexistent.sock", "edgehost: cannot reach the daemon at /nonexistent.sock")]
    public async Task A_process_whose_standard_error_is_the_journal_puts_it_in_front_and_one_that_only_inherited_the_variable_does_not(string arguments, string words)
    {
        // JOURNAL_STREAM names the stream by device and inode; a file stands for the journal's socket.
        const string Journal = "f=$(mktemp); JOURNAL_STREAM=$(stat -c %d:%i \"$f\") \"$0\" ";
        var binary = await PublishedBinary.NativeAsync();
        var journal = (await CommandRun.RunAsync("sh", ["-c", $"{Journal}{arguments} 2>\"$f\"; cat \"$f\"; rm \"$f\"", binary])).Output;
        Assert.StartsWith("<3>" + words, journal);
        var elsewhere = (await CommandRun.RunAsync("sh", ["-c", $"{Journal}{arguments}; rm \"$f\"", binary])).Error;
        Assert.StartsWith(words, elsewhere);
    }
}
