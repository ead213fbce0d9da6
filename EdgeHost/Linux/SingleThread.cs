using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// What a process with one managed thread needs instead of Console, PosixSignalRegistration and Process, each of
/// which would start another thread: messages on descriptors 1 and 2, and signals through a descriptor.
/// </summary>
public static unsafe class SingleThread
{
    private const string OwnFile = "/proc/self/exe";

    /// <summary>Writes to standard output.</summary>
    public static void Print(string text) => Write(1, text);

    /// <summary>Writes an error to standard error; where that is the journal, as one (sd-daemon(3)).</summary>
    public static void PrintError(string text) => Write(2, ServiceSupervisor.LogsToJournal ? $"<3>{text}" : text);

    /// <summary>Writes bytes to standard output.</summary>
    public static void Print(ReadOnlySpan<byte> bytes) => Write(1, bytes);

    /// <summary>
    /// Makes signals arrive at a descriptor instead of killing the process. The finalizer thread exists before Main
    /// and would still take them, so the process blocks them and executes itself once; threads inherit the mask.
    /// </summary>
    /// <param name="signals">The signals; none of the real-time ones, which the runtime itself uses.</param>
    /// <returns>A non-blocking signalfd.</returns>
    /// <exception cref="LinuxException">A call failed.</exception>
    public static Fd BlockSignals(params ReadOnlySpan<int> signals)
    {
        ulong wanted = 0;
        foreach (var signal in signals)
        {
            wanted |= 1UL << (signal - 1);
        }

        ulong had = 0;
        Libc.Check(Libc.rt_sigprocmask(Libc.SIG_BLOCK, &wanted, &had), "block signals");
        if ((had & wanted) != wanted)
        {
            ExecuteSealed();
        }

        return new Fd((int)Libc.Check(Libc.signalfd4(-1, wanted, Libc.SFD_CLOEXEC | Libc.SFD_NONBLOCK), "make a signal descriptor"));
    }

    /// <summary>
    /// Makes sure that this program was executed from a mount that is read-only and in no namespace. A container comes to
    /// hold the file of the process that it was cloned from: an image whose program is /proc/self/exe, with a loader of
    /// its own, need only wait until nobody executes that file any more, and is root (CVE-2019-5736). By this mount it
    /// cannot be written, and the flag is out of reach of all; the pages are the same, which a copy's were not.
    /// </summary>
    /// <exception cref="LinuxException">A call failed.</exception>
    public static void SealProgram()
    {
        if (!IsSealed)
        {
            ExecuteSealed();
        }

        // It would be called by a number.
        fixed (byte* name = "edgehost\0"u8)
        {
            _ = Libc.prctl(Libc.PR_SET_NAME, (nint)name, 0, 0, 0);
        }
    }

    // A file that is the root of a mount which is nowhere has no other path.
    private static bool IsSealed => new FileInfo(OwnFile).LinkTarget == "/";

    private static void ExecuteSealed()
    {
        const string What = "execute itself from a read-only mount";
        var arguments = ProgramFile.CommandLine();
        if (IsSealed)
        {
            // That mount is no more among those that can be cloned.
            Execute(OwnFile, arguments, What);
        }

        // By this name its successor is found.
        arguments[0] = ProgramFile.StartedFrom;
        using var file = ProgramFile.Open(OwnFile);
        Execute(file, arguments, What);
    }

    /// <summary>
    /// Makes sure that 0, 1 and 2 are what somebody gave as standard input, output and error, or /dev/null. Where one was
    /// closed, the next file that this process or its runtime opens gets its number: log lines would be written into
    /// it, and a container would inherit it (CVE-2024-21626 came of such a descriptor). Called first of all.
    /// </summary>
    /// <exception cref="LinuxException">A call failed.</exception>
    public static void HoldStandardStreams()
    {
        // Nothing that came through an exec is marked to be closed by one: what is was opened by the runtime before Main.
        var strangers = new List<int>();
        for (var descriptor = 0; descriptor <= 2; descriptor++)
        {
            if (Libc.fcntl(descriptor, Libc.F_GETFD, 0) is -1 or Libc.FD_CLOEXEC)
            {
                strangers.Add(descriptor);
            }
        }

        if (strangers.Count > 0)
        {
            // The runtime goes on reading what it opened, so its numbers change owner with the program only.
            using var nothing = Pipe.OpenNull();
            Execute(OwnFile, ProgramFile.CommandLine(), "execute itself with standard streams", nothing, [.. strangers]);
        }
    }

    /// <summary>
    /// Leaves the session and terminal of whoever started this process. A process that leads a group already cannot,
    /// and need not.
    /// </summary>
    public static void TryBecomeSessionLeader() => _ = Libc.syscall(Nr.setsid);

