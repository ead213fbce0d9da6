using System.Diagnostics;

namespace EdgeHost.Images;

/// <summary>Adds up what the layers of a pull do, and tells of it at most ten times a second.</summary>
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

    internal void Begin(string layer, string phase, long done, long total)
    {
        lock (_gate)
        {
            _layers[layer] = (phase, done, total);
        }
    }

    internal void Add(string layer, string phase, long bytes)
    {
        if (progress is null)
        {
            return;
        }

        lock (_gate)
        {
            var (_, done, total) = _layers.GetValueOrDefault(layer);
            _layers[layer] = (phase, done + bytes, total);
            var now = Stopwatch.GetTimestamp();
            if (now - _told >= Interval)
            {
                _told = now;
                progress.Report(new PullProgress(phase, layer, done + bytes, total));
            }
        }
    }

    private (long Done, long Total) Sum() => (_layers.Values.Sum(layer => layer.Done), _layers.Values.Sum(layer => layer.Total));
}
