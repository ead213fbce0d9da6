using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text;
using System.Threading.Channels;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Networks;
using EdgeHost.Oci;

namespace Edge.Tests.Deployments;

/// <summary>
/// An engine with the states and failures of the real one and no processes: a container of an image whose name contains
/// "broken" cannot be executed. <see cref="Step"/> is called before and after each change, so that a test can crash there.
/// </summary>
internal sealed class MemoryEngine(MemoryImages images) : IContainerEngine
{
    public Task UpdateAsync(string container, ResourceLimits limits, RestartPolicy? restart, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is limited");

    public Task JoinNetworkAsync(string container, EndpointSpec endpoint, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here is in a network");

    public Task LeaveNetworkAsync(string container, string network, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here is in a network");

    public Task PauseAsync(string container, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is paused");

    public Task UnpauseAsync(string container, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is paused");

    public IReadOnlyList<ContainerProcess> ListProcesses(string container) => [];

    public IVolumes Volumes => throw new InvalidOperationException("deployments do not ask for volumes by themselves");

    public string? WhyHostUsers { get; init; }

    public string? WhyNoAppArmor => "none is needed in memory";

    public string? AppArmorOf(ContainerSpec spec) => null;

    public INetworks Networks => field ??= new MemoryNetworks(() => Changed?.Invoke());

    public IContainerArchives Archives => throw new NotSupportedException();

    public IContainerExecs Execs => throw new NotSupportedException();

    public ProcessStreams Attach(string container, AttachQuery query) => throw new NotSupportedException();

    public Task ResizeAsync(string container, TerminalSize size) => Task.CompletedTask;

    public long MeasureBytes(string container, CancellationToken cancel) => 1000;

    private readonly Lock _lock = new();
    private readonly List<ContainerStatus> _containers = [];
    private readonly List<Channel<EngineEvent>> _watchers = [];
    private readonly ConcurrentQueue<string> _calls = new();
    private int _pid = 1000;

    public Action? Step { get; set; }

    /// <summary>Told after each change, on the thread that made it.</summary>
    public event Action? Changed;

    public IReadOnlyCollection<string> Calls => _calls;

    public Task<string> CreateAsync(ContainerSpec spec, CancellationToken cancel) => Do($"create {spec.Name}", () =>
    {
        if (_containers.Any(other => other.Name == spec.Name))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {spec.Name} is there already");
        }

        var image = images.Find(spec.Image) ?? throw new EdgeHostException(ErrorKind.NotFound, $"image {spec.Image} is not held");
        var id = Convert.ToHexStringLower(Guid.NewGuid().ToByteArray()) + Convert.ToHexStringLower(Guid.NewGuid().ToByteArray());
        _containers.Insert(0, new ContainerStatus
        {
            Id = id,
            Name = spec.Name ?? id[..12],
            Spec = spec,
            ImageId = image.Id.ToString(),
            State = ContainerState.Created,
            Created = DateTimeOffset.UtcNow,
        });
        return id;
    });

    public Task<bool> StartAsync(string container, CancellationToken cancel) => Do($"start {Inspect(container).Name}", () =>
    {
        var status = Inspect(container);
        if (status.State == ContainerState.Running)
        {
            return false;
        }

        if (status.Spec.Image.Contains("broken", StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.CannotExecute, $"exec /{status.Spec.Image}: no such file or directory");
        }

        Set(status with { State = ContainerState.Running, Pid = ++_pid, StartedAt = DateTimeOffset.UtcNow, ExitCode = null }, "start");
        return true;
    });

    public Task<bool> StopAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel) => Do($"stop {Inspect(container).Name}", () =>
    {
        var status = Inspect(container);
        if (status.State != ContainerState.Running)
        {
            return false;
        }

        Set(status with { State = ContainerState.Exited, Pid = 0, ExitCode = 143, FinishedAt = DateTimeOffset.UtcNow }, "die");
        return true;
    });

    public Task RemoveAsync(string container, bool force, bool removeAnonymousVolumes, CancellationToken cancel) =>
        Do($"remove {Inspect(container).Name}", () =>
        {
            var status = Inspect(container);
            if (status.State == ContainerState.Running && !force)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"container {status.Name} is running");
            }

            _containers.RemoveAll(other => other.Id == status.Id);
            Publish(status, "destroy");
            return true;
        });

    public async Task RestartAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel)
    {
        await StopAsync(container, signal, grace, cancel);
        await StartAsync(container, cancel);
    }

