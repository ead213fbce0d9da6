using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Runtime.Logger;

/// <summary>
/// The process between the containers' pipes and the disk. Only it waits for the disk: a stalled SD card stops this
/// process, not the reaping and killing of containers.
/// </summary>
internal sealed partial class LoggerProcess
{
    private const int FullPauseMilliseconds = 1000;
    private const int SettleMilliseconds = 2000;
    private const long WorthCollectingBytes = 128 << 10;
    private const long MostGarbageBytes = 512 << 10;

    private readonly Fd _listener;
    private readonly EventLoop _loop = new();
    private readonly byte[] _message = new byte[PacketSocket.MaximumLength];
    private readonly byte[] _record = new byte[LogFormat.HeaderSize + LogFormat.MaximumPayload];
    private readonly Dictionary<string, (LogWriter Writer, int Users)> _writers = new(StringComparer.Ordinal);
    private readonly Dictionary<int, int> _openStreams = [];
    private readonly List<LoggedStream> _streams = [];
    private readonly Dictionary<int, List<LoggedStream>> _released = [];
    private readonly List<(LoggedStream Stream, byte[] Record)> _waiting = [];
    private readonly LogBudget _budget = new();
    private readonly Gathering _gathering = new();
    private long _collected;
    private long _settleAt = Environment.TickCount64 + SettleMilliseconds;
    private PacketSocket _shepherd;
    private long _retryAt;
    private bool _ended;
    private bool _finishing;
    private bool _isToldTaken;
    private bool _settled;

    private LoggerProcess(PacketSocket shepherd, Fd listener) => (_shepherd, _listener) = (shepherd, listener);

    internal static int Run(PacketSocket shepherd, Fd listener)
    {
        var process = new LoggerProcess(shepherd, listener);
        process._loop.Add(shepherd.Fd, process.OnMessage);

        // Without a shepherd no new pipes can come, but what comes out of these is still written.
        while (!process._ended || process._streams.Count > 0)
        {
            var busy = process._loop.RunOnce(process._waiting.Count > 0 ? FullPauseMilliseconds : process._settled ? -1 : SettleMilliseconds);
            process.RetryWaiting();
            process.Settle(busy);
            if (process._finishing && process._streams.Count == 0 && process._released.Count == 0)
            {
                break;
            }
        }

        return 0;
    }

    // What its start, or the last of the output, needed goes back to the board once it is quiet: what many containers that
    // came and went have left behind, the collector by itself would keep until the youngest generation is full, for months.
    private void Settle(bool busy)
    {
        if (busy)
        {
            Collect(MostGarbageBytes);
            _settled = false;
            _settleAt = Environment.TickCount64 + SettleMilliseconds;
        }
        else if (!_settled && Environment.TickCount64 >= _settleAt)
        {
            _settled = true;
            Collect(WorthCollectingBytes);
            ProgramPages.GiveBack();
        }
    }

