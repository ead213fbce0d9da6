using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks;

namespace Edge.Tests.Api;

/// <summary>
/// An engine without a kernel, for tests of the API alone. Its programs are: <c>echo WORDS</c> (to standard output),
/// <c>complain WORDS</c> (to standard error), <c>exit N</c>, <c>sleep</c> (until a signal), <c>missing</c> (cannot be executed).
/// </summary>
internal sealed class MemoryEngine(MemoryImages images, string directory) : IContainerEngine
{
    private readonly ConcurrentDictionary<string, Entry> _entries = new();
    private readonly EventHub _events = new();

    public Task UpdateAsync(string container, ResourceLimits limits, RestartPolicy? restart, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is limited");

    public Task JoinNetworkAsync(string container, EndpointSpec endpoint, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here is in a network");

    public Task LeaveNetworkAsync(string container, string network, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here is in a network");

    public Task PauseAsync(string container, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is paused");

    public Task UnpauseAsync(string container, CancellationToken cancel) => throw new EdgeHostException(ErrorKind.Unsupported, "nothing here runs, so nothing is paused");

    public IReadOnlyList<ContainerProcess> ListProcesses(string container) => [];

    public string? WhyHostUsers { get; init; }

    public string? WhyNoAppArmor => "none is needed in memory";

    public string? AppArmorOf(ContainerSpec spec) => null;

    public INetworks Networks => throw new InvalidOperationException("the API asks the host of networks itself");

    public IContainerArchives Archives => throw new NotSupportedException();

    public IContainerExecs Execs { get; } = new NoExecs();

    public ProcessStreams Attach(string container, AttachQuery query) => LogPipes.Open(
        cancel => ReadLogsAsync(container, new LogQuery(query.Follow, StandardOutput: query.Output, StandardError: query.Error, FromNextRun: query.Follow && Inspect(container).State != ContainerState.Running), cancel),
        query.Output,
        query.Error,
        terminal: false,
        Task.FromResult<EdgeHost.Linux.Fd?>(null),
        () => true,
        () => { });

    public Task ResizeAsync(string container, TerminalSize size) => Task.CompletedTask;

    /// <summary>The container that is removed in the moment in which it is measured.</summary>
    internal string? Vanishing { get; set; }

    public long MeasureBytes(string container, CancellationToken cancel) =>
        container == Vanishing ? throw new EdgeHostException(ErrorKind.NotFound, $"No such container: {container}") : 1000;

    public IVolumes Volumes => field ??= new VolumeStore(
        directory,
        directory,
        name => [.. _entries.Values.Where(e => e.Status.Spec.Mounts.Any(m => m.Source == name)).Select(e => e.Status.Id)],
        (_, _, _) => { },
        Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);

    internal ContainerSpec? LastSpec { get; private set; }

    internal TimeSpan? LastGrace { get; private set; }

    public Task<string> CreateAsync(ContainerSpec spec, CancellationToken cancel)
    {
        LastSpec = spec;
        var image = images.Find(spec.Image) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {spec.Image}");
        var id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(32));
        var name = spec.Name ?? "c" + id[..8];
        if (_entries.Values.Any(e => e.Status.Name == name))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"Conflict. The container name \"/{name}\" is already in use");
        }

        _entries[id] = new Entry(new ContainerStatus
        {
            Id = id,
            Name = name,
            Spec = spec,
            ImageId = image.Id.ToString(),
            State = ContainerState.Created,
            Created = DateTimeOffset.UtcNow,
            Arguments = [.. spec.Entrypoint ?? [], .. spec.Command ?? []],
        });
        Tell(id, "create");
        return Task.FromResult(id);
    }

    public Task<bool> StartAsync(string container, CancellationToken cancel)
    {
        var entry = Find(container);
        if (entry.Status.State == ContainerState.Running)
        {
            return Task.FromResult(false);
        }

        var arguments = entry.Status.Arguments;
        if (arguments[0] == "missing")
        {
            entry.FailedStarts++;
            entry.Wake();
            if (entry.Status.Spec.AutoRemove)
            {
                Remove(entry);
            }

            throw new EdgeHostException(ErrorKind.CannotExecute, "missing: executable file not found in $PATH");
        }

        entry.Status = entry.Status with { State = ContainerState.Running, StartedAt = DateTimeOffset.UtcNow, Pid = 4711, ExitCode = null };
        Tell(entry.Status.Id, "start");
        switch (arguments[0])
        {
            case "echo":
                entry.Write(false, string.Join(' ', arguments.Skip(1)) + "\n");
                End(entry, 0);
                break;
            case "complain":
                entry.Write(true, string.Join(' ', arguments.Skip(1)) + "\n");
                End(entry, 1);
                break;
            case "exit":
                End(entry, int.Parse(arguments[1]));
                break;
        }

        return Task.FromResult(true);
    }

    public Task<bool> StopAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel)
    {
        LastGrace = grace;
        var entry = Find(container);
        if (entry.Status.State != ContainerState.Running)
        {
            return Task.FromResult(false);
        }

        End(entry, 143);
        return Task.FromResult(true);
    }

