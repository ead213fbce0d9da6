namespace EdgeHost.State;

/// <summary>
/// A file as LiteDB sees it, with a Flush that reaches the disk. LiteDB 5 flushes its data file at a checkpoint but never
/// its log, and it writes all pages of a transaction in one go; after a power cut the page that confirms a transaction
/// may be there and the others not. So the confirming page of the log is held back until the pages before it are on
/// disk, and <see cref="StateDatabase"/> flushes the log after each commit.
/// </summary>
internal sealed class FlushedStream(FileStream file, bool isLog) : Stream
{
    // Offset 18 of a page: the transaction that it closes is whole (LiteDB 5, BasePage).
    private const int IsConfirmed = 18;

    public override bool CanRead => true;

    public override bool CanSeek => true;

    public override bool CanWrite => true;

    public override long Length => file.Length;

    public override long Position
    {
        get => file.Position;
        set => file.Position = value;
    }

    public override void Flush() => file.Flush(flushToDisk: true);

    public override int Read(byte[] buffer, int offset, int count)
    {
        // LiteDB takes whatever one call gives as a whole page.
        return file.ReadAtLeast(buffer.AsSpan(offset, count), count, throwOnEndOfStream: false);
    }

    public override long Seek(long offset, SeekOrigin origin) => file.Seek(offset, origin);

    public override void SetLength(long value) => file.SetLength(value);

    public override void Write(byte[] buffer, int offset, int count)
    {
        if (isLog && count > IsConfirmed && buffer[offset + IsConfirmed] != 0)
        {
            file.Flush(flushToDisk: true);
        }

        file.Write(buffer, offset, count);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            file.Dispose();
        }

        base.Dispose(disposing);
    }
}
