namespace EdgeHost.Linux;

/// <summary>Named pipes between a container that waits for its start and the command that starts it.</summary>
public static unsafe class Fifo
{
    /// <summary>Makes one.</summary>
    /// <exception cref="LinuxException">It is there already, or cannot be made.</exception>
    public static void Make(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            Libc.Check(Libc.mknodat(Libc.AT_FDCWD, name, Libc.S_IFIFO | 0x180, 0), $"make fifo {path}");
        }
    }

    /// <summary>Opens it for reading without waiting for a writer; reads wait.</summary>
    /// <exception cref="LinuxException">It cannot be opened.</exception>
    public static Fd OpenForReading(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            var fd = new Fd((int)Libc.Check(
                Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC), $"open {path}"));
            const int F_SETFL = 4;
            Libc.Check(Libc.fcntl(fd.Value, F_SETFL, 0), $"open {path}");
            return fd;
        }
    }

    /// <summary>Writes one byte, if anybody has it open.</summary>
    /// <returns>False when nobody has.</returns>
    /// <exception cref="LinuxException">Any other refusal.</exception>
    public static bool TrySignal(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            var number = Libc.openat(Libc.AT_FDCWD, name, Libc.O_WRONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
            if (number == -1)
            {
                return Libc.LastErrno is Errno.ENXIO or Errno.ENOENT ? false : throw Libc.Failure($"open {path}");
            }

            using var fd = new Fd(number);
            byte go = 1;
            Libc.Check(Libc.write(fd.Value, &go, 1), $"write {path}");
            return true;
        }
    }
}
