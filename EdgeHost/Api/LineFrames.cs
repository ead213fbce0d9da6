using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary>
/// What a container wrote, as Docker sends it: a frame for each line, or for each 16 KiB of a longer one; or, of a terminal,
/// as it came. The bytes are gathered here: between GetSpan and Advance of the server's own buffer the connection may go.
/// </summary>
/// <param name="framed">Whether frames are wanted; without them lines matter for times only.</param>
/// <param name="timestamps">Whether each line begins with its time.</param>
internal sealed class LineFrames(bool framed, bool timestamps)
{
    private const int LongestPart = 16 << 10;
    private const int HeaderLength = 8;

    private readonly ArrayBufferWriter<byte> _bytes = new(128 << 10);

    // Of each stream the line that has begun, and when; and whether what comes next begins one.
    private readonly byte[][] _begun = [[], []];
    private readonly DateTimeOffset[] _began = new DateTimeOffset[2];
    private readonly bool[] _inLine = new bool[2];

    /// <summary>What is to be sent.</summary>
    internal ReadOnlyMemory<byte> Written => _bytes.WrittenMemory;

    /// <summary>It was sent.</summary>
    internal void Clear() => _bytes.ResetWrittenCount();

    /// <summary>Adds a record; an empty one is the end of a run.</summary>
    internal void Add(LogRecord record)
    {
        var stream = record.IsError ? 1 : 0;
        var rest = record.Bytes.Span;
        if (rest.Length == 0)
        {
            Flush();
            return;
        }

        if (!framed && !timestamps)
        {
            _bytes.Write(rest);
            return;
        }

        while (rest.Length > 0)
        {
            var begun = _begun[stream];
            var newline = rest.IndexOf((byte)'\n');
            var length = Math.Min(newline < 0 ? rest.Length : newline + 1, LongestPart - begun.Length);
            var part = rest[..length];
            rest = rest[length..];
            if (begun.Length == 0)
            {
                _began[stream] = record.Time;
            }

            // A terminal shows the beginning of a line as soon as it is written.
            if (framed && part[^1] != (byte)'\n' && begun.Length + length < LongestPart)
            {
                _begun[stream] = [.. begun, .. part];
                continue;
            }

            Write(stream, begun, part);
            _begun[stream] = [];
        }
    }

    /// <summary>Adds the lines that have begun, without their ends.</summary>
    internal void Flush()
    {
        for (var stream = 0; stream < _begun.Length; stream++)
        {
            if (_begun[stream].Length > 0)
            {
                Write(stream, [], _begun[stream]);
                _begun[stream] = [];
            }
        }
    }

    private void Write(int stream, ReadOnlySpan<byte> begun, ReadOnlySpan<byte> part)
    {
        byte[] stamp = timestamps && !_inLine[stream] ? Encoding.ASCII.GetBytes(DockerTime.Format(_began[stream]) + " ") : [];
        _inLine[stream] = part[^1] != (byte)'\n';
        var length = stamp.Length + begun.Length + part.Length;
        if (framed)
        {
            var header = _bytes.GetSpan(HeaderLength + length);
            header[..4].Clear();
            header[0] = (byte)(stream + 1);
            BinaryPrimitives.WriteInt32BigEndian(header[4..], length);
            _bytes.Advance(HeaderLength);
        }

        _bytes.Write(stamp);
        _bytes.Write(begun);
        _bytes.Write(part);
    }
}
