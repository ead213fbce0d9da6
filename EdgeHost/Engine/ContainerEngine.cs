using System.Collections.Concurrent;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Networks;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Shepherd;
using EdgeHost.State;
using Microsoft.Extensions.Logging;

namespace EdgeHost.Engine;

/// <summary>
/// Containers as Docker knows them, over the shepherd that holds them. It may end at any time: what runs goes on, and
/// the next one finds everything again in the shepherd, the cgroups and the files.
/// </summary>
public sealed partial class ContainerEngine : IContainerEngine, IAsyncDisposable
{
    private readonly EngineOptions _options;
    private readonly IImageStore _images;
    private readonly ContainerFiles _files;

    // What it knew of containers without facts of their own is in the file that was put aside: their layers stay for now.
    private readonly bool _isIndexLost;
    private readonly VolumeStore _volumes;
    private readonly NetworkHost _networks;
    private readonly EventHub _events = new();
    private readonly DeviceArrivals _arrivals = new();
    private readonly ILogger _log;
    private readonly CgroupMounts _cgroups;
    private readonly ConcurrentDictionary<string, Container> _containers = new(StringComparer.Ordinal);
    private readonly Lock _naming = new();
    private readonly CancellationTokenSource _ending = new();
    private readonly CancellationToken _ended;
    private ShepherdClient? _shepherd;

    // Done with the next connection to a shepherd.
    private TaskCompletionSource _connected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _disposed;

    /// <summary>Makes an engine; <see cref="StartAsync(CancellationToken)"/> brings it up.</summary>
    /// <exception cref="EdgeHostException">A directory cannot be made, or the kernel has no cgroups.</exception>
    public ContainerEngine(EngineOptions options, IImageStore images, NetworkHost networks, StateDatabase state, ILogger<ContainerEngine> log)
    {
        _options = options;
        _images = images;
        _networks = networks;
        _log = log;
        _files = new ContainerFiles(options, state, log);
        _isIndexLost = state.Report.KeptAside is not null;
        _volumes = new VolumeStore(options.DataDirectory, options.RunDirectory, ContainersWithVolume, TellOfVolume, log);
        _cgroups = CgroupMounts.Read();

        // Still good when its source is gone: an exit may come in while the daemon stops.
        _ended = _ending.Token;
    }

    private ShepherdClient Shepherd => _shepherd ?? throw new EdgeHostException(ErrorKind.Unavailable, "the shepherd is not connected; try again in a moment");

    /// <inheritdoc/>
    public IVolumes Volumes => _volumes;

    /// <inheritdoc/>
    public INetworks Networks => _networks;

    /// <inheritdoc/>
    public IReadOnlyList<ContainerStatus> List() =>
        [.. _containers.Values.Where(container => !container.Removed).Select(container => container.Status).OrderByDescending(status => status.Created)];

    /// <inheritdoc/>
    public ContainerStatus Inspect(string container) => Find(container).Status;

    /// <inheritdoc/>
    public long MeasureBytes(string container, CancellationToken cancel) => _images.FindContainer(Find(container).Record.Id) is { } snapshot ? TreeSize.Of(snapshot.UpperDirectory, cancel) : 0;

    /// <inheritdoc/>
    public ContainerStats ReadStats(string container)
    {
        var found = Find(container);
        if (!found.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {found.Record.Name} is not running");
        }

        var stats = CgroupOf(found.Record.Id).ReadStats();
        return new ContainerStats
        {
            ReadAt = DateTimeOffset.UtcNow,
            MemoryBytes = stats.MemoryBytes,
            InactiveFileBytes = stats.InactiveFileBytes,
            MemoryLimitBytes = stats.MemoryLimitBytes,
            OomKills = stats.OomKills,
            CpuNanoseconds = stats.CpuNanoseconds,
            CpuUserNanoseconds = stats.CpuUserNanoseconds,
            CpuSystemNanoseconds = stats.CpuSystemNanoseconds,
            NanoCpus = stats.NanoCpus,
            CpuPeriods = stats.CpuPeriods,
            CpuThrottledPeriods = stats.CpuThrottledPeriods,
            CpuThrottledNanoseconds = stats.CpuThrottledNanoseconds,
            Pids = stats.Pids,
            PidsLimit = stats.PidsLimit,
            Blocks = stats.Blocks,
        };
    }

