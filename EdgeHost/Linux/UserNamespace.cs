using System.Globalization;
using System.Text;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Linux;

/// <summary>
/// A user namespace (user_namespaces(7)) that no process of ours is in, in the making: it says whom files belong to
/// (mount_setattr(2), MOUNT_ATTR_IDMAP), and containers join it. A network namespace that is to belong to it can only be
/// made by a process that is in it: one waits there until both are held by descriptors.
/// </summary>
public sealed unsafe class UserNamespace : IDisposable
{
    private readonly int _pid;
    private readonly Fd _go;
    private readonly Fd? _made;

    /// <summary>Begins to make one. Only a process with one managed thread may call it, as with <see cref="Launcher.Start"/>.</summary>
    /// <param name="users">What is written into uid_map: lines of first id inside, first id outside, number.</param>
    /// <param name="groups">The same for gid_map.</param>
    /// <param name="withNetwork">Whether a network namespace is made that belongs to it.</param>
    /// <exception cref="LinuxException">The kernel refuses: there are no user namespaces, too many, or these maps are none.</exception>
    public UserNamespace(string users, string groups, bool withNetwork)
    {
        var (read, go) = Pipe.MakeForInput();
        (Fd Read, Fd Write)? made = null;
        try
        {
            made = withNetwork ? Pipe.MakeForInput() : null;
            _pid = Launcher.CloneWaiting(Libc.CLONE_NEWUSER, read.Value, made?.Write.Value ?? -1, withNetwork ? Libc.CLONE_NEWNET : 0);
            (_go, _made) = (go, made?.Read);
        }
        catch
        {
            go.Dispose();
            made?.Read.Dispose();
            throw;
        }
        finally
        {
            read.Dispose();
            made?.Write.Dispose();
        }

        try
        {
            Write("uid_map", users);
            Write("gid_map", groups);
            if (withNetwork)
            {
                // Only now: what the kernel shows of a network namespace in /proc belongs to the root that there is when it is made.
                Files.WriteAll(_go, [0], "let a network namespace be made");
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Readable once the network namespace was made, or was not.</summary>
    public Fd Made => _made ?? throw new InvalidOperationException("no network namespace is made with it");

    /// <summary>Takes what was made, waiting for it.</summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public MadeNamespaces Take()
    {
        if (_made is null)
        {
            return new MadeNamespaces(Open("ns/user", Libc.O_RDONLY), null);
        }

        int error;
        nint count;
        do
        {
            count = Libc.read(_made.Value, &error, sizeof(int));
        }
        while (count == -1 && Libc.LastErrno == Errno.EINTR);

        if (count != sizeof(int) || error != 0)
        {
            throw new LinuxException("make a network namespace", count == sizeof(int) ? (Errno)error : Errno.ESRCH);
        }

        var user = Open("ns/user", Libc.O_RDONLY);
        try
        {
            return new MadeNamespaces(user, Open("ns/net", Libc.O_RDONLY));
        }
        catch
        {
            user.Dispose();
            throw;
        }
    }

    /// <summary>Lets the process in it end as <see cref="Dispose"/> does, and does not wait for that.</summary>
    /// <returns>Its pid, which the caller is to reap.</returns>
    public int Release()
    {
        _go.Dispose();
        _made?.Dispose();
        return _pid;
    }

    /// <summary>Lets the process in it end; what nobody has taken is gone with it.</summary>
    public void Dispose()
    {
        _go.Dispose();
        _made?.Dispose();
        int status;
        _ = Libc.wait4(_pid, &status, Libc.__WALL);
    }

    private void Write(string name, string content)
    {
        using var file = Open(name, Libc.O_WRONLY);
        Files.WriteAll(file, Encoding.ASCII.GetBytes(content), name);
    }

    private Fd Open(string name, int flags)
    {
        var path = $"/proc/{_pid.ToString(CultureInfo.InvariantCulture)}/{name}";
        fixed (byte* text = Libc.Z(path))
        {
            return new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, text, flags | Libc.O_CLOEXEC), $"open {path}"));
        }
    }
}

/// <summary>Namespaces for a container that is to be launched, held by descriptors (files of nsfs).</summary>
public sealed class MadeNamespaces : IDisposable
{
    internal MadeNamespaces(Fd user, Fd? network) => (User, Network) = (user, network);

    /// <summary>The user namespace.</summary>
    public Fd User { get; }

    /// <summary>The network namespace that belongs to it; null where none was wanted.</summary>
    public Fd? Network { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        User.Dispose();
        Network?.Dispose();
    }
}
