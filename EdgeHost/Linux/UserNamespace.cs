using System.Globalization;
using System.Text;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Linux;

/// <summary>
/// User namespaces (user_namespaces(7)) that no process of ours is in: they say whom files belong to
/// (mount_setattr(2), MOUNT_ATTR_IDMAP), and containers join them.
/// </summary>
public static unsafe class UserNamespace
{
    /// <summary>Makes one. Only a process with one managed thread may call it, as with <see cref="Launcher.Start"/>.</summary>
    /// <param name="users">What is written into uid_map: lines of first id inside, first id outside, number.</param>
    /// <param name="groups">The same for gid_map.</param>
    /// <param name="maker">The process that was born in it, and ends: for <see cref="Reap"/>.</param>
    /// <returns>Its descriptor, a file of nsfs.</returns>
    /// <exception cref="LinuxException">The kernel refuses: there are no user namespaces, too many, or these maps are none.</exception>
    public static Fd Create(string users, string groups, out int maker)
    {
        var pipe = stackalloc int[2];
        Libc.Check(Libc.pipe2(pipe, Libc.O_CLOEXEC), "make a pipe for a user namespace");
        using var read = new Fd(pipe[0]);
        var write = new Fd(pipe[1]);
        maker = Launcher.CloneWaiting(Libc.CLONE_NEWUSER, pipe[0], pipe[1]);
        Fd? made = null;
        try
        {
            var directory = "/proc/" + maker.ToString(CultureInfo.InvariantCulture);
            Write($"{directory}/uid_map", users);
            Write($"{directory}/gid_map", groups);
            return made = Open($"{directory}/ns/user", Libc.O_RDONLY);
        }
        finally
        {
            write.Dispose();
            if (made is null)
            {
                Reap(maker);
            }
        }
    }

    /// <summary>Waits for the end of a process that has made one. Not at once: it may have to wait for a CPU, and nobody has to wait for it.</summary>
    public static void Reap(int maker)
    {
        int status;
        _ = Libc.wait4(maker, &status, Libc.__WALL);
    }

    private static void Write(string path, string content)
    {
        using var file = Open(path, Libc.O_WRONLY);
        Files.WriteAll(file, Encoding.ASCII.GetBytes(content), path);
    }

    private static Fd Open(string path, int flags)
    {
        fixed (byte* name = Libc.Z(path))
        {
            return new Fd((int)Libc.Check(Libc.openat(Libc.AT_FDCWD, name, flags | Libc.O_CLOEXEC), $"open {path}"));
        }
    }
}
