using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// Several layers seen as a container sees them (whiteouts, opaque directories and all), read-only and without a
/// place among the host's mounts: it is taken out of them at once, and lives as long as it is held open.
/// </summary>
public static unsafe class OverlayView
{
    // mount(2) copies one page of options.
    private const int MaximumOptions = 4095;

    /// <summary>Opens the view. Needs CAP_SYS_ADMIN when there is more than one layer.</summary>
    /// <param name="layers">Absolute directories, the topmost first; at least one.</param>
    /// <param name="directory">Where a mount point may be made for a moment; it exists.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: too many layers for one mount; or a step failed.</exception>
    public static RootedDirectory Open(IReadOnlyList<string> layers, string directory)
    {
        // overlayfs wants two layers when nothing can be written.
        if (layers.Count == 1)
        {
            return RootedDirectory.Open(layers[0]);
        }

        var options = "lowerdir=" + string.Join(':', layers.Select(Escape));
        if (Encoding.UTF8.GetByteCount(options) > MaximumOptions)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"the image has {layers.Count} layers, whose names do not fit into one mount; build it with fewer layers");
        }

        var point = $"{directory}/view-{Guid.NewGuid():n}";
        Directory.CreateDirectory(point);
        try
        {
            fixed (byte* type = "overlay\0"u8, target = Libc.Z(point), data = Libc.Z(options))
            {
                Libc.Check(
                    Libc.syscall(Nr.mount, (nint)type, (nint)target, (nint)type, (nint)(Libc.MS_RDONLY | Libc.MS_NOSUID | Libc.MS_NODEV | Libc.MS_NOEXEC), (nint)data),
                    $"mount the {layers.Count} layers of an image on {point}");
            }

            try
            {
                return RootedDirectory.Open(point);
            }
            finally
            {
                Detach(point);
            }
        }
        finally
        {
            Directory.Delete(point);
        }
    }

    /// <summary>Takes away what a daemon left that ended in the middle of <see cref="Open"/>.</summary>
    /// <param name="directory">As given to it.</param>
    public static void Sweep(string directory)
    {
        foreach (var point in Directory.EnumerateDirectories(directory, "view-*").ToList())
        {
            fixed (byte* target = Libc.Z(point))
            {
                // EINVAL: not mounted, which is what is wanted.
                if (Libc.syscall(Nr.umount2, (nint)target, Libc.MNT_DETACH) == -1 && Libc.LastErrno != Errno.EINVAL)
                {
                    throw Libc.Failure($"unmount {point}");
                }
            }

            Directory.Delete(point);
        }
    }

    private static void Detach(string point)
    {
        fixed (byte* target = Libc.Z(point))
        {
            Libc.Check(Libc.syscall(Nr.umount2, (nint)target, Libc.MNT_DETACH), $"unmount {point}");
        }
    }

    private static string Escape(string path) => path
        .Replace("\\", "\\\\", StringComparison.Ordinal)
        .Replace(":", "\\:", StringComparison.Ordinal)
        .Replace(",", "\\,", StringComparison.Ordinal);
}
