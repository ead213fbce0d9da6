using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>The shepherd's side of the logger: starts it, hands it pipes, and starts another when it has died.</summary>
internal sealed class LoggerLink : IDisposable
{
    private const int RestartPauseMilliseconds = 1000;

    private readonly EventLoop _loop;
    private readonly byte[] _buffer = new byte[PacketSocket.MaximumLength];
    private readonly Action<int, int> _streamEnded;
    private readonly Func<IEnumerable<ShepherdContainer>> _containers;
    private LaunchedProcess? _process;
    private PacketSocket? _socket;
    private long _startedAt;

    internal LoggerLink(EventLoop loop, Func<IEnumerable<ShepherdContainer>> containers, Action<int, int> streamEnded)
    {
        _loop = loop;
        _containers = containers;
        _streamEnded = streamEnded;
    }

    /// <summary>When it is to be started again, in ticks of <see cref="Environment.TickCount64"/>; null while it runs.</summary>
    internal long? RestartAt { get; private set; }

    internal int? Pid => _process?.Pid;

    /// <summary>Starts it and hands it everything that is still open.</summary>
    internal void Start()
    {
        RestartAt = null;
        _startedAt = Environment.TickCount64;
        var (ours, theirs) = PacketSocket.MakePair();
        using (theirs)
        {
            var plan = new LaunchPlan.Builder(callerSlots: 1);
            plan.Add(LaunchOp.NewSession);
            plan.Add(LaunchOp.Duplicate, slot: 0, a: 3);
            plan.Add(LaunchOp.CloseFrom, a: 4);
            plan.Add(LaunchOp.ResetSignals);
            plan.AddRaw(LaunchOp.Execute, -1, -1, plan.PutList(["/proc/self/exe"]), plan.PutTable(["edgehost", "logger"]), plan.PutTable([]), 0, 2, 0);
            _process = Launcher.Start(plan.Build(), null, [theirs.Fd.Value]);
        }

        if (_process.Wait() is { } failure)
        {
            throw failure.ToException();
        }

        _socket = ours;
        _loop.Add(ours.Fd, OnMessage);
        _loop.Add(_process.PidFd, OnExit);
        foreach (var container in _containers())
        {
            Add(container);
        }
    }

    /// <summary>Hands a container's output over.</summary>
    internal void Add(ShepherdContainer container)
    {
        if (_socket is null)
        {
            return;
        }

        // All in one message: the end of a run is told by its last stream, so none may come later than another ends.
        var writer = new ShepherdMessageWriter(_buffer, ShepherdMessageKind.AddStreams);
        writer.Put(container.Rank);
        writer.Put(container.Log.Directory);
        writer.Put(container.Log.SegmentBytes);
        writer.Put(container.Log.Segments);
        var descriptors = new List<int>();
        for (var stream = 0; stream < container.Streams.Length; stream++)
        {
            if (container.Streams[stream] is { } fd)
            {
                writer.Put(stream + 1);
                descriptors.Add(fd.Value);
            }
        }

        if (descriptors.Count > 0)
        {
            // A logger that is gone is started anew with everything; its exit is on the way.
            _ = _socket.Send(writer.Written, descriptors.ToArray());
        }
    }

    private void OnMessage()
    {
        var descriptors = new List<Fd>();
        var length = _socket!.Receive(_buffer, descriptors);
        if (length == 0)
        {
            _loop.Remove(_socket.Fd);
            return;
        }

        var reader = new ShepherdMessageReader(_buffer.AsSpan(0, length));
        if (reader.Kind == ShepherdMessageKind.StreamEnded)
        {
            _streamEnded(reader.TakeInt32(), reader.TakeInt32() - 1);
        }
    }

    private void OnExit()
    {
        if (!Processes.TryReap(_process!.Pid, out var exitCode))
        {
            return;
        }

        SingleThread.PrintError($"edgehost shepherd: the logger (pid {_process.Pid}) ended with {exitCode}; a new one goes on\n");
        _loop.Remove(_socket!.Fd);
        _loop.Remove(_process.PidFd);
        _socket.Dispose();
        _process.Dispose();
        _socket = null;
        _process = null;

        // One that dies at once (a full or broken disk) must not become a busy loop.
        var pause = Environment.TickCount64 - _startedAt < RestartPauseMilliseconds ? RestartPauseMilliseconds : 0;
        RestartAt = Environment.TickCount64 + pause;
    }

    public void Dispose()
    {
        _socket?.Dispose();
        _process?.Dispose();
    }
}
