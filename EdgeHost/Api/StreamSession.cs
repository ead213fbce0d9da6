using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Api;

/// <summary>A client at the standard streams of a program: two threads that pass on what comes, for as long as both are there.</summary>
internal sealed class StreamSession
{
    internal const byte StandardError = 2;

    // Docker's clients take it for an error of the daemon.
    private const byte SystemError = 3;
    private const int StackSize = 256 << 10;

    private readonly HijackedConnection _connection;
    private readonly ProcessStreams _streams;
    private readonly StreamPump _pump;
    private readonly DetachKeys? _keys;
    private readonly TaskCompletionSource<Fd?> _over = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private StreamSession(HijackedConnection connection, ProcessStreams streams, StreamPump pump, DetachKeys? keys)
    {
        _connection = connection;
        _streams = streams;
        _pump = pump;
        _keys = keys;
    }

    /// <summary>Runs until the program or its streams have ended, or the client has gone.</summary>
    /// <param name="connection">The client.</param>
    /// <param name="streams">The program's streams.</param>
    /// <param name="keys">What ends the session when it is typed; only looked for at a terminal.</param>
    internal static async Task RunAsync(HijackedConnection connection, ProcessStreams streams, DetachKeys keys)
    {
        using var pump = new StreamPump(connection.Client, framed: !streams.IsTerminal);
        var session = new StreamSession(connection, streams, pump, streams.IsTerminal ? keys : null);
        var output = OnThread("output", session.CopyOutput);

        // Where nothing is written to it, a client that goes is seen by whoever sends to it.
        var input = streams.Input is { IsCompletedSuccessfully: true, Result: null } ? Task.CompletedTask : OnThread("input", session.CopyInput);
        var ended = streams.Ended is null ? Task.CompletedTask : EndAsync(streams.Ended, output, pump);
        try
        {
            await output;
        }
        finally
        {
            // A program that does not read holds the input up, and a client that does not send.
            pump.Detach();
            session._over.TrySetResult(null);
            connection.Input.CancelPendingRead();
            await input;
            await ended;
        }
    }

    /// <summary>What the daemon itself has to say, among the output of a program.</summary>
    internal static byte[] Message(string text, bool terminal, byte stream)
    {
        var words = Encoding.UTF8.GetBytes(text + (terminal ? "\r\n" : "\n"));
        if (terminal)
        {
            return words;
        }

        var header = new byte[8];
        header[0] = stream;
        BinaryPrimitives.WriteInt32BigEndian(header.AsSpan(4), words.Length);
        return [.. header, .. words];
    }

    private static async Task EndAsync(Task program, Task output, StreamPump pump)
    {
        if (await Task.WhenAny(program, output) == program)
        {
            pump.End();
        }
    }

    private static Task OnThread(string name, Action run)
    {
        var result = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(
            () =>
            {
                try
                {
                    run();
                    result.SetResult();
                }
                catch (Exception e)
                {
                    result.SetException(e is EdgeHostException ? new EdgeHostException(ErrorKind.Internal, e.Message, e) : e);
                }
            },
            StackSize)
        { IsBackground = true, Name = name }.Start();
        return result.Task;
    }

    private void CopyOutput()
    {
        if (_pump.CopyOutput(_streams.Output, _streams.Error, untilEnd: _streams.Ended is not null) == PumpEnd.Drained && _streams.Failure is { } failure)
        {
            _connection.Send(Message(failure, _streams.IsTerminal, SystemError));
        }
    }

    private void CopyInput()
    {
        var passed = new ArrayBufferWriter<byte>();
        Fd? target = null;
        var asked = false;
        while (true)
        {
            System.IO.Pipelines.ReadResult read;
            try
            {
                read = _connection.Input.ReadAsync().AsTask().GetAwaiter().GetResult();
            }
            catch (Exception e) when (e is Microsoft.AspNetCore.Connections.ConnectionResetException or Microsoft.AspNetCore.Connections.ConnectionAbortedException)
            {
                // Gone with something unread: an end as any other, of an input that may not be there yet.
                if (!asked)
                {
                    _ = TakeTarget();
                }

                break;
            }

            if (read.IsCanceled)
            {
                _connection.Input.AdvanceTo(read.Buffer.Start);
                return;
            }

            if (!asked)
            {
                // Before the start of a container there is none yet.
                asked = true;
                target = TakeTarget();
            }

            foreach (var part in read.Buffer)
            {
                var bytes = part.Span;
                if (_keys is not null)
                {
                    passed.ResetWrittenCount();
                    var detach = _keys.Scan(bytes, passed);
                    bytes = passed.WrittenSpan;
                    if (detach)
                    {
                        if (target is not null)
                        {
                            _pump.Give(target, bytes);
                        }

                        _connection.Input.AdvanceTo(read.Buffer.End);
                        _pump.Detach();
                        return;
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

        if (!_streams.EndInput())
        {
            _pump.End();
        }
    }

    private Fd? TakeTarget() => Task.WhenAny(_streams.Input, _over.Task).GetAwaiter().GetResult().GetAwaiter().GetResult();
}
