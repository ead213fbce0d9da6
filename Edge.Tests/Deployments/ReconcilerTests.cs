using System.Text;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Deployments;

public sealed class ReconcilerTests
{
    [Fact]
    public async Task A_document_becomes_running_containers_that_carry_its_labels()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();

        await board.DeployAsync(1, "web=nginx:1", "db=redis:7");

        Assert.Equal("db=redis:7 web=nginx:1", board.Running());
        Assert.Equal("1", board.Workload("web").Spec.Labels[PlannedWorkload.DeploymentLabel]);
        Assert.Equal(16 << 20, board.Workload("web").Spec.Limits.MemoryBytes);
    }

    [Fact]
    public async Task Only_what_changed_is_touched()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1", "db=redis:7", "old=busybox:1");
        var database = board.Workload("db");

        await board.DeployAsync(2, "db=redis:7", "web=nginx:2");

        await board.UntilContainersAsync(containers => containers.Count == 2);
        Assert.Equal("db=redis:7 web=nginx:2", board.Running());
        Assert.Equal(database, board.Workload("db"));
        Assert.DoesNotContain(board.Engine.Calls, call => call.StartsWith("stop db", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Nothing_is_stopped_before_everything_was_fetched()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");
        var web = board.Workload("web");

        await board.Reconciler.OfferAsync(BoardUnderTest.Document(2, "web=nginx:2", "other=missing:1"), CancellationToken.None);
        var status = await board.UntilAsync(status => status.Phase == DeploymentPhase.Failed);

        Assert.Equal(web, board.Workload("web"));
        Assert.Equal(1, status.Version);
        Assert.Equal("workloads.other.image", status.Failure?.Path);
        Assert.Equal(ErrorKind.NotFound, status.Failure?.Kind);
        Assert.Single(board.Engine.List());
    }

    [Fact]
    public async Task A_workload_that_cannot_be_executed_puts_the_old_ones_back()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1", "worker=busybox:1");
        var before = board.Engine.List().Select(container => container.Id).Order().ToList();

        await board.Reconciler.OfferAsync(BoardUnderTest.Document(2, "web=nginx:2", "worker=broken:2"), CancellationToken.None);
        var status = await board.UntilAsync(status => status.Phase == DeploymentPhase.Failed);

        Assert.Equal("web=nginx:1 worker=busybox:1", board.Running());
        Assert.Equal(before, board.Engine.List().Select(container => container.Id).Order());
        Assert.Equal(1, status.Version);
        Assert.Equal(2, status.HighestVersion);
        Assert.Equal(ErrorKind.CannotExecute, status.Failure?.Kind);
        Assert.Equal("workloads.worker", status.Failure?.Path);
        Assert.Contains("no such file", status.Failure?.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_failed_document_is_not_tried_again_by_its_redelivery_nor_by_a_restart()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");
        var broken = BoardUnderTest.Document(2, "web=broken:2");
        await board.Reconciler.OfferAsync(broken, CancellationToken.None);
        await board.UntilAsync(status => status.Phase == DeploymentPhase.Failed);
        var calls = board.Engine.Calls.Count;

        Assert.Equal(DeploymentDecision.Unchanged, await board.Reconciler.OfferAsync(broken, CancellationToken.None));
        var restarted = await board.RestartAsync();
        Assert.Equal(DeploymentDecision.Unchanged, await restarted.OfferAsync(broken, CancellationToken.None));

        Assert.Equal(DeploymentPhase.Failed, restarted.Status.Phase);
        Assert.Equal(calls, board.Engine.Calls.Count);
        await board.DeployAsync(3, "web=nginx:3");
    }

    [Fact]
    public async Task The_same_bytes_again_do_nothing_and_other_bytes_or_a_lower_version_are_refused_also_after_a_restart()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(7, "web=nginx:1");
        var calls = board.Engine.Calls.Count;
        foreach (var _ in Enumerable.Range(0, 2))
        {
            var reconciler = board.Reconciler;
            var status = reconciler.Status;
            Assert.Equal(DeploymentDecision.Unchanged, await reconciler.OfferAsync(BoardUnderTest.Document(7, "web=nginx:1"), CancellationToken.None));
            Assert.Equal(status, reconciler.Status);

            Assert.Equal(DeploymentDecision.Refused, await reconciler.OfferAsync(BoardUnderTest.Document(7, "web=nginx:2"), CancellationToken.None));
            Assert.Contains("other bytes", reconciler.Status.Failure?.Reason, StringComparison.Ordinal);

            Assert.Equal(DeploymentDecision.Refused, await reconciler.OfferAsync(BoardUnderTest.Document(6, "web=nginx:2"), CancellationToken.None));
            Assert.Contains("version 6 is lower than 7", reconciler.Status.Failure?.Reason, StringComparison.Ordinal);
            Assert.Equal(6, reconciler.Status.Failure?.Version);
            Assert.True(reconciler.Status.Failure?.IsRefusal);
            await board.RestartAsync();
        }

        Assert.Equal(calls, board.Engine.Calls.Count);
        Assert.Equal("web=nginx:1", board.Running());
    }

    [Fact]
    public async Task A_refused_document_leaves_its_version_free()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");

        Assert.Equal(DeploymentDecision.Refused, await board.Reconciler.OfferAsync("""{"version":2,"workloads":{"web":{"image":"nginx:2","mem_limit":"1g","cpus":9}}}"""u8.ToArray(), CancellationToken.None));
        Assert.Equal("workloads.web.cpus", board.Reconciler.Status.Failure?.Path);
        Assert.Equal(2, board.Reconciler.Status.Failure?.Version);

        await board.DeployAsync(2, "web=nginx:2");
        Assert.Null(board.Reconciler.Status.Failure);
    }

    [Fact]
    public async Task An_emptied_message_changes_nothing_and_is_reported()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");

        Assert.Equal(DeploymentDecision.Unchanged, await board.Reconciler.OfferAsync(ReadOnlyMemory<byte>.Empty, CancellationToken.None));

        Assert.Contains("emptied", board.Reconciler.Status.Notice, StringComparison.Ordinal);
        Assert.Equal("web=nginx:1", board.Running());
    }

    [Fact]
    public async Task A_document_without_workloads_removes_them_and_touches_nothing_else()
    {
        await using var board = new BoardUnderTest();
        await board.Images.PullAsync("busybox", null, null, CancellationToken.None);
        var foreign = await board.Engine.CreateAsync(new ContainerSpec { Image = "busybox", Name = "by-hand" }, CancellationToken.None);
        await board.Engine.StartAsync(foreign, CancellationToken.None);
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");

        await board.DeployAsync(2);

        await board.UntilContainersAsync(containers => containers.Count == 1);
        Assert.Equal(ContainerState.Running, board.Engine.Inspect("by-hand").State);
    }

    [Fact]
    public async Task An_unreachable_registry_is_reported_and_tried_again_while_the_old_version_runs()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");
        board.Images.RegistryIsDown = true;

        await board.Reconciler.OfferAsync(BoardUnderTest.Document(2, "web=nginx:2"), CancellationToken.None);
        var failed = await board.UntilAsync(status => status.Phase == DeploymentPhase.Failed);
        Assert.NotNull(failed.Failure?.RetryAt);
        Assert.Equal("web=nginx:1", board.Running());

        board.Images.RegistryIsDown = false;
        await board.UntilAsync(status => status.Version == 2);
        Assert.Equal("web=nginx:2", board.Running());
    }

    [Fact]
    public async Task The_last_deployment_comes_back_after_a_boot_without_registry()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1", "job=busybox:1");
        await board.Reconciler.DisposeAsync();

        // Power loss: the shepherd is gone and nobody saw how the one ended; the other had done its work.
        board.Engine.Exit(board.Workload("web").Id, null);
        board.Engine.Exit(board.Workload("job").Id, 0);
        board.Images.RegistryIsDown = true;
        board.BootId = "boot-2";
        await board.StartAsync();

        await board.UntilContainersAsync(containers => containers.Count(container => container.State == ContainerState.Running) == 2);
    }

    [Fact]
    public async Task A_job_that_has_ended_is_not_started_again_by_a_restart_of_the_daemon()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "job=busybox:1");
        board.Engine.Exit(board.Workload("job").Id, 0);

        await board.RestartAsync();
        await board.DeployAsync(2, "job=busybox:1", "web=nginx:1");

        Assert.Equal("web=nginx:1", board.Running());
    }

    [Fact]
    public async Task A_container_that_somebody_removed_comes_back_with_the_next_start()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");
        await board.Engine.RemoveAsync(board.Workload("web").Id, true, true, CancellationToken.None);

        await board.RestartAsync();

        await board.UntilContainersAsync(containers => containers is [{ State: ContainerState.Running }]);
    }

    [Fact]
    public async Task A_moved_tag_changes_nothing_until_a_new_version_asks_for_it()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:latest");
        var web = board.Workload("web");
        board.Images.Generation++;
        await board.Images.PullAsync("nginx:latest", null, null, CancellationToken.None);

        await board.RestartAsync();
        await board.DeployAsync(2, "web=nginx:latest", "db=redis:7");

        await board.UntilContainersAsync(containers => containers.Count == 2);
        Assert.NotEqual(web.ImageId, board.Workload("web").ImageId);
    }

    [Fact]
    public async Task A_newer_document_takes_over_while_an_older_one_is_still_being_fetched()
    {
        await using var board = new BoardUnderTest();
        var fetching = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        board.Images.OnPull = async (reference, cancel) =>
        {
            if (reference == "slow:1")
            {
                fetching.SetResult();
                await Task.Delay(Timeout.Infinite, cancel);
            }
        };
        await board.StartAsync();
        await board.Reconciler.OfferAsync(BoardUnderTest.Document(1, "web=slow:1"), CancellationToken.None);
        await fetching.Task.WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);

        await board.DeployAsync(2, "web=nginx:2");

        Assert.Equal("web=nginx:2", board.Running());
        Assert.Null(board.Reconciler.Status.Failure);
    }

    [Fact]
    public async Task The_same_image_under_another_name_keeps_the_process_and_is_reported_as_the_document_names_it()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(1, "web=nginx:1");
        var web = board.Workload("web");

        await board.DeployAsync(2, "web=mirror/nginx:1");

        Assert.Equal(web, board.Workload("web"));
        Assert.Equal("mirror/nginx:1", Image());
        await board.RestartAsync();
        await board.UntilAsync(status => status.Images.Count == 1);
        Assert.Equal("mirror/nginx:1", Image());

        string Image() => new StateReporter(board.Options, board.Reconciler, board.Engine, board.Images).Read(default, withUse: false).Workloads["web"].Image;
    }

    [Fact]
    public async Task A_document_that_was_refused_is_taken_once_the_reason_is_gone()
    {
        var document = Encoding.UTF8.GetBytes("""{"version":1,"workloads":{"web":{"image":"nginx:1"}}}""");
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        Assert.Equal(DeploymentDecision.Refused, await board.Reconciler.OfferAsync(document, CancellationToken.None));
        var kept = Path.Combine(board.Options.Directory, "refused.json");
        var written = File.GetLastWriteTimeUtc(kept);
        Assert.Equal(DeploymentDecision.Refused, await board.Reconciler.OfferAsync(document, CancellationToken.None));
        Assert.Equal(written, File.GetLastWriteTimeUtc(kept));

        board.Reconciler.UseDefaults(new DefaultLimits(16 << 20, 500_000_000));

        Assert.Equal(DeploymentDecision.Accepted, await board.Reconciler.OfferAsync(document, CancellationToken.None));
        await board.UntilAsync(status => status.Version == 1 && status.Failure is null);
    }

    [Fact]
    public async Task Other_defaults_touch_nothing_that_runs_and_hold_for_the_next_document()
    {
        await using var board = new BoardUnderTest { Defaults = new DefaultLimits(16 << 20, 500_000_000) };
        await board.StartAsync();
        await board.Reconciler.OfferAsync(Encoding.UTF8.GetBytes("""{"version":1,"workloads":{"web":{"image":"nginx:1"}}}"""), CancellationToken.None);
        await board.UntilAsync(status => status.Version == 1);
        var web = board.Workload("web");

        board.Defaults = new DefaultLimits(32 << 20, 500_000_000);
        await board.RestartAsync();
        await board.UntilAsync(status => status.Images.Count == 1);
        await board.Reconciler.OfferAsync(Encoding.UTF8.GetBytes("""{"version":2,"workloads":{}}""" + " not JSON"), CancellationToken.None);
        Assert.Equal(web, board.Workload("web"));
        await board.Reconciler.OfferAsync(Encoding.UTF8.GetBytes("""{"version":3,"workloads":{"web":{"image":"nginx:1"}}}"""), CancellationToken.None);
        await board.UntilAsync(status => status.Version == 3);

        Assert.Equal(32 << 20, board.Workload("web").Spec.Limits.MemoryBytes);
    }

    [Fact]
    public async Task A_damaged_record_is_put_aside_and_stops_no_container()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await board.DeployAsync(3, "web=nginx:1");
        await board.Reconciler.DisposeAsync();
        var current = Path.Combine(board.Options.Directory, "current.json");
        var bytes = await File.ReadAllBytesAsync(current, TestContext.Current.CancellationToken);
        bytes[^20] ^= 1;
        await File.WriteAllBytesAsync(current, bytes, TestContext.Current.CancellationToken);

        await board.StartAsync();

        Assert.Equal("web=nginx:1", board.Running());
        Assert.True(File.Exists(current + ".damaged"));
        Assert.Equal(DeploymentDecision.Refused, await board.Reconciler.OfferAsync(BoardUnderTest.Document(2, "web=nginx:0"), CancellationToken.None));

        // What was accepted is known, and what runs already fits it.
        var web = board.Workload("web");
        await board.UntilAsync(status => status.Version == 3);
        Assert.Equal(web, board.Workload("web"));
    }

    [Fact]
    public async Task Networks_come_before_the_containers_in_them_and_go_after_the_last()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();

        await DeployAsync(board, 1, """ "networks":{"back":{"internal":true},"spare":null},"workloads":{"web":{"image":"nginx:1",LIMITS,"networks":["back"]},"db":{"image":"redis:7",LIMITS}}""");
        var names = Names(board);
        Assert.Equal(["back", "default"], Keys(board));
        Assert.Equal([names[0]], board.Workload("web").Spec.Endpoints.Select(each => each.Network));
        var database = board.Workload("db");

        // One that is asked for in another way is another one, and who is in it another container.
        await DeployAsync(board, 2, """ "networks":{"back":{}},"workloads":{"web":{"image":"nginx:1",LIMITS,"networks":["back"]},"db":{"image":"redis:7",LIMITS}}""");
        await board.UntilContainersAsync(containers => containers.Count == 2);
        Assert.Equal(["back", "default"], Keys(board));
        Assert.NotEqual(names[0], Names(board)[0]);
        Assert.Equal([Names(board)[0]], board.Workload("web").Spec.Endpoints.Select(each => each.Network));
        Assert.Equal(database, board.Workload("db"));

        await DeployAsync(board, 3, """ "workloads":{"web":{"image":"nginx:1",LIMITS,"network_mode":"none"}}""");
        await board.UntilContainersAsync(containers => containers.Count == 1);
        await board.RestartAsync();
        await board.UntilContainersAsync(_ => Keys(board).Count == 0);
    }

    [Fact]
    public async Task A_network_that_cannot_be_made_or_is_not_there_fails_the_deployment_and_leaves_nothing()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        await DeployAsync(board, 1, """ "workloads":{"web":{"image":"nginx:1",LIMITS}}""");
        var web = board.Workload("web");

        await OfferAsync(board, 2, """ "networks":{"a":{},"b":{"ipam":{"config":[{"subnet":"192.0.2.0/24"}]}}},"workloads":{"web":{"image":"nginx:2",LIMITS,"networks":["a","b"]}}""");
        var status = await board.UntilAsync(status => status.Failure is { Version: 2 } && status.Phase == DeploymentPhase.Failed);
        Assert.Equal("networks.b", status.Failure?.Path);
        Assert.Contains("overlaps", status.Failure?.Reason, StringComparison.Ordinal);
        Assert.Equal(["default"], Keys(board));

        await OfferAsync(board, 3, """ "networks":{"a":{"external":true}},"workloads":{"web":{"image":"nginx:2",LIMITS,"networks":["a"]}}""");
        status = await board.UntilAsync(status => status.Failure is { Version: 3 } && status.Phase == DeploymentPhase.Failed);
        Assert.Equal("networks.a", status.Failure?.Path);
        Assert.Contains("edgehost network create a", status.Failure?.Reason, StringComparison.Ordinal);

        Assert.Equal(web, board.Workload("web"));
        Assert.Single(board.Engine.List());
    }

    [Fact]
    public async Task What_needs_another_starts_after_it_and_waits_for_its_end_where_that_is_asked()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();

        await OfferAsync(board, 1, """ "workloads":{"web":{"image":"nginx:1",LIMITS,"depends_on":{"migrate":{"condition":"service_completed_successfully"}}},"migrate":{"image":"busybox:1",LIMITS,"depends_on":["db"]},"db":{"image":"redis:7",LIMITS}}""");
        await board.UntilContainersAsync(_ => board.Engine.Calls.Any(call => call.StartsWith("wait migrate", StringComparison.Ordinal)));
        Assert.Equal("db=redis:7 migrate=busybox:1", board.Running());
        board.Engine.Exit(board.Workload("migrate").Name, 0);
        await board.UntilAsync(status => status.Version == 1 && status.Phase == DeploymentPhase.Running);
        Assert.Equal("db=redis:7 web=nginx:1", board.Running());
        Assert.Equal(["db", "migrate", "web"], board.Engine.Calls.Where(call => call.StartsWith("start ", StringComparison.Ordinal)).Select(call => call.Split(' ', '-')[1]));
        Assert.Equal("migrate", board.Workload("web").Spec.Labels[ContainerLabels.DependsOn]);
    }

    [Fact]
    public async Task A_job_that_fails_fails_the_deployment_and_a_newer_version_ends_the_waiting_for_one()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        const string Job = """ "workloads":{"web":{"image":"nginx:VERSION",LIMITS,"depends_on":{"job":{"condition":"service_completed_successfully"}}},"job":{"image":"busybox:VERSION",LIMITS}}""";

        await OfferAsync(board, 1, Job);
        await board.UntilContainersAsync(_ => board.Engine.Calls.Any(call => call.StartsWith("wait job", StringComparison.Ordinal)));
        board.Engine.Exit(board.Workload("job").Name, 3);
        var status = await board.UntilAsync(status => status.Failure is { Version: 1 } && status.Phase == DeploymentPhase.Failed);
        Assert.Equal("workloads.web", status.Failure?.Path);
        Assert.Contains("it needs job to have ended with 0, which ended with 3", status.Failure?.Reason, StringComparison.Ordinal);
        Assert.Empty(board.Engine.List());

        var calls = board.Engine.Calls.Count;
        await OfferAsync(board, 2, Job);
        await board.UntilContainersAsync(_ => board.Engine.Calls.Skip(calls).Any(call => call.StartsWith("wait job", StringComparison.Ordinal)));
        await board.DeployAsync(3, "other=nginx:3");
        Assert.Equal("other=nginx:3", board.Running());
    }

    [Fact]
    public async Task What_goes_is_stopped_before_what_it_needs_and_the_way_back_starts_in_order()
    {
        await using var board = new BoardUnderTest();
        await board.StartAsync();
        string[] names = ["a", "d", "b", "e", "c", "f"];
        string Chain(string image) => "\"workloads\":{" + string.Join(',', names.Select((name, i) =>
            $"\"{name}\":{{\"image\":\"{image}\",LIMITS{(i == 0 ? string.Empty : $",\"depends_on\":[\"{names[i - 1]}\"]")}}}")) + "}";

        await DeployAsync(board, 1, Chain("nginx:1"));
        var before = board.Engine.Calls.Count;
        await OfferAsync(board, 2, Chain("nginx:2")[..^1] + ",\"z\":{\"image\":\"broken:2\",LIMITS,\"depends_on\":[\"f\"]}}");
        await board.UntilAsync(status => status.Failure is { Version: 2 } && status.Phase == DeploymentPhase.Failed);
        Assert.Equal("a=nginx:1 b=nginx:1 c=nginx:1 d=nginx:1 e=nginx:1 f=nginx:1", board.Running());
        Assert.Equal(names, Order("start").TakeLast(names.Length));

        before = board.Engine.Calls.Count;
        await board.DeployAsync(3);
        Assert.Equal(names.Reverse(), Order("stop"));

        IEnumerable<string> Order(string verb) => board.Engine.Calls.Skip(before).Where(call => call.StartsWith(verb + " ", StringComparison.Ordinal)).Select(call => call.Split(' ', '-')[1]);
    }

    private static async Task DeployAsync(BoardUnderTest board, long version, string rest)
    {
        await OfferAsync(board, version, rest);
        await board.UntilAsync(status => status.Version == version && status.Phase == DeploymentPhase.Running);
    }

    private static async Task OfferAsync(BoardUnderTest board, long version, string rest)
    {
        var text = rest.Replace("LIMITS", "\"mem_limit\":\"16m\",\"cpus\":0.5", StringComparison.Ordinal).Replace("VERSION", $"{version}", StringComparison.Ordinal);
        var document = Encoding.UTF8.GetBytes($"{{\"version\":{version},{text}}}");
        Assert.True(await board.Reconciler.OfferAsync(document, CancellationToken.None) == DeploymentDecision.Accepted, board.Reconciler.Status.Failure?.Reason);
    }

    private static List<string> Names(BoardUnderTest board) => [.. board.Engine.Networks.Networks.Select(network => network.Name).Order(StringComparer.Ordinal)];

    private static List<string> Keys(BoardUnderTest board) => [.. board.Engine.Networks.Networks.Select(network => network.Labels[PlannedWorkload.NetworkLabel]).Order(StringComparer.Ordinal)];
}
