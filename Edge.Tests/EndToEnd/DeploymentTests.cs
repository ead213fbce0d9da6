using System.Globalization;
using System.Text.Json.Nodes;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>
/// A fleet's operator with nothing but mosquitto's tools, a registry and a broker: the one in the daemon, or mosquitto.
/// </summary>
public sealed class DeploymentTests
{
    // As process 1 sleep hears no SIGTERM: the grace is not waited for.
    private const string Sleep = "\"command\": [\"sleep\", \"1000000\"], \"mem_limit\": \"16m\", \"cpus\": 0.2, \"stop_signal\": \"SIGKILL\"";

    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task Deployments_change_only_what_changed_and_nothing_bad_touches_what_runs(string kind)
    {
        await using var site = await Site.StartAsync(kind);
        await using var person = await Operator.ConnectAsync(site.Broker);

        await person.PublishAsync(Document(10, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}, \"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        var report = await person.RunsAsync(10, "other", "web");
        Assert.Equal(16 << 20, (long)report["workloads"]!["web"]!["limits"]!["mem_limit"]!);
        Assert.Equal(await site.DigestAsync("app:1"), (string?)report["workloads"]!["web"]!["image_digest"]);
        var health = report["board"]!["health"]!;
        Assert.InRange((long)health["uptime_seconds"]!, 1, long.MaxValue);
        Assert.Equal(1, (long)health["boots"]!);
        Assert.InRange((long)health["disk_free_bytes"]!, 1, (long)health["disk_bytes"]!);
        var web = await site.PidAsync(report, "web");
        var other = await site.PidAsync(report, "other");

        // A document that is refused at sight leaves its version free.
        foreach (var (document, kindOfFailure, path, reason) in Refused(site))
        {
            var failure = await person.FailureAsync(document);
            Assert.Equal(("refused", kindOfFailure), ((string?)failure["outcome"], (string?)failure["kind"]));
            Assert.Equal(path, (string?)failure["path"] ?? string.Empty);
            Assert.Contains(reason, (string?)failure["reason"], StringComparison.Ordinal);
        }

        // One that was accepted and cannot be carried out has used its version.
        var version = 20;
        foreach (var (workload, kindOfFailure, reason) in Failing(site))
        {
            version++;
            var failure = await person.FailureAsync(Document(version, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}, \"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}, \"new\": {workload}"));
            Assert.Equal(("failed", kindOfFailure), ((string?)failure["outcome"], (string?)failure["kind"]));
            Assert.Equal(version, (long)failure["version"]!);
            Assert.StartsWith("workloads.new", (string?)failure["path"], StringComparison.Ordinal);
            Assert.Contains(reason, (string?)failure["reason"], StringComparison.Ordinal);
            Assert.Equal(kindOfFailure == "unavailable", failure["retry_at"] is not null);
        }

        Assert.True(DaemonUnderTest.Lives(web) && DaemonUnderTest.Lives(other), "a bad document ended a workload");

        // Lower than the highest one that was accepted, though higher than what runs; and the same again with other bytes.
        Assert.Equal("conflict", (string?)(await person.FailureAsync(Document(version - 1, string.Empty)))["kind"]);
        Assert.Equal("conflict", (string?)(await person.FailureAsync(Document(version, string.Empty) + "\n"))["kind"]);

        await person.EmptyAsync();
        report = await person.ReportAsync(each => each["deployment"]!["notice"] is not null);
        Assert.Equal(10, (long)report["deployment"]!["version"]!);

        await person.PublishAsync(Document(40, $"\"web\": {{\"image\": \"{site.Image("app:2")}\", {Sleep}}}, \"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        report = await person.RunsAsync(40, "other", "web");
        Assert.Null(report["deployment"]!["failure"]);
        Assert.Equal(await site.DigestAsync("app:2"), (string?)report["workloads"]!["web"]!["image_digest"]);
        Assert.False(DaemonUnderTest.Lives(web));
        Assert.Equal(other, await site.PidAsync(report, "other"));

        await person.PublishAsync(Document(41, $"\"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        report = await person.RunsAsync(41, "other");
        Assert.Equal(other, await site.PidAsync(report, "other"));
        Assert.Single((await site.Daemon.DockerAsync("ps", "-aq")).Output.Split('\n', StringSplitOptions.RemoveEmptyEntries));
    }

    [Fact]
    public async Task A_daemon_killed_before_during_and_after_a_deployment_ends_with_that_deployment()
    {
        await using var site = await Site.StartAsync("mosquitto");
        await using var person = await Operator.ConnectAsync(site.Broker);

        await site.Daemon.KillAsync();
        await person.PublishAsync(Document(1, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        await site.Daemon.StartAsync();
        var web = await site.PidAsync(await person.RunsAsync(1, "web"), "web");

        await site.Daemon.KillAsync();
        Assert.True(DaemonUnderTest.Lives(web));
        await site.Daemon.StartAsync();
        Assert.Equal(web, await site.PidAsync(await person.RunsAsync(1, "web"), "web"));

        await person.PublishAsync(Document(2, $"\"web\": {{\"image\": \"{site.Image("app:2")}\", {Sleep}}}, \"more\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        await person.FetchingAsync();
        await site.Daemon.KillAsync();
        await site.Daemon.StartAsync();
        var report = await person.RunsAsync(2, "more", "web");
        Assert.Equal(await site.DigestAsync("app:2"), (string?)report["workloads"]!["web"]!["image_digest"]);
        Assert.False(DaemonUnderTest.Lives(web));

        // Each moment of a switch: told by the daemon's own words about what it does.
        for (var version = 3; version < 7; version++)
        {
            await person.PublishAsync(Document(version, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", \"environment\": {{\"N\": \"{version}\"}}, {Sleep}}}, \"more\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
            var target = version;
            await person.ReportAsync(each => (long?)each["deployment"]!["target"] == target || (long)each["deployment"]!["version"]! == target);
            await site.Daemon.KillAsync();
            await site.Daemon.StartAsync();
            report = await person.RunsAsync(version, "more", "web");
            Assert.Equal(2, (await site.Daemon.DockerAsync("ps", "-q")).Output.Count(c => c == '\n'));
        }
    }

    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task After_a_boot_without_broker_and_registry_the_last_deployment_runs(string kind)
    {
        await using var site = await Site.StartAsync(kind);
        await using (var person = await Operator.ConnectAsync(site.Broker))
        {
            await person.PublishAsync(Document(1, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}, \"once\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}, \"restart\": \"no\"}}"));
            await person.RunsAsync(1, "once", "web");
        }

        await site.Registry.DisposeAsync();
        await site.EndBrokerAsync();
        await site.Daemon.RebootAsync();
        await site.Daemon.StartAsync();

        await site.WaitForRunningAsync(2);
        if (kind == "embedded")
        {
            await using var person = await Operator.ConnectAsync(site.Broker);
            await person.RunsAsync(1, "once", "web");
        }
    }

    private static string Document(long version, string workloads) =>
        string.Create(CultureInfo.InvariantCulture, $"{{\"version\": {version}, \"workloads\": {{{workloads}}}}}");

    private static IEnumerable<(string Document, string Kind, string Path, string Reason)> Refused(Site site)
    {
        var image = $"\"image\": \"{site.Image("app:2")}\"";
        yield return ("{\"version\": 11, \"workloads\": ", "invalid", string.Empty, "JSON");
        yield return (Document(11, $"\"web\": {{{image}, {Sleep}, \"memory\": 5}}"), "invalid", "workloads.web.memory", "memory");
        yield return (Document(11, $"\"web\": {{{image}, \"cpus\": 0.1}}"), "invalid", "workloads.web.mem_limit", "mem_limit");
        yield return (Document(11, $"\"web\": {{{image}, \"mem_limit\": \"16m\"}}"), "invalid", "workloads.web.cpus", "cpus");
        yield return (Document(11, $"\"web\": {{{image}, \"mem_limit\": \"1k\", \"cpus\": 0.1}}"), "invalid", "workloads.web.mem_limit", "1024");
        yield return (Document(11, $"\"web\": {{{image}, \"mem_limit\": \"16m\", \"cpus\": 0}}"), "invalid", "workloads.web.cpus", "0");
        yield return (Document(11, $"\"web\": {{{image}, \"mem_limit\": \"900g\", \"cpus\": 0.1}}"), "infeasible", "workloads.web.mem_limit", "board");
        yield return (Document(11, $"\"web\": {{{image}, \"mem_limit\": \"16m\", \"cpus\": 4000}}"), "infeasible", "workloads.web.cpus", "board");
        yield return (Document(9, $"\"web\": {{{image}, {Sleep}}}"), "conflict", "version", "lower");
        yield return (Document(10, $"\"web\": {{{image}, {Sleep}}}"), "conflict", "version", "other bytes");
    }

    private static IEnumerable<(string Workload, string Kind, string Reason)> Failing(Site site)
    {
        yield return ($"{{\"image\": \"{site.Image("absent:1")}\", {Sleep}}}", "not_found", "absent");
        yield return ($"{{\"image\": \"{site.Image("app:foreign")}\", {Sleep}}}", "infeasible", "arm64");
        yield return ($"{{\"image\": \"127.0.0.1:{BrokerUnderTest.FreePort()}/app:1\", {Sleep}}}", "unavailable", "127.0.0.1");
        yield return ($"{{\"image\": \"{site.Image("app:1")}\", \"command\": [\"/etc/passwd\"], \"mem_limit\": \"16m\", \"cpus\": 0.1}}", "cannot_execute", "/etc/passwd");
        yield return ($"{{\"image\": \"{site.Image("app:1")}\", \"command\": [\"no-such-program\"], \"mem_limit\": \"16m\", \"cpus\": 0.1}}", "cannot_execute", "no-such-program");
    }

    /// <summary>A daemon, a registry with three images, and a broker.</summary>
    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task The_health_of_a_workload_is_reported_when_it_changes_and_another_check_is_another_container(string kind)
    {
        await using var site = await Site.StartAsync(kind);
        await using var person = await Operator.ConnectAsync(site.Broker);
        var shared = Directory.CreateDirectory(Path.Combine(site.Daemon.Run, "shared")).FullName;
        string Checked(int version, string check) => Document(
            version, $"\"web\": {{\"image\": \"{site.Image("app:1")}\", \"volumes\": [\"{shared}:/shared\"], \"healthcheck\": {{{check}}}, {Sleep}}}, \"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}");
        const string Check = "\"test\": \"test -e /shared/well\", \"interval\": \"100ms\", \"retries\": 2";

        await person.PublishAsync(Checked(1, Check));
        var report = await person.ReportAsync(each => HealthOf(each, "web") == "unhealthy");
        Assert.Equal("none", HealthOf(report, "other"));
        var web = await site.PidAsync(report, "web");
        await File.WriteAllTextAsync(Path.Combine(shared, "well"), string.Empty, TestContext.Current.CancellationToken);
        report = await person.ReportAsync(each => HealthOf(each, "web") == "healthy");
        Assert.Equal(web, await site.PidAsync(report, "web"));

        await person.PublishAsync(Checked(2, Check));
        Assert.Equal(web, await site.PidAsync(await person.RunsAsync(2, "other", "web"), "web"));
        await person.PublishAsync(Checked(3, "\"disable\": true"));
        report = await person.RunsAsync(3, "other", "web");
        Assert.NotEqual(web, await site.PidAsync(report, "web"));
        Assert.Equal("none", HealthOf(report, "web"));

        static string? HealthOf(JsonNode report, string workload) => (string?)report["workloads"]?[workload]?["health"];
    }

    [Fact]
    public async Task A_workload_that_needs_a_healthy_one_is_started_when_that_is_healthy_and_not_when_it_never_is()
    {
        await using var site = await Site.StartAsync("embedded");
        await using var person = await Operator.ConnectAsync(site.Broker);
        var shared = Directory.CreateDirectory(Path.Combine(site.Daemon.Run, "shared")).FullName;
        string Needing(int version, string check, string file) => Document(
            version,
            $"\"app\": {{\"image\": \"{site.Image("app:1")}\", \"environment\": {{\"VERSION\": \"{version}\"}}, \"depends_on\": {{\"db\": {{\"condition\": \"service_healthy\"}}}}, {Sleep}}}, "
            + $"\"db\": {{\"image\": \"{site.Image("app:1")}\", \"volumes\": [\"{shared}:/shared\"], \"environment\": {{\"FILE\": \"{file}\"}}{check}, {Sleep}}}");
        const string Check = ", \"healthcheck\": {\"test\": \"test -e /shared/$FILE\", \"interval\": \"100ms\", \"retries\": 100000}";

        await person.PublishAsync(Needing(1, Check, "well"));
        var report = await person.ReportAsync(each => (string?)each["workloads"]?["db"]?["health"] == "starting");
        Assert.NotEqual("running", (string?)report["workloads"]!["app"]?["state"]);
        Assert.Equal("switching", (string?)report["deployment"]!["phase"]);
        await File.WriteAllTextAsync(Path.Combine(shared, "well"), string.Empty, TestContext.Current.CancellationToken);
        report = await person.RunsAsync(1, "app", "db");
        Assert.Equal("healthy", (string?)report["workloads"]!["db"]!["health"]);

        Assert.Contains("db to be healthy, which has no health check", (string?)(await person.FailureAsync(Needing(2, string.Empty, "well")))["reason"], StringComparison.Ordinal);
        Assert.Contains(
            "db to be healthy, which is unhealthy",
            (string?)(await person.FailureAsync(Needing(3, Check.Replace("100000", "2", StringComparison.Ordinal), "never")))["reason"],
            StringComparison.Ordinal);
        Assert.Contains(
            "db to be healthy, which ended 5 times",
            (string?)(await person.FailureAsync(Needing(4, ", \"restart\": \"always\", \"healthcheck\": {\"test\": \"true\", \"interval\": \"1h\"}", "well").Replace("[\"sleep\", \"1000000\"], \"mem_limit\": \"16m\", \"cpus\": 0.2, \"stop_signal\": \"SIGKILL\"}}", "[\"false\"], \"mem_limit\": \"16m\", \"cpus\": 0.2}}", StringComparison.Ordinal)))["reason"],
            StringComparison.Ordinal);
        Assert.Equal(2, (await site.Daemon.DockerAsync("ps", "-q")).Output.Count(c => c == '\n'));
    }

    [Fact]
    public async Task A_workload_whose_device_is_absent_waits_for_it_says_so_and_starts_when_it_comes()
    {
        await using var site = await Site.StartAsync("embedded");
        await using var person = await Operator.ConnectAsync(site.Broker);
        var device = Path.Combine(site.Daemon.Run, "modem");
        const string Tell = "\"command\": [\"sh\", \"-c\", \"stat -c %t:%T /dev/modem; exec sleep 1000000\"], \"mem_limit\": \"16m\", \"cpus\": 0.2, \"stop_signal\": \"SIGKILL\", \"restart\": \"always\"";
        string Needing(int version) => Document(
            version, $"\"modem\": {{\"image\": \"{site.Image("app:1")}\", \"devices\": [\"{device}:/dev/modem:rw\"], {Tell}}}, \"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}");
        static bool Waits(JsonNode report) => (string?)report["workloads"]?["modem"]?["state"] == "waiting";

        await person.PublishAsync(Needing(1));
        var report = await person.ReportAsync(each => Waits(each) && (string?)each["deployment"]!["phase"] == "running");
        Assert.Equal("running", (string?)report["workloads"]!["other"]!["state"]);
        Assert.Equal($"waits for device {device}, which is not there", (string?)report["workloads"]!["modem"]!["error"]);
        Assert.Equal("workloads.modem", (string?)Assert.Single(report["errors"]!.AsArray())!["path"]);
        Assert.Contains($"Waiting for {device}", (await site.Daemon.DockerAsync("ps")).Succeeds().Output, StringComparison.Ordinal);

        // It waits across a new daemon, and nothing but what the kernel tells of is looked at.
        await site.Daemon.KillAsync();
        await site.Daemon.StartAsync();
        await person.ReportAsync(Waits);
        await ComeAsync("1", "5");
        report = await person.RunsAsync(1, "modem", "other");
        Assert.Empty(report["errors"]!.AsArray());
        var first = await site.PidAsync(report, "modem");

        // Gone and back under another number: the node is made anew.
        File.Delete(device);
        (await site.Daemon.DockerAsync("restart", (string)report["workloads"]!["modem"]!["container"]!)).Succeeds();
        await person.ReportAsync(Waits);
        await ComeAsync("1", "3");
        report = await person.RunsAsync(1, "modem", "other");
        Assert.NotEqual(first, await site.PidAsync(report, "modem"));
        Assert.Equal("1:5\n1:3\n", (await site.Daemon.DockerAsync("logs", (string)report["workloads"]!["modem"]!["container"]!)).Succeeds().Output);

        // What waits is stopped and removed like anything else.
        File.Delete(device);
        (await site.Daemon.DockerAsync("restart", (string)report["workloads"]!["modem"]!["container"]!)).Succeeds();
        await person.ReportAsync(Waits);
        (await site.Daemon.DockerAsync("stop", (string)report["workloads"]!["modem"]!["container"]!)).Succeeds();
        await person.ReportAsync(each => (string?)each["workloads"]?["modem"]?["state"] == "exited");
        await person.PublishAsync(Document(2, $"\"other\": {{\"image\": \"{site.Image("app:1")}\", {Sleep}}}"));
        await person.RunsAsync(2, "other");

        // The machine has no port at which the test could plug in: the kernel is asked to tell of a device that it has.
        async Task ComeAsync(string major, string minor)
        {
            (await CommandRun.RunAsync("mknod", [device, "c", major, minor])).Succeeds();
            await File.WriteAllTextAsync("/sys/class/mem/null/uevent", "change", TestContext.Current.CancellationToken);
        }
    }

    [Fact]
    public async Task Images_that_no_deployment_needs_go_except_those_that_somebody_asked_for()
    {
        await using var site = await Site.StartAsync("embedded", daemon => daemon.Settings["images"] = new { keepUnused = 0 });
        await using var person = await Operator.ConnectAsync(site.Broker);
        await site.PushAsync("app:3", 1000);
        await site.PushAsync("app:4", 1000);
        var version = 0;
        await RunAsync("app:1");
        await RunAsync("app:2");
        await RunAsync("app:3");
        await site.Daemon.SaysAsync($"Image {site.Image("app:1")} removed");
        Assert.Equal("2 3", await TagsAsync());

        // Asked for by hand, and had by a container that is nobody's workload.
        (await site.Daemon.DockerAsync("pull", "-q", site.Image("app:2"))).Succeeds();
        await site.Daemon.RunDetachedAsync(site.Image("app:3"), "sh", "-c", "sleep 1000");
        await RunAsync("app:1");
        await RunAsync("app:4");
        await RunAsync("app:1");
        var before = site.Daemon.Said.Length;
        await RunAsync("app:2");
        await site.Daemon.SaysAsync($"Image {site.Image("app:4")} removed", before);
        Assert.Equal("1 2 3", await TagsAsync());

        async Task RunAsync(string image)
        {
            await person.PublishAsync(Document(++version, $"\"web\": {{\"image\": \"{site.Image(image)}\", {Sleep}}}"));
            await person.RunsAsync(version, "web");
        }

        async Task<string> TagsAsync() => string.Join(' ', (await site.Daemon.DockerAsync("image", "ls", "--format", "{{.Tag}}")).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order());
    }

    [Fact]
    public async Task The_next_deployment_gets_the_room_of_those_before_the_last()
    {
        var small = string.Empty;
        await using var site = await Site.StartAsync("embedded", daemon =>
        {
            small = Directory.CreateDirectory(Path.Combine(Path.GetDirectoryName(daemon.ConfigFile)!, "small")).FullName;
            Assert.Equal(0, CommandRun.RunAsync("mount", ["-t", "tmpfs", "-o", "size=260m", "small", small]).GetAwaiter().GetResult().ExitCode);
            daemon.Data = Path.Combine(small, "data");
            daemon.Settings["images"] = new { keepUnused = "1g" };
        });
        await using var person = await Operator.ConnectAsync(site.Broker);
        await DeployAsync(1, 60_000_000);
        await DeployAsync(2, 1000);
        await DeployAsync(3, 1000);
        Assert.NotNull(await site.IdAsync("large:1"));

        // 64 MiB of a disk are not for images.
        var ballast = new DriveInfo(small).AvailableFreeSpace - (75L << 20);
        (await CommandRun.RunAsync("sh", ["-c", $"head -c {ballast} /dev/zero > {small}/ballast"])).Succeeds();
        await DeployAsync(4, 20_000_000);
        Assert.Null(await site.IdAsync("large:1"));
        Assert.NotNull(await site.IdAsync("large:3"));

        // Without anything to give up it is the error that it was, and what runs goes on.
        await site.PushAsync("large:5", 60_000_000);
        var failure = await person.FailureAsync(Document(5, $"\"web\": {{\"image\": \"{site.Image("large:5")}\", {Sleep}}}"));
        Assert.Equal(("failed", "full", "workloads.web.image"), ((string?)failure["outcome"], (string?)failure["kind"], (string?)failure["path"]));
        Assert.NotNull(await site.IdAsync("large:3"));
        await person.PublishAsync(Document(6, $"\"web\": {{\"image\": \"{site.Image("large:3")}\", {Sleep}}}"));
        await person.RunsAsync(6, "web");

        async Task DeployAsync(int version, int bytes)
        {
            await site.PushAsync($"large:{version}", bytes);
            await person.PublishAsync(Document(version, $"\"web\": {{\"image\": \"{site.Image($"large:{version}")}\", {Sleep}}}"));
            await person.RunsAsync(version, "web");
        }
    }

    private sealed class Site : IAsyncDisposable
    {
        private readonly MosquittoUnderTest? _mosquitto;

        private Site(DaemonUnderTest daemon, RegistryFixture registry, MosquittoUnderTest? mosquitto)
        {
            Daemon = daemon;
            Registry = registry;
            _mosquitto = mosquitto;
            Broker = (BrokerUnderTest?)mosquitto ?? new DaemonBroker(daemon);
        }

        internal DaemonUnderTest Daemon { get; }

        internal RegistryFixture Registry { get; }

        internal BrokerUnderTest Broker { get; }

        internal static async Task<Site> StartAsync(string kind, Action<DaemonUnderTest>? prepare = null)
        {
            Needs.Root();
            await Packages.NeedAsync("docker-registry", "skopeo", "umoci", "mosquitto", "mosquitto-clients");
            var registry = await RegistryFixture.StartAsync();
            var native = PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64";
            await PushAsync(registry, "busybox", native, "app:1");
            await PushAsync(registry, "sensor", native, "app:2");
            await PushAsync(registry, "busybox", native == "amd64" ? "arm64" : "amd64", "app:foreign");
            var mosquitto = kind == "mosquitto" ? await MosquittoUnderTest.StartAsync() : null;
            var daemon = DaemonUnderTest.Make();
            daemon.Settings["registries"] = new Dictionary<string, object> { [registry.Host] = new { plainHttp = true } };
            if (mosquitto is not null)
            {
                daemon.Settings.Remove("broker");
                var password = mosquitto.PathOf("device-password");
                await File.WriteAllTextAsync(password, mosquitto.DeviceConnection.Password + "\n");
                daemon.Settings["mqtt"] = new { url = mosquitto.Url, user = mosquitto.DeviceConnection.User, passwordFile = password };
            }

            prepare?.Invoke(daemon);
            await daemon.StartAsync();
            return new Site(daemon, registry, mosquitto);
        }

        internal string Image(string name) => $"{Registry.Host}/{name}";

        internal async Task<string> DigestAsync(string name) =>
            (await Tool.RunAsync("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", $"docker://{Image(name)}")).Trim();

        /// <summary>Pushes a shell with so many bytes beside it that no other image has.</summary>
        internal async Task PushAsync(string name, int bytes)
        {
            using var scratch = new TemporaryDirectory();
            var layout = scratch.Sub("layout");
            await File.WriteAllBytesAsync(scratch.Sub("noise"), System.Security.Cryptography.RandomNumberGenerator.GetBytes(bytes));
            await Tool.RunAsync("skopeo", "--insecure-policy", "copy", "--quiet", $"oci-archive:{await SampleImage.PathAsync("busybox", PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64")}:latest", $"oci:{layout}:a");
            await Tool.RunAsync("umoci", "insert", "--image", $"{layout}:a", scratch.Sub("noise"), "/noise");
            await Registry.PushAsync($"{layout}:a", name);
        }

        /// <summary>The id of an image that the daemon has; null when it has not.</summary>
        internal async Task<string?> IdAsync(string name) =>
            await Daemon.DockerAsync("image", "inspect", "--format", "{{.Id}}", Image(name)) is { ExitCode: 0 } found ? found.Output.Trim() : null;

        internal Task<int> PidAsync(JsonNode report, string workload) => Daemon.PidOfAsync((string)report["workloads"]![workload]!["container"]!);

        internal async Task EndBrokerAsync()
        {
            if (_mosquitto is not null)
            {
                await _mosquitto.StopProcessAsync();
            }
        }

        /// <summary>Waits for so many containers, by the daemon's own events.</summary>
        internal async Task WaitForRunningAsync(int count)
        {
            using var limit = new CancellationTokenSource(DaemonUnderTest.Patience);
            while ((await Daemon.DockerAsync("ps", "-q")).Output.Count(c => c == '\n') != count)
            {
                // Ends with the second; an event is seen as soon as the list is asked again.
                _ = await Daemon.DockerAsync("events", "--since", "1h", "--until", "1s");
                Assert.False(limit.IsCancellationRequested, Daemon.Said);
            }
        }

        public async ValueTask DisposeAsync()
        {
            // The daemon is last: its own ending is checked there.
            await Registry.DisposeAsync();
            try
            {
                await Daemon.DisposeAsync();
            }
            finally
            {
                if (_mosquitto is not null)
                {
                    await _mosquitto.DisposeAsync();
                }
            }
        }

        private static async Task PushAsync(RegistryFixture registry, string image, string architecture, string name)
        {
            var path = await SampleImage.PathAsync(image, architecture);
            await Tool.RunAsync("skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false", $"oci-archive:{path}:latest", $"docker://{registry.Host}/{name}");
        }
    }
}
