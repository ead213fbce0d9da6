namespace EdgeHost.Linux;

/// <summary>What an NVMe disk says of itself (linux/nvme_ioctl.h; NVM Express base specification, SMART / Health Information log).</summary>
public static unsafe class NvmeDisk
{
    private const nint NVME_IOCTL_ADMIN_CMD = unchecked((int)0xC0484E41);

    private const byte GetLogPage = 0x02, SmartLog = 0x02;
    private const int LogLength = 512, CriticalWarning = 0, PercentageUsed = 5;

    // Too little spare, not reliable, read-only, its memory not saved at a loss of power; what else it warns of is not its end: heat, above all.
    private const int Fails = 0x1D;

    // struct nvme_admin_cmd: opcode at 0, nsid at 4, addr at 24, data_len at 36, cdw10 at 40.
    private const int CommandWords = 18;

    /// <summary>What it says of its life; null where it does not say.</summary>
    /// <param name="path">The node of the disk.</param>
    public static DiskLife? Life(string path)
    {
        var log = stackalloc byte[LogLength];
        var command = stackalloc uint[CommandWords];
        new Span<uint>(command, CommandWords).Clear();
        command[0] = GetLogPage;
        command[1] = uint.MaxValue;
        *(ulong*)(command + 6) = (ulong)log;
        command[9] = LogLength;

        // How many words of the log there are to be, less one, and which log.
        command[10] = (((LogLength / sizeof(uint)) - 1) << 16) | SmartLog;
        fixed (byte* name = Libc.Z(path))
        {
            var fd = Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_CLOEXEC);
            if (fd == -1)
            {
                return null;
            }

            using var disk = new Fd((int)fd);
            return Libc.syscall(Nr.ioctl, disk.Value, NVME_IOCTL_ADMIN_CMD, (nint)command) == 0
                ? new DiskLife { PercentUsed = log[PercentageUsed], Failing = (log[CriticalWarning] & Fails) != 0 }
                : null;
        }
    }
}
