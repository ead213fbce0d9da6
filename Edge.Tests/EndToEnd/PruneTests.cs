using System.Text.Json;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What is used of the disk, and giving back what nobody uses.</summary>
public sealed class PruneTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private const long Written = 3_000_000;

    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task Networks_that_no_container_wants_are_removed_and_told_of_as_docker_does()
    {
        foreach (var prune in (Func<string[], Task<CommandRun>>[])[Daemon.EdgehostAsync, Daemon.DockerAsync])
        {
            (await Daemon.EdgehostAsync("network", "create", "--label", "a=b", "unwanted")).Succeeds();
            Assert.Equal(string.Empty, (await prune(["network", "prune", "-f", "--filter", "label!=a=b"])).Succeeds().Output);
            Assert.Equal("Deleted Networks:\nunwanted\n\n", (await prune(["network", "prune", "-f", "--filter", "label=a"])).Succeeds().Output);
        }
    }

    [Fact]
    public async Task Everything_in_its_order()
    {
        // One after the other: a pruning takes what another test has made.
        await ContainersAsync();
        await ImagesAsync();
        await AllAsync();
    }

    [Fact]
    public async Task Ports_are_told_as_docker_tells_them()
    {
        await Daemon.RunDetachedAsync("--name", "ported", "-p", "127.0.0.1::53/udp", "-p", "127.0.0.1::9", "-p", "9", "busybox", "sleep", "1000");
        foreach (var arguments in new[] { new[] { "ported" }, ["ported", "9"], ["ported", "9/tcp"], ["ported", "53/udp"] })
        {
            var dockers = (await Daemon.DockerAsync(["port", .. arguments])).Succeeds().Output;
            Assert.NotEmpty(dockers);
            Assert.Equal(dockers, (await Daemon.EdgehostAsync(["port", .. arguments])).Succeeds().Output);
            Assert.Equal(dockers, (await Daemon.EdgehostAsync(["container", "port", .. arguments])).Succeeds().Output);
        }

        Assert.Contains("No public port '10' published for ported", (await Daemon.EdgehostAsync("port", "ported", "10")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("invalid port x:", (await Daemon.EdgehostAsync("port", "ported", "x")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("No such container", (await Daemon.EdgehostAsync("port", "nosuch")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-f", "ported")).Succeeds();
    }

    private async Task ContainersAsync()
    {
        (await Daemon.RunAsync("--name", "wrote", "--network", "none", "-v", "/anonymous", "-v", "named:/named", "busybox", "sh", "-c", $"head -c {Written} /dev/zero >/f; head -c 1000 /dev/zero >/named/f")).Succeeds();
        (await Daemon.RunAsync("--name", "labelled", "--label", "keep=yes", "--network", "none", "busybox", "true")).Succeeds();
        (await Daemon.RunAsync("--name", "deployed", "--label", "io.edgehost.workload=x", "--network", "none", "busybox", "true")).Succeeds();
        await Daemon.RunDetachedAsync("--name", "runs", "--network", "none", "busybox", "sleep", "1000");

        var docker = Narrow(await Daemon.DockerAsync("system", "df"));
        Assert.Equal(docker, Narrow(await Daemon.EdgehostAsync("system", "df")));
        Assert.Matches(@"\nImages +1 +1 +.*\nContainers +4 +1 +3MB +3MB \(100%\)\nLocal Volumes +2 +2 +1kB +0B \(0%\)\n", docker);
        Assert.Matches("busybox +latest .* 4\n", (await Daemon.DockerAsync("system", "df", "-v")).Succeeds().Output);
        var verbose = (await Daemon.EdgehostAsync("system", "df", "-v")).Succeeds().Output;
        Assert.Matches("busybox +latest .* 4\n", verbose);
        Assert.Matches("named +1 +1kB\n", verbose);
        Assert.Equal("3MB (virtual", (await Daemon.DockerAsync("ps", "-as", "--filter", "name=wrote", "--format", "{{.Size}}")).Succeeds().Output[..12]);

        Assert.Equal("Total reclaimed space: 0B\n", (await Daemon.EdgehostAsync("container", "prune", "-f", "--filter", "until=1h")).Succeeds().Output);
        Assert.Equal(1, (await PromptedAsync("n\n", "container", "prune")).ExitCode);
        var id = await Daemon.InspectAsync("wrote", "{{.Id}}");
        var pruned = (await PromptedAsync("y\n", "container", "prune", "--filter", "label!=keep")).Succeeds().Output;
        Assert.Equal($"WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] Deleted Containers:\n{id}\n\nTotal reclaimed space: 3MB\n", pruned);
        Assert.Equal("deployed\nlabelled\nruns\n", await NamesAsync());

        // Its volumes stay, as with docker.
        Assert.Equal(2, (await Daemon.DockerAsync("volume", "ls", "-q")).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains(await Daemon.InspectAsync("labelled", "{{.Id}}"), (await Daemon.DockerAsync("container", "prune", "-f")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("deployed\nruns\n", await NamesAsync());
        Assert.Contains("more than one until", (await Daemon.EdgehostAsync("container", "prune", "-f", "--filter", "until=1h", "--filter", "until=2h")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("until=soon", (await Daemon.EdgehostAsync("container", "prune", "-f", "--filter", "until=soon")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("invalid filter 'x'", (await Daemon.EdgehostAsync("container", "prune", "-f", "--filter", "x=y")).Exits(1).Error, StringComparison.Ordinal);
    }

    private async Task ImagesAsync()
    {
        await LoadAsync("prune.lan/a:1", "first");
        await LoadAsync("prune.lan/a:1", "second");
        await LoadAsync("prune.lan/b:1", "third", "keep");
        var before = await DiskUsageAsync();
        Assert.Equal(4, before.GetProperty("Images").GetArrayLength());
        Assert.Equal(Narrow(await Daemon.DockerAsync("system", "df")), Narrow(await Daemon.EdgehostAsync("system", "df")));

        // The one that lost its name.
        var dangling = (await Daemon.EdgehostAsync("image", "prune", "-f")).Succeeds().Output;
        Assert.Matches(@"^Deleted Images:\ndeleted: sha256:[0-9a-f]{64}\ndeleted: sha256:[0-9a-f]{64}\n\nTotal reclaimed space: 1MB\n$", dangling);
        Assert.Equal(1_000_000, before.GetProperty("LayersSize").GetInt64() - (await DiskUsageAsync()).GetProperty("LayersSize").GetInt64());

        Assert.DoesNotContain("prune.lan", (await Daemon.DockerAsync("image", "prune", "-af", "--filter", "until=2000h", "--filter", "label=no")).Succeeds().Output, StringComparison.Ordinal);
        var unused = (await Daemon.DockerAsync("image", "prune", "-af", "--filter", "label!=keep")).Succeeds().Output;
        Assert.Contains("untagged: prune.lan/a:1\n", unused, StringComparison.Ordinal);
        Assert.DoesNotContain("prune.lan/b", unused, StringComparison.Ordinal);
        Assert.Contains("Total reclaimed space: 1MB", unused, StringComparison.Ordinal);
        Assert.Equal("busybox:latest\nprune.lan/b:1\n", string.Join('\n', (await Daemon.DockerAsync("images", "--format", "{{.Repository}}:{{.Tag}}")).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order()) + "\n");
    }

    private async Task AllAsync()
    {
        (await Daemon.DockerAsync("create", "--name", "made", "-v", "/anonymous", "--network", "none", "busybox", "true")).Succeeds();
        (await Daemon.DockerAsync("rm", "made")).Succeeds();
        (await Daemon.DockerAsync("network", "create", "--subnet", "10.99.77.0/24", "unused")).Succeeds();
        (await Daemon.DockerAsync("create", "--name", "made", "--network", "none", "busybox", "true")).Succeeds();
        Assert.Contains("not supported with \"--volumes\"", (await Daemon.EdgehostAsync("system", "prune", "-f", "--volumes", "--filter", "until=1h")).Exits(1).Error, StringComparison.Ordinal);
        var asked = await PromptedAsync("\n", "system", "prune", "-a", "--volumes");
        Assert.Equal(1, asked.ExitCode);
        Assert.Contains("- all anonymous volumes not used by at least one container\n  - all images without", asked.Output, StringComparison.Ordinal);
        var id = await Daemon.InspectAsync("made", "{{.Id}}");
        var said = (await Daemon.EdgehostAsync("system", "prune", "-af", "--volumes")).Succeeds().Output;
        Assert.StartsWith($"Deleted Containers:\n{id}\n\nDeleted Networks:\nunused\n\nDeleted Volumes:\n", said, StringComparison.Ordinal);
        Assert.Contains("untagged: prune.lan/b:1\n", said, StringComparison.Ordinal);
        Assert.Equal("named\n", (await Daemon.DockerAsync("volume", "ls", "-q")).Output);
        Assert.Contains("Total reclaimed space: 0B", (await Daemon.DockerAsync("system", "prune", "-f")).Succeeds().Output, StringComparison.Ordinal);

        // By docker's long names, too.
        Assert.Equal("deployed\nruns\n", string.Join('\n', (await Daemon.EdgehostAsync("container", "ls", "-a", "--json")).Succeeds().Output.Split('"').Where(word => word.StartsWith('/') && word.Length < 12).Select(word => word[1..]).Where(word => word is "deployed" or "runs").Distinct().Order()) + "\n");
        Assert.Contains("Storage Driver", (await Daemon.EdgehostAsync("system", "info")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("destroy", (await Daemon.EdgehostAsync("system", "events", "--since", "10m", "--until", "0s")).Succeeds().Output, StringComparison.Ordinal);
        (await Daemon.EdgehostAsync("container", "rm", "-f", "runs", "deployed")).Succeeds();
    }

    // Columns of docker have a width of ten at least.
    private static string Narrow(CommandRun run) => string.Join('\n', run.Succeeds().Output.Split('\n').Select(line => string.Join(' ', line.Split(' ', StringSplitOptions.RemoveEmptyEntries)))) + "\n";

    private async Task<string> NamesAsync() => string.Join('\n', (await Daemon.DockerAsync("ps", "-a", "--format", "{{.Names}}")).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(name => name != "ported").Order()) + "\n";

    private async Task<JsonElement> DiskUsageAsync() => JsonDocument.Parse((await Daemon.EdgehostAsync("system", "df", "--json")).Succeeds().Output).RootElement;

    private async Task<CommandRun> PromptedAsync(string input, params string[] arguments) =>
        await CommandRun.RunAsync(await PublishedBinary.NativeAsync(), ["-H", "unix://" + Daemon.Socket, .. arguments], input);

    private async Task LoadAsync(string name, string content, string? label = null)
    {
        using var layout = new OciLayout();
        layout.AddImage(
            name,
            [Layer.Gzip(Layer.Files((content, new string('x', 1_000_000))))],
            PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64",
            change: config => config["config"] = System.Text.Json.Nodes.JsonNode.Parse($$$"""{"Labels":{"{{{label ?? "other"}}}":""}}"""));
        (await CommandRun.RunAsync("bash", ["-c", $"tar -C {layout.Path} -c . | docker -H unix://{Daemon.Socket} load"])).Succeeds();
    }
}
