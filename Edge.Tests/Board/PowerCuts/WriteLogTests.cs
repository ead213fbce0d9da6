using System.Buffers.Binary;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>A cut shows what was not flushed: of a writer that makes a copy and then points to it, with and without the flush between.</summary>
public sealed class WriteLogTests : IDisposable
{
    private const int SectorBytes = 512, Sectors = 8;

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void A_writer_that_flushes_before_it_points_to_what_it_wrote_is_whole_after_every_cut() => Assert.Empty(BadCuts(flushes: true));

    [Theory]
    [InlineData("Reordered")]
    [InlineData("Torn")]
    public void One_that_does_not_is_found_out(string kind) => Assert.Contains(BadCuts(flushes: false), cut => cut.Kind.ToString() == kind);

    [Fact]
    public void What_was_flushed_is_there_and_of_the_rest_as_much_as_the_kind_of_the_cut_says()
    {
        using var log = Record(flushes: true);
        Assert.Equal((6, 12), (log.Flushes, log.Writes));
        Assert.Equal(0, GenerationAfter(log, new PowerCut(0, CutKind.Dropped, 1)));
        Assert.Equal(2, GenerationAfter(log, new PowerCut(4, CutKind.Dropped, 1)));
        Assert.Equal(3, GenerationAfter(log, new PowerCut(6, CutKind.Torn, 1)));
        Assert.Equal(new PowerCut(117, CutKind.Torn, 3), PowerCut.Parse(new PowerCut(117, CutKind.Torn, 3).ToString()));
    }

    [Fact]
    public void A_file_that_is_no_log_is_named()
    {
        File.WriteAllBytes(_directory.Sub("log"), new byte[SectorBytes]);
        Assert.Contains("no log of writes", Assert.Throws<InvalidDataException>(() => WriteLog.Open(_directory.Sub("log"))).Message, StringComparison.Ordinal);
    }

    private List<PowerCut> BadCuts(bool flushes)
    {
        using var log = Record(flushes);
        return [.. Enumerable.Range(0, log.Flushes + 1)
            .SelectMany(flush => Enum.GetValues<CutKind>().SelectMany(kind => Enumerable.Range(0, 20).Select(seed => new PowerCut(flush, kind, seed))))
            .Where(cut => GenerationAfter(log, cut) is null)];
    }

    /// <summary>Writes three generations, each of two writes of four sectors in a place of its own, then their number into the first sector.</summary>
    private WriteLog Record(bool flushes)
    {
        var log = new MemoryStream();
        var entries = 0UL;
        log.Write(new byte[SectorBytes]);
        for (byte generation = 1; generation <= 3; generation++)
        {
            for (var half = 0; half < 2; half++)
            {
                Write((generation * Sectors) + (half * Sectors / 2), Enumerable.Repeat(generation, SectorBytes * Sectors / 2).ToArray());
            }

            if (flushes)
            {
                Flush();
            }

            // The same sector twice: a disk may write it once, or the first of them alone.
            Write(0, Pointer(generation));
            Write(0, Pointer(generation));
            Flush();
        }

        log.Position = 0;
        var head = new byte[SectorBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(head, 0x6a736677736872);
        BinaryPrimitives.WriteUInt64LittleEndian(head.AsSpan(8), 1);
        BinaryPrimitives.WriteUInt64LittleEndian(head.AsSpan(16), entries);
        BinaryPrimitives.WriteUInt32LittleEndian(head.AsSpan(24), SectorBytes);
        log.Write(head);
        File.WriteAllBytes(_directory.Sub("log"), log.ToArray());
        return WriteLog.Open(_directory.Sub("log"));

        void Write(int sector, byte[] bytes) => Entry(sector, 0, bytes);
        void Flush() => Entry(0, 1, []);
        void Entry(int sector, ulong flags, byte[] bytes)
        {
            var entry = new byte[SectorBytes];
            BinaryPrimitives.WriteUInt64LittleEndian(entry, (ulong)sector);
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(8), (ulong)(bytes.Length / SectorBytes));
            BinaryPrimitives.WriteUInt64LittleEndian(entry.AsSpan(16), flags);
            log.Write(entry);
            log.Write(bytes);
            entries++;
        }
    }

    private static byte[] Pointer(byte generation)
    {
        var sector = new byte[SectorBytes];
        sector[0] = generation;
        return sector;
    }

    /// <summary>Which generation is pointed to; null when it is not whole.</summary>
    private int? GenerationAfter(WriteLog log, PowerCut cut)
    {
        var disk = _directory.Sub("disk");
        File.WriteAllBytes(disk, new byte[SectorBytes * Sectors * 4]);
        log.Replay(cut, disk);
        var bytes = File.ReadAllBytes(disk);
        var generation = bytes[0];
        return bytes.AsSpan(generation * Sectors * SectorBytes, generation == 0 ? 0 : Sectors * SectorBytes).ContainsAnyExcept(generation) ? null : generation;
    }
}
