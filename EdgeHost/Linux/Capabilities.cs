namespace EdgeHost.Linux;

/// <summary>Capabilities of Linux by name (capabilities(7), linux/capability.h).</summary>
public static class Capabilities
{
    private static readonly string[] Names =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
        "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
        "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
        "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
        "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
        "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
        "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
    ];

    /// <summary>The bit of CAP_MKNOD.</summary>
    public const ulong Mknod = 1UL << 27;

    /// <summary>Every capability that has a name here.</summary>
    public static ulong All => (1UL << Names.Length) - 1;

    /// <summary>What this process may have itself, and so may give (proc(5), CapPrm).</summary>
    public static ulong Own
    {
        get
        {
            const string Line = "\nCapPrm:\t";
            var status = File.ReadAllText("/proc/self/status");
            return ulong.Parse(status.AsSpan(status.IndexOf(Line, StringComparison.Ordinal) + Line.Length, 16), System.Globalization.NumberStyles.HexNumber, System.Globalization.CultureInfo.InvariantCulture);
        }
    }

    /// <summary>Finds the bit of a name, with or without <c>CAP_</c>, in any case.</summary>
    /// <returns>False for a name that Linux does not know.</returns>
    public static bool TryParse(string name, out ulong bit)
    {
        var full = name.StartsWith("CAP_", StringComparison.OrdinalIgnoreCase) ? name : "CAP_" + name;
        var index = Array.FindIndex(Names, known => known.Equals(full, StringComparison.OrdinalIgnoreCase));
        bit = index < 0 ? 0 : 1UL << index;
        return index >= 0;
    }

    /// <summary>The names in a set, in the kernel's order.</summary>
    public static IReadOnlyList<string> NamesOf(ulong set) =>
        [.. Names.Where((_, index) => (set >> index & 1) != 0)];
}
