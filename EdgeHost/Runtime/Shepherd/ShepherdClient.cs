using System.Collections.Concurrent;
using System.Diagnostics;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// The daemon's connection to the shepherd. A thread of its own receives; requests may be made from any thread. When
/// the shepherd is gone every request fails with <see cref="ErrorKind.Unavailable"/>, and <see cref="Disconnected"/> ends.
/// </summary>
public sealed partial class ShepherdClient : IDisposable
{
    private const int ConnectMilliseconds = 10_000;

    private readonly PacketSocket _socket;
    private readonly Lock _sending = new();
    private readonly ConcurrentDictionary<int, Pending> _pending = new();
    private readonly TaskCompletionSource _disconnected = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Action<ShepherdContainerStatus> _changed;
    private volatile bool _ending;
    private int _nextRequest;

    private ShepherdClient(PacketSocket socket, Action<ShepherdContainerStatus> changed)
    {
        _socket = socket;
        _changed = changed;
    }

    /// <summary>The version of the protocol that the shepherd speaks.</summary>
    public int Version { get; private set; }

    /// <summary>Whether it runs checks: one that was started by an older version of this program does not.</summary>
    public bool CanCheck => Version >= 2;

    /// <summary>Whether the network of a container with users of its own can belong to these.</summary>
    public bool MakesNetworks => Version >= Shepherd.VersionWithNetworks;

    /// <summary>The shepherd's pid.</summary>
    public int Pid { get; private set; }

    /// <summary>Ends when the shepherd is gone.</summary>
    public Task Disconnected => _disconnected.Task;

    /// <summary>Whether it has said that it was told to end, with all containers.</summary>
    public bool IsEnding => _ending;

    /// <summary>Connects to the shepherd of a run directory. When there is none one is started, or awaited where another has to.</summary>
    /// <param name="runDirectory">The absolute run directory.</param>
    /// <param name="changed">Told of each exit, and of a start that another daemon had asked for, in order, on the receiving thread: hand it on at once.</param>
    /// <param name="mayStart">Whether one is started here; false where it is a service of its own.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: it does not come up, or speaks another protocol.</exception>
    public static async Task<ShepherdClient> ConnectAsync(string runDirectory, Action<ShepherdContainerStatus> changed, bool mayStart, CancellationToken cancel)
    {
        var path = runDirectory + "/shepherd.sock";
        var socket = PacketSocket.TryConnect(path);
        if (socket is null)
        {
            using var process = mayStart ? StartShepherd(runDirectory) : null;
            var until = Environment.TickCount64 + ConnectMilliseconds;
            while ((socket = PacketSocket.TryConnect(path)) is null)
            {
                if (process is { HasExited: true })
                {
                    throw new EdgeHostException(ErrorKind.Unavailable, $"the shepherd ended at once with exit code {process.ExitCode}; its message is above");
                }

                if (Environment.TickCount64 > until)
                {
                    throw new EdgeHostException(
                        ErrorKind.Unavailable,
                        process is null
                            ? $"no shepherd answers at {path} after {ConnectMilliseconds / 1000} s; start it (systemctl start edgehost-shepherd), or run the daemon without --external-shepherd"
                            : $"the shepherd (pid {process.Id}) does not answer at {path} after {ConnectMilliseconds / 1000} s");
                }

                await Task.Delay(mayStart ? 2 : 20, cancel).ConfigureAwait(false);
            }
        }

        var client = new ShepherdClient(socket, changed);
        try
        {
            client.Greet();
        }
        catch
        {
            socket.Dispose();
            throw;
        }

        new Thread(client.Receive, 256 << 10) { IsBackground = true, Name = "shepherd" }.Start();
        return client;
    }

    /// <summary>Makes a user namespace, and a network namespace that belongs to it.</summary>
    /// <param name="users">The lines of uid_map.</param>
    /// <param name="groups">The lines of gid_map.</param>
    /// <exception cref="EdgeHostException">The kernel refuses, or the shepherd is one from before <see cref="MakesNetworks"/>.</exception>
    public async Task<MadeNamespaces> MakeNamespacesAsync(string users, string groups)
    {
        var pending = new Pending();
        Send(Register(pending), ShepherdMessageKind.MakeNamespaces, (ref ShepherdMessageWriter writer) =>
        {
            writer.Put(users);
            writer.Put(groups);
        });
        await pending.Answer.Task.ConfigureAwait(false);
        return pending.Namespaces!;
    }