    public Task KillAsync(string container, int signal, CancellationToken cancel) => StopAsync(container, signal, null, cancel);

    public Task RenameAsync(string container, string name, CancellationToken cancel) => Do($"rename {container}", () =>
    {
        Set(Inspect(container) with { Name = name }, "rename");
        return true;
    });

    public async Task<int?> WaitAsync(string container, WaitCondition condition, CancellationToken cancel)
    {
        var ended = new TaskCompletionSource<int?>(TaskCreationOptions.RunContinuationsAsynchronously);
        void Look()
        {
            if (Inspect(container) is { State: not ContainerState.Running } status)
            {
                ended.TrySetResult(status.ExitCode);
            }
        }

        Changed += Look;
        try
        {
            _calls.Enqueue($"wait {Inspect(container).Name}");
            Changed?.Invoke();
            return await ended.Task.WaitAsync(cancel);
        }
        finally
        {
            Changed -= Look;
        }
    }

    public IReadOnlyList<ContainerStatus> List()
    {
        lock (_lock)
        {
            return [.. _containers];
        }
    }

    public ContainerStatus Inspect(string container)
    {
        lock (_lock)
        {
            return _containers.SingleOrDefault(status => status.Name == container || status.Id.StartsWith(container, StringComparison.Ordinal))
                ?? throw new EdgeHostException(ErrorKind.NotFound, $"no container {container}");
        }
    }

    public ContainerStats ReadStats(string container)
    {
        var status = Inspect(container);
        return status.State == ContainerState.Running
            ? new ContainerStats
            {
                ReadAt = DateTimeOffset.UtcNow,
                MemoryBytes = 1_000_000,
                InactiveFileBytes = 1000,
                MemoryLimitBytes = status.Spec.Limits.MemoryBytes,
                OomKills = 0,
                CpuNanoseconds = 5_000_000,
                CpuUserNanoseconds = 3_000_000,
                CpuSystemNanoseconds = 2_000_000,
                NanoCpus = status.Spec.Limits.NanoCpus,
                CpuPeriods = 10,
                CpuThrottledPeriods = 1,
                CpuThrottledNanoseconds = 1000,
                Pids = 1,
                PidsLimit = status.Spec.Limits.Pids,
            }
            : throw new EdgeHostException(ErrorKind.Conflict, $"container {status.Name} is not running");
    }

    public async IAsyncEnumerable<LogRecord> ReadLogsAsync(string container, LogQuery query, [EnumeratorCancellation] CancellationToken cancel)
    {
        var name = Inspect(container).Name;
        await Task.Yield();
        yield return new LogRecord(DateTimeOffset.UnixEpoch, false, Encoding.UTF8.GetBytes($"hello from {name}\n"));
        yield return new LogRecord(DateTimeOffset.UnixEpoch, true, Encoding.UTF8.GetBytes("and an error\n"));
    }

    public async IAsyncEnumerable<EngineEvent> WatchAsync([EnumeratorCancellation] CancellationToken cancel)
    {
        var channel = Channel.CreateBounded<EngineEvent>(1024);
        lock (_lock)
        {
            _watchers.Add(channel);
        }

        await foreach (var happened in channel.Reader.ReadAllAsync(cancel))
        {
            yield return happened;
        }
    }

    public IReadOnlyList<EngineEvent> PastEvents(DateTimeOffset since, DateTimeOffset until) => [];

    /// <summary>What a process does by itself.</summary>
    public void Exit(string container, int? code)
    {
        lock (_lock)
        {
            Set(Inspect(container) with { State = ContainerState.Exited, Pid = 0, ExitCode = code, FinishedAt = DateTimeOffset.UtcNow }, "die");
        }

        Changed?.Invoke();
    }

    private Task<T> Do<T>(string call, Func<T> change)
    {
        Step?.Invoke();
        T result;
        lock (_lock)
        {
            _calls.Enqueue(call);
            result = change();
        }

        Changed?.Invoke();
        Step?.Invoke();
        return Task.FromResult(result);
    }

    private void Set(ContainerStatus status, string action)
    {
        _containers[_containers.FindIndex(other => other.Id == status.Id)] = status;
        Publish(status, action);
    }

