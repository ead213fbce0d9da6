using System.Text.Json;
using Xunit;

namespace Edge.Tests.Fixtures;

public sealed class SampleImageTests
{
    [Theory]
    [InlineData("busybox", "amd64", 1)]
    [InlineData("sensor", "amd64", 2)]
    [InlineData("sensor", "arm64", 2)]
    public async Task Skopeo_reads_the_image_and_finds_its_platform_and_layers(string name, string architecture, int layers)
    {
        var path = await SampleImage.PathAsync(name, architecture);
        await Packages.NeedAsync("skopeo");

        var run = (await CommandRun.RunAsync("skopeo", ["inspect", "--override-arch", architecture, $"oci-archive:{path}:latest"])).Succeeds();

        using var json = JsonDocument.Parse(run.Output);
        Assert.Equal(architecture, json.RootElement.GetProperty("Architecture").GetString());
        Assert.Equal(layers, json.RootElement.GetProperty("Layers").GetArrayLength());
    }

    [Fact]
    public async Task The_same_packages_give_the_same_bytes()
    {
        var first = await SampleImage.PathAsync("sensor", "amd64");
        var second = Path.GetTempFileName();
        try
        {
            (await CommandRun.RunAsync(Repository.PathOf("images", "build.sh"), ["sensor", "amd64", second])).Succeeds();

            Assert.Equal(await File.ReadAllBytesAsync(first, TestContext.Current.CancellationToken), await File.ReadAllBytesAsync(second, TestContext.Current.CancellationToken));
        }
        finally
        {
            File.Delete(second);
        }
    }

    [Fact]
    public async Task The_sensor_prints_a_reading_per_interval_and_ends_at_once_when_told()
    {
        var script = Repository.PathOf("images", "sensor", "sensor.sh");

        var run = (await CommandRun.RunAsync(
            "sh",
            ["-c", """
                directory=$(mktemp -d)
                mkfifo "$directory/out"
                SENSOR_INTERVAL=30 sh "$0" >"$directory/out" &
                { read -r started; read -r reading; kill -TERM $!; read -r stopped; } <"$directory/out"
                wait $!
                echo "$? $started $reading $stopped"
                rm -r "$directory"
                """, script])).Succeeds();

        Assert.Matches(
            """^0 \{"event":"started","sensor":"temperature","interval":30\} \{"time":"[^"]+Z","sensor":"temperature","reading":1,"celsius":\d+\.\d{3}\} \{"event":"stopped","readings":1\}\n$""",
            run.Output);
    }
}
