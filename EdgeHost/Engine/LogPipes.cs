using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>What a container writes, from its log into pipes, for who comes when it runs already: one that is slow holds up a thread here and no container.</summary>
internal sealed class LogPipes
{
    private readonly IAsyncEnumerator<LogRecord> _records;
    private readonly CancellationTokenSource _stop;
    private readonly Fd? _output;
    private readonly Fd? _error;

    private LogPipes(IAsyncEnumerator<LogRecord> records, CancellationTokenSource stop, Fd? output, Fd? error)
    {
        _records = records;
        _stop = stop;
        _output = output;
        _error = error;
    }

    /// <summary>Begins; what is written from now on is not missed.</summary>
    /// <param name="read">Opens the log.</param>
    /// <param name="output">Whether standard output is wanted, or what a terminal shows.</param>
    /// <param name="error">Whether standard error is wanted.</param>
    /// <param name="terminal">Whether it has a terminal.</param>
    /// <param name="input">Its standard input.</param>
    /// <param name="endInput">As in <see cref="ProcessStreams.EndInput"/>.</param>
    /// <param name="release">Called when nobody reads any more.</param>
    internal static ProcessStreams Open(
        Func<CancellationToken, IAsyncEnumerable<LogRecord>> read, bool output, bool error, bool terminal, Task<Fd?> input, Func<bool> endInput, Action release)
    {
        var stop = new CancellationTokenSource();
        (Fd Read, Fd Write)? first = output ? Pipe.Make() : null, second = error ? Pipe.Make() : null;
        var records = read(stop.Token).GetAsyncEnumerator(CancellationToken.None);
        var next = records.MoveNextAsync();
        var pipes = new LogPipes(records, stop, first?.Write, second?.Write);
        var streams = new ProcessStreams(each =>
        {
            stop.Cancel();
            each.Output?.Dispose();
            each.Error?.Dispose();
            release();
        })
        {
            Input = input,
            EndInput = endInput,
            Output = first?.Read,
            Error = second?.Read,
            IsTerminal = terminal,
        };
        new Thread(() => streams.Failure = pipes.Copy(next), 256 << 10) { IsBackground = true, Name = "attach" }.Start();
        return streams;
    }

    /// <returns>Why it has ended early; null when it has not.</returns>
    private string? Copy(ValueTask<bool> next)
    {
        try
        {
            while (next.AsTask().GetAwaiter().GetResult())
            {
                var record = _records.Current;
                if ((record.IsError ? _error : _output) is { } pipe)
                {
                    Files.WriteAll(pipe, record.Bytes.Span, "what a container has written");
                }

                next = _records.MoveNextAsync();
            }

            return null;
        }
        catch (Exception e) when (e is OperationCanceledException or LinuxException { Errno: Errno.EPIPE })
        {
            return null;
        }
        catch (Exception e)
        {
            return e.Message;
        }
        finally
        {
            _stop.Cancel();
            _records.DisposeAsync().AsTask().GetAwaiter().GetResult();
            _output?.Dispose();
            _error?.Dispose();
        }
    }
}
