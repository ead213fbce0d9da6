using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Api;

/// <summary>A client at the standard streams of a program: two threads that pass on what comes, for as long as both are there.</summary>
internal sealed class StreamSession
{
    private const int StackSize = 256 << 10;

    private readonly HijackedConnection _connection;
    private readonly ProcessStreams _streams;
    private readonly StreamPump _pump;
    private readonly DetachKeys? _keys;
    private readonly Action? _inputEnded;

    private StreamSession(HijackedConnection connection, ProcessStreams streams, StreamPump pump, DetachKeys? keys, Action? inputEnded)
    {
        _connection = connection;
        _streams = streams;
        _pump = pump;
        _keys = keys;
        _inputEnded = inputEnded;
    }

    /// <summary>Runs until the program or its streams have ended, or the client has gone.</summary>
    /// <param name="connection">The client.</param>
    /// <param name="streams">The program's streams.</param>
    /// <param name="keys">What ends the session when it is typed; only looked for at a terminal.</param>
    /// <param name="inputEnded">Called when the client has sent all; null closes the program's input then.</param>
    internal static async Task<PumpEnd> RunAsync(HijackedConnection connection, ProcessStreams streams, DetachKeys? keys, Action<StreamPump>? inputEnded)
    {
        using var pump = new StreamPump(connection.Client, framed: !streams.IsTerminal);
        var session = new StreamSession(connection, streams, pump, streams.IsTerminal ? keys : null, inputEnded is null ? null : () => inputEnded(pump));
        var output = OnThread("output", () => pump.CopyOutput(streams.Output, streams.Error, untilEnd: streams.Ended is not null));
        var input = OnThread("input", session.CopyInput);
        var ended = streams.Ended is null ? Task.CompletedTask : EndAsync(streams.Ended, output, pump);
        try
        {
            return await output;
        }
        finally
        {
            // A program that does not read holds the input up, and a client that does not send.
            pump.Detach();
            connection.Input.CancelPendingRead();
            await input;
            await ended;
        }
    }

    private static async Task EndAsync(Task program, Task output, StreamPump pump)
    {
        if (await Task.WhenAny(program, output) == program)
        {
            pump.End();
        }
    }

    private static Task<PumpEnd> OnThread(string name, Func<PumpEnd> run)
    {
        var result = new TaskCompletionSource<PumpEnd>(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(
            () =>
            {
                try
                {
                    result.SetResult(run());
                }
                catch (Exception e)
                {
                    result.SetException(e is EdgeHostException ? new EdgeHostException(ErrorKind.Internal, e.Message, e) : e);
                }
            },
            StackSize) { IsBackground = true, Name = name }.Start();
        return result.Task;
    }

    private PumpEnd CopyInput()
    {
        var passed = new List<byte>();
        var target = _streams.Input;
        while (true)
        {
            System.IO.Pipelines.ReadResult read;
            try
            {
                read = _connection.Input.ReadAsync().AsTask().GetAwaiter().GetResult();
            }
            catch (Exception e) when (e is Microsoft.AspNetCore.Connections.ConnectionResetException or Microsoft.AspNetCore.Connections.ConnectionAbortedException)
            {
                return PumpEnd.Gone;
            }

            if (read.IsCanceled)
            {
                _connection.Input.AdvanceTo(read.Buffer.Start);
                return PumpEnd.Drained;
            }

            foreach (var part in read.Buffer)
            {
                var bytes = part.Span;
                if (_keys is not null)
                {
                    passed.Clear();
                    var detach = _keys.Scan(bytes, passed);
                    bytes = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(passed);
                    if (detach)
                    {
                        if (target is not null)
                        {
                            _pump.Give(target, bytes);
                        }

                        _connection.Input.AdvanceTo(read.Buffer.End);
                        _pump.Detach();
                        return PumpEnd.Detached;
                    }
                }

                if (target is not null && !_pump.Give(target, bytes))
                {
                    // The program reads no more: what is still sent is dropped, so that the client's end is seen.
                    target = null;
                }
            }

            _connection.Input.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted)
            {
                break;
            }
        }

        if (_inputEnded is not null)
        {
            _inputEnded();
        }
        else if (!_streams.IsTerminal)
        {
            _streams.Input?.Dispose();
        }

        return PumpEnd.Drained;
    }
}
