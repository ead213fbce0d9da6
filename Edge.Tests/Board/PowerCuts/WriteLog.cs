using System.Buffers.Binary;
using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>What a cut leaves of the writes after the last flush.</summary>
internal enum CutKind
{
    /// <summary>Nothing.</summary>
    Dropped,

    /// <summary>All that were issued.</summary>
    Kept,

    /// <summary>Some of them, others not.</summary>
    Reordered,

    /// <summary>Some of them, others not, and of some only some sectors.</summary>
    Torn,
}

/// <summary>A moment at which the power is lost, and what the disk made of it: <c>117.torn.3</c>.</summary>
/// <param name="Flush">How many flushes were done.</param>
/// <param name="Kind">What is left of the writes after the last of them.</param>
/// <param name="Seed">Of the chance that decides how many were issued, and which are left.</param>
internal sealed record PowerCut(int Flush, CutKind Kind, int Seed)
{
    internal static PowerCut Parse(string text) => text.Split('.') is [var flush, var kind, var seed]
        ? new PowerCut(int.Parse(flush, CultureInfo.InvariantCulture), Enum.Parse<CutKind>(kind, ignoreCase: true), int.Parse(seed, CultureInfo.InvariantCulture))
        : throw new FormatException($"\"{text}\" is no cut, as 117.torn.3 is");

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Flush}.{Kind}.{Seed}").ToLowerInvariant();
}

/// <summary>
/// All writes to a disk, as qemu's filter blklogwrites keeps them (the format is that of Linux' dm-log-writes, see
/// Documentation/admin-guide/device-mapper/log-writes.rst). A flush makes every write before it durable; of those after
/// the last flush a disk that loses its power may have written any, in any order, a sector at a time.
/// </summary>
internal sealed class WriteLog : IDisposable
{
    private const ulong Magic = 0x6a736677736872;
    private const int SectorBytes = 512;
    private const ulong IsFlush = 1, IsForced = 2, IsDiscard = 4, IsMark = 8;

    private readonly SafeFileHandle _file;
    private readonly List<Write> _writes = [];

    // How many writes came before each flush; nothing is durable before the first.
    private readonly List<int> _durable = [0];

    private WriteLog(SafeFileHandle file) => _file = file;

    /// <summary>How many flushes there are.</summary>
    internal int Flushes => _durable.Count - 1;

    /// <summary>How many writes there are.</summary>
    internal int Writes => _writes.Count;

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();

    /// <summary>Reads a log.</summary>
    internal static WriteLog Open(string path)
    {
        var log = new WriteLog(File.OpenHandle(path));
        try
        {
            log.Read(path);
            return log;
        }
        catch
        {
            log.Dispose();
            throw;
        }
    }

    /// <summary>How many writes a number of flushes has made durable.</summary>
    internal int DurableAfter(int flush) => _durable[flush];

    /// <summary>The writes at or after a place of the disk, with their numbers and what they wrote.</summary>
    internal IEnumerable<(int Number, byte[] Bytes)> From(long offset) => _writes
        .Select((write, number) => (number, write))
        .Where(each => each.write.Offset >= offset && !each.write.Discards)
        .Select(each => (each.number, Bytes(each.write)));

    /// <summary>Makes of the disk as it was before the first write the disk that a cut leaves.</summary>
    /// <returns>How many writes had been issued when the power was lost.</returns>
    internal int Replay(PowerCut cut, string disk)
    {
        using var file = File.OpenHandle(disk, FileMode.Open, FileAccess.Write);
        var durable = _durable[cut.Flush];
        for (var number = 0; number < durable; number++)
        {
            RandomAccess.Write(file, Bytes(_writes[number]), _writes[number].Offset);
        }

        var chance = new Random(unchecked((cut.Flush * 1000003) + cut.Seed));
        var end = cut.Flush < Flushes ? _durable[cut.Flush + 1] : _writes.Count;
        var issued = chance.Next(durable, end + 1);
        for (var number = durable; number < issued; number++)
        {
            var write = _writes[number];
            var bytes = Bytes(write);
            const int Whole = 0, InPart = 2, Outcomes = 3;
            var outcome = cut.Kind switch
            {
                CutKind.Dropped => -1,
                CutKind.Kept => Whole,
                CutKind.Reordered => chance.Next(Outcomes - 1),
                _ => chance.Next(Outcomes),
            };
            if (write.IsForced || outcome == Whole)
            {
                RandomAccess.Write(file, bytes, write.Offset);
            }
            else if (outcome == InPart)
            {
                for (var at = 0; at < bytes.Length; at += SectorBytes)
                {
                    if (chance.Next(2) == 0)
                    {
                        RandomAccess.Write(file, bytes.AsSpan(at, SectorBytes), write.Offset + at);
                    }
                }
            }
        }

        return issued;
    }

    private byte[] Bytes(Write write)
    {
        var bytes = new byte[write.Length];
        if (!write.Discards)
        {
            var read = RandomAccess.Read(_file, bytes, write.Place);
            if (read != bytes.Length)
            {
                throw new InvalidDataException($"the log ends within a write, {read} of {bytes.Length} bytes");
            }
        }

        return bytes;
    }

    private void Read(string path)
    {
        var head = new byte[32];
        if (RandomAccess.Read(_file, head, 0) < head.Length || BinaryPrimitives.ReadUInt64LittleEndian(head) != Magic)
        {
            throw new InvalidDataException($"{path} is no log of writes: nothing was written to that disk, or its board never started");
        }

        var entries = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(16));
        long sector = BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(24));
        var at = sector;
        for (var entry = 0UL; entry < entries; entry++)
        {
            if (RandomAccess.Read(_file, head, at) < head.Length)
            {
                throw new InvalidDataException($"{path} ends after {entry} of {entries} entries");
            }

            var flags = BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(16));
            var length = checked((int)((long)BinaryPrimitives.ReadUInt64LittleEndian(head.AsSpan(8)) * sector));
            if ((flags & IsFlush) != 0)
            {
                _durable.Add(_writes.Count);
            }

            at += sector;
            if ((flags & IsMark) == 0 && length > 0)
            {
                var offset = (long)BinaryPrimitives.ReadUInt64LittleEndian(head) * sector;
                _writes.Add(new Write(offset, length, at, (flags & IsDiscard) != 0, (flags & IsForced) != 0));
                at += (flags & IsDiscard) != 0 ? 0 : length;
            }
        }
    }

    private sealed record Write(long Offset, int Length, long Place, bool Discards, bool IsForced);
}