    public Task KillAsync(string container, int signal, CancellationToken cancel)
    {
        var entry = Find(container);
        if (entry.Status.State != ContainerState.Running)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {container} is not running");
        }

        End(entry, 128 + signal);
        return Task.CompletedTask;
    }

    public async Task RestartAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel)
    {
        await StopAsync(container, signal, grace, cancel);
        await StartAsync(container, cancel);
    }

    public Task RenameAsync(string container, string name, CancellationToken cancel)
    {
        var entry = Find(container);
        entry.Status = entry.Status with { Name = name };
        return Task.CompletedTask;
    }

    public Task RemoveAsync(string container, bool force, bool removeAnonymousVolumes, CancellationToken cancel)
    {
        var entry = Find(container);
        if (entry.Status.State == ContainerState.Running)
        {
            if (!force)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"container {container} is running; stop it or use force");
            }

            End(entry, 137);
        }

        Remove(entry);
        return Task.CompletedTask;
    }

    public async Task<int?> WaitAsync(string container, WaitCondition condition, CancellationToken cancel)
    {
        var entry = Find(container);
        if (condition == WaitCondition.Removed)
        {
            return await entry.Removed.Task.WaitAsync(cancel);
        }

        return condition == WaitCondition.NotRunning && entry.Status.State != ContainerState.Running
            ? entry.Status.ExitCode ?? 0
            : await entry.Ended.Task.WaitAsync(cancel);
    }

    public IReadOnlyList<ContainerStatus> List() => _entries.Values.Select(e => e.Status).OrderByDescending(s => s.Created).ToList();

    public ContainerStatus Inspect(string container) => Find(container).Status;

    public ContainerStats ReadStats(string container) => new()
    {
        ReadAt = DateTimeOffset.UtcNow,
        MemoryBytes = 10 << 20,
        InactiveFileBytes = 2 << 20,
        MemoryLimitBytes = 64 << 20,
        OomKills = 0,
        CpuNanoseconds = 5_000_000_000,
        CpuUserNanoseconds = 3_000_000_000,
        CpuSystemNanoseconds = 2_000_000_000,
        NanoCpus = null,
        CpuPeriods = 10,
        CpuThrottledPeriods = 1,
        CpuThrottledNanoseconds = 100,
        Pids = 3,
        PidsLimit = 20,
        Blocks = BlockUse.Parse("259:0 rbytes=1500000 wbytes=0 rios=3 wios=0 dbytes=0 dios=0\n8:16 rbytes=0 wbytes=4096 rios=0 wios=1 dbytes=0 dios=0"),
    };

    public async IAsyncEnumerable<LogRecord> ReadLogsAsync(string container, LogQuery query, [EnumeratorCancellation] CancellationToken cancel)
    {
        var entry = Find(container);
        try
        {
            var failures = entry.FailedStarts;
            var sent = query.Tail is { } tail ? Math.Max(0, entry.Log.Count - tail) : 0;
            while (true)
            {
                var changed = entry.Changed.Task;
                while (sent < entry.Log.Count)
                {
                    var record = entry.Log[sent++];
                    if (record.IsError ? query.StandardError : query.StandardOutput)
                    {
                        yield return record;
                    }
                }

                if (!query.Follow || (entry.Status.State != ContainerState.Running && !(query.FromNextRun && entry.Status.State == ContainerState.Created && entry.FailedStarts == failures)))
                {
                    yield break;
                }

                await changed.WaitAsync(cancel);
            }
        }
        finally
        {
            entry.ReaderLeft.TrySetResult();
        }
    }

    public IAsyncEnumerable<EngineEvent> WatchAsync(CancellationToken cancel) => _events.WatchAsync(cancel);

    public IReadOnlyList<EngineEvent> PastEvents(DateTimeOffset since, DateTimeOffset until) => _events.Past(since, until);

    /// <summary>Done once a reader of its output has left.</summary>
    internal Task ReaderLeft(string container) => Find(container).ReaderLeft.Task;

    internal void Write(string container, bool error, string text) => Find(container).Write(error, text);

    private Entry Find(string name) => _entries.Values.FirstOrDefault(e => e.Status.Name == name || e.Status.Id.StartsWith(name, StringComparison.Ordinal))
        ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such container: {name}");

    private void End(Entry entry, int code)
    {
        entry.Status = entry.Status with { State = ContainerState.Exited, ExitCode = code, Pid = 0, FinishedAt = DateTimeOffset.UtcNow };
        Tell(entry.Status.Id, "die", ("exitCode", code.ToString()));
        var ended = entry.Ended;
        entry.Ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ended.SetResult(code);
        entry.Wake();
        if (entry.Status.Spec.AutoRemove)
        {
            Remove(entry);
        }
    }

    private void Remove(Entry entry)
    {
        _entries.TryRemove(entry.Status.Id, out _);
        entry.Removed.TrySetResult(entry.Status.ExitCode ?? 0);
        Tell(entry.Status.Id, "destroy");
    }

    private void Tell(string id, string action, params (string Name, string Value)[] more)
    {
        var attributes = more.ToDictionary(m => m.Name, m => m.Value);
        if (_entries.TryGetValue(id, out var entry))
        {
            attributes["name"] = entry.Status.Name;
            attributes["image"] = entry.Status.Spec.Image;
        }

        _events.Tell(new EngineEvent(DateTimeOffset.UtcNow, "container", action, id, attributes));
    }

    private sealed class Entry(ContainerStatus status)
    {
        internal ContainerStatus Status { get; set; } = status;

        internal int FailedStarts { get; set; }

        internal List<LogRecord> Log { get; } = [];

        internal TaskCompletionSource<int> Ended { get; set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal TaskCompletionSource ReaderLeft { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal TaskCompletionSource<int> Removed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal TaskCompletionSource Changed { get; private set; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal void Write(bool error, string text)
        {
            Log.Add(new LogRecord(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero), error, Encoding.UTF8.GetBytes(text)));
            Wake();
        }

        internal void Wake()
        {
            var changed = Changed;
            Changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
            changed.SetResult();
        }
    }
}

/// <summary>Where nothing runs, nothing is started beside it.</summary>
internal sealed class NoExecs : IContainerExecs
{
    public string Create(string container, ExecSpec spec) => throw new NotSupportedException();

    public ExecStatus Inspect(string exec) => throw new EdgeHostException(ErrorKind.NotFound, $"No such exec instance: {exec}");

    public IReadOnlyList<string> RunningIn(string container) => [];

    public Task<ProcessStreams> StartAsync(string exec, TerminalSize? size) => throw new NotSupportedException();

    public void Resize(string exec, TerminalSize size) => throw new NotSupportedException();
}
