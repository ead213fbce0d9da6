using System.Globalization;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Whatever happens to workloads, and however often, nothing of them is left.</summary>
public sealed class SoakTests
{
    // Of a run of all tests. test.sh --soak says how many there are to be.
    private const int SampledCycles = 120;
    private const int SampledSlice = 60;

    [Fact]
    public async Task Lives_of_workloads_one_after_the_other_leave_nothing_behind()
    {
        Needs.Root();
        await Packages.NeedAsync("docker-registry", "skopeo", "iproute2", "nftables", "procps");
        var binary = await PublishedBinary.NativeAsync();
        var image = await SampleImage.PathAsync("busybox", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        var most = int.TryParse(Environment.GetEnvironmentVariable("EDGEHOST_SOAK"), CultureInfo.InvariantCulture, out var number) ? number : 0;

        // A sample does not wait until unused memory has been given back, so it says nothing of memory.
        var settings = new Dictionary<string, string?>
        {
            ["PATH"] = $"{Path.GetDirectoryName(binary)}:{Environment.GetEnvironmentVariable("PATH")}",
            ["SEED"] = Environment.GetEnvironmentVariable("EDGEHOST_SOAK_SEED"),
        };
        if (most == 0)
        {
            (settings["SLICE"], settings["WARM"], settings["IDLE"], settings["MEMORY"]) = ($"{SampledSlice}", "0", "0", "none");
        }

        // Ports are published in a network namespace of its own, where no other test has a broker; mounts of others are not counted.
        var run = await CommandRun.RunAsync(
            "unshare", ["--net", "--mount", "bash", Repository.PathOf("Edge.Tests", "EndToEnd", "soak.sh"), image, $"{(most > 0 ? most : SampledCycles)}"],
            environment: settings, patience: TimeSpan.FromMinutes(5) + (TimeSpan.FromSeconds(1) * most));

        TestContext.Current.TestOutputHelper?.WriteLine(run.Output);
        if (most > 0)
        {
            _ = Directory.CreateDirectory(Repository.PathOf("dist"));
            await File.WriteAllTextAsync(Repository.PathOf("dist", "soak.txt"), run.Output, TestContext.Current.CancellationToken);
        }

        Assert.Contains("\nFLAT after ", run.Succeeds().Output, StringComparison.Ordinal);
    }
}
