using EdgeHost.Runtime.Logger;

namespace EdgeHost.Engine;

/// <summary>
/// Cuts what was read from the pipes into lines, each stream for itself, and leaves out what was not asked for. A line
/// of more than 16 KiB comes in parts, as with Docker.
/// </summary>
internal sealed class LineSplitter(LogQuery query)
{
    private const int MaximumPart = 16 << 10;

    private readonly (DateTimeOffset Time, byte[] Bytes)[] _begun = [(default, []), (default, [])];

    /// <summary>How many more lines are left out.</summary>
    internal int Skip { get; set; }

    /// <summary>How many lines are given out at most: what is written while a tail is read is not part of it.</summary>
    internal int Remaining { get; set; } = int.MaxValue;

    /// <summary>Whether everything that is still to come is later than asked for.</summary>
    internal bool Past { get; private set; }

    /// <summary>Takes a record of the log.</summary>
    /// <returns>False once everything later is past what was asked for.</returns>
    internal bool Push(LogEntry entry, Action<LogRecord> write)
    {
        if (query.Until is { } until && entry.Time > until)
        {
            Past = true;
            return false;
        }

        if (entry.Stream == 0)
        {
            if (query.Raw)
            {
                write(new LogRecord(entry.Time, false, ReadOnlyMemory<byte>.Empty));
            }

            Flush(write);
            return true;
        }

        var stream = entry.Stream - 1;
        if (query.Raw)
        {
            Emit(entry.Time, stream, entry.Payload, write);
            return true;
        }

        var rest = entry.Payload;
        while (rest.Length > 0)
        {
            var newline = rest.Span.IndexOf((byte)'\n');
            var take = newline < 0 ? rest.Length : newline + 1;
            var (time, begun) = _begun[stream];
            take = Math.Min(take, MaximumPart - begun.Length);
            var part = rest[..take];
            rest = rest[take..];
            var whole = part.Span[^1] == (byte)'\n' || begun.Length + take == MaximumPart;
            if (!whole)
            {
                _begun[stream] = (begun.Length == 0 ? entry.Time : time, [.. begun, .. part.Span]);
                continue;
            }

            _begun[stream] = (default, []);
            Emit(begun.Length == 0 ? entry.Time : time, stream, begun.Length == 0 ? part : (byte[])[.. begun, .. part.Span], write);
        }

        return true;
    }

    /// <summary>Gives out what has no line end.</summary>
    internal void Flush(Action<LogRecord> write)
    {
        for (var stream = 0; stream < _begun.Length; stream++)
        {
            if (_begun[stream].Bytes.Length > 0)
            {
                var (time, bytes) = _begun[stream];
                _begun[stream] = (default, []);
                Emit(time, stream, bytes, write);
            }
        }
    }

    private void Emit(DateTimeOffset time, int stream, ReadOnlyMemory<byte> bytes, Action<LogRecord> write)
    {
        if ((stream == 0 && !query.StandardOutput) || (stream == 1 && !query.StandardError) || (query.Since is { } since && time < since))
        {
            return;
        }

        if (Skip > 0)
        {
            Skip--;
            return;
        }

        if (Remaining == 0)
        {
            Past = true;
            return;
        }

        Remaining--;
        write(new LogRecord(time, stream == 1, bytes));
    }
}
