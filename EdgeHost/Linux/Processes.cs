using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>Processes of others, by pid or pidfd.</summary>
public static unsafe class Processes
{
    /// <summary>Sends a signal.</summary>
    /// <returns>False when there is no such process.</returns>
    /// <exception cref="LinuxException">It may not be sent.</exception>
    public static bool TryKill(int pid, int signal)
    {
        if (Libc.kill(pid, signal) == 0)
        {
            return true;
        }

        return Libc.LastErrno == Errno.ESRCH ? false : throw Libc.Failure($"send signal {signal} to process {pid}");
    }

    /// <summary>Sends a signal through a pidfd, which cannot hit another process that took the pid over.</summary>
    /// <returns>False when it has ended.</returns>
    /// <exception cref="LinuxException">It may not be sent.</exception>
    public static bool TryKill(Fd pidFd, int signal)
    {
        if (Libc.pidfd_send_signal(pidFd.Value, signal) == 0)
        {
            return true;
        }

        return Libc.LastErrno == Errno.ESRCH ? false : throw Libc.Failure($"send signal {signal}");
    }

    /// <summary>Opens a pidfd.</summary>
    /// <returns>Null when there is no such process.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static Fd? TryOpen(int pid)
    {
        var fd = Libc.pidfd_open(pid, 0);
        if (fd >= 0)
        {
            return new Fd(fd);
        }

        return Libc.LastErrno is Errno.ESRCH or Errno.EINVAL ? null : throw Libc.Failure($"open process {pid}");
    }

    /// <summary>Holds the mount namespace of a process: what is mounted there stays until it is let go.</summary>
    /// <returns>Null when there is no such process, or it may not be looked at.</returns>
    public static Fd? TryOpenMounts(int pid)
    {
        fixed (byte* path = Libc.Z($"/proc/{pid}/ns/mnt"))
        {
            var fd = Libc.openat(Libc.AT_FDCWD, path, Libc.O_RDONLY | Libc.O_CLOEXEC);
            return fd >= 0 ? new Fd(fd) : null;
        }
    }

    /// <summary>Waits for a child's end.</summary>
    /// <returns>The exit code, 128 + signal when it was killed.</returns>
    /// <exception cref="LinuxException">It is no child of ours.</exception>
    public static int Wait(int pid)
    {
        int status;
        while (Libc.wait4(pid, &status, 0) == -1)
        {
            if (Libc.LastErrno != Errno.EINTR)
            {
                throw Libc.Failure($"wait for process {pid}");
            }
        }

        return ExitCodeOf(status);
    }

    /// <summary>Takes a child's end if it has ended.</summary>
    /// <returns>False while it runs.</returns>
    /// <exception cref="LinuxException">It is no child of ours.</exception>
    public static bool TryReap(int pid, out int exitCode)
    {
        int status = 0;
        var result = (int)Libc.Check(Libc.wait4(pid, &status, Libc.WNOHANG), $"wait for process {pid}");
        exitCode = ExitCodeOf(status);
        return result == pid;
    }

    /// <summary>Takes a child's end if it has ended, whatever it was.</summary>
    /// <returns>Whether it is gone.</returns>
    public static bool TryReapChild(int pid)
    {
        int status;
        return Libc.wait4(pid, &status, Libc.WNOHANG) != 0;
    }

    /// <summary>Takes the ends of all children in a process group that have ended.</summary>
    /// <returns>Whether none of the group is left that is a child of ours.</returns>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static bool TryReapGroup(int group)
    {
        int status;
        while (true)
        {
            switch (Libc.wait4(-group, &status, Libc.WNOHANG))
            {
                case 0:
                    return false;
                case -1 when Libc.LastErrno == Errno.ECHILD:
                    return true;
                case -1 when Libc.LastErrno != Errno.EINTR:
                    throw Libc.Failure($"wait for process group {group}");
            }
        }
    }

    /// <summary>The effective user of this process.</summary>
    public static uint EffectiveUser => (uint)Libc.syscall(Nr.geteuid);

