using System.Buffers.Binary;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>Docker's frames, taken apart: one byte for the stream, three of zero, the length, the bytes.</summary>
internal static class OutputFrames
{
    private const int HeaderLength = 8;
    private const byte ErrorStream = 2;
    private const byte SystemError = 3;

    /// <summary>Copies until the end; both streams get their bytes as soon as they come.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: the daemon broke off in the middle.</exception>
    internal static async Task CopyAsync(Stream frames, Stream output, Stream error)
    {
        var buffer = new byte[32 * 1024];
        try
        {
            while (await frames.ReadAtLeastAsync(buffer.AsMemory(0, HeaderLength), HeaderLength, throwOnEndOfStream: false) is var read && read > 0)
            {
                if (read < HeaderLength)
                {
                    throw new EndOfStreamException();
                }

                var target = buffer[0] switch
                {
                    ErrorStream or SystemError => error,
                    _ => output,
                };
                for (var left = (long)BinaryPrimitives.ReadUInt32BigEndian(buffer.AsSpan(4)); left > 0;)
                {
                    var count = await frames.ReadAsync(buffer.AsMemory(0, (int)Math.Min(left, buffer.Length)));
                    if (count == 0)
                    {
                        throw new EndOfStreamException();
                    }

                    await target.WriteAsync(buffer.AsMemory(0, count));
                    left -= count;
                }

                await target.FlushAsync();
            }
        }
        catch (Exception e) when (e is HttpIOException or EndOfStreamException)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, "the daemon broke off in the middle of the output", e);
        }
    }
}
