using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// The one process that is the parent of every container: it clones them, reaps them, and keeps their exit codes until
/// a daemon has taken them. One managed thread, no database, no network, no file on a block device.
/// </summary>
internal sealed class Shepherd : IDisposable
{
    /// <summary>The version of the protocol.</summary>
    internal const int ProtocolVersion = 1;

    private const int DrainMilliseconds = 1000;
    private const int QuietMilliseconds = 2000;
    private const long WorthCollectingBytes = 256 << 10;

    private readonly string _runDirectory;
    private readonly Fd _signals;
    private readonly DirectoryLock _lock;
    private readonly EventLoop _loop = new();
    private readonly Fd _listener;
    private readonly Fd _null = Pipe.OpenNull();
    private readonly LoggerLink _logger;
    private readonly Dictionary<string, ShepherdContainer> _containers = new(StringComparer.Ordinal);
    private readonly List<ShepherdContainer> _draining = [];
    private readonly List<PacketSocket> _clients = [];
    private readonly byte[] _buffer = new byte[PacketSocket.MaximumLength];
    private readonly byte[] _answer = new byte[16 << 10];
    private int _nextRank;
    private long? _killAt;
    private long? _collectAt;
    private long _collected;

    internal Shepherd(string runDirectory, Fd signals)
    {
        _runDirectory = runDirectory;
        _signals = signals;
        Directory.CreateDirectory(runDirectory + "/containers");
        _lock = DirectoryLock.Take(runDirectory, "shepherd.lock", "edgehost shepherd");
        SingleThread.TryBecomeSessionLeader();
        _listener = PacketSocket.Listen(runDirectory + "/shepherd.sock");
        _logger = new LoggerLink(_loop, () => _draining.Concat(_containers.Values.Where(container => container.Running || container.Exit is not null)), OnStreamEnded);
    }

    internal int Run()
    {
        _loop.Add(_signals, OnSignal);
        _loop.Add(_listener, OnConnection);
        _logger.Start();
        _collectAt = Environment.TickCount64 + QuietMilliseconds;
        while (_killAt is null || _containers.Values.Any(container => container.Exit is null))
        {
            var busy = _loop.RunOnce(NextTimeout());
            GiveMemoryBack(busy);
            if (_logger.RestartAt is { } restart && Environment.TickCount64 >= restart)
            {
                _logger.Start();
            }

            TellExits();
            if (_killAt is { } kill && Environment.TickCount64 >= kill)
            {
                foreach (var container in _containers.Values.Where(container => container.Exit is null))
                {
                    Processes.TryKill(container.Process.PidFd, Signals.SIGKILL);
                }

                _killAt = long.MaxValue;
            }
        }

        return 0;
    }

