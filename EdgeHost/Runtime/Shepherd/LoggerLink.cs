using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>The shepherd's side of the logger: starts it, hands it pipes, and starts another when it has died.</summary>
internal sealed class LoggerLink : IDisposable
{
    /// <summary>Added to the stream of a pipe that gets what comes from that stream.</summary>
    internal const int Tap = 16;

    private const int RestartPauseMilliseconds = 1000;
    private const int BusyPauseMilliseconds = 100;

    private readonly EventLoop _loop;
    private readonly byte[] _buffer = new byte[PacketSocket.MaximumLength];
    private readonly Action<int, int> _streamEnded;
    private readonly Func<IEnumerable<ShepherdContainer>> _containers;
    private readonly Queue<ShepherdContainer> _unsent = new();
    private LaunchedProcess? _process;
    private PacketSocket? _socket;
    private long _startedAt;

    internal LoggerLink(EventLoop loop, Func<IEnumerable<ShepherdContainer>> containers, Action<int, int> streamEnded)
    {
        _loop = loop;
        _containers = containers;
        _streamEnded = streamEnded;
    }

    /// <summary>When <see cref="GoOn"/> has something to do, in ticks of <see cref="Environment.TickCount64"/>; null for never.</summary>
    internal long? NextAt { get; private set; }

    /// <summary>Starts it and hands it everything that is still open.</summary>
    /// <exception cref="EdgeHostException">It cannot be started.</exception>
    internal void Start()
    {
        NextAt = null;
        _unsent.Clear();
        _startedAt = Environment.TickCount64;
        var (ours, theirs) = PacketSocket.MakePair();
        var started = false;
        try
        {
            _process = Launcher.Start(Plan(), null, [theirs.Fd.Value]);
            if (_process.Wait() is { } failure)
            {
                throw failure.ToException();
            }

            _loop.Add(ours.Fd, OnMessage);
            _loop.Add(_process.PidFd, OnExit);
            _socket = ours;
            started = true;
        }
        finally
        {
            theirs.Dispose();
            if (!started)
            {
                _loop.Remove(ours.Fd);
                ours.Dispose();
                LetGo();
            }
        }

        foreach (var container in _containers())
        {
            Add(container);
        }
    }

    /// <summary>Starts one that has died again, or hands over what one that was busy has not taken. The containers wait meanwhile.</summary>
    internal void GoOn()
    {
        if (NextAt is not { } at || Environment.TickCount64 < at)
        {
            return;
        }

        NextAt = null;
        if (_socket is null)
        {
            try
            {
                Start();
            }
            catch (EdgeHostException e)
            {
                SingleThread.PrintError($"edgehost shepherd: no logger, the containers' output waits: {e.Message}\n");
                NextAt = Environment.TickCount64 + RestartPauseMilliseconds;
            }

            return;
        }

        for (var count = _unsent.Count; count > 0; count--)
        {
            Add(_unsent.Dequeue());
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
                foreach (var tap in container.Taps[stream])
                {
                    writer.Put(stream + 1 + Tap);
                    descriptors.Add(tap.Value);
                }
            }
        }

        // One that is gone (false) is started anew with everything; its exit is on the way. One that a disk holds up
        // must not hold up this process.
        if (descriptors.Count > 0 && _socket.TrySend(writer.Written, descriptors.ToArray()) is null)
        {
            _unsent.Enqueue(container);
            NextAt ??= Environment.TickCount64 + BusyPauseMilliseconds;
        }
    }

    /// <summary>Lets it write what is left and end, and waits for that: the disk may be unmounted next.</summary>
    internal void End(int milliseconds)
    {
        if (_process is null || _socket is null)
        {
            return;
        }

        _loop.Remove(_socket.Fd);
        _socket.Dispose();
        _socket = null;
        if (SingleThread.WaitReadable([_process.PidFd.Value], milliseconds) == 0)
        {
            _ = Processes.TryReap(_process.Pid, out _);
        }
        else
        {
            SingleThread.PrintError($"edgehost shepherd: the logger (pid {_process.Pid}) still writes what the containers left\n");
        }
    }

    private static LaunchPlan Plan()
    {
        var plan = new LaunchPlan.Builder(callerSlots: 1);
        plan.Add(LaunchOp.NewSession);
        plan.Add(LaunchOp.Duplicate, slot: 0, a: 3);
        plan.Add(LaunchOp.CloseFrom, a: 4);
        plan.Add(LaunchOp.ResetSignals);
        plan.AddRaw(LaunchOp.Execute, -1, -1, plan.PutList(["/proc/self/exe"]), plan.PutTable(["edgehost", "logger"]), plan.PutTable([]), 0, 2, 0);
        return plan.Build();
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
        Dispose();

        // One that dies at once (a full or broken disk) must not become a busy loop.
        var pause = Environment.TickCount64 - _startedAt < RestartPauseMilliseconds ? RestartPauseMilliseconds : 0;
        NextAt = Environment.TickCount64 + pause;
    }

    // A start that failed half-way leaves no process behind.
    private void LetGo()
    {
        if (_process is not null)
        {
            _loop.Remove(_process.PidFd);
            Processes.TryKill(_process.PidFd, Signals.SIGKILL);
            Processes.Wait(_process.Pid);
            _process.Dispose();
            _process = null;
        }
    }

    public void Dispose()
    {
        _socket?.Dispose();
        _process?.Dispose();
        _socket = null;
        _process = null;
    }
}
