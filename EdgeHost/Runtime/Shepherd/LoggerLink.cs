using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// The shepherd's side of the logger: starts it, hands it pipes, and starts another when it has died. One that another program
/// started in this process is told to write out what it has read and to end; a new one goes on where it gives pipes back.
/// </summary>
internal sealed class LoggerLink : IDisposable
{
    /// <summary>Added to the stream of a pipe that gets what comes from that stream.</summary>
    internal const int Tap = 16;

    private const int RestartPauseMilliseconds = 1000;
    private const int BusyPauseMilliseconds = 100;
    private const int TakeBackMilliseconds = 60_000;

    private readonly EventLoop _loop;
    private readonly byte[] _buffer = new byte[PacketSocket.MaximumLength];
    private readonly string _directory;
    private readonly Action<int, int> _streamEnded;
    private readonly Func<IEnumerable<ShepherdContainer>> _containers;
    private readonly List<LoggerPeer> _finishing = [];
    private LoggerPeer? _current;
    private string _path = string.Empty;
    private long _startedAt;
    private long? _startAt;
    private long? _retryAt;

    internal LoggerLink(EventLoop loop, string directory, Func<IEnumerable<ShepherdContainer>> containers, Action<int, int> streamEnded)
    {
        _loop = loop;
        _directory = directory;
        _containers = containers;
        _streamEnded = streamEnded;
    }

    /// <summary>When <see cref="GoOn"/> has something to do, in ticks of <see cref="Environment.TickCount64"/>; null for never.</summary>
    internal long? NextAt => _startAt is { } start && _retryAt is { } retry ? Math.Min(start, retry) : _startAt ?? _retryAt;

    /// <summary>All that live.</summary>
    internal IEnumerable<LoggerPeer> Peers => _current is null ? _finishing : _finishing.Append(_current);

    /// <summary>Starts it and hands it everything that is still open.</summary>
    /// <exception cref="EdgeHostException">It cannot be started.</exception>
    internal void Start()
    {
        _startAt = null;
        _startedAt = Environment.TickCount64;
        _path = FreePath();
        var (ours, theirs) = PacketSocket.MakePair();
        LaunchedProcess? process = null;
        try
        {
            using var listener = PacketSocket.Listen(_path);
            process = Launcher.Start(Plan(theirs.Fd, listener, _path), null, [theirs.Fd.Value, listener.Value]);
            if (process.Wait() is { } failure)
            {
                throw failure.ToException();
            }

            _loop.Add(ours.Fd, OnCurrentMessage);
            _loop.Add(process.PidFd, OnExit);
            _current = new LoggerPeer(ours, process.Pid, process);
        }
        finally
        {
            theirs.Dispose();
            if (_current is null)
            {
                _loop.Remove(ours.Fd);
                ours.Dispose();
                if (process is not null)
                {
                    // A start that failed half-way leaves no process behind.
                    _loop.Remove(process.PidFd);
                    Processes.TryKill(process.PidFd, Signals.SIGKILL);
                    Processes.Wait(process.Pid);
                    process.Dispose();
                }

                File.Delete(_path);
            }
        }

        AddAll();
    }

    /// <summary>Takes one over that was started by another program, and lets it finish.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal void Succeed(LoggerPeer peer)
    {
        _loop.Add(peer.Socket.Fd, () => OnMessage(peer));
        _finishing.Add(peer);
        _startAt ??= Environment.TickCount64;
        _retryAt = Environment.TickCount64;
    }

    /// <summary>Asks the loggers of a shepherd that has died to finish, and to say what they have. More than one is there while one takes another's place.</summary>
    /// <param name="directory">Where they listen.</param>
    /// <param name="held">The pipes that they have, by run; the caller closes them.</param>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    internal static List<LoggerPeer> TakeBack(string directory, Dictionary<int, HeldPipes> held)
    {
        var loggers = new List<LoggerPeer>();
        foreach (var path in Directory.GetFiles(directory, "logger*.sock"))
        {
            if (PacketSocket.TryConnect(path) is not { } socket)
            {
                File.Delete(path);
            }
            else if (TakeBack(path, socket, held) is { } logger)
            {
                loggers.Add(logger);
            }
        }

        return loggers;
    }

