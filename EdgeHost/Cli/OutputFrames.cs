using System.Buffers.Binary;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>Docker's frames, taken apart: one byte for the stream, three of zero, the length, the bytes.</summary>
internal static class OutputFrames
{
    private const int HeaderLength = 8;
    private const int BufferLength = 64 << 10;
    private const byte ErrorStream = 2;
    private const byte SystemError = 3;

    /// <summary>Copies until the end; both streams get their bytes as soon as they come, those of many frames in one write.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: the daemon broke off in the middle.</exception>
    internal static async Task CopyAsync(Stream frames, Stream output, Stream error)
    {
        var received = new byte[BufferLength];
        var passed = new byte[BufferLength];
        var target = output;
        int gathered = 0, have = 0;
        uint left = 0;
        try
        {
            while (await frames.ReadAsync(received.AsMemory(have)) is > 0 and var read)
            {
                have += read;
                var at = 0;
                while (left > 0 ? at < have : have - at >= HeaderLength)
                {
                    if (left == 0)
                    {
                        var next = received[at] is ErrorStream or SystemError ? error : output;
                        if (next != target)
                        {
                            target.Write(passed, 0, gathered);
                            (target, gathered) = (next, 0);
                        }

                        left = BinaryPrimitives.ReadUInt32BigEndian(received.AsSpan(at + 4));
                        at += HeaderLength;
                        continue;
                    }

                    // Never more than was received, so it has room.
                    var count = (int)Math.Min(left, have - at);
                    received.AsSpan(at, count).CopyTo(passed.AsSpan(gathered));
                    gathered += count;
                    at += count;
                    left -= (uint)count;
                }

                target.Write(passed, 0, gathered);
                gathered = 0;
                received.AsSpan(at, have - at).CopyTo(received);
                have -= at;
            }

            if (have > 0 || left > 0)
            {
                throw new EndOfStreamException();
            }
        }
        catch (Exception e) when (e is HttpIOException or EndOfStreamException)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, "the daemon broke off in the middle of the output", e);
        }
    }
}
