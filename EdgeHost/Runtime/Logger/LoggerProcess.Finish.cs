using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Runtime.Logger;

/// <summary>
/// How a logger gives its place to another: it reads no more, writes out what it has read, and gives the pipes of each run
/// back as soon as nothing of it is left here. A run whose disk is full holds up the end of this process, and no other run.
/// </summary>
internal sealed partial class LoggerProcess
{
    private void Finish()
    {
        _finishing = true;
        TakeReleased();
        foreach (var stream in _streams)
        {
            _loop.Remove(stream.Pipe);
        }

        var runs = _openStreams.Keys.ToArray();
        foreach (var run in runs)
        {
            TellHeld(run);
        }

        _ = _shepherd.Send(new ShepherdMessageWriter(stackalloc byte[2], ShepherdMessageKind.HeldAll).Written);
        foreach (var run in runs)
        {
            if (!IsHeld(run))
            {
                Release(run);
            }
        }
    }

    // Whether something that was read of a run is neither in its log nor with all who get it.
    private bool IsHeld(int run) => _streams.Exists(stream => stream.Run == run && stream.Holds > 0);

    private void TellHeld(int run)
    {
        var held = new ShepherdMessageWriter(new byte[1024], ShepherdMessageKind.Held);
        held.Put(run);
        var descriptors = new List<int>();
        foreach (var stream in _streams.Where(stream => stream.Run == run))
        {
            held.Put((int)stream.Number);
            descriptors.Add(stream.Pipe.Value);
            foreach (var tap in stream.Taps)
            {
                held.Put(stream.Number + LoggerLink.Tap);
                descriptors.Add(tap.Pipe.Value);
            }
        }

        _ = _shepherd.Send(held.Written, [.. descriptors]);
    }

    private void Release(int run)
    {
        var streams = _streams.FindAll(stream => stream.Run == run);
        streams.ForEach(Leave);
        _openStreams.Remove(run);
        var released = new ShepherdMessageWriter(stackalloc byte[16], ShepherdMessageKind.Released);
        released.Put(run);
        if (_isToldTaken)
        {
            // The shepherd may die before another has them.
            _released.Add(run, streams);
            released.Put(1);
        }
        else
        {
            streams.ForEach(Close);
        }

        _ = _shepherd.Send(released.Written);
    }

    private void TakeReleased()
    {
        foreach (var (run, streams) in _released)
        {
            Take(run, streams[0].Policy, streams);
        }

        _released.Clear();
    }

    // It goes on with what it has, and listens for another shepherd.
    private void OnShepherdGone()
    {
        _loop.Remove(_shepherd.Fd);
        _shepherd.Dispose();
        _ended = true;
        _loop.Add(_listener, OnShepherd);
        if (_finishing)
        {
            // It died before it could go on with what is here.
            _finishing = false;
            TakeReleased();
            foreach (var stream in _streams.Where(static stream => stream.Holds == 0))
            {
                _loop.Add(stream.Pipe, () => OnOutput(stream));
            }
        }
    }

    private void OnShepherd()
    {
        if (PacketSocket.TryAccept(_listener) is not { } shepherd)
        {
            return;
        }

        if (shepherd.ReadPeer().Uid != Processes.EffectiveUser)
        {
            shepherd.Dispose();
            return;
        }

        _loop.Remove(_listener);
        _shepherd = shepherd;
        _ended = false;
        _loop.Add(shepherd.Fd, OnMessage);
    }

    private static void MarkGap(string directory, LogWriter writer)
    {
        try
        {
            writer.MarkGap($"the logger was killed: up to {LogFormat.MaximumPayload >> 10} KiB of each stream may be missing here");
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            SingleThread.PrintError($"edgehost logger: {directory}: a gap is not marked: {e.Message}\n");
        }
    }
}
