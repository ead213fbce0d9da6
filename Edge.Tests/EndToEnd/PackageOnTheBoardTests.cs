using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>
/// An arm64 board with systemd, on which the package is installed by apt; broker and registry are elsewhere. It says what
/// it does: <c>./test.sh --board</c> shows that.
/// </summary>
public sealed class PackageOnTheBoardTests : IDisposable
{
    private const string Workload = "sensor";

    private static readonly TimeSpan AptPatience = TimeSpan.FromMinutes(5);

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly TemporaryDirectory _dist = new();

    public void Dispose() => _dist.Dispose();

    [Fact]
    public async Task A_board_with_the_package_runs_what_is_published_keeps_it_over_an_upgrade_and_has_it_again_after_a_power_cut()
    {
        var packages = await Task.WhenAll(((string[])["1", "2"]).Select(revision => DebianPackage.PackAsync(_dist, revision, "linux-arm64", revision)));
        Say($"packed {string.Join(" and ", packages.Select(Path.GetFileName))}, of {new FileInfo(packages[0]).Length} bytes");
        await using var registry = await RegistryFixture.StartAsync(user: "board");
        await Tool.RunAsync(
            "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "board:secret",
            $"oci-archive:{await SampleImage.PathAsync(Workload, "arm64")}:latest", $"docker://{registry.Host}/{Workload}:1");
        await using var broker = await MosquittoUnderTest.StartAsync();
        await using var person = await Operator.ConnectAsync(broker);

        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Flavour = "systemd", Network = true, Disk = 512, Memory = 768 });
        Say("the board is up: " + await OnBoardAsync("echo $(uname -rm), $(systemctl --version | head -1), running for $(cut -d' ' -f1 /proc/uptime) s"));

        File.Copy(packages[0], Path.Combine(board.Share, "edgehost_1_arm64.deb"));
        File.Copy(packages[1], Path.Combine(board.Share, "edgehost_2_arm64.deb"));
        await File.WriteAllTextAsync(Path.Combine(board.Share, "edgehost.json"), Settings(broker, registry), TestContext.Current.CancellationToken);

        // The root of the board is an overlayfs, which cannot hold the layers of another one.
        await OnBoardAsync("""
            mkdir -p /var/lib/edgehost
            echo '/mnt/data /var/lib/edgehost none bind 0 0' >>/etc/fstab
            mount /var/lib/edgehost
            """);
        Say("apt install: " + await OnBoardAsync("""
            apt-get install -y /mnt/share/edgehost_1_arm64.deb >said 2>&1 || { cat said; exit 1; }
            grep '^started ' said
            """));
        Say("check: " + await OnBoardAsync("edgehost check >said || { cat said; exit 1; }; sed -n '1p;$p' said"));
        await OnBoardAsync("""
            cp /mnt/share/edgehost.json /etc/edgehost/
            (umask 077; echo secret >/etc/edgehost/password)
            edgehost config check
            systemctl restart edgehost
            """);

        await person.PublishAsync(Document($"10.0.2.2:{Text(registry.Port)}/{Workload}:1"));
        var report = await person.RunsAsync(1, Workload);
        var boot = (string)report["boot_id"]!;
        Say($"published, fetched, run and reported: {report["workloads"]}");
        Assert.Equal("on", (string?)report["board"]!["user_namespaces"]);

        // What the kernel holds, and what it prints.
        var container = (string)report["workloads"]![Workload]!["container"]!;
        var held = await OnBoardAsync($"""
            cd /sys/fs/cgroup/edgehost.slice/edgehost-containers.service/all/{container}
            grep . memory.max memory.swap.max cpu.max pids.max
            """);
        Assert.Equal("memory.max:16777216\nmemory.swap.max:0\ncpu.max:10000 100000\npids.max:20\n", held);
        Say("held by the kernel: " + held.TrimEnd().Replace("\n", ", ", StringComparison.Ordinal));
        Say("its log: " + await OnBoardAsync($"edgehost logs -f {container} 2>&1 | grep -m 1 celsius"));
        Say("its container, from the board's own command line:\n" + await OnBoardAsync("edgehost ps"));

        // The container's process is the same, that of the programs which hold it another.
        const string Pid = "edgehost inspect -f '{{.State.Pid}} {{.State.StartedAt}}' $(edgehost ps -q)";
        var before = await OnBoardAsync(Pid);
        Say("apt install of the next version: " + await OnBoardAsync("""
            apt-get install -y /mnt/share/edgehost_2_arm64.deb >said 2>&1 || { cat said; exit 1; }
            grep -E '^(reloaded|restarted) edgehost' said
            test $(stat -Lc %i /proc/$(systemctl show -P MainPID edgehost)/exe) = $(stat -c %i /usr/bin/edgehost)
            test $(stat -Lc %i /proc/$(systemctl show -P MainPID edgehost-shepherd)/exe) = $(stat -c %i /usr/bin/edgehost)
            """));
        var after = await OnBoardAsync(Pid);
        Assert.Equal(before, after);
        Say($"process and start of the workload before and after: {before.Trim()} and {after.Trim()}");

        await OnBoardAsync("sync");
        await board.CutPowerAsync();
        report = await person.ReportAsync(each => (string)each["boot_id"]! != boot && (string?)each["workloads"]?[Workload]?["state"] == "running");
        Say($"after a power cut it runs again, of deployment {report["deployment"]!["version"]}, on boot {report["board"]!["health"]!["boots"]}");
        Assert.Equal(1, (long)report["deployment"]!["version"]!);

        Say("apt purge: " + await OnBoardAsync("""
            apt-get purge -y edgehost >said 2>&1 || { cat said; exit 1; }
            grep '^stopped ' said
            test -z "$(ls -A /var/lib/edgehost)"
            for path in /etc/edgehost /run/edgehost /sys/fs/cgroup/edgehost.slice; do test ! -e $path; done
            """));

        async Task<string> OnBoardAsync(string script) => (await board.RunAsync("set -eu\n" + script, AptPatience)).Succeeds().Output;
    }

    private static string Settings(MosquittoUnderTest broker, RegistryFixture registry) => new JsonObject
    {
        ["device"] = new JsonObject { ["id"] = BrokerUnderTest.Device },
        ["mqtt"] = new JsonObject
        {
            ["url"] = $"mqtt://10.0.2.2:{Text(broker.Port)}",
            ["user"] = broker.DeviceConnection.User,
            ["passwordFile"] = "/etc/edgehost/password",
        },
        ["registries"] = new JsonObject
        {
            [$"10.0.2.2:{Text(registry.Port)}"] = new JsonObject { ["plainHttp"] = true, ["user"] = "board", ["passwordFile"] = "/etc/edgehost/password" },
        },
    }.ToJsonString();

    // As run.sh has it.
    private static string Document(string image) => new JsonObject
    {
        ["version"] = 1,
        ["workloads"] = new JsonObject
        {
            [Workload] = new JsonObject
            {
                ["image"] = image,
                ["mem_limit"] = "16m",
                ["cpus"] = 0.1,
                ["pids_limit"] = 20,
                ["restart"] = "unless-stopped",
                ["read_only"] = true,
                ["cap_drop"] = new JsonArray("ALL"),
            },
        },
    }.ToJsonString();

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private void Say(string line) =>
        TestContext.Current.TestOutputHelper?.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{_clock.Elapsed.TotalSeconds,6:F1} s  {line.TrimEnd()}"));
}
