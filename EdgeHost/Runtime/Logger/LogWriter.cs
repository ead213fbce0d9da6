using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Runtime.Logger;

/// <summary>Appends to the segments of one container and keeps their number and size.</summary>
internal sealed class LogWriter : IDisposable
{
    internal const uint Mode = 0x1A0;

    private readonly LogPolicy _policy;
    private AppendFile? _file;
    private long _segment;
    private long _length;

    internal LogWriter(LogPolicy policy) => _policy = policy;

    /// <summary>Appends one record whole, or nothing.</summary>
    /// <param name="record">Header and payload.</param>
    /// <returns>False when the disk is full even after the oldest segment was given up.</returns>
    /// <exception cref="LinuxException">Any other failure; the record may be tried again.</exception>
    /// <exception cref="IOException">As above.</exception>
    internal bool TryAppend(ReadOnlySpan<byte> record)
    {
        if (_file is null)
        {
            OpenLast();
        }

        if (_length > 0 && _length + record.Length > _policy.SegmentBytes)
        {
            OpenNext();
        }

        while (!_file!.TryAppend(record, _length))
        {
            // Full: the oldest lines of this container make room for its newest.
            var oldest = LogFormat.ListSegments(_policy.Directory).FirstOrDefault(number => number < _segment, -1);
            if (oldest < 0)
            {
                return false;
            }

            File.Delete(PathOf(oldest));
        }

        _length += record.Length;
        return true;
    }

    /// <summary>
    /// Says in the log that something may be missing here: as a line on standard error, so that whoever reads it sees it, and
    /// who counts the lines of standard output does not. On a disk that takes nothing it is left out.
    /// </summary>
    /// <exception cref="LinuxException">It cannot be written.</exception>
    /// <exception cref="IOException">As above.</exception>
    internal void MarkGap(string why)
    {
        const byte StandardError = 2;
        var text = System.Text.Encoding.UTF8.GetBytes($"\nedgehost: {why}\n");
        var record = new byte[LogFormat.HeaderSize + text.Length];
        LogFormat.WriteHeader(record, text.Length, StandardError, DateTimeOffset.UtcNow);
        text.CopyTo(record.AsSpan(LogFormat.HeaderSize));
        _ = TryAppend(record);
    }

    /// <summary>Goes on in a new segment, so that the one before can be given up.</summary>
    internal void BeginSegment()
    {
        if (_file is null)
        {
            OpenLast();
        }

        OpenNext();
    }

    public void Dispose() => _file?.Dispose();

    private string PathOf(long segment) => $"{_policy.Directory}/{LogFormat.SegmentName(segment)}";

    private void OpenLast()
    {
        Directory.CreateDirectory(_policy.Directory);
        var segments = LogFormat.ListSegments(_policy.Directory);
        Open(segments.Count > 0 ? segments[^1] : 1);
    }

    private void OpenNext()
    {
        _file!.Dispose();
        _file = null;
        Open(_segment + 1);
        foreach (var old in LogFormat.ListSegments(_policy.Directory).Where(number => number <= _segment - _policy.Segments))
        {
            File.Delete(PathOf(old));
        }
    }

    private void Open(long segment)
    {
        var file = AppendFile.Open(PathOf(segment), Mode);
        try
        {
            var whole = WholeLength(PathOf(segment));
            var cut = new FileInfo(PathOf(segment)).Length - whole;
            file.Truncate(whole);
            (_file, _segment, _length) = (file, segment, whole);
            if (cut > 0)
            {
                MarkGap(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{cut} bytes here were not wholly written and are cut off"));
            }
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    // What a power cut left may end in the middle of a record.
    private static long WholeLength(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        Span<byte> header = stackalloc byte[LogFormat.HeaderSize];
        long whole = 0;
        while (stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) == header.Length
            && LogFormat.TryReadHeader(header, out var length, out _, out _)
            && stream.Position + length <= stream.Length)
        {
            whole = stream.Seek(length, SeekOrigin.Current);
        }

        return whole;
    }
}
