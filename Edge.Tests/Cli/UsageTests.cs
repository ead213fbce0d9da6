using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>Exit codes and words of usage errors are docker's.</summary>
public sealed class UsageTests
{
    [Theory]
    [InlineData(1, "edgehost: unknown command: edgehost bogus\n\nRun 'edgehost --help' for more information\n", "bogus")]
    [InlineData(125, "unknown flag: --bogus\n\nUsage:  edgehost version [OPTIONS]\n\nRun 'edgehost version --help' for more information\n", "version", "--bogus")]
    [InlineData(125, "unknown shorthand flag: 'q' in -q\n\nUsage:  edgehost version [OPTIONS]\n\nRun 'edgehost version --help' for more information\n", "version", "-q")]
    [InlineData(125, "unknown flag: --ulimit\n\nUsage:  edgehost run [OPTIONS] IMAGE [COMMAND...]\n\nRun 'edgehost run --help' for more information\n", "run", "--ulimit", "nofile=1", "busybox", "true")]
    [InlineData(125, "unknown shorthand flag: 'z' in -z\n\nUsage:  edgehost exec [OPTIONS] CONTAINER COMMAND [COMMAND...]\n\nRun 'edgehost exec --help' for more information\n", "exec", "-z", "here", "true")]
    [InlineData(125, "unknown flag: --bogus\n\nUsage:  edgehost rm [OPTIONS] CONTAINER [CONTAINER...]\n\nRun 'edgehost rm --help' for more information\n", "rm", "here", "--bogus")]
    [InlineData(125, "edgehost: invalid argument \"abc\" for --last: it is not a whole number\n\nUsage:  edgehost ps [OPTIONS]\n\nRun 'edgehost ps --help' for more information\n", "ps", "-n", "abc")]
    [InlineData(1, "edgehost: build is not in this version\n", "build", ".")]
    [InlineData(1, "edgehost: 'edgehost version' accepts no arguments\n\nUsage:  edgehost version [OPTIONS]\n\nRun 'edgehost version --help' for more information\n", "version", "extra")]
    [InlineData(1, "edgehost: 'edgehost version' accepts no arguments\n\nUsage:  edgehost version [OPTIONS]\n\nRun 'edgehost version --help' for more information\n", "version", "@/dev/null")]
    [InlineData(1, "edgehost: unknown command: edgehost image bogus\n\nRun 'edgehost image --help' for more information\n", "image", "bogus")]
    [InlineData(1, "edgehost: 'edgehost save' requires at least 1 argument\n\nUsage:  edgehost save [OPTIONS] IMAGE [IMAGE...]\n\nRun 'edgehost save --help' for more information\n", "save")]
    [InlineData(1, "edgehost: 'edgehost tag' requires 2 arguments\n\nUsage:  edgehost tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\nRun 'edgehost tag --help' for more information\n", "tag", "a")]
    [InlineData(125, "edgehost: Required argument missing for option: '-o'.\n\nUsage:  edgehost save [OPTIONS] IMAGE [IMAGE...]\n\nRun 'edgehost save --help' for more information\n", "save", "-o")]
    public async Task A_command_line_that_is_not_understood_says_so_on_standard_error(int exitCode, string error, params string[] arguments)
    {
        var run = (await PublishedBinary.RunAsync(arguments)).Exits(exitCode);

        Assert.Equal(error, run.Error);
        Assert.Empty(run.Output);
    }

    [Theory]
    [InlineData]
    [InlineData("--help")]
    [InlineData("-h")]
    public async Task Help_lists_the_commands(params string[] arguments)
    {
        var run = (await PublishedBinary.RunAsync(arguments)).Succeeds();

        Assert.StartsWith("Usage:  edgehost [OPTIONS] COMMAND\n", run.Output, StringComparison.Ordinal);
        Assert.Contains("\n  check     ", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_command_that_only_has_others_beneath_it_shows_its_help() =>
        Assert.StartsWith("Usage:  edgehost image COMMAND\n", (await PublishedBinary.RunAsync("image")).Succeeds().Output, StringComparison.Ordinal);

    [Fact]
    public async Task Help_of_a_command_wins_over_the_rest_of_a_faulty_line() =>
        Assert.StartsWith("Usage:  edgehost check [OPTIONS]\n", (await PublishedBinary.RunAsync("check", "--bogus", "--help")).Succeeds().Output, StringComparison.Ordinal);

    [Theory]
    [InlineData("exec \"$0\" check >/dev/full", "edgehost: write standard output: no space left on device\n")]
    [InlineData("exec \"$0\" check --data-dir ''", "edgehost: the data directory is \"\": name one, as in /var/lib/edgehost\n")]
    public async Task A_failure_is_one_line_and_exit_code_1(string script, string error)
    {
        var run = (await CommandRun.RunAsync("sh", ["-c", script, await PublishedBinary.NativeAsync()])).Exits(1);

        Assert.Equal(error, run.Error);
    }
}
