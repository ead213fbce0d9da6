using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// The one process that is the parent of every container: it clones them, reaps them, and keeps their exit codes until
/// a daemon has taken them. One managed thread, no database, no network, no file on a block device.
/// </summary>
internal sealed partial class Shepherd : IDisposable
{
    /// <summary>The version of the protocol.</summary>
    internal const int ProtocolVersion = 6;

    /// <summary>The first one whose plans may have user namespaces, and pipes that are given away.</summary>
    internal const int VersionWithUsers = 3;

    /// <summary>The first one that can be replaced in place.</summary>
    internal const int VersionWithHandover = 4;

    /// <summary>The first one that starts programs in running containers, and has terminals and standard inputs.</summary>
    internal const int VersionWithExec = 5;

    /// <summary>The first one that makes network namespaces which belong to the users of a container.</summary>
    internal const int VersionWithNetworks = 6;

    private const int DrainMilliseconds = 1000;
    private const int QuietMilliseconds = 2000;
    private const int ListenPauseMilliseconds = 1000;
    private const int MaximumIdLength = 128;
    private const long WorthCollectingBytes = 256 << 10;
    private const long MostGarbageBytes = 1 << 20;

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
    private long? _listenAt;
    private long? _collectAt;
    private long _collected;

    /// <summary>One that begins with nothing.</summary>
    internal Shepherd(string runDirectory, TimeSpan stopWithin, Fd signals)
        : this(runDirectory, stopWithin, signals, null, ProgramFile.StartedFrom)
    {
    }

    private Shepherd(string runDirectory, TimeSpan stopWithin, Fd signals, ShepherdState? before, string startedFrom)
    {
        _runDirectory = runDirectory;
        _stopWithin = (long)stopWithin.TotalMilliseconds;
        _signals = signals;
        _startedFrom = startedFrom;
        _logger = new LoggerLink(_loop, runDirectory, () => _draining.Concat(_containers.Values.Where(container => container.Running || container.Exit is not null)), OnStreamEnded);
        if (before is not null)
        {
            _lock = new DirectoryLock(before.Lock!);
            _listener = before.Listener!;
            Restore(before);
        }
        else
        {
            Directory.CreateDirectory(runDirectory + "/containers");
            _lock = DirectoryLock.Take(runDirectory, "shepherd.lock", "edgehost shepherd");
            SingleThread.TryBecomeSessionLeader();
            _listener = PacketSocket.Listen(runDirectory + "/shepherd.sock");
            TakeBack();
            _logger.Start();
        }

        _loop.Add(_signals, OnSignal);
        _loop.Add(_listener, OnConnection);
    }

    internal int Run()
    {
        _collectAt = Environment.TickCount64 + QuietMilliseconds;
        ServiceSupervisor.Notify("READY=1");
        while (!HasEndedAll())
        {
            var busy = _loop.RunOnce(NextTimeout());
            GiveMemoryBack(busy);
            _logger.GoOn();
            TellExits();
            WriteChangedFacts();
            GoOnChecking();
            if (Environment.TickCount64 >= _listenAt)
            {
                _listenAt = null;
                _loop.Add(_listener, OnConnection);
            }

            GoOnEnding();
            GoOnHandingOver();
        }

        _logger.End(DrainMilliseconds);
        return 0;
    }

    // The plans and messages of many starts stay in the heap until the collector needs the room: on a small board the
    // containers need it more. Once things are quiet, and never at the moment of a clone.
    private void GiveMemoryBack(bool busy)
    {
        if (busy)
        {
            var garbage = GC.GetTotalAllocatedBytes() - _collected;
            _collectAt = Environment.TickCount64 + QuietMilliseconds;
            if (garbage > MostGarbageBytes)
            {
                // Where containers are checked every second it is never quiet.
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
                _collected = GC.GetTotalAllocatedBytes();
            }
        }
        else if (_collectAt is { } at && Environment.TickCount64 >= at)
        {
            if (GC.GetTotalAllocatedBytes() - _collected > WorthCollectingBytes)
            {
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
                _collected = GC.GetTotalAllocatedBytes();
            }

            ProgramPages.GiveBack();
            _collectAt = null;
        }
    }

    private int NextTimeout()
    {
        var at = _containers.Values.Select(container => container.TellAt)
            .Concat(_checks.Select(check => check.NextAt))
            .Concat([_logger.NextAt, _collectAt, _listenAt, NextEndingAt, NextHandoverAt])
            .Min() ?? long.MaxValue;
        return at == long.MaxValue ? -1 : (int)Math.Clamp(at - Environment.TickCount64, 0, int.MaxValue);
    }

    private void OnSignal()
    {
        while (SingleThread.TakeSignal(_signals) is { } signal)
        {
            if (signal is Signals.SIGTERM or Signals.SIGINT)
            {
                EndAll();
            }
            else if (signal == Signals.SIGHUP)
            {
                try
                {
                    BeginHandover(null, 0, string.Empty);
                }
                catch (EdgeHostException e)
                {
                    SayRefused(null, 0, e.Message);
                }
            }
        }

        FindLostEntries();
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

        foreach (var check in _checks)
        {
            check.Dispose();
        }

        _making.ForEach(static each => each.Dispose());

        _handover?.Dispose();
        foreach (var exec in _execs)
        {
            exec.Dispose();
        }

        _logger.Dispose();
        _listener.Dispose();
        _null.Dispose();
        _loop.Dispose();
        _lock.Dispose();
    }
}
