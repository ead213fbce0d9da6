using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Launch;

/// <summary>What a runtime configuration does not say and a launch needs: where things are on this machine.</summary>
public sealed record LaunchTarget
{
    /// <summary>The absolute directory that relative paths of the configuration start from.</summary>
    public required string Bundle { get; init; }

    /// <summary>The layers of the root when it is mounted by the launch; null when the configuration's root is a directory.</summary>
    public OverlayRoot? Overlay { get; init; }

    /// <summary>The hierarchies of this machine.</summary>
    public required CgroupMounts CgroupMounts { get; init; }

    /// <summary>The container's cgroup; null leaves it in that of who launches it.</summary>
    public required Cgroup? Cgroup { get; init; }

    /// <summary>Whether who executes the plan can give standard streams to the container's user; one from an older version cannot.</summary>
    public bool GivesStreams { get; init; } = true;

    /// <summary>Whether who executes the plan makes network namespaces that belong to the user namespace; one from an older version does not.</summary>
    public bool OwnsNetwork { get; init; } = true;

    /// <summary>Whether the loopback of a network namespace that is joined is brought up, as that of a new one is.</summary>
    public bool LoopbackUp { get; init; }

    /// <summary>
    /// The lines of a terminal, and the columns in the upper half; null when the caller takes none: it gives a socket as
    /// standard input then, through which the terminal's master comes.
    /// </summary>
    public int? TerminalSize { get; init; }

    /// <summary>Whether a process of ours is the first in the container, before its program.</summary>
    public bool Init { get; init; }

    /// <summary>The fifo from which the program waits for its start, and the one on which it reports after that; null starts at once.</summary>
    public (string Start, string Status)? Fifos { get; init; }
}

/// <summary>A root that overlayfs puts together inside the container's own mount namespace: the host never sees the mount.</summary>
/// <param name="MountPoint">An empty directory of the host.</param>
/// <param name="Lower">The layers, the topmost first.</param>
/// <param name="Upper">Where writes go.</param>
/// <param name="Work">overlayfs's own.</param>
public sealed record OverlayRoot(string MountPoint, IReadOnlyList<string> Lower, string Upper, string Work);
