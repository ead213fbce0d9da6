using EdgeHost.Linux;

namespace EdgeHost.Runtime.Logger;

/// <summary>A record of a log.</summary>
/// <param name="Time">When the logger read it.</param>
/// <param name="Stream">1 for standard output, 2 for standard error, 0 for the end of a run.</param>
/// <param name="Payload">The bytes as they were read from the pipe.</param>
public readonly record struct LogEntry(DateTimeOffset Time, int Stream, ReadOnlyMemory<byte> Payload);

/// <summary>
/// Reads the segments of a container in order, also while the logger writes them and takes the oldest away. A reader
/// keeps its open segment, so what it has begun it reads to its end.
/// </summary>
public sealed class LogReader : IDisposable
{
    private readonly string _directory;
    private FileStream? _file;
    private long _segment;
    private int _inRing;

    /// <summary>
    /// Where records are read into, one after the other and then from the first again, for who is done with one before as
    /// many have come after it; null for memory of its own for each.
    /// </summary>
    public byte[]?[]? Ring { get; init; }

    /// <summary>Whether a segment was given up between two that this reader has read.</summary>
    public bool Missed { get; private set; }

    /// <summary>A reader at the beginning of what is kept.</summary>
    /// <param name="directory">The container's log directory; it may not be there yet.</param>
    public LogReader(string directory) => _directory = directory;

    /// <summary>A reader at the end of what is there now.</summary>
    public static LogReader AtEnd(string directory, byte[]?[]? ring = null)
    {
        var reader = new LogReader(directory) { Ring = ring };
        while (reader.TryRead(withPayload: false, out _))
        {
        }

        return reader;
    }

    /// <summary>Reads the next record.</summary>
    /// <param name="entry">The record; its payload is the caller's.</param>
    /// <returns>False when there is none now.</returns>
    /// <exception cref="IOException">A segment cannot be read.</exception>
    public bool TryRead(out LogEntry entry) => TryRead(withPayload: true, out entry);

    /// <summary>Reads the next record, or only what stands before it.</summary>
    public bool TryRead(bool withPayload, out LogEntry entry)
    {
        while (true)
        {
            if (_file is null && !TryOpenNext())
            {
                entry = default;
                return false;
            }

            if (TryReadHere(withPayload, out entry))
            {
                return true;
            }

            // The writer begins a segment only after the one before it is whole.
            var next = LogFormat.ListSegments(_directory).FirstOrDefault(number => number > _segment, -1);
            if (next < 0)
            {
                return false;
            }

            if (TryReadHere(withPayload, out entry))
            {
                return true;
            }

            _file!.Dispose();
            _file = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    private bool TryOpenNext()
    {
        foreach (var number in LogFormat.ListSegments(_directory).Where(number => number > _segment))
        {
            try
            {
                _file = new FileStream($"{_directory}/{LogFormat.SegmentName(number)}", FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
                Missed |= _segment > 0 && number > _segment + 1;
                _segment = number;
                return true;
            }
            catch (FileNotFoundException)
            {
                // Rotated away since it was listed; a later one is there.
            }
        }

        return false;
    }

    private bool TryReadHere(bool withPayload, out LogEntry entry)
    {
        entry = default;
        var start = _file!.Position;
        Span<byte> header = stackalloc byte[LogFormat.HeaderSize];
        if (_file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) < header.Length
            || !LogFormat.TryReadHeader(header, out var length, out var stream, out var time)
            || _file.Position + length > _file.Length)
        {
            _file.Position = start;
            return false;
        }

        var payload = Memory<byte>.Empty;
        if (!withPayload)
        {
            _file.Seek(length, SeekOrigin.Current);
        }
        else if (length > 0)
        {
            payload = Ring is null ? new byte[length] : (Ring[_inRing++ % Ring.Length] ??= new byte[LogFormat.MaximumPayload]).AsMemory(0, length);
            _file.ReadExactly(payload.Span);
        }

        entry = new LogEntry(time, stream, payload);
        return true;
    }
}

/// <summary>Tells when something in a log directory may have changed.</summary>
public sealed class LogWatch : IDisposable
{
    private readonly DirectoryWatch _watch;

    /// <summary>Watches a directory, which must exist.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public LogWatch(string directory) => _watch = new DirectoryWatch(directory);

    /// <summary>Waits for a change since the last call, or for the time to be over.</summary>
    /// <param name="milliseconds">How long at most.</param>
    public void Wait(int milliseconds) => _watch.Wait(milliseconds);

    /// <inheritdoc/>
    public void Dispose() => _watch.Dispose();
}
