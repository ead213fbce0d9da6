using System.Buffers.Binary;
using System.Globalization;

namespace EdgeHost.Runtime.Logger;

/// <summary>
/// A log segment: records one after the other, each with 16 bytes before its payload (length, stream, mark, time in
/// 100 ns since 1970). A record is written in one write; one that a power cut tore is cut off when the segment is
/// opened again.
/// </summary>
internal static class LogFormat
{
    internal const int HeaderSize = 16;

    /// <summary>The longest payload: one read of a pipe.</summary>
    internal const int MaximumPayload = 64 << 10;

    /// <summary>The stream number of a record that says: this run has written all that it will.</summary>
    internal const byte EndOfRun = 0;

    private const ushort Mark = 0xE45D;

    internal static void WriteHeader(Span<byte> header, int length, byte stream, DateTimeOffset time)
    {
        BinaryPrimitives.WriteInt32LittleEndian(header, length);
        header[4] = stream;
        header[5] = 0;
        BinaryPrimitives.WriteUInt16LittleEndian(header[6..], Mark);
        BinaryPrimitives.WriteInt64LittleEndian(header[8..], (time - DateTimeOffset.UnixEpoch).Ticks);
    }

    /// <summary>Reads a header.</summary>
    /// <returns>False for bytes that are none.</returns>
    internal static bool TryReadHeader(ReadOnlySpan<byte> header, out int length, out byte stream, out DateTimeOffset time)
    {
        length = 0;
        stream = 0;
        time = default;
        if (header.Length < HeaderSize || BinaryPrimitives.ReadUInt16LittleEndian(header[6..]) != Mark)
        {
            return false;
        }

        length = BinaryPrimitives.ReadInt32LittleEndian(header);
        stream = header[4];
        time = DateTimeOffset.UnixEpoch.AddTicks(BinaryPrimitives.ReadInt64LittleEndian(header[8..]));
        return length is >= 0 and <= MaximumPayload && stream <= 2;
    }

    internal static string SegmentName(long number) => number.ToString("D8", CultureInfo.InvariantCulture) + ".log";

    /// <summary>The numbers of the segments in a directory, in order; none when it is not there.</summary>
    internal static List<long> ListSegments(string directory)
    {
        var numbers = new List<long>();
        if (Directory.Exists(directory))
        {
            foreach (var file in Directory.EnumerateFiles(directory, "*.log"))
            {
                if (long.TryParse(Path.GetFileNameWithoutExtension(file), NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                {
                    numbers.Add(number);
                }
            }
        }

        numbers.Sort();
        return numbers;
    }
}
