using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>The daemon is killed in the middle of a pull.</summary>
public sealed class PullCrashTests
{
    private const int LayerBytes = 6 << 20;
    private const int CutAfter = 3 << 20;

    // Manifests, configuration and headers.
    private const int Overhead = 64 << 10;

    [Fact]
    public async Task A_daemon_killed_in_the_middle_of_a_pull_shows_nothing_of_it_and_the_next_one_goes_on_where_it_was()
    {
        Needs.Root();
        await Packages.NeedAsync("docker-registry", "skopeo");
        await using var registry = await RegistryFixture.StartAsync();
        using var layout = new OciLayout();
        var layer = Layer.Gzip(Layer.Noise("noise", LayerBytes, 11));
        layout.AddImage("a", [layer], PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        await registry.PushAsync(layout.Path + ":a", "big:1");
        await using var proxy = new TcpProxy(registry.Port) { CutAfter = CutAfter, Stalls = 1 };
        await using var daemon = DaemonUnderTest.Make();
        await daemon.StartAsync();
        var image = $"{proxy.Host}/big:1";

        var pull = daemon.DockerAsync("pull", image);
        await proxy.Reached.Task.WaitAsync(DaemonUnderTest.Patience, TestContext.Current.CancellationToken);
        await HasGrownAsync(Path.Combine(daemon.Data, "content", "ingest"), CutAfter / 2);
        await daemon.KillAsync();
        Assert.NotEqual(0, (await pull).ExitCode);
        await daemon.StartAsync();

        Assert.Equal(string.Empty, (await daemon.DockerAsync("images", "-aq")).Succeeds().Output);
        Assert.Contains("No such image", (await daemon.DockerAsync("create", "--pull", "never", "--network", "none", image, "x")).Exits(1).Error, StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.EnumerateDirectories(Path.Combine(daemon.Data, "snapshots")).Select(Path.GetFileName), name => char.IsAsciiDigit(name![0]));
        var kept = new FileInfo(Assert.Single(Directory.EnumerateFiles(Path.Combine(daemon.Data, "content", "ingest")))).Length;
        Assert.InRange(kept, 1, CutAfter);

        proxy.CutAfter = long.MaxValue;
        var before = proxy.Received;
        (await daemon.DockerAsync("pull", image)).Succeeds();
        Assert.InRange(proxy.Received - before, layer.Blob.Length - kept, layer.Blob.Length - kept + Overhead);
        Assert.Equal($"{LayerBytes}\n", (await daemon.DockerAsync("image", "inspect", "-f", "{{.Size}}", image)).Output);
        Assert.Empty(Directory.EnumerateFiles(Path.Combine(daemon.Data, "content", "ingest")));
    }

    /// <summary>Waits until a file of a directory has that many bytes: what the proxy has sent may not have been read yet.</summary>
    private static async Task HasGrownAsync(string directory, long bytes)
    {
        var grown = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var watch = new FileSystemWatcher(directory) { NotifyFilter = NotifyFilters.Size | NotifyFilters.FileName };
        watch.Changed += (_, _) => Look();
        watch.Created += (_, _) => Look();
        watch.EnableRaisingEvents = true;
        Look();
        await grown.Task.WaitAsync(DaemonUnderTest.Patience, TestContext.Current.CancellationToken);

        void Look()
        {
            if (new DirectoryInfo(directory).EnumerateFiles().Any(file => file.Length >= bytes))
            {
                grown.TrySetResult();
            }
        }
    }
}
