using System.CommandLine;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>
/// One connection to the daemon without the library's client: it can be taken over for raw bytes whose two directions end
/// apart, as docker's attach and exec do, and is there in a fraction of the time. For one thread.
/// </summary>
internal sealed class DaemonConnection : IDisposable
{
    private const int LongestHead = 32 << 10;

    private readonly Socket _socket;
    private readonly byte[] _buffer = new byte[LongestHead];
    private int _start;
    private int _end;

    private DaemonConnection(Socket socket) => _socket = socket;

    /// <summary>Connects to the daemon that the command line names.</summary>
    /// <exception cref="EdgeHostException">Nobody answers.</exception>
    internal static DaemonConnection Open(ParseResult parsed)
    {
        var path = DaemonClient.SocketOf(parsed);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return new DaemonConnection(socket);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw DaemonClient.NotReached(path, e);
        }
    }

    /// <summary>Asks and reads the answer whole.</summary>
    /// <exception cref="EdgeHostException">The answer is a failure.</exception>
    internal byte[] Ask(string method, string path, ReadOnlySpan<byte> json = default)
    {
        Send(method, path, json, upgrade: false);
        var status = ReadHead(out var length);
        var body = length < 0 ? ReadChunks() : Take(length);
        return status < 400 ? body : throw DaemonClient.Failure((HttpStatusCode)status, Encoding.UTF8.GetString(body));
    }

    /// <summary>Asks for the connection itself: what is sent and received from then on are raw bytes.</summary>
    /// <exception cref="EdgeHostException">The answer is a failure.</exception>
    internal void Upgrade(string path, ReadOnlySpan<byte> json = default)
    {
        Send("POST", path, json, upgrade: true);
        var status = ReadHead(out var length);
        if (status >= 400)
        {
            throw DaemonClient.Failure((HttpStatusCode)status, Encoding.UTF8.GetString(length < 0 ? ReadChunks() : Take(length)));
        }
    }

    /// <summary>Receives raw bytes; 0 at the end.</summary>
    internal int Receive(Span<byte> bytes)
    {
        if (_start < _end)
        {
            var count = Math.Min(bytes.Length, _end - _start);
            _buffer.AsSpan(_start, count).CopyTo(bytes);
            _start += count;
            return count;
        }

        try
        {
            return _socket.Receive(bytes);
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionReset)
        {
            // The other side closed before it had read everything: for reading that is the end.
            return 0;
        }
    }

    /// <summary>Sends raw bytes, from another thread than the one that receives.</summary>
    /// <returns>False when the other side takes none any more.</returns>
    internal bool Send(ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (bytes.Length > 0)
            {
                bytes = bytes[_socket.Send(bytes)..];
            }

            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    /// <summary>Says that nothing more is sent.</summary>
    internal void EndSending() => Shutdown(SocketShutdown.Send);

    /// <summary>Ends both directions.</summary>
    internal void End() => Shutdown(SocketShutdown.Both);

    private void Shutdown(SocketShutdown directions)
    {
        try
        {
            _socket.Shutdown(directions);
        }
        catch (SocketException)
        {
            // The other side was faster.
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();

    private void Send(string method, string path, ReadOnlySpan<byte> json, bool upgrade)
    {
        var head = new StringBuilder();
        head.Append(CultureInfo.InvariantCulture, $"{method} /v{DaemonClient.ApiVersion}/{path} HTTP/1.1\r\nHost: edgehost\r\n");
        head.Append(upgrade ? "Connection: Upgrade\r\nUpgrade: tcp\r\n" : string.Empty);
        if (json.Length > 0 || method == "POST")
        {
            head.Append(CultureInfo.InvariantCulture, $"Content-Type: application/json\r\nContent-Length: {json.Length}\r\n");
        }

        if (!Send([.. Encoding.ASCII.GetBytes(head.Append("\r\n").ToString()), .. json]))
        {
            throw BrokeOff();
        }
    }

    // A length below 0 is that of a body in chunks.
    private int ReadHead(out int length)
    {
        int end;
        while ((end = _buffer.AsSpan(_start, _end - _start).IndexOf("\r\n\r\n"u8)) < 0)
        {
            Fill();
        }

        var lines = Encoding.ASCII.GetString(_buffer, _start, end).Split("\r\n");
        _start += end + 4;
        if (lines[0].Split(' ') is not [_, var code, ..] || !int.TryParse(code, NumberStyles.None, CultureInfo.InvariantCulture, out var status))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"the daemon answers with \"{lines[0]}\", which is not HTTP");
        }

        length = 0;
        foreach (var line in lines.Skip(1))
        {
            var (name, value) = RunOptions.Cut(line, ':');
            if (name.Equals("Content-Length", StringComparison.OrdinalIgnoreCase))
            {
                length = int.Parse(value!, NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture);
            }
            else if (name.Equals("Transfer-Encoding", StringComparison.OrdinalIgnoreCase))
            {
                length = -1;
            }
        }

        return status;
    }

    private byte[] ReadChunks()
    {
        using var body = new MemoryStream();
        while (true)
        {
            int end;
            while ((end = _buffer.AsSpan(_start, _end - _start).IndexOf("\r\n"u8)) < 0)
            {
                Fill();
            }

            var length = int.Parse(Encoding.ASCII.GetString(_buffer, _start, end).Split(';')[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            _start += end + 2;
            body.Write(Take(length));
            _ = Take(2);
            if (length == 0)
            {
                return body.ToArray();
            }
        }
    }

    private byte[] Take(int length)
    {
        var taken = new byte[length];
        for (var done = 0; done < length;)
        {
            if (_start == _end)
            {
                Fill();
            }

            done += Receive(taken.AsSpan(done));
        }

        return taken;
    }

    private void Fill()
    {
        _buffer.AsSpan(_start, _end - _start).CopyTo(_buffer);
        (_start, _end) = (0, _end - _start);
        var count = _end < _buffer.Length ? _socket.Receive(_buffer.AsSpan(_end)) : throw new EdgeHostException(ErrorKind.Unavailable, "the daemon's answer has a head without end");
        _end += count > 0 ? count : throw BrokeOff();
    }

    private static EdgeHostException BrokeOff() => new(ErrorKind.Unavailable, "the daemon broke off");
}
