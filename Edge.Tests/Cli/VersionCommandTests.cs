using System.Text.Json;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Cli;

public sealed class VersionCommandTests
{
    [Fact]
    public async Task Version_tells_what_it_was_built_for_and_the_kernel_that_it_runs_on()
    {
        var run = (await PublishedBinary.RunAsync("version", "--json")).Succeeds();

        using var json = JsonDocument.Parse(run.Output);
        Assert.Equal(PublishedBinary.NativeRid, json.RootElement.GetProperty("rid").GetString());
        Assert.Equal(File.ReadAllText("/proc/sys/kernel/osrelease").TrimEnd(), json.RootElement.GetProperty("kernel").GetString());
        Assert.Matches(@"^\d+\.\d+\.\d+$", json.RootElement.GetProperty("version").GetString()!);
        Assert.StartsWith(".NET 10.", json.RootElement.GetProperty("runtime").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--version")]
    [InlineData("-v")]
    public async Task The_version_flag_prints_one_line_as_docker_does(string flag) =>
        Assert.Matches(@"^EdgeHost version \d+\.\d+\.\d+(, build [0-9a-f]{7})?\n$", (await PublishedBinary.RunAsync(flag)).Succeeds().Output);
}