    /// <summary>Takes the next signal.</summary>
    /// <returns>Null when none is pending.</returns>
    public static int? TakeSignal(Fd signals)
    {
        Libc.signalfd_siginfo info;
        var count = Libc.read(signals.Value, &info, sizeof(Libc.signalfd_siginfo));
        if (count == -1)
        {
            return Libc.LastErrno is Errno.EAGAIN or Errno.EINTR ? null : throw Libc.Failure("read a signal");
        }

        return (int)info.ssi_signo;
    }

    /// <summary>Waits until one of the descriptors can be read or its other end is gone.</summary>
    /// <param name="descriptors">Which.</param>
    /// <param name="milliseconds">How long at most; -1 without end.</param>
    /// <returns>The position of the first ready one, -1 when the time is over.</returns>
    public static int WaitReadable(ReadOnlySpan<int> descriptors, int milliseconds)
    {
        var polls = stackalloc long[descriptors.Length];
        for (var i = 0; i < descriptors.Length; i++)
        {
            polls[i] = (uint)descriptors[i] | (1L << 32);
        }

        var limit = stackalloc long[2];
        limit[0] = milliseconds / 1000;
        limit[1] = milliseconds % 1000 * 1_000_000L;
        var count = Libc.syscall(Nr.ppoll, (nint)polls, descriptors.Length, milliseconds < 0 ? 0 : (nint)limit, 0, 8);
        if (count == -1 && Libc.LastErrno != Errno.EINTR)
        {
            throw Libc.Failure("wait for descriptors");
        }

        for (var i = 0; count > 0 && i < descriptors.Length; i++)
        {
            if (polls[i] >> 48 != 0)
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Replaces the program of this process.</summary>
    /// <exception cref="LinuxException">It cannot be executed; the old program goes on.</exception>
    public static void Execute(string path, IReadOnlyList<string> arguments, string what) => Execute(path, arguments, what, null, []);

    /// <summary>Replaces the program of this process by one that is open.</summary>
    /// <exception cref="LinuxException">It cannot be executed; the old program goes on.</exception>
    public static void Execute(Fd program, IReadOnlyList<string> arguments, string what) => Execute($"/proc/self/fd/{program.Value}", arguments, what);

    private static void Execute(string path, IReadOnlyList<string> arguments, string what, Fd? source, ReadOnlySpan<int> targets)
    {
        var environment = Environment.GetEnvironmentVariables();
        var variables = new List<string>(environment.Count);
        foreach (System.Collections.DictionaryEntry entry in environment)
        {
            variables.Add($"{entry.Key}={entry.Value}");
        }

        using var argv = new StringTable(arguments);
        using var envp = new StringTable(variables);
        fixed (byte* name = Libc.Z(path))
        {
            foreach (var target in targets)
            {
                Libc.Check(target == source!.Value ? Libc.fcntl(target, Libc.F_SETFD, 0) : Libc.syscall(Nr.dup3, source.Value, target, 0), what);
            }

            Libc.Check(Libc.execve(name, argv.Pointers, envp.Pointers), what);
        }
    }

    private static void Write(int descriptor, string text) => Write(descriptor, Encoding.UTF8.GetBytes(text));

    private static void Write(int descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            nint done = 0;
            while (done < bytes.Length)
            {
                var count = Libc.write(descriptor, start + done, bytes.Length - done);
                if (count == -1)
                {
                    if (Libc.LastErrno == Errno.EINTR)
                    {
                        continue;
                    }

                    // Nobody reads: there is nobody to tell either.
                    return;
                }

                done += count;
            }
        }
    }

    private sealed class StringTable : IDisposable
    {
        private readonly nint[] _texts;
        private readonly nint _table;

        internal StringTable(IReadOnlyList<string> texts)
        {
            _texts = new nint[texts.Count];
            _table = System.Runtime.InteropServices.Marshal.AllocHGlobal((texts.Count + 1) * sizeof(nint));
            for (var i = 0; i < texts.Count; i++)
            {
                _texts[i] = System.Runtime.InteropServices.Marshal.StringToCoTaskMemUTF8(texts[i]);
                ((nint*)_table)[i] = _texts[i];
            }

            ((nint*)_table)[texts.Count] = 0;
        }

        internal byte** Pointers => (byte**)_table;

        public void Dispose()
        {
            foreach (var text in _texts)
            {
                System.Runtime.InteropServices.Marshal.FreeCoTaskMem(text);
            }

            System.Runtime.InteropServices.Marshal.FreeHGlobal(_table);
        }
    }
}
