namespace EdgeHost.Linux;

/// <summary>
/// Standard output or standard error for what is passed on as it comes. Console's own streams swallow the error of a
/// pipe that nobody reads any more, so that who follows a log into <c>head</c> would follow it for ever; this one says it.
/// </summary>
public sealed class OutputStream : Stream
{
    private readonly Fd _fd;
    private readonly string _name;

    private OutputStream(int descriptor, string name)
    {
        _fd = new Fd(descriptor);
        _name = name;
    }

    /// <summary>Standard output.</summary>
    public static OutputStream StandardOutput() => new(1, "standard output");

    /// <summary>Standard error.</summary>
    public static OutputStream StandardError() => new(2, "standard error");

    /// <summary>How many columns the terminal has that it is: 0 if the terminal does not say, null if it is none.</summary>
    public int? TerminalColumns => Libc.TerminalColumns(_fd);

    /// <inheritdoc/>
    public override bool CanRead => false;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    /// <exception cref="LinuxException">Nobody reads it any more (EPIPE), or it cannot be written.</exception>
    public override void Write(ReadOnlySpan<byte> buffer)
    {
        Files.WriteAll(_fd, buffer, _name);
    }

    /// <inheritdoc/>
    /// <exception cref="LinuxException">As for the span.</exception>
    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    /// <inheritdoc/>
    /// <exception cref="LinuxException">As for the span.</exception>
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Write(buffer.Span);
        return ValueTask.CompletedTask;
    }
}