    private void Publish(ContainerStatus status, string action)
    {
        var attributes = new Dictionary<string, string>(status.Spec.Labels) { ["name"] = status.Name, ["image"] = status.Spec.Image };
        if (status.ExitCode is { } code)
        {
            attributes["exitCode"] = code.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }

        foreach (var watcher in _watchers)
        {
            watcher.Writer.TryWrite(new EngineEvent(DateTimeOffset.UtcNow, "container", action, status.Id, attributes));
        }
    }
}

/// <summary>Networks that are names alone.</summary>
internal sealed class MemoryNetworks(Action changed) : INetworks
{
    private readonly List<NetworkRecord> _networks = [];

    public IReadOnlyList<NetworkRecord> Networks => [.. _networks];

    public NetworkRecord Create(NetworkSpec spec)
    {
        if (spec.Subnets.Any(subnet => subnet.Subnet.ToString() == "192.0.2.0/24"))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"network {spec.Name}: subnet 192.0.2.0/24 overlaps another");
        }

        var record = new NetworkRecord { Id = spec.Name, Name = spec.Name, Driver = spec.Driver, Created = DateTimeOffset.UtcNow, Interface = "eh0", Subnets = [], IsInternal = spec.IsInternal, Labels = spec.Labels };
        _networks.Add(record);
        return record;
    }

    public void Remove(string nameOrId)
    {
        _networks.RemoveAll(network => network.Name == nameOrId);
        changed();
    }
}

/// <summary>A store whose registry has every image but those named "missing", each also beneath mirror/, and can be unplugged.</summary>
internal sealed class MemoryImages : IImageStore
{
    private readonly Dictionary<string, Image> _images = [];

    public bool RegistryIsDown { get; set; }

    /// <summary>What the registry's tags point at: changing it moves all of them.</summary>
    public int Generation { get; set; }

    public List<string> Pulled { get; } = [];

    public Func<string, CancellationToken, Task>? OnPull { get; set; }

    public async Task<Image> PullAsync(string reference, RegistryCredentials? credentials, IProgress<PullProgress>? progress, CancellationToken cancel)
    {
        if (OnPull is { } hook)
        {
            await hook(reference, cancel);
        }

        if (RegistryIsDown)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"pull {reference}: connection refused");
        }

        if (reference.Contains("missing", StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"pull {reference}: not in the registry");
        }

        progress?.Report(new PullProgress("downloading", null, 50, 100));
        progress?.Report(new PullProgress("done", null, 100, 100));
        lock (_images)
        {
            Pulled.Add(reference);
            var id = Digest.OfSha256(Encoding.UTF8.GetBytes($"{reference.Replace("mirror/", string.Empty, StringComparison.Ordinal)} {Generation}"));
            return _images[reference] = new Image(id, id, [reference], [], new ImageConfig(), 1, DateTimeOffset.UnixEpoch);
        }
    }

    public Task<Image> PullForDeploymentAsync(string reference, IProgress<PullProgress>? progress, CancellationToken cancel) => PullAsync(reference, null, progress, cancel);

    public Task<IReadOnlyList<Image>> RemoveUnneededAsync(long keepBytes, IReadOnlySet<string> needed, CancellationToken cancel) => Task.FromResult<IReadOnlyList<Image>>([]);

    public ImageArchive OpenArchive(IReadOnlyList<string> names) => throw new NotSupportedException();

    public Image? Find(string referenceOrId)
    {
        lock (_images)
        {
            return _images.GetValueOrDefault(referenceOrId) ?? _images.Values.FirstOrDefault(image => image.Id.ToString() == referenceOrId);
        }
    }

    public IReadOnlyList<Image> List() => [.. _images.Values];

    public Task<string?> LoginAsync(string registry, RegistryCredentials credentials, CancellationToken cancel) => throw new NotSupportedException();

    public Task<IReadOnlyList<Image>> LoadAsync(Stream archive, CancellationToken cancel) => throw new NotSupportedException();

    public Task<ImageRemoval> RemoveAsync(string referenceOrId, bool force, CancellationToken cancel) => throw new NotSupportedException();

    public ContainerSnapshot Prepare(string imageId, string containerId, bool durable = true) => throw new NotSupportedException();

    public void Tag(string referenceOrId, string name) => throw new NotSupportedException();

    public ContainerSnapshot? FindContainer(string containerId) => null;

    public void Discard(string containerId) => throw new NotSupportedException();

    public void DiscardOthers(Predicate<string> isThere) => throw new NotSupportedException();
}
