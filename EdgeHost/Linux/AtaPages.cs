using System.Buffers.Binary;

namespace EdgeHost.Linux;

/// <summary>Logs of an ATA disk, as it sends them (ACS-4, 9.2 and 9.5).</summary>
public static class AtaPages
{
    /// <summary>Bytes of a page.</summary>
    public const int Length = 512;

    /// <summary>The log that says how long the others are.</summary>
    public const int Directory = 0;

    /// <summary>The log of device statistics.</summary>
    public const int Statistics = 4;

    /// <summary>The page of it that tells of flash.</summary>
    public const int SolidState = 7;

    private const int PercentageUsed = 8;
    private const byte IsSupported = 0x80, IsValid = 0x40;

    /// <summary>How many pages a log has; 0 where there is none.</summary>
    /// <param name="directory">The page of the directory.</param>
    /// <param name="log">Which log.</param>
    public static int Count(ReadOnlySpan<byte> directory, int log) =>
        BinaryPrimitives.ReadUInt16LittleEndian(directory) == 1 ? BinaryPrimitives.ReadUInt16LittleEndian(directory[(2 * log)..]) : 0;

    /// <summary>The Percentage Used Endurance Indicator; null where it is not there, or not known now.</summary>
    /// <param name="page">The page <see cref="SolidState"/>.</param>
    public static int? PercentUsed(ReadOnlySpan<byte> page) =>
        page[2] == SolidState && (page[PercentageUsed + 7] & (IsSupported | IsValid)) == (IsSupported | IsValid) ? page[PercentageUsed] : null;
}

/// <summary>What an ATA disk says of itself at IDENTIFY DEVICE (ACS-4, 7.13).</summary>
public sealed class AtaIdentity
{
    /// <summary>Whether it watches itself: SMART is there and turned on.</summary>
    public bool HasSmart { get; private init; }

    /// <summary>Whether SMART has logs.</summary>
    public bool HasSmartLogs { get; private init; }

    /// <summary>Whether it has logs for which SMART is not needed.</summary>
    public bool HasLogs { get; private init; }

    /// <summary>Whether it does not say that nothing in it turns.</summary>
    public bool MayTurn { get; private init; }

    /// <summary>Reads it; null where no ATA disk has said this.</summary>
    public static AtaIdentity? Parse(ReadOnlySpan<byte> page)
    {
        const int HasChecksum = 0xA5;
        byte sum = 0;
        foreach (var each in page)
        {
            sum += each;
        }

        // That bit is for what is no ATA disk.
        if ((Word(page, 0) & 0x8000) != 0 || (page[510] == HasChecksum && sum != 0))
        {
            return null;
        }

        // Words 82 to 84 say what there is, 85 to 87 what is turned on; each three count by the top bits of one of them.
        var (there, on) = (Counts(page, 83), Counts(page, 87));
        var smart = there && on && (Word(page, 82) & Word(page, 85) & 1) != 0;
        var more = Counts(page, 84) ? Word(page, 84) : 0;
        return new AtaIdentity
        {
            HasSmart = smart,
            HasSmartLogs = smart && (more & 0x3) != 0,
            HasLogs = (more & 0x20) != 0,
            MayTurn = Word(page, 217) != 1,
        };
    }

    private static int Word(ReadOnlySpan<byte> page, int number) => BinaryPrimitives.ReadUInt16LittleEndian(page[(2 * number)..]);

    private static bool Counts(ReadOnlySpan<byte> page, int number) => (Word(page, number) & 0xC000) == 0x4000;
}

/// <summary>The registers of an ATA disk after a command, as sense data bring them (SAT-4, 12.2.2.6 and 12.2.2.7).</summary>
public sealed class AtaRegisters
{
    private const int InformationAvailable = 0x001D;
    private const byte Error = 0x01, DeviceFault = 0x20;

    /// <summary>The count: after CHECK POWER MODE, how awake it is.</summary>
    public byte Count { get; private init; }

    /// <summary>Bits 8 to 23 of the LBA: after SMART RETURN STATUS, whether it fails.</summary>
    public int Lba { get; private init; }

    /// <summary>Whether it sleeps, read as the answer to CHECK POWER MODE.</summary>
    public bool IsAsleep => Count is 0x00 or 0x01 or 0x40;

    /// <summary>Reads them; null where they are not in there, or the disk has refused the command.</summary>
    public static AtaRegisters? Parse(ReadOnlySpan<byte> sense)
    {
        const byte Fixed = 0x70, Described = 0x72;
        const int FixedLength = 14;
        return sense.Length < 8 ? null : (sense[0] & 0x7F) switch
        {
            Described => Find(sense),
            Fixed when sense.Length >= FixedLength && BinaryPrimitives.ReadUInt16BigEndian(sense[12..]) == InformationAvailable => Make(sense[4], sense[6], sense[10], sense[11]),
            _ => null,
        };
    }

    private static AtaRegisters? Find(ReadOnlySpan<byte> sense)
    {
        const byte AtaStatusReturn = 0x09;
        const int Length = 14;
        for (var rest = sense[8..]; rest.Length >= 2; rest = rest[Math.Min(rest.Length, rest[1] + 2)..])
        {
            if (rest[0] == AtaStatusReturn && rest.Length >= Length)
            {
                return Make(rest[13], rest[5], rest[9], rest[11]);
            }
        }

        return null;
    }

    private static AtaRegisters? Make(byte status, byte count, byte middle, byte high) =>
        (status & (Error | DeviceFault)) == 0 ? new AtaRegisters { Count = count, Lba = middle | (high << 8) } : null;
}
