using System.Buffers;
using System.Buffers.Binary;
using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>The user's terminal or pipes at the standard streams of a program in a container.</summary>
internal sealed class StreamSession : IDisposable
{
    private const int HeaderLength = 8;
    private const int ChunkLength = 64 << 10;
    private const int ErrorStream = 2;
    private const int SystemError = 3;

    private readonly DaemonConnection _connection;
    private readonly bool _framed;
    private readonly ChangedTerminal? _raw;
    private readonly DetachKeys? _keys;
    private PosixSignalRegistration? _resized;
    private volatile bool _left;

    /// <summary>Takes over a connection that was upgraded.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="terminal">Whether the program has a terminal; the user's own is raw until this is disposed of.</param>
    /// <param name="input">Whether standard input is passed on.</param>
    /// <param name="keys">What leaves the program when it is typed at a terminal.</param>
    internal StreamSession(DaemonConnection connection, bool terminal, bool input, DetachKeys keys)
    {
        _connection = connection;
        _framed = !terminal;
        _keys = terminal ? keys : null;
        _raw = terminal && input ? ChangedTerminal.MakeRaw(0) : null;
        if (input)
        {
            // Nobody waits for it: it may sit in a read of a terminal when everything else is over.
            new Thread(PassInput, 256 << 10) { IsBackground = true, Name = "input" }.Start();
        }
    }

    /// <summary>Whether the user has left the program, which goes on.</summary>
    internal bool Left => _left;

    /// <summary>Keeps the program's terminal as large as the user's.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="path">The path of its <c>resize</c>.</param>
    internal void FollowSize(ParseResult parsed, string path)
    {
        Resize(parsed, path);
        _resized = PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => Resize(parsed, path));
    }

    /// <summary>Passes on what the program writes, until its end.</summary>
    /// <returns>What the daemon itself had to say in the end; null for nothing.</returns>
    internal string? PassOutput()
    {
        using var output = OutputStream.StandardOutput();
        using var error = OutputStream.StandardError();
        var buffer = new byte[HeaderLength + ChunkLength];
        if (!_framed)
        {
            while (_connection.Receive(buffer) is > 0 and var count)
            {
                output.Write(buffer.AsSpan(0, count));
            }

            return null;
        }

        while (Fill(buffer.AsSpan(0, HeaderLength)) is > 0 and var read)
        {
            var stream = buffer[0];
            var left = read == HeaderLength ? BinaryPrimitives.ReadUInt32BigEndian(buffer.AsSpan(4)) : throw BrokeOff();
            if (stream == SystemError && left <= ChunkLength)
            {
                return Encoding.UTF8.GetString(buffer, HeaderLength, Fill(buffer.AsSpan(HeaderLength, (int)left))).TrimEnd();
            }

            while (left > 0)
            {
                var count = _connection.Receive(buffer.AsSpan(HeaderLength, (int)Math.Min(left, ChunkLength)));
                (stream == ErrorStream ? error : output).Write(buffer.AsSpan(HeaderLength, count > 0 ? count : throw BrokeOff()));
                left -= (uint)count;
            }
        }

        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _resized?.Dispose();
        _raw?.Dispose();
    }

    private static EdgeHostException BrokeOff() => new(ErrorKind.Unavailable, "the daemon broke off in the middle of the output");

    private int Fill(Span<byte> bytes)
    {
        var done = 0;
        while (done < bytes.Length && _connection.Receive(bytes[done..]) is > 0 and var count)
        {
            done += count;
        }

        return done;
    }

    private void PassInput()
    {
        var input = new Fd(0);
        var buffer = new byte[ChunkLength];
        var passed = new ArrayBufferWriter<byte>();
        try
        {
            while (Files.Read(input, buffer, "standard input") is > 0 and var count)
            {
                ReadOnlySpan<byte> bytes = buffer.AsSpan(0, count);
                if (_keys is not null)
                {
                    passed.ResetWrittenCount();
                    _left = _keys.Scan(bytes, passed);
                    bytes = passed.WrittenSpan;
                }

                if (!_connection.Send(bytes))
                {
                    return;
                }

                if (_left)
                {
                    // Wakes who receives.
                    _connection.End();
                    return;
                }
            }
        }
        catch (LinuxException e)
        {
            // A terminal that went away, a file with a hole in its disk: what was read is what the program gets.
            Screen.Error().WriteLine($"edgehost: {e.Message}");
        }

        _connection.EndSending();
    }

    private static void Resize(ParseResult parsed, string path)
    {
        if (Terminal.ReadSize(0) is not ( > 0, > 0) size)
        {
            return;
        }

        try
        {
            using var connection = DaemonConnection.Open(parsed);
            _ = connection.Ask("POST", path + EachContainer.Query(
                ("h", size.Rows.ToString(System.Globalization.CultureInfo.InvariantCulture)), ("w", size.Columns.ToString(System.Globalization.CultureInfo.InvariantCulture))));
        }
        catch (EdgeHostException)
        {
            // It has ended, or the daemon has: both are told in louder ways.
        }
    }
}
