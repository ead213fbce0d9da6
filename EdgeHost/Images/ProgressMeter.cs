using System.Diagnostics;

namespace EdgeHost.Images;

/// <summary>Adds up what the layers of a pull do, and tells of it at most ten times a second; the end of a layer is always told.</summary>
internal sealed class ProgressMeter(IProgress<PullProgress>? progress)
{
    private static readonly long Interval = Stopwatch.Frequency / 10;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, (string Phase, long Done, long Total)> _layers = new(StringComparer.Ordinal);
    private long _told;

    internal void Say(string phase)
    {
        if (progress is null)
        {
            return;
        }

        lock (_gate)
        {
            var (done, total) = Sum();
            progress.Report(new PullProgress(phase, null, done, total));
        }
    }

    internal void Begin(string layer, long done, long total)
    {
        lock (_gate)
        {
            _layers[layer] = ("downloading", done, total);
        }
    }

    /// <summary>Bytes of a layer arrived.</summary>
    internal void Arrived(string layer, long bytes)
    {
        if (progress is not null)
        {
            lock (_gate)
            {
                var (_, done, total) = _layers[layer];
                Set(layer, ("downloading", done + bytes, total));
            }
        }
    }

    /// <summary>The unpacker, which follows the download, is there. Told of once all has arrived: until then the download is the news.</summary>
    internal void Unpacked(string layer, long position)
    {
        if (progress is not null)
        {
            lock (_gate)
            {
                var (phase, done, total) = _layers[layer];
                if (phase == "extracting" || done == total)
                {
                    Set(layer, ("extracting", position, total));
                }
            }
        }
    }

    /// <summary>A layer is held.</summary>
    internal void Finish(string layer, long total)
    {
        if (progress is not null)
        {
            lock (_gate)
            {
                _layers[layer] = ("done", total, total);
                progress.Report(new PullProgress("done", layer, total, total));
            }
        }
    }

    private void Set(string layer, (string Phase, long Done, long Total) state)
    {
        _layers[layer] = state;
        var now = Stopwatch.GetTimestamp();
        if (now - _told >= Interval)
        {
            _told = now;
            progress!.Report(new PullProgress(state.Phase, layer, state.Done, state.Total));
        }
    }

    private (long Done, long Total) Sum() => (_layers.Values.Sum(layer => layer.Done), _layers.Values.Sum(layer => layer.Total));
}