    // The plans and messages of many starts stay in the heap until the collector needs the room: on a small board the
    // containers need it more. Once things are quiet, and never at the moment of a clone.
    private void GiveMemoryBack(bool busy)
    {
        if (busy)
        {
            _collectAt = GC.GetTotalAllocatedBytes() - _collected > WorthCollectingBytes ? Environment.TickCount64 + QuietMilliseconds : null;
        }
        else if (_collectAt is { } at && Environment.TickCount64 >= at)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            if (_collected == 0)
            {
                ProgramPages.GiveBack();
            }

            _collected = GC.GetTotalAllocatedBytes();
            _collectAt = null;
        }
    }

    private int NextTimeout()
    {
        var at = Math.Min(Math.Min(_logger.RestartAt ?? long.MaxValue, _killAt ?? long.MaxValue), _collectAt ?? long.MaxValue);
        foreach (var container in _containers.Values)
        {
            at = Math.Min(at, container.TellAt ?? long.MaxValue);
        }

        return at == long.MaxValue ? -1 : (int)Math.Clamp(at - Environment.TickCount64, 0, int.MaxValue);
    }

    private void OnSignal()
    {
        while (SingleThread.TakeSignal(_signals) is { } signal)
        {
            if (signal is Signals.SIGTERM or Signals.SIGINT)
            {
                StopAll();
            }
        }
    }

    // The last started is asked first; all have the longest grace among them, and are killed after it.
    private void StopAll()
    {
        var grace = 0;
        foreach (var container in _containers.Values.Where(container => container.Exit is null).OrderByDescending(container => container.Rank))
        {
            Processes.TryKill(container.Process.PidFd, container.StopSignal);
            grace = Math.Max(grace, container.GraceMilliseconds);
        }

        _killAt ??= Environment.TickCount64 + grace;
    }

    private void OnConnection()
    {
        while (PacketSocket.TryAccept(_listener) is { } client)
        {
            if (client.ReadPeer().Uid != Processes.EffectiveUser)
            {
                client.Dispose();
                continue;
            }

            _clients.Add(client);
            _loop.Add(client.Fd, () => OnMessage(client));
        }
    }

    private void Drop(PacketSocket client)
    {
        if (_clients.Remove(client))
        {
            _loop.Remove(client.Fd);
            client.Dispose();
        }
    }

    private void OnMessage(PacketSocket client)
    {
        var descriptors = new List<Fd>();
        try
        {
            var length = client.Receive(_buffer, descriptors);
            if (length == 0)
            {
                Drop(client);
                return;
            }

            Handle(client, new ShepherdMessageReader(_buffer.AsSpan(0, length)), descriptors);
        }
        catch (EdgeHostException e)
        {
            // A client that cannot be understood is let go; the containers are none of its business any more.
            SingleThread.PrintError($"edgehost shepherd: a daemon was disconnected: {e.Message}\n");
            Drop(client);
        }
        finally
        {
            foreach (var descriptor in descriptors)
            {
                descriptor.Dispose();
            }
        }
    }

    private void Handle(PacketSocket client, ShepherdMessageReader reader, List<Fd> descriptors)
    {
        if (reader.Kind == ShepherdMessageKind.Hello)
        {
            var welcome = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Welcome);
            welcome.Put(ProtocolVersion);
            welcome.Put(Environment.ProcessId);
            Answer(client, welcome);
            return;
        }

        var request = reader.TakeInt32();
        try
        {
            switch (reader.Kind)
            {
                case ShepherdMessageKind.Launch:
                    Launch(client, request, ref reader, descriptors);
                    return;
                case ShepherdMessageKind.Signal:
                    SendSignal(reader.TakeText(), reader.TakeInt32());
                    break;
                case ShepherdMessageKind.List:
                    foreach (var container in _containers.Values.Where(container => container.Running || container.Exit is not null))
                    {
                        var entry = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Entry);
                        entry.Put(request);
                        container.Status.Write(ref entry);
                        Answer(client, entry);
                    }

                    break;
                case ShepherdMessageKind.Acknowledge:
                    Acknowledge(reader.TakeText(), reader.TakeInt32());
                    break;
                case ShepherdMessageKind.Shutdown:
                    StopAll();
                    break;
                default:
                    throw new EdgeHostException(ErrorKind.Unsupported, $"the shepherd (protocol {ProtocolVersion}) does not know the request {(int)reader.Kind}");
            }

            var done = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Done);
            done.Put(request);
            Answer(client, done);
        }
        catch (EdgeHostException e)
        {
            Fail(client, request, e);
        }
    }

    private void Fail(PacketSocket client, int request, EdgeHostException e)
    {
        var failed = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Failed);
        failed.Put(request);
        failed.Put((int)e.Kind);
        failed.Put(e.Message.Length > 2000 ? e.Message[..2000] : e.Message);
        Answer(client, failed);
    }

    private void Answer(PacketSocket client, ShepherdMessageWriter message)
    {
        // A daemon that does not read would stop the reaping: it is let go, and asks again when it is back.
        if (client.TrySend(message.Written) is not true)
        {
            Drop(client);
        }
    }

    private void Launch(PacketSocket client, int request, ref ShepherdMessageReader reader, List<Fd> descriptors)
    {
        var id = reader.TakeText();
        var log = new LogPolicy(reader.TakeText(), reader.TakeInt64(), reader.TakeInt32());
        var stopSignal = reader.TakeInt32();
        var grace = reader.TakeInt32();
        var wantsCgroup = reader.TakeInt32() != 0;
        if (descriptors.Count != (wantsCgroup ? 2 : 1))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"launch of {id}: {descriptors.Count} descriptors came with it");
        }

        if (_killAt is not null)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"launch of {id}: the shepherd is ending");
        }

        if (_containers.ContainsKey(id))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"launch of {id}: it runs already, or its exit was not taken");
        }

        var plan = LaunchPlan.Parse(SealedMemory.Read(descriptors[0], LaunchPlan.MaximumLength));
        var output = Pipe.Make();
        using var outputWrite = output.Write;
        var error = Pipe.Make();
        using var errorWrite = error.Write;
        LaunchedProcess process;
        try
        {
            process = Launcher.Start(plan, wantsCgroup ? descriptors[1] : null, [_null.Value, outputWrite.Value, errorWrite.Value]);
        }
        catch
        {
            output.Read.Dispose();
            error.Read.Dispose();
            throw;
        }

        var container = new ShepherdContainer(id, process, output.Read, error.Read, log, stopSignal, grace, _nextRank++);
        _containers.Add(id, container);

        // Neither the plan nor the program is waited for: the other containers go on.
        _loop.Add(process.Status, () => OnLaunched(client, request, container, plan));
    }

    private void OnLaunched(PacketSocket client, int request, ShepherdContainer container, LaunchPlan plan)
    {
        var process = container.Process;
        _loop.Remove(process.Status);
        if (LaunchedProcess.ReadOutcome(plan, process.Status) is { } failure)
        {
            Processes.TryKill(process.PidFd, Signals.SIGKILL);
            Processes.Wait(process.Pid);
            _containers.Remove(container.Id);
            container.Dispose();
            if (_clients.Contains(client))
            {
                Fail(client, request, failure.ToException());
            }

            return;
        }

        process.Status.Dispose();
        container.Running = true;
        container.StartTime = Processes.ReadStartTime(process.Pid);
        WriteFacts(container.Id, "pid", string.Create(CultureInfo.InvariantCulture, $"{process.Pid} {container.StartTime}\n"));
        _logger.Add(container);
        _loop.Add(process.PidFd, () => OnExit(container));
        foreach (var other in _clients.Where(other => other != client).ToArray())
        {
            // The daemon that asked may be gone, and its successor has listed before this moment.
            var started = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Started);
            container.Status.Write(ref started);
            Answer(other, started);
        }

        if (_clients.Contains(client))
        {
            var launched = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Launched);
            launched.Put(request);
            launched.Put(process.Pid);
            launched.Put(container.StartTime);
            Answer(client, launched);
        }
    }

    private void OnExit(ShepherdContainer container)
    {
        if (!Processes.TryReap(container.Process.Pid, out var exitCode))
        {
            return;
        }

        _loop.Remove(container.Process.PidFd);
        container.Running = false;
        container.Exit = new ContainerExit(exitCode, DateTimeOffset.UtcNow);
        WriteFacts(
            container.Id, "exit", string.Create(CultureInfo.InvariantCulture, $"{container.Process.Pid} {container.StartTime} {exitCode} {container.Exit.At.ToUnixTimeMilliseconds()}\n"));

        // An end is told once its output is in the log, so that who hears of it finds all of it there; a disk that
        // stalls the logger holds that up for a moment only.
        container.TellAt = Environment.TickCount64 + (container.Drained ? 0 : DrainMilliseconds);
        TellExits();
    }

    private void TellExits()
    {
        foreach (var container in _containers.Values.Where(container => container.TellAt is { } at && (container.Drained || Environment.TickCount64 >= at)).ToArray())
        {
            container.TellAt = null;
            foreach (var client in _clients.ToArray())
            {
                var exited = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Exited);
                container.Status.Write(ref exited);
                Answer(client, exited);
            }
        }
    }

    // What a successor finds when this process has died. A run directory that is full must not take it down.
    private void WriteFacts(string id, string name, string facts)
    {
        var directory = $"{_runDirectory}/containers/{id}";
        try
        {
            Directory.CreateDirectory(directory);
            DurableFile.WriteVolatile($"{directory}/{name}", Encoding.ASCII.GetBytes(facts));
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            SingleThread.PrintError($"edgehost shepherd: {directory}/{name} is not written: {e.Message}\n");
        }
    }

    private void SendSignal(string id, int signal)
    {
        if (!_containers.TryGetValue(id, out var container) || container.Exit is not null || !Processes.TryKill(container.Process.PidFd, signal))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is not running");
        }
    }

    private void Acknowledge(string id, int pid)
    {
        if (_containers.TryGetValue(id, out var container) && container.Exit is not null && container.Process.Pid == pid)
        {
            // The logger may still be writing what it left: the name is free at once, the pipes when they have ended.
            _containers.Remove(id);
            if (!container.Drained)
            {
                _draining.Add(container);
            }
            else
            {
                container.Dispose();
            }
        }
    }

    private void OnStreamEnded(int rank, int stream)
    {
        var container = _draining.Concat(_containers.Values).FirstOrDefault(each => each.Rank == rank);
        if (container?.Streams[stream] is { } fd)
        {
            fd.Dispose();
            container.Streams[stream] = null;
            if (_draining.Contains(container) && container.Drained)
            {
                _draining.Remove(container);
                container.Dispose();
            }
        }
    }

    public void Dispose()
    {
        foreach (var client in _clients)
        {
            client.Dispose();
        }

        foreach (var container in _containers.Values.Concat(_draining))
        {
            container.Dispose();
        }

        _logger.Dispose();
        _listener.Dispose();
        _null.Dispose();
        _loop.Dispose();
        _lock.Dispose();
    }
}
