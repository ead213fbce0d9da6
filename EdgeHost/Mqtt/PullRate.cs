using System.Diagnostics;
using EdgeHost.Deployments;

namespace EdgeHost.Mqtt;

/// <summary>How fast a pull goes: an average that follows within some seconds, of one layer at a time.</summary>
internal sealed class PullRate
{
    private const double Weight = 0.2;

    private readonly Lock _lock = new();
    private (string Image, string? Layer, string Phase) _what;
    private long _bytes;
    private long _time;
    private double _rate;

    /// <summary>Takes a point in.</summary>
    /// <param name="progress">How far it is.</param>
    /// <param name="now">A stopwatch's time stamp.</param>
    /// <returns>Bytes in a second, and seconds to the end; null while they are not known.</returns>
    internal (long? BytesPerSecond, double? EtaSeconds) Measure(DeploymentProgress progress, long now)
    {
        lock (_lock)
        {
            var what = (progress.Image, progress.Layer, progress.Phase);
            if (what != _what || progress.DoneBytes < _bytes)
            {
                _what = what;
                _bytes = progress.DoneBytes;
                _time = now;
                _rate = 0;
                return (null, null);
            }

            var seconds = (double)(now - _time) / Stopwatch.Frequency;
            if (seconds > 0)
            {
                var rate = (progress.DoneBytes - _bytes) / seconds;
                _rate = _rate == 0 ? rate : (_rate * (1 - Weight)) + (rate * Weight);
                _bytes = progress.DoneBytes;
                _time = now;
            }

            return _rate <= 0
                ? (null, null)
                : ((long)_rate, Math.Round(Math.Max(0, progress.TotalBytes - progress.DoneBytes) / _rate, 1));
        }
    }
}