    /// <summary>Clones a container and waits until its program runs.</summary>
    /// <param name="id">The container's id.</param>
    /// <param name="plan">Its plan.</param>
    /// <param name="cgroupDirectory">The directory of cgroup v2 that it is born in; null for v1.</param>
    /// <param name="log">Where its output goes.</param>
    /// <param name="stopSignal">What asks it to stop when the shepherd ends all.</param>
    /// <param name="grace">How long it has then.</param>
    /// <param name="streams">Its standard streams.</param>
    /// <returns>The pid and start time of its first process.</returns>
    /// <exception cref="EdgeHostException">The step that failed, in words; nothing is left of it.</exception>
    public async Task<(int Pid, long StartTime)> LaunchAsync(string id, LaunchPlan plan, string? cgroupDirectory, LogPolicy log, int stopSignal, TimeSpan grace, LaunchStreams streams)
    {
        if (streams.NeedsVersion && !CanExec)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"the shepherd (process {Pid}) was started by an older version and speaks protocol {Version}, which has neither terminals, nor standard inputs, nor an init; it has when it was ended and started again");
        }

        using var memory = SealedMemory.Create("launch", plan.Block.Span);
        using var cgroup = cgroupDirectory is null ? null : Files.OpenDirectory(cgroupDirectory);
        var pending = new Pending();
        var request = Register(pending);
        var taps = CanExec ? streams.Taps : [];
        Send(request, CanExec ? ShepherdMessageKind.LaunchWithStreams : ShepherdMessageKind.Launch, (ref ShepherdMessageWriter writer) =>
        {
            writer.Put(id);
            writer.Put(log.Directory);
            writer.Put(log.SegmentBytes);
            writer.Put(log.Segments);
            writer.Put(stopSignal);
            writer.Put((int)Math.Min(grace.TotalMilliseconds, int.MaxValue));
            writer.Put(cgroup is null ? 0 : 1);
            if (CanExec)
            {
                writer.Put(streams.Terminal ? 1 : 0);
                writer.Put(streams.Input ? 1 : 0);
                writer.Put(taps.Count);
                foreach (var tap in taps)
                {
                    writer.Put(tap.Stream);
                }
            }
        }, [memory.Value, .. cgroup is null ? Array.Empty<int>() : [cgroup.Value], .. taps.Select(static tap => tap.Pipe.Value)]);
        await pending.Answer.Task.ConfigureAwait(false);
        return (pending.Pid, pending.StartTime);
    }

    /// <summary>Runs a check in a container and waits for its end. Everything that it has started is gone then.</summary>
    /// <param name="id">The container's id.</param>
    /// <param name="plan">The plan of <see cref="Launch.LaunchPlanCompiler.CompileEnter"/>, in sealed memory.</param>
    /// <param name="entry">Where it lives.</param>
    /// <param name="timeout">How long it may take.</param>
    /// <param name="cancel">Kills it; it is then still waited for.</param>
    /// <exception cref="EdgeHostException">The step that failed, in words; <see cref="ErrorKind.NotFound"/>: the container
    /// does not run; <see cref="ErrorKind.Conflict"/>: a check of it still does; <see cref="ErrorKind.Unsupported"/>: not <see cref="CanCheck"/>.</exception>
    public async Task<CheckResult> CheckAsync(string id, Fd plan, Cgroups.CgroupEntry entry, TimeSpan timeout, CancellationToken cancel)
    {
        if (!CanCheck)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"the shepherd (pid {Pid}) speaks protocol {Version}, which has no checks");
        }

        cancel.ThrowIfCancellationRequested();
        using var cgroup = entry.BirthDirectory is null ? null : Files.OpenDirectory(entry.BirthDirectory);
        var pending = new Pending();
        var request = Register(pending);
        Send(request, ShepherdMessageKind.Check, (ref ShepherdMessageWriter writer) =>
        {
            writer.Put(id);
            writer.Put(entry.Directory);
            writer.Put((int)Math.Clamp(timeout.TotalMilliseconds, 1, int.MaxValue));
            writer.Put(cgroup is null ? 0 : 1);
        }, cgroup is null ? [plan.Value] : [plan.Value, cgroup.Value]);
        using var cancelling = cancel.Register(() => Cancel(request));
        await pending.Answer.Task.ConfigureAwait(false);
        return pending.Result!;
    }

    /// <summary>Sends a signal to a container's first process.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it does not run.</exception>
    public Task SignalAsync(string id, int signal) => Ask(ShepherdMessageKind.Signal, (ref ShepherdMessageWriter writer) =>
    {
        writer.Put(id);
        writer.Put(signal);
    });

    /// <summary>Says that an exit was taken down: the shepherd forgets it.</summary>
    public Task AcknowledgeAsync(string id, int pid) => Ask(ShepherdMessageKind.Acknowledge, (ref ShepherdMessageWriter writer) =>
    {
        writer.Put(id);
        writer.Put(pid);
    });

    /// <summary>Everything that the shepherd holds: what runs, and the exits that nobody has taken.</summary>
    public async Task<IReadOnlyList<ShepherdContainerStatus>> ListAsync()
    {
        var pending = new Pending { Entries = [] };
        Send(Register(pending), ShepherdMessageKind.List, static (ref ShepherdMessageWriter _) => { });
        await pending.Answer.Task.ConfigureAwait(false);
        return pending.Entries;
    }

    /// <summary>Lets the shepherd end all containers, each with its stop signal and grace, and then itself.</summary>
    public Task ShutdownAsync() => Ask(ShepherdMessageKind.Shutdown, static (ref ShepherdMessageWriter _) => { });

    /// <inheritdoc/>
    public void Dispose()
    {
        // The receiving thread closes the socket: closing it here could hand its number to another file under that thread.
        // When the shepherd was gone first it has done so already.
        lock (_sending)
        {
            if (!_disconnected.Task.IsCompleted)
            {
                _socket.Shutdown();
            }
        }
    }

    private delegate void Put(ref ShepherdMessageWriter writer);

    private static Process StartShepherd(string runDirectory)
    {
        // By its name, by which it finds its successor; its file may have been replaced, or removed.
        var program = ProgramFile.StartedFrom is { Length: > 0 } path && File.Exists(path) ? path : "/proc/self/exe";
        var start = new ProcessStartInfo(program) { UseShellExecute = false, WorkingDirectory = "/" };
        start.ArgumentList.Add("shepherd");
        start.ArgumentList.Add("--run-dir");
        start.ArgumentList.Add(runDirectory);
        start.Environment.Remove("NOTIFY_SOCKET");
        start.Environment.Remove("WATCHDOG_USEC");
        start.Environment.Remove("WATCHDOG_PID");
        return Process.Start(start) ?? throw new EdgeHostException(ErrorKind.Unavailable, $"the shepherd cannot be started from {program}");
    }

    private void Greet()
    {
        var buffer = new byte[PacketSocket.MaximumLength];
        var hello = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Hello);
        hello.Put(Shepherd.ProtocolVersion);
        if (!_socket.Send(hello.Written))
        {
            throw Gone();
        }

        var length = _socket.Receive(buffer, []);
        if (length == 0)
        {
            throw Gone();
        }

        var reader = new ShepherdMessageReader(buffer.AsSpan(0, length));
        if (reader.Kind != ShepherdMessageKind.Welcome)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"the shepherd greets with message {(int)reader.Kind}");
        }

        Version = reader.TakeInt32();
        Pid = reader.TakeInt32();
        if (Version is < 1 or > Shepherd.ProtocolVersion)
        {
            throw new EdgeHostException(
                ErrorKind.Unavailable, $"the shepherd (pid {Pid}) speaks protocol {Version}, this daemon 1 to {Shepherd.ProtocolVersion}; update the daemon");
        }
    }

    private static EdgeHostException Gone() => new(ErrorKind.Unavailable, "the shepherd is gone");

    private void Cancel(int check)
    {
        try
        {
            // Its own answer says nothing that the check's does not.
            Send(Register(new Pending()), ShepherdMessageKind.CancelCheck, (ref ShepherdMessageWriter writer) => writer.Put(check));
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.Unavailable)
        {
            // The shepherd is gone, and the check with it.
        }
    }

    private async Task Ask(ShepherdMessageKind kind, Put put)
    {
        var pending = new Pending();
        Send(Register(pending), kind, put);
        await pending.Answer.Task.ConfigureAwait(false);
    }

    private int Register(Pending pending)
    {
        var request = Interlocked.Increment(ref _nextRequest);
        _pending[request] = pending;
        return request;
    }

    private void Send(int request, ShepherdMessageKind kind, Put put, params ReadOnlySpan<int> descriptors)
    {
        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent(8192);
        try
        {
            var writer = new ShepherdMessageWriter(buffer, kind);
            writer.Put(request);
            put(ref writer);
            lock (_sending)
            {
                if (_disconnected.Task.IsCompleted || !_socket.Send(writer.Written, descriptors))
                {
                    _pending.TryRemove(request, out _);
                    throw Gone();
                }
            }
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private void Receive()
    {
        // The thread waits with it for good: anywhere else it would stand in the way of what the collector moves together.
        var buffer = GC.AllocateUninitializedArray<byte>(PacketSocket.MaximumLength, pinned: true);
        EdgeHostException reason = Gone();
        try
        {
            var descriptors = new List<Fd>();
            while (_socket.Receive(buffer, descriptors) is > 0 and var length)
            {
                Handle(new ShepherdMessageReader(buffer.AsSpan(0, length)), descriptors);
                descriptors.ForEach(static descriptor => descriptor.Dispose());
                descriptors.Clear();
            }
        }
        catch (EdgeHostException e)
        {
            reason = new EdgeHostException(ErrorKind.Unavailable, $"the shepherd is not understood: {e.Message}", e);
        }

        lock (_sending)
        {
            _disconnected.TrySetResult();
            _socket.Dispose();
        }

        foreach (var request in _pending.Keys)
        {
            if (_pending.TryRemove(request, out var pending))
            {
                pending.Fail(reason);
            }
        }
    }

    private void Handle(ShepherdMessageReader reader, List<Fd> descriptors)
    {
        if (reader.Kind is ShepherdMessageKind.Exited or ShepherdMessageKind.Started)
        {
            _changed(ShepherdContainerStatus.Read(ref reader));
            return;
        }

        if (reader.Kind == ShepherdMessageKind.Ending)
        {
            _ending = true;
            return;
        }

        var request = reader.TakeInt32();
        if (reader.Kind == ShepherdMessageKind.Replaced)
        {
            Version = Math.Clamp(reader.TakeInt32(), 1, Shepherd.ProtocolVersion);
            return;
        }

        if (reader.Kind == ShepherdMessageKind.Entry)
        {
            if (_pending.TryGetValue(request, out var list))
            {
                list.Entries.Add(ShepherdContainerStatus.Read(ref reader));
            }

            return;
        }

        if (reader.Kind == ShepherdMessageKind.ExecStarted)
        {
            if (_pending.TryGetValue(request, out var exec))
            {
                exec.Started!.TrySetResult(reader.TakeInt32());
            }

            return;
        }

        if (!_pending.TryRemove(request, out var pending))
        {
            return;
        }

        switch (reader.Kind)
        {
            case ShepherdMessageKind.Done:
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.Launched:
                pending.Pid = reader.TakeInt32();
                pending.StartTime = reader.TakeInt64();
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.Checked:
                pending.Result = new CheckResult((CheckOutcome)reader.TakeInt32(), reader.TakeInt32(), reader.TakeInt32() != 0, reader.TakeText());
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.InputTaken when descriptors is [var input]:
                pending.Input = new Fd(input.Release());
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.NamespacesMade when descriptors is [var user, var network]:
                pending.Namespaces = new MadeNamespaces(new Fd(user.Release()), new Fd(network.Release()));
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.ExecEnded:
                pending.ExecEnd = new ExecEnd(reader.TakeInt32(), reader.TakeInt32() != 0);
                pending.Answer.TrySetResult();
                break;
            case ShepherdMessageKind.Failed:
                pending.Fail(new EdgeHostException((ErrorKind)reader.TakeInt32(), reader.TakeText()));
                break;
            default:
                pending.Fail(new EdgeHostException(ErrorKind.Unavailable, $"the shepherd answers with message {(int)reader.Kind}"));
                break;
        }
    }

    private sealed class Pending
    {
        internal TaskCompletionSource Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        internal List<ShepherdContainerStatus> Entries { get; init; } = [];

        internal int Pid { get; set; }

        internal long StartTime { get; set; }

        internal CheckResult? Result { get; set; }

        /// <summary>The pid of an exec, before its answer; null for all else.</summary>
        internal TaskCompletionSource<int>? Started { get; init; }

        internal ExecEnd? ExecEnd { get; set; }

        internal Fd? Input { get; set; }

        internal MadeNamespaces? Namespaces { get; set; }

        internal void Fail(EdgeHostException why)
        {
            if (Started?.TrySetException(why) != true)
            {
                Answer.TrySetException(why);
            }
        }
    }
}