    /// <summary>Tells everybody who watches what has become of the board.</summary>
    /// <param name="action">What begins or ends.</param>
    /// <param name="board">Its name.</param>
    /// <param name="reason">It in words.</param>
    public void TellOfBoard(string action, string board, string reason)
    {
        _events.Tell(new EngineEvent(DateTimeOffset.UtcNow, "board", action, board, new Dictionary<string, string> { ["reason"] = reason }));
        LogBoard(_log, action.EndsWith(": ends", StringComparison.Ordinal) ? LogLevel.Information : LogLevel.Warning, action, reason);
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<EngineEvent> WatchAsync(CancellationToken cancel) => _events.WatchAsync(cancel);

    /// <inheritdoc/>
    public IReadOnlyList<EngineEvent> PastEvents(DateTimeOffset since, DateTimeOffset until) => _events.Past(since, until);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // Its service ends it when the daemon stops, and its container once more.
        if (Interlocked.Exchange(ref _disposed, true))
        {
            return;
        }

        await _ending.CancelAsync().ConfigureAwait(false);
        _shepherd?.Dispose();
        Interlocked.Exchange(ref _ready, null)?.Namespaces.Dispose();
        _ending.Dispose();
    }

    private Container Find(string name)
    {
        name = name.TrimStart('/');
        if (_containers.TryGetValue(name, out var exact) && !exact.Removed)
        {
            return exact;
        }

        Container? byId = null;
        foreach (var container in _containers.Values)
        {
            if (container.Removed)
            {
                continue;
            }

            if (container.Record.Name == name)
            {
                return container;
            }

            if (name.Length > 0 && container.Record.Id.StartsWith(name, StringComparison.Ordinal))
            {
                byId = byId is null
                    ? container
                    : throw new EdgeHostException(ErrorKind.Invalid, $"Multiple IDs found with provided prefix: {name}");
            }
        }

        return byId ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such container: {name}");
    }

    private Cgroup CgroupOf(string id) => Cgroup.At(_cgroups, $"{_options.CgroupRoot}/{id}", divided: true);

    private void Tell(ContainerRecord record, string action, params ReadOnlySpan<(string Name, string Value)> more)
    {
        var attributes = new Dictionary<string, string>((record.Effective ?? record.Spec).Labels) { ["name"] = record.Name, ["image"] = record.Spec.Image };
        foreach (var (name, value) in more)
        {
            attributes[name] = value;
        }

        _events.Tell(new EngineEvent(DateTimeOffset.UtcNow, "container", action, record.Id, attributes));
    }

    private IReadOnlyList<string> ContainersWithVolume(string name) =>
        [.. _containers.Values
            .Where(container => !container.Removed && container.Record.Spec.Mounts.Any(mount => mount.Kind == ContainerMountKind.Volume && mount.Source == name))
            .Select(container => container.Record.Id)];

    private void TellOfVolume(string action, string name, (string Name, string Value)[] more) =>
        _events.Tell(new EngineEvent(DateTimeOffset.UtcNow, "volume", action, name, more.Append(("driver", "local")).ToDictionary(each => each.Item1, each => each.Item2)));

    private void TellOfNetwork(string action, string id, string name, string driver, string? container)
    {
        var attributes = new Dictionary<string, string> { ["name"] = name, ["type"] = driver };
        if (container is not null)
        {
            attributes["container"] = container;
        }

        _events.Tell(new EngineEvent(DateTimeOffset.UtcNow, "network", action, id, attributes));
    }

    /// <summary>Tells of all networks that a container has joined or left with its start or end.</summary>
    private void TellOfNetworks(string action, string container, SandboxStatus? sandbox)
    {
        foreach (var endpoint in sandbox?.Endpoints ?? [])
        {
            TellOfNetwork(action, endpoint.NetworkId, endpoint.NetworkName, endpoint.HostInterface.Length > 0 ? NetworkDrivers.Bridge : NetworkDrivers.Macvlan, container);
        }
    }

    /// <summary>Changes a container's record, on disk first.</summary>
    private void Change(Container container, Func<ContainerRecord, ContainerRecord> change, bool began = false, bool ended = false)
    {
        lock (container.Writing)
        {
            var before = container.Record;
            var after = change(before) with { BootId = EdgeHost.Linux.SystemIdentity.BootId };
            if (before.SameFacts(after))
            {
                _files.SaveProgress(after);
            }
            else
            {
                _files.SaveFacts(after);
            }

            container.Set(after, began, ended);
        }
    }
}
