namespace EdgeHost.Engine;

/// <summary>
/// What somebody asks for by name that a container with users of its own would not have: a capability over mounts and
/// clocks, or over a network that is not its own, all of which belong to the host's users. Who asks for it means to have it.
/// </summary>
internal static class HostRights
{
    // These are about files and processes, which are the container's own; without the last, a program does not audit.
    private static readonly ulong Own = Bits(
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "SETFCAP", "SYS_CHROOT", "SYS_PTRACE", "LEASE", "AUDIT_WRITE");

    // A network that was made for the container belongs to its users.
    private static readonly ulong OwnNetwork = Bits("NET_ADMIN", "NET_RAW", "NET_BROADCAST");

    // The ports of its own network, or of another container's, are anybody's there (HostSettings.PrepareSandbox).
    private static readonly ulong Ports = Bits("NET_BIND_SERVICE");

    /// <summary>The first such right; null when none is asked for. What is no capability is refused elsewhere.</summary>
    /// <param name="spec">What is asked for.</param>
    /// <param name="ownsNetwork">Whether a network that is made for a container belongs to its users.</param>
    internal static string? FirstAsked(ContainerSpec spec, bool ownsNetwork)
    {
        if (spec.Privileged)
        {
            return "--privileged";
        }

        var own = spec.Network switch
        {
            NetworkMode.Host => Own,
            NetworkMode.Container => Own | Ports,
            _ => Own | Ports | (ownsNetwork ? OwnNetwork : 0),
        };
        return spec.AddCapabilities.FirstOrDefault(name => name.Equals("ALL", StringComparison.OrdinalIgnoreCase) || (Linux.Capabilities.TryParse(name, out var bit) && (bit & ~own) != 0));
    }

    private static ulong Bits(params ReadOnlySpan<string> names)
    {
        var bits = 0UL;
        foreach (var name in names)
        {
            bits |= Linux.Capabilities.TryParse(name, out var bit) ? bit : 0;
        }

        return bits;
    }
}