    private static LoggerPeer? TakeBack(string path, PacketSocket socket, Dictionary<int, HeldPipes> held)
    {
        var logger = new LoggerPeer(socket, 0, null);

        // A disk may hold it up: the containers' output waits for it as well.
        var buffer = new byte[PacketSocket.MaximumLength];
        var descriptors = new List<Fd>();
        var alive = TrySayFinish(logger, buffer) is true;
        while (alive && SingleThread.WaitReadable([socket.Fd.Value], TakeBackMilliseconds) == 0 && socket.Receive(buffer, descriptors) is > 0 and var length)
        {
            var reader = new ShepherdMessageReader(buffer.AsSpan(0, length));
            if (reader.Kind == ShepherdMessageKind.HeldAll)
            {
                logger.ToldToFinish = true;
                return logger;
            }

            if (reader.Kind == ShepherdMessageKind.Held)
            {
                var run = reader.TakeInt32();
                if (held.Remove(run, out var others))
                {
                    // Given to another when the shepherd died: one of the two is enough.
                    others.Dispose();
                }

                var pipes = held[run] = new HeldPipes(logger);
                foreach (var descriptor in descriptors)
                {
                    var stream = reader.TakeInt32();
                    if (stream > Tap)
                    {
                        pipes.Taps[stream - Tap - 1].Add(descriptor);
                    }
                    else
                    {
                        pipes.Streams[stream - 1] = descriptor;
                    }
                }
            }

            descriptors.Clear();
        }

        SingleThread.PrintError($"edgehost shepherd: the logger at {path} has not said what it has\n");
        socket.Dispose();
        return null;
    }

    /// <summary>Starts one that has died again, or hands over what one that was busy has not taken. The containers wait meanwhile.</summary>
    internal void GoOn()
    {
        var now = Environment.TickCount64;
        if (now >= _startAt && _current is null)
        {
            try
            {
                Start();
            }
            catch (EdgeHostException e)
            {
                SingleThread.PrintError($"edgehost shepherd: no logger, the containers' output waits: {e.Message}\n");
                _startAt = now + RestartPauseMilliseconds;
            }
        }

        if (now >= _retryAt)
        {
            _retryAt = null;
            _finishing.ForEach(TellToFinish);
            AddAll();
        }
    }

    /// <summary>Hands a container's output over.</summary>
    internal void Add(ShepherdContainer container)
    {
        if (_current is null || container.Logger is not null || container.Drained || IsWrittenElsewhere(container.Log.Directory))
        {
            return;
        }

        // All in one message: the end of a run is told by its last stream, so none may come later than another ends.
        var writer = new ShepherdMessageWriter(_buffer, ShepherdMessageKind.AddStreams);
        writer.Put(container.Rank);
        writer.Put(container.Log.Directory);
        writer.Put(container.Log.SegmentBytes);
        writer.Put(container.Log.Segments);
        writer.Put(container.HasGap ? 1 : 0);
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
        switch (_current.Socket.TrySend(writer.Written, descriptors.ToArray()))
        {
            case true:
                container.Logger = _current;
                container.HasGap = false;
                SayTaken(container.ReleasedBy, container.Rank);
                container.ReleasedBy = null;
                break;
            case null:
                _retryAt ??= Environment.TickCount64 + BusyPauseMilliseconds;
                break;
        }
    }

    /// <summary>Lets it write what is left and end, and waits for that: the disk may be unmounted next.</summary>
    internal void End(int milliseconds)
    {
        if (_current is not { Process: { } process })
        {
            return;
        }

        _loop.Remove(_current.Socket.Fd);
        _current.Socket.Dispose();
        if (SingleThread.WaitReadable([process.PidFd.Value], milliseconds) == 0)
        {
            _ = Processes.TryReap(process.Pid, out _);
        }
        else
        {
            SingleThread.PrintError($"edgehost shepherd: the logger (pid {process.Pid}) still writes what the containers left\n");
        }
    }

    // Where another shepherd finds each of those that live.
    private string FreePath()
    {
        var path = _directory + "/logger.sock";
        for (var number = 2; File.Exists(path); number++)
        {
            path = $"{_directory}/logger-{number}.sock";
        }

        return path;
    }