    /// <summary>When a child was started, which has perhaps ended but was not waited for.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Internal"/>: procfs does not show it.</exception>
    public static long ReadStartTime(int pid) => ReadStat(pid) is { } fields
        ? long.Parse(fields[19], System.Globalization.CultureInfo.InvariantCulture)
        : throw new EdgeHostException(ErrorKind.Internal, $"/proc/{pid}/stat: the container's first process is not there; is /proc mounted?");

    /// <summary>
    /// When a process was started, in clock ticks since the boot (proc(5), stat field 22): with the pid it names one
    /// process and no later one.
    /// </summary>
    /// <returns>Null when there is none, or only a zombie is left.</returns>
    public static long? TryReadStartTime(int pid)
    {
        return ReadStat(pid) is { } fields && fields[0] is not ("Z" or "X")
            ? long.Parse(fields[19], System.Globalization.CultureInfo.InvariantCulture)
            : null;
    }

    /// <summary>Whether a process is on its way out, or gone (proc(5), stat field 9: PF_EXITING).</summary>
    public static bool IsEnding(int pid)
    {
        const uint Exiting = 4;
        return ReadStat(pid) is not { } fields || (uint.Parse(fields[6], System.Globalization.CultureInfo.InvariantCulture) & Exiting) != 0;
    }

    /// <summary>How a process ended that is not a child of ours, as far as the kernel still knows.</summary>
    /// <param name="pid">Its pid.</param>
    /// <param name="startTime">When it was started.</param>
    /// <param name="pidFd">Its pidfd, which was opened while it lived.</param>
    /// <returns>The exit code; null when nobody knows.</returns>
    public static int? ReadExitOfStranger(int pid, long startTime, Fd pidFd)
    {
        // A zombie shows it (proc(5), stat fields 22 and 52). Once its parent has reaped it, Linux 6.15 and later do.
        const int StartTime = 19, ExitCode = 49;
        var culture = System.Globalization.CultureInfo.InvariantCulture;
        if (ReadStat(pid) is { } fields && fields[0] == "Z" && long.Parse(fields[StartTime], culture) == startTime)
        {
            return ExitCodeOf(int.Parse(fields[ExitCode], culture));
        }

        var info = new Libc.pidfd_info { mask = Libc.PIDFD_INFO_EXIT };
        return Libc.syscall(Nr.ioctl, pidFd.Value, unchecked((nint)Libc.PIDFD_GET_INFO), (nint)(&info)) == 0 && (info.mask & Libc.PIDFD_INFO_EXIT) != 0
            ? ExitCodeOf(info.exit_code)
            : null;
    }

    /// <summary>As <see cref="TryReadStartTime"/>, of a zombie too.</summary>
    public static long? TryReadStartTimeOfAny(int pid) => ReadStat(pid) is { } fields ? long.Parse(fields[19], System.Globalization.CultureInfo.InvariantCulture) : null;

    /// <summary>
    /// Has the kernel look for others first when the board is out of memory, unless whoever started this process has
    /// decided that already. What it starts inherits it.
    /// </summary>
    /// <param name="adjustment">From -1000, never, to 1000 (proc(5), oom_score_adj).</param>
    /// <param name="inherited">What is nobody's decision beside 0.</param>
    /// <returns>Why it could not; null when it could.</returns>
    public static string? TrySpareThis(int adjustment, int inherited = 0)
    {
        const string file = "/proc/self/oom_score_adj";
        try
        {
            var culture = System.Globalization.CultureInfo.InvariantCulture;
            var now = CgroupFile.TryRead(file);
            if (now == "0" || now == inherited.ToString(culture))
            {
                CgroupFile.Write(file, adjustment.ToString(culture), "be spared when the board is out of memory");
            }

            return null;
        }
        catch (LinuxException e)
        {
            return e.Message;
        }
    }

    private static string[]? ReadStat(int pid)
    {
        try
        {
            // The name in parentheses may hold anything, spaces and parentheses included.
            return CgroupFile.TryRead($"/proc/{pid}/stat") is { } stat ? stat[(stat.LastIndexOf(')') + 2)..].Split(' ') : null;
        }
        catch (LinuxException)
        {
            return null;
        }
    }

    private static int ExitCodeOf(int status) => (status & 0x7F) == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F);
}
