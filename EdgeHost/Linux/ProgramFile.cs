using System.Buffers.Binary;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// Program files of this product, held so that they can be executed later: the mount through which one is opened is
/// read-only and in no namespace (see <see cref="SingleThread.SealProgram"/>), and what is at its path by then does not matter.
/// </summary>
public static unsafe class ProgramFile
{
    private const string Own = "/proc/self/exe";
    private const int MachineOffset = 18;
    private const int HeaderSize = 20;

    /// <summary>The absolute path by which this process was started, or that of the file it was; another file may be there by now.</summary>
    public static string StartedFrom
    {
        get
        {
            var argument = CommandLine()[0];
            const string Deleted = " (deleted)";
            var path = argument.StartsWith('/') ? argument : new FileInfo(Own).LinkTarget ?? string.Empty;
            return path.EndsWith(Deleted, StringComparison.Ordinal) ? path[..^Deleted.Length] : path;
        }
    }

    /// <summary>The arguments of this process, its name first.</summary>
    internal static List<string> CommandLine()
    {
        var text = Encoding.UTF8.GetString(File.ReadAllBytes("/proc/self/cmdline"));
        var arguments = text.Split('\0').ToList();
        arguments.RemoveAt(arguments.Count - 1);
        return arguments;
    }

    /// <summary>Opens a program for <see cref="SingleThread.Execute(Fd, IReadOnlyList{string}, string)"/>.</summary>
    /// <exception cref="LinuxException">It is not there, or cannot be held.</exception>
    public static Fd Open(string path)
    {
        fixed (byte* name = Libc.Z(path))
        {
            var what = $"open {path} on a read-only mount";
            var file = new Fd((int)Libc.Check(Libc.syscall(Nr.open_tree, Libc.AT_FDCWD, (nint)name, (nint)(Libc.OPEN_TREE_CLONE | Libc.OPEN_TREE_CLOEXEC)), what));
            byte nothing = 0;
            var attributes = new Libc.mount_attr { attr_set = Libc.MOUNT_ATTR_RDONLY };
            if (Libc.syscall(Nr.mount_setattr, file.Value, (nint)(&nothing), Libc.AT_EMPTY_PATH, (nint)(&attributes), sizeof(Libc.mount_attr)) == -1)
            {
                var errno = Libc.LastErrno;
                file.Dispose();
                throw new LinuxException(what, errno);
            }

            return file;
        }
    }

    /// <summary>Whether a process executes the file that is at a path now.</summary>
    /// <exception cref="LinuxException">There is no such process or file.</exception>
    public static bool IsExecutedBy(int pid, string path)
    {
        var (executed, there) = (Look($"/proc/{pid}/exe"), Look(path));
        return executed.stx_ino == there.stx_ino && executed.stx_dev_major == there.stx_dev_major && executed.stx_dev_minor == there.stx_dev_minor;

        static Libc.statx_t Look(string file)
        {
            Libc.statx_t found;
            fixed (byte* name = Libc.Z(file))
            {
                Libc.Check(Libc.statx(Libc.AT_FDCWD, name, 0, Libc.STATX_BASIC_STATS, &found), $"look at {file}");
            }

            return found;
        }
    }

    /// <summary>Opens the file that this process executes, by its mount.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public static Fd OpenOwn()
    {
        fixed (byte* name = Libc.Z(Own))
        {
            return new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_PATH | Libc.O_CLOEXEC), "open the own program"));
        }
    }

    /// <summary>
    /// Makes sure that a file is a program for the same machine as this one. The kernel might execute one for another by an
    /// emulator, which is no place for a process with a clone in it.
    /// </summary>
    /// <param name="program">What <see cref="Open"/> gave.</param>
    /// <param name="path">Its path, for the error.</param>
    /// <exception cref="EdgeHostException">It is not.</exception>
    public static void CheckMachine(Fd program, string path)
    {
        var (theirs, ours) = (ReadMachine($"/proc/self/fd/{program.Value}"), ReadMachine(Own));
        if (theirs != ours)
        {
            throw new EdgeHostException(
                ErrorKind.CannotExecute, theirs < 0 ? $"{path} is not an ELF program" : $"{path} is built for another machine (ELF {theirs}, this one is {ours})");
        }
    }

    private static int ReadMachine(string path)
    {
        var header = stackalloc byte[HeaderSize];
        fixed (byte* name = Libc.Z(path))
        {
            // Not to be held up by a pipe that somebody named.
            using var file = new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_CLOEXEC), $"read {path}"));
            return Libc.syscall(Nr.pread64, file.Value, (nint)header, HeaderSize, 0) == HeaderSize && new ReadOnlySpan<byte>(header, 4).SequenceEqual("\u007fELF"u8)
                ? BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(header + MachineOffset, 2))
                : -1;
        }
    }
}
