using System.Net.Sockets;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>A unix socket at a path on which a daemon listens.</summary>
public static unsafe class ListeningSocket
{
    // sizeof(sun_path) in sockaddr_un, less the zero at its end.
    private const int LongestPath = 107;

    private const uint OwnerOnly = 0x180; // 0600
    private const int OwnerAndGroup = 0x1B0; // 0660

    /// <summary>
    /// Makes a socket at a path and binds it; whoever accepts calls listen. What a daemon that was killed left
    /// there is replaced. There is no moment at which somebody else than root and the group could connect. Disposing the
    /// socket removes the file.
    /// </summary>
    /// <param name="path">An absolute path of at most 107 bytes; its directory exists.</param>
    /// <param name="group">The group that may connect (mode 0660); null for root alone (0600).</param>
    /// <returns>The socket.</returns>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Conflict"/>: somebody listens there, or something other than a socket is there;
    /// <see cref="ErrorKind.Invalid"/>: the path is too long; <see cref="ErrorKind.Internal"/>: it cannot be made.
    /// </exception>
    public static Socket Bind(string path, uint? group)
    {
        if (Encoding.UTF8.GetByteCount(path) > LongestPath)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"socket path {path} is longer than {LongestPath} bytes; choose a shorter run directory");
        }

        RemoveStale(path);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var bound = false;
        try
        {
            // bind(2) makes the file with the mode of the socket's own inode (unix_bind, less the umask).
            Libc.Check(Libc.fchmod((int)socket.Handle, OwnerOnly), $"set the mode of socket {path}");
            socket.Bind(new UnixDomainSocketEndPoint(path));
            if (group is { } gid)
            {
                fixed (byte* name = Libc.Z(path))
                {
                    Libc.Check(Libc.fchownat(Libc.AT_FDCWD, name, uint.MaxValue, gid, Libc.AT_SYMLINK_NOFOLLOW), $"set the group of socket {path}");
                    Libc.Check(Libc.syscall(Nr.fchmodat, Libc.AT_FDCWD, (nint)name, OwnerAndGroup), $"set the mode of socket {path}");
                }
            }

            bound = true;
            return socket;
        }
        catch (SocketException e)
        {
            throw new EdgeHostException(ErrorKind.Internal, $"cannot listen on {path}: {e.Message}", e);
        }
        finally
        {
            if (!bound)
            {
                socket.Dispose();
            }
        }
    }

    private static void RemoveStale(string path)
    {
        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused && IsSocket(path))
        {
            File.Delete(path);
            return;
        }
        catch (SocketException) when (!Path.Exists(path))
        {
            return;
        }
        catch (SocketException e)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"{path} is there and is not a socket of a dead daemon ({e.Message}); remove it, or choose another run directory", e);
        }

        throw new EdgeHostException(ErrorKind.Conflict, $"another daemon listens on {path}; stop it first, or choose another run directory");
    }

    private static bool IsSocket(string path)
    {
        // O_PATH of a socket works, open(2) does not: ENXIO is how the kernel says "a socket without a door".
        fixed (byte* name = Libc.Z(path))
        {
            var fd = Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDONLY | Libc.O_NOFOLLOW | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
            if (fd >= 0)
            {
                _ = Libc.close(fd);
                return false;
            }

            return Libc.LastErrno == Errno.ENXIO;
        }
    }
}
