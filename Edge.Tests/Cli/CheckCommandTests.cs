using System.Text.Json;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Cli;

public sealed class CheckCommandTests
{
    [Fact]
    public async Task Check_says_where_the_kernel_keeps_the_memory_controller()
    {
        var run = await PublishedBinary.RunAsync("check", "--json");

        using var json = JsonDocument.Parse(run.Output);
        var memory = Feature(json, "memory controller");
        if (memory.GetProperty("state").GetString() == "present")
        {
            var mount = memory.GetProperty("found").GetString()!.Split(" at ")[1].Split(',')[0];
            Assert.True(
                File.Exists(Path.Combine(mount, "memory.limit_in_bytes")) || File.ReadAllText(Path.Combine(mount, "cgroup.controllers")).Split(' ', '\n').Contains("memory"),
                $"no memory controller at {mount}");
            Assert.NotEqual(3, run.ExitCode);
        }
        else
        {
            _ = run.Exits(3);
        }
    }

    [Fact]
    public async Task A_data_directory_that_cannot_hold_layers_is_refused_with_a_remedy()
    {
        // procfs holds nothing at all, which every kernel can show.
        var run = await PublishedBinary.RunAsync("check", "--data-dir", "/proc/edgehost");

        Assert.NotEqual(0, run.ExitCode);
        Assert.Contains("MISSING  disk space", run.Output, StringComparison.Ordinal);
        Assert.Contains("--data-dir", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_data_directory_beneath_a_file_is_refused() =>
        Assert.Contains("/etc/passwd is a file", (await PublishedBinary.RunAsync("check", "--data-dir", "/etc/passwd/data")).Output, StringComparison.Ordinal);

    [Fact]
    public async Task The_text_names_every_feature_that_the_json_has()
    {
        using var json = JsonDocument.Parse((await PublishedBinary.RunAsync("check", "--json")).Output);
        var text = (await PublishedBinary.RunAsync("check")).Output;

        var names = json.RootElement.GetProperty("features").EnumerateArray().Select(f => f.GetProperty("name").GetString()!).ToArray();

        Assert.NotEmpty(names);
        Assert.DoesNotContain(names, n => !text.Contains($" {n} ", StringComparison.Ordinal));
    }

    private static JsonElement Feature(JsonDocument json, string name) =>
        json.RootElement.GetProperty("features").EnumerateArray().Single(f => f.GetProperty("name").GetString() == name);
}
