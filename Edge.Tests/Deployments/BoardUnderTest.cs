using System.Globalization;
using System.Text;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Deployments;

/// <summary>A board with a disk and containers that outlive the daemon, and a daemon that can be killed.</summary>
internal sealed class BoardUnderTest : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private Reconciler? _reconciler;

    public BoardUnderTest()
    {
        Images = new MemoryImages();
        Engine = new MemoryEngine(Images);
    }

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("edgehost-deployments-").FullName;

    public MemoryImages Images { get; }

    public MemoryEngine Engine { get; }

    public string BootId { get; set; } = "boot-1";

    public DefaultLimits Defaults { get; set; } = new();

    public Reconciler Reconciler => _reconciler ?? throw new InvalidOperationException("not started");

    public DeploymentOptions Options => new()
    {
        Directory = Path.Combine(Directory, "deployments"),
        Capacity = new BoardCapacity(1L << 30, 4),
        Defaults = Defaults,
        BootId = BootId,
        RetryDelay = TimeSpan.FromMilliseconds(50),
    };

    /// <summary>A document with the given workloads, name = image.</summary>
    public static byte[] Document(long version, params string[] workloads)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{{\"version\":{version},\"workloads\":{{");
        text.AppendJoin(',', workloads.Select(workload =>
        {
            var parts = workload.Split('=');
            return $"\"{parts[0]}\":{{\"image\":\"{parts[1]}\",\"mem_limit\":\"16m\",\"cpus\":0.5}}";
        }));
        return Encoding.UTF8.GetBytes(text.Append("}}").ToString());
    }

    public async Task<Reconciler> StartAsync(Action? beforeWrite = null)
    {
        _reconciler = new Reconciler(Options, Engine, Images, NullLogger<Reconciler>.Instance) { BeforeWrite = beforeWrite };
        await _reconciler.StartAsync(CancellationToken.None);
        return _reconciler;
    }

    public async Task<Reconciler> RestartAsync()
    {
        if (_reconciler is not null)
        {
            await _reconciler.DisposeAsync();
        }

        return await StartAsync();
    }

    public async Task DeployAsync(long version, params string[] workloads)
    {
        Assert.Equal(DeploymentDecision.Accepted, await Reconciler.OfferAsync(Document(version, workloads), CancellationToken.None));
        await UntilAsync(status => status.Version == version && status.Phase == DeploymentPhase.Running);
    }

    public async Task<DeploymentStatus> UntilAsync(Func<DeploymentStatus, bool> reached)
    {
        var reconciler = Reconciler;
        var done = new TaskCompletionSource<DeploymentStatus>(TaskCreationOptions.RunContinuationsAsynchronously);
        void Check()
        {
            if (reconciler.Status is var status && reached(status))
            {
                done.TrySetResult(status);
            }
        }

        reconciler.Changed += Check;
        try
        {
            Check();
            var ended = await Task.WhenAny(done.Task, reconciler.Completion).WaitAsync(Patience);
            await ended;
            return await done.Task;
        }
        finally
        {
            reconciler.Changed -= Check;
        }
    }

    /// <summary>Waits until containers and expectation agree: what follows a status (removal of the old) is not a change of status.</summary>
    public async Task UntilContainersAsync(Func<IReadOnlyList<ContainerStatus>, bool> reached)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        void Check()
        {
            if (reached(Engine.List()))
            {
                done.TrySetResult();
            }
        }

        Engine.Changed += Check;
        try
        {
            Check();
            await done.Task.WaitAsync(Patience);
        }
        catch (TimeoutException)
        {
            Assert.Fail($"still: {string.Join(", ", Engine.List().Select(container => $"{container.Name} {container.State}"))}");
        }
        finally
        {
            Engine.Changed -= Check;
        }
    }

    public string Running() => string.Join(' ', Engine.List()
        .Where(container => container.State == ContainerState.Running)
        .Select(container => $"{container.Spec.Labels[PlannedWorkload.WorkloadLabel]}={container.Spec.Image}")
        .Order(StringComparer.Ordinal));

    public ContainerStatus Workload(string name) => Engine.List().Single(container =>
        container.Spec.Labels.GetValueOrDefault(PlannedWorkload.WorkloadLabel) == name && container.State == ContainerState.Running);

    public async ValueTask DisposeAsync()
    {
        if (_reconciler is not null)
        {
            await _reconciler.DisposeAsync();
        }

        System.IO.Directory.Delete(Directory, recursive: true);
    }
}
