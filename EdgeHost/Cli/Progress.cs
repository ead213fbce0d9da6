namespace EdgeHost.Cli;

/// <summary>
/// How far something is. On a terminal one line that is written over and over and gone at the end; elsewhere nothing,
/// since there each step has a line of its own.
/// </summary>
internal sealed class Progress(TextWriter? output, bool isLive) : IDisposable
{
    // What changes faster nobody reads, and a serial console would hold up the work.
    private const long RedrawAfterMilliseconds = 100;
    private const int BarWidth = 20;
    private const int UsualColumns = 80;

    private int _drawn;
    private long _last = long.MinValue / 2;

    /// <summary>How far something is, as a bar of fixed width.</summary>
    internal static string Bar(long done, long total)
    {
        var filled = total <= 0 ? 0 : (int)(Math.Clamp(done, 0, total) * (decimal)BarWidth / total);
        return $"[{(new string('=', filled) + (filled < BarWidth ? ">" : string.Empty)).PadRight(BarWidth)}]";
    }

    /// <summary>Draws, unless it was drawn a moment ago.</summary>
    /// <param name="text">Makes the line; called only when it is drawn.</param>
    internal void Show(Func<string> text)
    {
        var now = Environment.TickCount64;
        if (output is null || !isLive || now - _last < RedrawAfterMilliseconds)
        {
            return;
        }

        _last = now;

        // A line that is as wide as the terminal would leave one behind.
        var room = (Screen.Columns(output) is > 1 and var columns ? columns : UsualColumns) - 1;
        var line = Listing.Ellipsis(text(), room, whole: false);
        output.Write($"\r{line.PadRight(Math.Min(_drawn, room))}");
        _drawn = line.Length;
    }

    /// <summary>Writes a line that stays.</summary>
    internal void Step(string line)
    {
        Dispose();
        output?.WriteLine(line);
    }

    /// <summary>Takes away what was drawn.</summary>
    public void Dispose()
    {
        if (_drawn > 0)
        {
            output?.Write($"\r{new string(' ', _drawn)}\r");
            _drawn = 0;
        }

        _last = long.MinValue / 2;
    }
}

/// <summary>A stream of which somebody is told how much was read.</summary>
internal sealed class CountedStream(Stream inner, Action<long> report) : Stream
{
    private long _read;

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => _read;
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => Count(await inner.ReadAsync(buffer, cancellationToken));

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => Count(inner.Read(buffer, offset, count));

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    private int Count(int read)
    {
        _read += read;
        report(_read);
        return read;
    }
}