    private static LaunchPlan Plan(Fd socket, Fd listener, string path)
    {
        string[] arguments = ["edgehost", "logger", Number(socket), Number(listener), path];
        var plan = new LaunchPlan.Builder(callerSlots: 2);
        plan.Add(LaunchOp.NewSession);
        plan.Add(LaunchOp.CloseFrom, a: 3);
        plan.Add(LaunchOp.Duplicate, slot: 0, a: socket.Value);
        plan.Add(LaunchOp.Duplicate, slot: 1, a: listener.Value);
        plan.Add(LaunchOp.ResetSignals);
        plan.AddRaw(LaunchOp.Execute, -1, -1, plan.PutList(["/proc/self/exe"]), plan.PutTable(arguments), plan.PutTable([]), 0, arguments.Length, 0);
        return plan.Build();

        static string Number(Fd fd) => fd.Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    // An earlier run of the same container may be in the hands of one that finishes, and two must not write one log.
    private bool IsWrittenElsewhere(string directory) =>
        _finishing.Count > 0 && _containers().Any(other => other.Log.Directory == directory && other.Logger is not null && other.Logger != _current);

    private void AddAll()
    {
        foreach (var container in _containers())
        {
            Add(container);
        }
    }

    private void TellToFinish(LoggerPeer peer)
    {
        if (!peer.ToldToFinish)
        {
            peer.ToldToFinish = TrySayFinish(peer, _buffer) is not null;
            if (!peer.ToldToFinish)
            {
                _retryAt ??= Environment.TickCount64 + BusyPauseMilliseconds;
            }
        }
    }

    private void SayTaken(LoggerPeer? peer, int run)
    {
        if (peer is null)
        {
            return;
        }

        var taken = new ShepherdMessageWriter(_buffer, ShepherdMessageKind.Taken);
        taken.Put(run);
        if (peer.Socket.TrySend(taken.Written) is null)
        {
            // Told to finish once more it says again what it has.
            peer.ToldToFinish = false;
            _retryAt ??= Environment.TickCount64 + BusyPauseMilliseconds;
        }
    }

    private static bool? TrySayFinish(LoggerPeer peer, byte[] buffer)
    {
        var finish = new ShepherdMessageWriter(buffer, ShepherdMessageKind.Finish);
        finish.Put(1);
        return peer.Socket.TrySend(finish.Written);
    }

    private void OnCurrentMessage() => OnMessage(_current!);

    private void OnMessage(LoggerPeer peer)
    {
        if (Take(peer))
        {
            return;
        }

        _loop.Remove(peer.Socket.Fd);
        if (peer != _current)
        {
            _finishing.Remove(peer);
            Forget(peer);
        }
    }

    // False at the end of what it has to say.
    private bool Take(LoggerPeer peer)
    {
        var descriptors = new List<Fd>();
        var length = peer.Socket.Receive(_buffer, descriptors);
        descriptors.ForEach(descriptor => descriptor.Dispose());
        if (length == 0)
        {
            return false;
        }

        var reader = new ShepherdMessageReader(_buffer.AsSpan(0, length));
        if (reader.Kind == ShepherdMessageKind.StreamEnded)
        {
            _streamEnded(reader.TakeInt32(), reader.TakeInt32() - 1);
        }
        else if (reader.Kind == ShepherdMessageKind.Released)
        {
            var rank = reader.TakeInt32();
            var waits = !reader.IsAtEnd;
            if (_containers().FirstOrDefault(container => container.Rank == rank && (container.Logger ?? peer) == peer) is { } released)
            {
                released.Logger = null;
                released.ReleasedBy = waits ? peer : null;
                AddAll();
            }
            else if (waits)
            {
                SayTaken(peer, rank);
            }
        }

        return true;
    }

    private void OnExit()
    {
        var peer = _current!;
        if (!Processes.TryReap(peer.Pid, out var exitCode))
        {
            return;
        }

        SingleThread.PrintError($"edgehost shepherd: the logger (pid {peer.Pid}) ended with {exitCode}; a new one goes on\n");
        while (Take(peer))
        {
            // What has ended is not to be begun again.
        }

        _loop.Remove(peer.Socket.Fd);
        _loop.Remove(peer.Process!.PidFd);
        _current = null;
        File.Delete(_path);
        Forget(peer);

        // One that dies at once (a full or broken disk) must not become a busy loop.
        _startAt = Environment.TickCount64 + (Environment.TickCount64 - _startedAt < RestartPauseMilliseconds ? RestartPauseMilliseconds : 0);
    }

    // What it still had it has not written to the end.
    private void Forget(LoggerPeer peer)
    {
        peer.Dispose();
        foreach (var container in _containers())
        {
            container.ReleasedBy = container.ReleasedBy == peer ? null : container.ReleasedBy;
            if (container.Logger == peer)
            {
                container.Logger = null;
                container.HasGap = true;
            }
        }

        AddAll();
    }

    public void Dispose()
    {
        _current?.Dispose();
        _finishing.ForEach(peer => peer.Dispose());
    }
}
