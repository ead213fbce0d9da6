using System.Text.RegularExpressions;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Documentation;

/// <summary>run.sh as a stranger types it, beside whatever else runs here, and the examples of the pages on its daemon.</summary>
public sealed partial class DemoTests(Arm64Board board)
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    [Theory]
    [InlineData("")]
    [InlineData("--real")]
    public async Task Run_sh_deploys_the_sensor_keeps_its_process_the_next_time_and_stop_leaves_nothing(string mode)
    {
        Needs.Root();
        await using var demo = await Demo.PrepareAsync();
        var before = await demo.TracesAsync();

        var first = (await demo.RunAsync(mode)).Succeeds();
        Assert.Contains("\"phase\": \"running\"", first.Output, StringComparison.Ordinal);
        Assert.Matches(@"memory\.(max|limit_in_bytes):16777216\n", first.Output);
        Assert.Matches(@"(cpu\.max:10000 100000|cpu\.cfs_quota_us:10000)\n", first.Output);
        Assert.Matches(@"pids\.max:20\n", first.Output);
        Assert.Contains("\"sensor\":\"temperature\"", first.Output, StringComparison.Ordinal);
        Assert.Equal(mode.Length > 0, first.Output.Contains("docker-registry at 127.0.0.1:", StringComparison.Ordinal));

        var second = (await demo.RunAsync(mode)).Succeeds();
        var process = Process().Match(first.Output).Value;
        Assert.NotEmpty(process);
        Assert.Equal(process, Process().Match(second.Output).Value);
        Assert.NotEqual(before, await demo.TracesAsync());
        var namespaces = Directory.EnumerateFileSystemEntries($"/proc/{process}/ns").Select(f => new FileInfo(f).LinkTarget!).Except(OwnNamespaces("self")).ToList();
        Assert.True(namespaces.Count >= 4, string.Join(' ', namespaces));

        (await demo.RunAsync("--stop")).Succeeds();
        Assert.Equal(before, await demo.TracesAsync());
        Assert.Empty(AllNamespaces().Intersect(namespaces));
        (await demo.RunAsync("--stop")).Succeeds();
    }

    [Fact]
    public async Task The_examples_of_the_pages_work()
    {
        Needs.Root();
        await using var demo = await Demo.PrepareAsync();
        (await demo.RunAsync(string.Empty)).Succeeds();
        var examples = 0;
        foreach (var page in (string[])["README.md", "docs/cli.md", "docs/networks.md", "docs/images.md", "docs/security.md", "docs/exec.md"])
        {
            foreach (Match example in Example().Matches(await File.ReadAllTextAsync(Repository.PathOf(page), TestContext.Current.CancellationToken)))
            {
                examples++;
                (await demo.ShellAsync(example.Groups["script"].Value)).Succeeds();
            }
        }

        Assert.True(examples >= 6, $"only {examples} examples were found");
    }

    [Fact]
    public async Task A_board_without_an_SDK_runs_the_demo_with_a_binary_built_elsewhere()
    {
        await GiveAsync(await board.ShareAsync());

        // The root of the board is an overlayfs, which cannot hold the layers of another one.
        var run = await board.RunAsync(
            "mount -t tmpfs tmpfs /var/lib && cd /mnt/share/demo && ./run.sh && ./run.sh --stop && ls -A /var/lib && umount /var/lib", Patience);

        Assert.Matches(@"memory\.max:16777216\n", run.Succeeds().Output);
        Assert.Matches(@"cpu\.max:10000 100000\n", run.Output);
        Assert.EndsWith("(what was built stays in dist/, and installed packages stay installed)\n", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_the_memory_controller_is_off_run_sh_says_the_edit_and_exits_with_3()
    {
        await using var off = await EmulatedBoard.StartAsync(new BoardSpec { KernelArguments = "cgroup_disable=memory", Memory = 256, Cpus = 1 });
        await GiveAsync(off.Share);

        var run = await off.RunAsync("mount -t tmpfs tmpfs /var/lib && cd /mnt/share/demo && ./run.sh");

        Assert.Contains("add \"cgroup_enable=memory cgroup_memory=1\" to the kernel command line", run.Exits(3).Error, StringComparison.Ordinal);
    }

    /// <summary>What somebody copies to a board: the script and an image; the binary is in PATH there.</summary>
    private static async Task GiveAsync(string share)
    {
        var image = await SampleImage.PathAsync("sensor", "arm64");
        (await CommandRun.RunAsync("bash", ["-euc", """
            mkdir -p "$1/demo/dist/images"
            cp -r run.sh images "$1/demo"
            cp "$2" "$1/demo/dist/images"
            touch "$1/demo/dist/images/"*
            """, "bash", share, image])).Succeeds();
    }

    private static IEnumerable<string> AllNamespaces() =>
        Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).Where(name => name!.All(char.IsAsciiDigit)).SelectMany(name => OwnNamespaces(name!)).Distinct();

    private static List<string> OwnNamespaces(string process)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries($"/proc/{process}/ns").Select(f => new FileInfo(f).LinkTarget ?? string.Empty)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It has ended meanwhile, and holds none.
            return [];
        }
    }

    [GeneratedRegex(@"(?<=as the kernel holds them \(process )\d+")]
    private static partial Regex Process();

    [GeneratedRegex("^```sh test\n(?<script>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Example();

    /// <summary>A demo with a name of its own, so that it meets no other.</summary>
    private sealed class Demo : IAsyncDisposable
    {
        private readonly string _name = "edgehost-test-" + Guid.NewGuid().ToString("N")[..8];
        private string _binary = string.Empty;

        internal static async Task<Demo> PrepareAsync()
        {
            _ = await SampleImage.PathAsync("sensor", "amd64");
            return new Demo { _binary = await PublishedBinary.NativeAsync() };
        }

        internal Task<CommandRun> RunAsync(string mode) =>
            CommandRun.RunAsync(Repository.PathOf("run.sh"), mode.Length > 0 ? [mode] : [], environment: Variables(), patience: Patience);

        internal Task<CommandRun> ShellAsync(string script) =>
            CommandRun.RunAsync("bash", ["-euo", "pipefail", "-c", script], environment: Variables(), patience: Patience);

        /// <summary>Everything on this machine that has the demo's name: processes, mounts, cgroups, files; and the group.</summary>
        internal async Task<string> TracesAsync() => (await ShellAsync("""
            for process in /proc/[0-9]*; do
              words=$(tr '\0' ' ' 2>/dev/null <"$process/cmdline" || true)
              [[ $words != */$EDGEHOST_DEMO[/\ ]* ]] || echo "process $words"
            done
            grep -F "$EDGEHOST_DEMO" /proc/self/mountinfo || true
            find /sys/fs/cgroup -maxdepth 2 -name "$EDGEHOST_DEMO"
            find /var/lib /run -maxdepth 1 -name "$EDGEHOST_DEMO"
            getent group edgehost || true
            """)).Succeeds().Output;

        public async ValueTask DisposeAsync() => (await RunAsync("--stop")).Succeeds();

        private Dictionary<string, string?> Variables() => new()
        {
            ["EDGEHOST_DEMO"] = _name,
            ["EDGEHOST_BINARY"] = _binary,
            ["EDGEHOST_HOST"] = $"unix:///run/{_name}/edgehost.sock",
            ["PATH"] = $"{Path.GetDirectoryName(_binary)}:{Environment.GetEnvironmentVariable("PATH")}",
        };
    }
}
