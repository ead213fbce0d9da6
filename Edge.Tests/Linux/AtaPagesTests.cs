using System.Buffers.Binary;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.Linux;

/// <summary>What ATA disks and bridges to them send, laid out as ACS-4 and SAT-4 have it, is understood; what does not count is not.</summary>
public sealed class AtaPagesTests
{
    [Theory]
    [InlineData(0xC0, 0, 0)]
    [InlineData(0xC0, 93, 93)]
    [InlineData(0xD8, 255, 255)]
    [InlineData(0x80, 93, null)]
    [InlineData(0x40, 93, null)]
    [InlineData(0x00, 93, null)]
    public void What_is_used_of_a_life_counts_when_it_is_supported_and_valid(byte flags, byte used, int? percent)
    {
        var page = new byte[AtaPages.Length];
        page[0] = 1;
        page[2] = AtaPages.SolidState;
        (page[8], page[15]) = (used, flags);

        Assert.Equal(percent, AtaPages.PercentUsed(page));
    }

    [Fact]
    public void A_page_that_is_another_or_empty_tells_nothing()
    {
        var page = new byte[AtaPages.Length];
        Assert.Null(AtaPages.PercentUsed(page));
        (page[0], page[2], page[8], page[15]) = (1, 1, 93, 0xC0);
        Assert.Null(AtaPages.PercentUsed(page));
    }

    [Fact]
    public void A_directory_says_how_long_a_log_is()
    {
        var directory = new byte[AtaPages.Length];
        (directory[2 * AtaPages.Statistics], directory[(2 * AtaPages.Statistics) + 1]) = (8, 1);
        Assert.Equal(0, AtaPages.Count(directory, AtaPages.Statistics));

        directory[0] = 1;
        Assert.Equal(0x108, AtaPages.Count(directory, AtaPages.Statistics));
        Assert.Equal(0, AtaPages.Count(directory, 3));
    }

    [Fact]
    public void A_disk_says_what_it_has_and_whether_anything_in_it_turns()
    {
        var flash = Identify((82, 1), (83, 0x4000), (84, 0x4023), (85, 1), (87, 0x4000), (217, 1));
        Assert.Equal((true, true, true, false), (flash!.HasSmart, flash.HasSmartLogs, flash.HasLogs, flash.MayTurn));

        var turns = Identify((82, 1), (83, 0x4000), (84, 0x4000), (85, 1), (87, 0x4000), (217, 7200));
        Assert.Equal((true, false, false, true), (turns!.HasSmart, turns.HasSmartLogs, turns.HasLogs, turns.MayTurn));

        // SMART that is turned off, and words that do not count.
        Assert.False(Identify((82, 1), (83, 0x4000), (85, 0), (87, 0x4000))!.HasSmart);
        Assert.False(Identify((82, 1), (83, 0x4000), (85, 1), (87, 0x0000))!.HasSmart);
        Assert.False(Identify((82, 1), (83, 0xC000), (85, 1), (87, 0x4000))!.HasSmart);
        var erased = Identify(Enumerable.Range(82, 6).Select(static word => (word, 0xFFFF)).ToArray())!;
        Assert.Equal((false, false, false), (erased.HasSmart, erased.HasSmartLogs, erased.HasLogs));
    }

    [Fact]
    public void What_is_no_ATA_disk_or_was_garbled_is_no_identity()
    {
        Assert.Null(Identify((0, 0x8580)));

        var page = Page((82, 1), (83, 0x4000), (85, 1), (87, 0x4000));
        page[510] = 0xA5;
        page[511] = (byte)-page.Sum(static each => each);
        Assert.True(AtaIdentity.Parse(page)!.HasSmart);
        page[20] ^= 4;
        Assert.Null(AtaIdentity.Parse(page));
    }

    [Theory]
    [InlineData("72 01 00 1D 00 00 00 0E 09 0C 00 00 00 00 00 00 00 4F 00 C2 00 50", 0x00, 0xC24F)]
    [InlineData("72 01 00 1D 00 00 00 0E 09 0C 00 00 00 FF 00 00 00 F4 00 2C 00 50", 0xFF, 0x2CF4)]
    [InlineData("72 01 00 1D 00 00 00 12 80 02 00 00 09 0C 00 00 00 80 00 00 00 00 00 00 00 50", 0x80, 0)]
    [InlineData("70 00 01 00 50 00 FF 0A 00 00 F4 2C 00 1D 00 00 00 00", 0xFF, 0x2CF4)]
    public void Registers_are_found_in_both_formats_of_sense_data(string sense, int count, int lba)
    {
        var registers = AtaRegisters.Parse(Bytes(sense));
        Assert.Equal((count, lba), (registers!.Count, registers.Lba));
    }

    [Theory]
    [InlineData("")]
    [InlineData("72")]
    [InlineData("70 00 05 00 00 00 00 0A 00 00 00 00 20 00 00 00 00 00")]
    [InlineData("72 05 20 00 00 00 00 00")]
    [InlineData("72 01 00 1D 00 00 00 0A 09 0C 00 00 00 FF 00 00 00 F4")]
    [InlineData("72 0B 00 00 00 00 00 0E 09 0C 00 04 00 00 00 00 00 4F 00 C2 00 51")]
    [InlineData("72 01 00 1D 00 00 00 0E 80 FF 00 00 00 00 00 00 00 4F 00 C2 00 50")]
    [InlineData("71 00 01 00 50 00 FF 0A 00 00 F4 2C 00 1D 00 00 00 00")]
    public void Sense_data_that_refuse_are_cut_off_or_tell_something_else_have_none(string sense) => Assert.Null(AtaRegisters.Parse(Bytes(sense)));

    [Theory]
    [InlineData(0x00, true)]
    [InlineData(0x01, true)]
    [InlineData(0x40, true)]
    [InlineData(0x41, false)]
    [InlineData(0x80, false)]
    [InlineData(0xFF, false)]
    public void A_disk_says_whether_it_sleeps(byte count, bool sleeps)
    {
        var sense = Bytes("72 01 00 1D 00 00 00 0E 09 0C 00 00 00 00 00 00 00 00 00 00 00 50");
        sense[13] = count;
        Assert.Equal(sleeps, AtaRegisters.Parse(sense)!.IsAsleep);
    }

    private static AtaIdentity? Identify(params (int Word, int Value)[] words) => AtaIdentity.Parse(Page(words));

    private static byte[] Page(params (int Word, int Value)[] words)
    {
        var page = new byte[AtaPages.Length];
        foreach (var (word, value) in words)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(page.AsSpan(2 * word), (ushort)value);
        }

        return page;
    }

    private static byte[] Bytes(string hex) => Convert.FromHexString(hex.Replace(" ", string.Empty, StringComparison.Ordinal));
}
