using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>
/// What an ATA disk says of itself. The kernel and bridges to USB show such a disk as one of SCSI and hand commands of ATA on (scsi/sg.h; SAT-4,
/// ATA PASS-THROUGH (16); ACS-4). None of those here reads or writes what is on it.
/// </summary>
public sealed unsafe class AtaDisk
{
    private const nint SG_IO = 0x2285;
    private const int SG_DXFER_NONE = -1, SG_DXFER_FROM_DEV = -3;

    private const byte PassThrough16 = 0x85;
    private const int CommandLength = 16, SenseLength = 64;
    private const byte NonData = 3 << 1, PioIn = 4 << 1, Extend = 1;
    private const byte TellRegisters = 0x20, FromDiskInSectors = 0x0E;

    private const byte CheckPowerMode = 0xE5, IdentifyDevice = 0xEC, ReadLogExt = 0x2F, Smart = 0xB0;
    private const byte SmartReadLog = 0xD5, SmartReturnStatus = 0xDA;
    private const int SmartIsMeant = 0xC24F, SmartExceeded = 0x2CF4;

    // A disk answers such a command in milliseconds, or once it has done what it was at. What is not answered in time the kernel aborts, by a
    // reset that holds up all else that the disk is to do.
    private const uint PatienceMilliseconds = 5000;

    private readonly Fd _disk;
    private readonly string _path;

    private AtaDisk(Fd disk, string path) => (_disk, _path) = (disk, path);

    /// <summary>What it says of its life; null where it does not say. One that sleeps is let sleep.</summary>
    /// <param name="path">The node of the disk.</param>
    /// <param name="before">What it said when it was last asked: the answer for one that sleeps.</param>
    /// <exception cref="LinuxException">It did not answer in time, or what leads to it did not bear the question: it is better not asked again.</exception>
    public static DiskLife? Life(string path, DiskLife? before)
    {
        fixed (byte* name = Libc.Z(path))
        {
            var fd = Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
            if (fd == -1)
            {
                return null;
            }

            using var disk = new Fd((int)fd);
            return new AtaDisk(disk, path).Life(before);
        }
    }

    private DiskLife? Life(DiskLife? before)
    {
        var mode = Registers(CheckPowerMode, 0, 0);
        if (mode is { IsAsleep: true })
        {
            return before;
        }

        var page = new byte[AtaPages.Length];
        if (!Read(IdentifyDevice, 0, 0, page) || AtaIdentity.Parse(page) is not { } identity)
        {
            return null;
        }

        // Of an old bridge usb-storage takes 18 bytes of how a command went, too few for registers, until one such command went well.
        mode ??= Registers(CheckPowerMode, 0, 0);

        // There are bridges that hand data on and no registers: behind them may sleep what turns.
        if (mode is null ? identity.MayTurn : mode.IsAsleep)
        {
            return before;
        }

        bool? fails = identity.HasSmart && Registers(Smart, SmartReturnStatus, SmartIsMeant) is { Lba: SmartIsMeant or SmartExceeded } status
            ? status.Lba == SmartExceeded
            : null;
        var used = (identity.HasLogs ? Used(page) : null) ?? (identity.HasSmartLogs ? UsedBySmart(page) : null);
        return fails is null && used is null ? null : new DiskLife { Failing = fails, PercentUsed = used };
    }

    private int? Used(byte[] page) =>
        Read(ReadLogExt, 0, AtaPages.Directory, page) && AtaPages.Count(page, AtaPages.Statistics) > AtaPages.SolidState
        && Read(ReadLogExt, 0, AtaPages.Statistics | (AtaPages.SolidState << 8), page)
            ? AtaPages.PercentUsed(page)
            : null;

    // By this command a log is read from its beginning.
    private int? UsedBySmart(byte[] page)
    {
        if (!Read(Smart, SmartReadLog, AtaPages.Directory | (SmartIsMeant << 8), page) || AtaPages.Count(page, AtaPages.Statistics) <= AtaPages.SolidState)
        {
            return null;
        }

        var log = new byte[AtaPages.Length * (AtaPages.SolidState + 1)];
        return Read(Smart, SmartReadLog, AtaPages.Statistics | (SmartIsMeant << 8), log)
            ? AtaPages.PercentUsed(log.AsSpan(AtaPages.Length * AtaPages.SolidState))
            : null;
    }

    private AtaRegisters? Registers(byte command, byte features, int lbaMiddleAndHigh)
    {
        var sense = stackalloc byte[SenseLength];
        var length = Ask(command, features, lbaMiddleAndHigh << 8, null, 0, sense);
        return length < 0 ? null : AtaRegisters.Parse(new ReadOnlySpan<byte>(sense, length));
    }

    private bool Read(byte command, byte features, int lba, byte[] into)
    {
        var sense = stackalloc byte[SenseLength];
        fixed (byte* data = into)
        {
            return Ask(command, features, lba, data, into.Length, sense) == 0;
        }
    }

    /// <summary>How many bytes it told of how that went; of data none when all came, and -1 when they did not.</summary>
    private int Ask(byte command, byte features, int lba, byte* data, int length, byte* sense)
    {
        var descriptor = stackalloc byte[CommandLength];
        new Span<byte>(descriptor, CommandLength).Clear();
        descriptor[0] = PassThrough16;
        descriptor[1] = (byte)((data is null ? NonData : PioIn) | (command == ReadLogExt ? Extend : 0));
        descriptor[2] = data is null ? TellRegisters : FromDiskInSectors;
        descriptor[4] = features;
        descriptor[6] = (byte)(length / AtaPages.Length);
        descriptor[8] = (byte)lba;
        descriptor[10] = (byte)(lba >> 8);
        descriptor[12] = (byte)(lba >> 16);
        descriptor[14] = command;
        var request = new sg_io_hdr
        {
            interface_id = 'S',
            dxfer_direction = data is null ? SG_DXFER_NONE : SG_DXFER_FROM_DEV,
            cmd_len = CommandLength,
            mx_sb_len = SenseLength,
            dxfer_len = (uint)length,
            dxferp = data,
            cmdp = descriptor,
            sbp = sense,
            timeout = PatienceMilliseconds,
        };
        if (Libc.syscall(Nr.ioctl, _disk.Value, SG_IO, (nint)(&request)) == -1)
        {
            return -1;
        }

        if (request.host_status != 0)
        {
            throw new LinuxException($"ask {_path} for its life", Errno.ETIMEDOUT);
        }

        return data is null ? request.sb_len_wr : (request.status | request.resid) == 0 ? 0 : -1;
    }

    /// <summary>struct sg_io_hdr.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct sg_io_hdr
    {
        internal int interface_id;
        internal int dxfer_direction;
        internal byte cmd_len;
        internal byte mx_sb_len;
        internal ushort iovec_count;
        internal uint dxfer_len;
        internal void* dxferp;
        internal byte* cmdp;
        internal void* sbp;
        internal uint timeout;
        internal uint flags;
        internal int pack_id;
        internal void* usr_ptr;
        internal byte status;
        internal byte masked_status;
        internal byte msg_status;
        internal byte sb_len_wr;
        internal ushort host_status;
        internal ushort driver_status;
        internal int resid;
        internal uint duration;
        internal uint info;
    }
}