    private void Collect(long worth)
    {
        if (GC.GetTotalAllocatedBytes() - _collected > worth)
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            _collected = GC.GetTotalAllocatedBytes();
        }
    }

    private void OnMessage()
    {
        var descriptors = new List<Fd>();
        var length = _shepherd.Receive(_message, descriptors);
        if (length == 0)
        {
            OnShepherdGone();
            return;
        }

        var reader = new ShepherdMessageReader(_message.AsSpan(0, length));
        switch (reader.Kind)
        {
            case ShepherdMessageKind.AddStreams:
                AddStreams(ref reader, descriptors);
                break;
            case ShepherdMessageKind.Finish:
                _isToldTaken = !reader.IsAtEnd;
                Finish();
                break;
            case ShepherdMessageKind.Taken:
                if (_released.Remove(reader.TakeInt32(), out var taken))
                {
                    taken.ForEach(Close);
                }

                break;
            default:
                throw new EdgeHostException(ErrorKind.Invalid, $"the shepherd sent message {(int)reader.Kind}");
        }
    }

    private void AddStreams(ref ShepherdMessageReader reader, List<Fd> descriptors)
    {
        var run = reader.TakeInt32();
        var policy = new LogPolicy(reader.TakeText(), reader.TakeInt64(), reader.TakeInt32());
        var gap = reader.TakeInt32() != 0;
        var added = new List<LoggedStream>();
        foreach (var descriptor in descriptors)
        {
            var number = reader.TakeInt32();
            if (number > LoggerLink.Tap)
            {
                added[^1].Taps.Add(new LogTap(descriptor));
            }
            else
            {
                added.Add(new LoggedStream(descriptor, run, (byte)number, policy));
            }
        }

        Take(run, policy, added);
        if (gap)
        {
            MarkGap(policy.Directory, _writers[policy.Directory].Writer);
        }

        foreach (var stream in added)
        {
            _loop.Add(stream.Pipe, () => OnOutput(stream));
        }
    }

    private void Take(int run, LogPolicy policy, List<LoggedStream> streams)
    {
        var (writer, users) = _writers.GetValueOrDefault(policy.Directory, (new LogWriter(policy), 0));
        _writers[policy.Directory] = (writer, users + streams.Count);
        _openStreams[run] = streams.Count;
        _streams.AddRange(streams);
    }

    private void OnOutput(LoggedStream stream)
    {
        var count = Pipe.Read(stream.Pipe, _record.AsSpan(LogFormat.HeaderSize));
        if (count <= 0)
        {
            if (count == 0)
            {
                End(stream);
            }

            return;
        }

        LogFormat.WriteHeader(_record, count, stream.Number, DateTimeOffset.UtcNow);
        if (WhyNotAppended(stream, _record.AsSpan(0, LogFormat.HeaderSize + count)) is { } why)
        {
            // The writer waits at its full pipe, as it would at a full terminal; the other containers go on.
            Hold(stream);
            _waiting.Add((stream, _record.AsSpan(0, LogFormat.HeaderSize + count).ToArray()));
            _retryAt = Environment.TickCount64 + FullPauseMilliseconds;
            SingleThread.PrintError($"edgehost logger: {stream.Policy.Directory}: {why}: the container's output waits until it can be written\n");
        }

        foreach (var tap in stream.Taps.ToArray())
        {
            Pass(stream, tap, _record.AsSpan(LogFormat.HeaderSize, count));
        }

        _gathering.After(count);
    }

    // Who was attached before the start gets everything, and the container waits for it; who has gone, nothing.
    private void Pass(LoggedStream stream, LogTap tap, ReadOnlySpan<byte> bytes)
    {
        if (Pipe.TryWrite(tap.Pipe, bytes) is not { } taken)
        {
            Drop(stream, tap);
        }
        else if (taken < bytes.Length)
        {
            tap.Keep(bytes[taken..]);
            Hold(stream);
            _loop.AddWriter(tap.Pipe, () => OnRoom(stream, tap));
        }
    }

    private void OnRoom(LoggedStream stream, LogTap tap)
    {
        var taken = Pipe.TryWrite(tap.Pipe, tap.Rest);
        if (taken < tap.Rest.Length)
        {
            tap.Took(taken.Value);
            return;
        }

        _loop.Remove(tap.Pipe);
        if (taken is null)
        {
            Drop(stream, tap);
        }

        GoOn(stream);
    }

    private static void Drop(LoggedStream stream, LogTap tap)
    {
        stream.Taps.Remove(tap);
        tap.Pipe.Dispose();
    }

    // Read again once nothing of what was read last is left: on a disk, and at each who gets it.
    private void Hold(LoggedStream stream)
    {
        if (stream.Holds++ == 0)
        {
            _loop.Remove(stream.Pipe);
        }
    }

    private void GoOn(LoggedStream stream)
    {
        if (--stream.Holds > 0)
        {
            return;
        }

        if (!_finishing)
        {
            _loop.Add(stream.Pipe, () => OnOutput(stream));
        }
        else if (!IsHeld(stream.Run))
        {
            Release(stream.Run);
        }
    }

    // A directory that cannot be written (a file system that went read-only, a broken sector) is the trouble of one
    // container, and may pass: this process would lose the output of all by dying of it.
    private string? WhyNotAppended(LoggedStream stream, ReadOnlySpan<byte> record)
    {
        try
        {
            if (!_writers[stream.Policy.Directory].Writer.TryAppend(record))
            {
                return "disk full";
            }

            _budget.Add(stream.Policy.Directory, record.Length, WriterOf);
            return null;
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            return e.Message;
        }
    }

    private LogWriter? WriterOf(string directory) => _writers.GetValueOrDefault(directory).Writer;

    private void RetryWaiting()
    {
        if (_waiting.Count == 0 || Environment.TickCount64 < _retryAt)
        {
            return;
        }

        _retryAt = Environment.TickCount64 + FullPauseMilliseconds;
        foreach (var (stream, record) in _waiting.ToArray())
        {
            if (WhyNotAppended(stream, record) is null)
            {
                _waiting.RemoveAll(each => each.Stream == stream);
                GoOn(stream);
            }
        }
    }

    private void End(LoggedStream stream)
    {
        if (--_openStreams[stream.Run] == 0)
        {
            _openStreams.Remove(stream.Run);
            Span<byte> end = stackalloc byte[LogFormat.HeaderSize];
            LogFormat.WriteHeader(end, 0, LogFormat.EndOfRun, DateTimeOffset.UtcNow);

            // On a disk that takes nothing the mark is left out; readers also see that the container has ended.
            _ = WhyNotAppended(stream, end);
        }

        Leave(stream);
        Close(stream);
        var ended = new ShepherdMessageWriter(stackalloc byte[16], ShepherdMessageKind.StreamEnded);
        ended.Put(stream.Run);
        ended.Put((int)stream.Number);
        _ = _shepherd.Send(ended.Written);
    }

    private static void Close(LoggedStream stream)
    {
        stream.Pipe.Dispose();
        stream.Taps.ForEach(static tap => tap.Pipe.Dispose());
    }

    private void Leave(LoggedStream stream)
    {
        _loop.Remove(stream.Pipe);
        _streams.Remove(stream);
        var (writer, users) = _writers[stream.Policy.Directory];
        if (users == 1)
        {
            _writers.Remove(stream.Policy.Directory);
            writer.Dispose();
        }
        else
        {
            _writers[stream.Policy.Directory] = (writer, users - 1);
        }
    }

    private sealed class LoggedStream(Fd pipe, int run, byte number, LogPolicy policy)
    {
        internal Fd Pipe { get; } = pipe;

        internal int Run { get; } = run;

        internal byte Number { get; } = number;

        internal LogPolicy Policy { get; } = policy;

        /// <summary>Who else gets what comes.</summary>
        internal List<LogTap> Taps { get; } = [];

        /// <summary>How many are not done with what was read last.</summary>
        internal int Holds { get; set; }
    }

    /// <summary>A pipe that gets what comes from a stream.</summary>
    private sealed class LogTap(Fd pipe)
    {
        private byte[]? _kept;
        private int _start;
        private int _end;

        internal Fd Pipe { get; } = pipe;

        /// <summary>What it has not taken of what was read last.</summary>
        internal ReadOnlySpan<byte> Rest => _kept.AsSpan(_start, _end - _start);

        internal void Keep(ReadOnlySpan<byte> bytes)
        {
            _kept ??= new byte[LogFormat.MaximumPayload];
            bytes.CopyTo(_kept);
            (_start, _end) = (0, bytes.Length);
        }

        internal void Took(int count) => _start += count;
    }
}
