using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Engine;

/// <summary>How much of a container's output is kept.</summary>
internal static class LogLimits
{
    internal const long LeastBytes = 64 << 10;
    internal const long MostBytes = 1 << 30;
    internal const int MostFiles = 100;

    /// <summary>What was asked for one container, or else holds for all.</summary>
    /// <param name="directory">Where its log is.</param>
    /// <param name="spec">What was asked for.</param>
    /// <param name="options">What holds for all.</param>
    internal static LogPolicy PolicyOf(string directory, ContainerSpec spec, EngineOptions options)
    {
        var bytes = spec.LogBytes ?? options.LogSegmentBytes;
        var files = spec.LogFiles ?? options.LogSegments;

        // A single file would be emptied each time that it is full, the newest lines with it: two of half the size hold as
        // much, and always the newest half.
        return files == 1 ? new LogPolicy(directory, Math.Max(bytes / 2, LeastBytes), 2) : new LogPolicy(directory, bytes, files);
    }
}
