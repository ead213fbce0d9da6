using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Win32.SafeHandles;

namespace EdgeHost.Images;

/// <summary>
/// A blob while it is fetched: a file that grows at its end, and readers that follow it. The file is the buffer between
/// the network and the unpacker, so memory does not depend on their speeds, and it is what the next pull goes on with
/// when this one is interrupted. What an earlier process left in it is read, and hashed, like what comes now.
/// </summary>
internal sealed class IngestFile : IDisposable
{
    // How much a power cut may cost, in bytes of the network.
    private const long CheckpointBytes = 32L << 20;

    private readonly SafeFileHandle _handle;
    private readonly Lock _gate = new();
    private TaskCompletionSource _grown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _length;
    private long _checkpoint;
    private Task _flush = Task.CompletedTask;
    private bool _complete;
    private Exception? _failure;

    private IngestFile(string path, SafeFileHandle handle, long length) =>
        (Path, _handle, _length, _checkpoint, Found) = (path, handle, length, length, length);

    internal string Path { get; }

    /// <summary>Bytes that were there when it was opened.</summary>
    internal long Found { get; }

    /// <summary>Bytes that are there now.</summary>
    internal long Length => Volatile.Read(ref _length);

    public void Dispose() => _handle.Dispose();

    /// <summary>Opens or creates it; more than is wanted cannot be a part of the blob and is thrown away.</summary>
    internal static IngestFile Open(string path, long maximum)
    {
        var handle = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        try
        {
            var length = RandomAccess.GetLength(handle);
            if (length > maximum)
            {
                RandomAccess.SetLength(handle, 0);
                length = 0;
            }

            return new IngestFile(path, handle, length);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Adds bytes. One writer.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>.</exception>
    internal void Append(ReadOnlySpan<byte> bytes)
    {
        try
        {
            RandomAccess.Write(_handle, bytes, _length);
        }
        catch (IOException e) when (e.HResult is (int)Errno.ENOSPC or (int)Errno.EDQUOT)
        {
            throw new EdgeHostException(ErrorKind.Full, $"no space left on the disk for {Path}", e);
        }
        catch (IOException e)
        {
            // Not to be taken for a failure of the network, which would be tried again.
            throw new EdgeHostException(ErrorKind.Internal, $"{Path} cannot be written: {e.Message}", e);
        }

        var length = _length + bytes.Length;
        Volatile.Write(ref _length, length);
        Wake();
        if (length - _checkpoint >= CheckpointBytes && _flush.IsCompletedSuccessfully)
        {
            _checkpoint = length;
            _flush = Task.Run(() => RandomAccess.FlushToDisk(_handle));
        }
        else if (_flush.IsFaulted)
        {
            _flush.GetAwaiter().GetResult();
        }
    }

    /// <summary>All is there: readers end at the end of the file.</summary>
    internal void Complete()
    {
        lock (_gate)
        {
            _complete = true;
        }

        Wake();
    }

    /// <summary>No more will come: readers get the reason.</summary>
    internal void Fail(Exception reason)
    {
        lock (_gate)
        {
            _failure ??= reason;
        }

        Wake();
    }

    /// <summary>Waits for the flush that may be under way, so that the file can be closed.</summary>
    internal async Task SettleAsync() => await _flush.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

    /// <summary>Reads from the beginning, and waits at the end for what is to come.</summary>
    /// <param name="reached">Told of the position after each piece.</param>
    internal Stream OpenReader(Action<long> reached) => new Reader(this, reached);

    private void Wake()
    {
        TaskCompletionSource waiting;
        lock (_gate)
        {
            waiting = _grown;
            _grown = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        waiting.TrySetResult();
    }

    private sealed class Reader(IngestFile file, Action<long> reached) : ForwardStream
    {
        private long _position;

        public override int Read(Span<byte> buffer)
        {
            while (true)
            {
                Task grown;
                lock (file._gate)
                {
                    grown = file._grown.Task;
                    if (file._failure is { } failure && _position == file.Length)
                    {
                        throw new IngestFailedException(failure);
                    }

                    if (_position == file.Length && file._complete)
                    {
                        return 0;
                    }
                }

                var count = (int)Math.Min(buffer.Length, file.Length - _position);
                if (count > 0)
                {
                    count = RandomAccess.Read(file._handle, buffer[..count], _position);
                    if (count == 0)
                    {
                        throw new EdgeHostException(ErrorKind.Corrupt, $"{file.Path} became shorter while it was read");
                    }

                    _position += count;
                    reached(_position);
                    return count;
                }

                grown.Wait();
            }
        }
    }
}

/// <summary>The writer of an <see cref="IngestFile"/> failed; its own exception says how.</summary>
internal sealed class IngestFailedException(Exception reason) : Exception(reason.Message, reason);
