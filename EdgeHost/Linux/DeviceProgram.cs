using System.Runtime.InteropServices;

namespace EdgeHost.Linux;

/// <summary>Programs that the kernel asks before a process of a cgroup opens a device (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).</summary>
public static unsafe class DeviceProgram
{
    private const int BPF_PROG_LOAD = 5;
    private const int BPF_PROG_ATTACH = 8;
    private const int BPF_PROG_QUERY = 16;
    private const uint BPF_PROG_TYPE_CGROUP_DEVICE = 15;
    private const uint BPF_CGROUP_DEVICE = 6;
    private const uint BPF_F_ALLOW_MULTI = 2;

    private static readonly Lock Loading = new();

    // Nearly all containers have the same rules: they share one program.
    private static byte[] s_lastInstructions = [];
    private static Fd? s_last;

    /// <summary>Has a program asked for a cgroup, beside those of the cgroups above it.</summary>
    /// <param name="directory">The cgroup's directory in the unified hierarchy.</param>
    /// <param name="instructions">The program, eight bytes an instruction.</param>
    /// <exception cref="LinuxException">The kernel refuses: it has no such programs (CONFIG_CGROUP_BPF), or the caller lacks CAP_BPF or CAP_NET_ADMIN.</exception>
    public static void Attach(string directory, ReadOnlySpan<byte> instructions)
    {
        lock (Loading)
        {
            if (s_last is null || !instructions.SequenceEqual(s_lastInstructions))
            {
                var program = Load(instructions);
                s_last?.Dispose();
                s_last = program;
                s_lastInstructions = instructions.ToArray();
            }

            using var cgroup = Files.OpenDirectory(directory);
            var request = new AttachRequest { Target = cgroup.Value, Program = s_last.Value, Type = BPF_CGROUP_DEVICE, Flags = BPF_F_ALLOW_MULTI };
            Libc.Check(Libc.syscall(Nr.bpf, BPF_PROG_ATTACH, (nint)(&request), sizeof(AttachRequest)), $"attach the device program to {directory}");
            var held = new QueryRequest { Target = cgroup.Value, Type = BPF_CGROUP_DEVICE };

            // Without room for their numbers the kernel counts them, and says that there was none.
            if ((Libc.syscall(Nr.bpf, BPF_PROG_QUERY, (nint)(&held), sizeof(QueryRequest)) == -1 && Libc.LastErrno != Errno.ENOSPC) || held.Count == 0)
            {
                throw new LinuxException($"attach the device program to {directory}: the kernel does not show it", Errno.EIO);
            }
        }
    }

    private static Fd Load(ReadOnlySpan<byte> instructions)
    {
        fixed (byte* start = instructions)
        fixed (byte* license = "Apache-2.0\0"u8)
        {
            var request = new LoadRequest
            {
                Type = BPF_PROG_TYPE_CGROUP_DEVICE,
                Count = (uint)(instructions.Length / 8),
                Instructions = (ulong)start,
                License = (ulong)license,
            };

            // bpf(2) sets FD_CLOEXEC by itself.
            return new Fd((int)Libc.Check(Libc.syscall(Nr.bpf, BPF_PROG_LOAD, (nint)(&request), sizeof(LoadRequest)), "load the device program"));
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct LoadRequest
    {
        internal uint Type;
        internal uint Count;
        internal ulong Instructions;
        internal ulong License;
        internal uint LogLevel;
        internal uint LogSize;
        internal ulong Log;
        internal uint KernelVersion;
        internal uint Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct AttachRequest
    {
        internal int Target;
        internal int Program;
        internal uint Type;
        internal uint Flags;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct QueryRequest
    {
        internal int Target;
        internal uint Type;
        internal uint QueryFlags;
        internal uint AttachFlags;
        internal ulong Numbers;
        internal uint Count;
    }
}
