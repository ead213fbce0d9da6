namespace EdgeHost.Linux;

/// <summary>Reads small files out of trees that an image has filled, without ever leaving them.</summary>
public static unsafe class LayerFile
{
    private const int FirstBytes = 4 << 10;

    /// <summary>Reads a file from the topmost of several overlayfs layers that has it.</summary>
    /// <param name="layers">Absolute directories, the topmost first; one that is not there is passed over.</param>
    /// <param name="path">Relative to each layer.</param>
    /// <param name="maximumBytes">The longest file that is read.</param>
    /// <returns>Null when no layer has it as a regular file of that length, or one above hides it.</returns>
    /// <exception cref="LinuxException">A layer cannot be read.</exception>
    public static byte[]? TryReadTopmost(IEnumerable<string> layers, string path, int maximumBytes)
    {
        foreach (var layer in layers)
        {
            if (!Directory.Exists(layer))
            {
                continue;
            }

            using var root = Files.OpenDirectory(layer);
            var how = new Libc.open_how
            {
                flags = (ulong)(Libc.O_RDONLY | Libc.O_NONBLOCK | Libc.O_NOCTTY | Libc.O_CLOEXEC),
                resolve = Libc.RESOLVE_IN_ROOT | Libc.RESOLVE_NO_MAGICLINKS,
            };
            int number;
            fixed (byte* name = Libc.Z(path))
            {
                number = Libc.openat2(root.Value, name, &how);
            }

            if (number == -1)
            {
                switch (Libc.LastErrno)
                {
                    case Errno.ENOENT or Errno.ENOTDIR or Errno.ELOOP:
                        continue;
                    case Errno.ENXIO:
                        // A whiteout (character device 0/0) cannot be opened: the layers beneath are hidden.
                        return null;
                    default:
                        throw Libc.Failure($"open {path} in {layer}");
                }
            }

            using var file = new Fd(number);

            // A buffer of the longest would be one of the large objects, and each of these takes a collection of all.
            var content = new byte[FirstBytes];
            var length = 0;
            while (length <= maximumBytes)
            {
                if (length == content.Length)
                {
                    Array.Resize(ref content, content.Length * 2);
                }

                fixed (byte* start = content)
                {
                    var count = Libc.read(file.Value, start + length, content.Length - length);
                    if (count <= 0)
                    {
                        // A directory or a device is no such file either.
                        return count == 0 ? content[..length] : null;
                    }

                    length += (int)count;
                }
            }

            return null;
        }

        return null;
    }
}
