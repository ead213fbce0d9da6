namespace EdgeHost.Images;

/// <summary>
/// Reads a stream on a thread of its own, a few buffers ahead: decompression runs beside the writing of files. Memory is
/// bounded by the buffers (512 KiB).
/// </summary>
internal sealed class ReadAheadStream : ForwardStream
{
    private const int Buffers = 4;
    private const int BufferBytes = 128 << 10;

    private readonly Stream _inner;
    private readonly byte[][] _buffers = new byte[Buffers][];
    private readonly int[] _counts = new int[Buffers];
    private readonly SemaphoreSlim _free = new(Buffers);
    private readonly SemaphoreSlim _full = new(0);
    private readonly Thread _thread;
    private Exception? _failure;
    private volatile bool _stop;
    private int _reading;
    private int _offset;
    private bool _holding;

    internal ReadAheadStream(Stream inner)
    {
        _inner = inner;
        for (var i = 0; i < Buffers; i++)
        {
            _buffers[i] = new byte[BufferBytes];
        }

        _thread = new Thread(Fill, 256 << 10) { IsBackground = true, Name = "decompress" };
        _thread.Start();
    }

    public override int Read(Span<byte> buffer)
    {
        if (!_holding)
        {
            _full.Wait();
            _holding = true;
            _offset = 0;
        }

        var left = _counts[_reading] - _offset;
        if (left <= 0)
        {
            // The end, or a failure; it is not given back, so that the next call says the same.
            return _failure is null ? 0 : throw new ReadAheadException(_failure);
        }

        var count = Math.Min(buffer.Length, left);
        _buffers[_reading].AsSpan(_offset, count).CopyTo(buffer);
        _offset += count;
        if (count == left)
        {
            _holding = false;
            _reading = (_reading + 1) % Buffers;
            _free.Release();
        }

        return count;
    }

    /// <summary>Waits for the thread, which ends at its next buffer.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_stop)
        {
            _stop = true;
            _free.Release();
            _thread.Join();
            _free.Dispose();
            _full.Dispose();
        }

        base.Dispose(disposing);
    }

    private void Fill()
    {
        for (var writing = 0; ; writing = (writing + 1) % Buffers)
        {
            _free.Wait();
            if (_stop)
            {
                return;
            }

            try
            {
                _counts[writing] = _inner.ReadAtLeast(_buffers[writing], BufferBytes, throwOnEndOfStream: false);
            }
            catch (Exception e)
            {
                _failure = e;
                _counts[writing] = 0;
            }

            var last = _counts[writing] == 0;
            _full.Release();
            if (last)
            {
                return;
            }
        }
    }
}

/// <summary>What the thread of a <see cref="ReadAheadStream"/> met.</summary>
internal sealed class ReadAheadException(Exception reason) : Exception(reason.Message, reason);
