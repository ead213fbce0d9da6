using System.Globalization;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// Says that a directory belongs to this process until it ends, however it ends: flock(2) on a file in it,
/// which holds the pid for people. The file stays; only the lock counts.
/// </summary>
public sealed unsafe class DirectoryLock : IDisposable
{
    private const int LOCK_EX = 2;
    private const int LOCK_NB = 4;

    private readonly Fd _file;

    /// <summary>Takes over a lock that the program before this one in the same process took.</summary>
    /// <param name="file">Its <see cref="File"/>.</param>
    internal DirectoryLock(Fd file) => _file = file;

    /// <summary>The descriptor that holds the lock.</summary>
    internal Fd File => _file;

    /// <summary>Takes the lock.</summary>
    /// <param name="directory">An absolute path; it exists.</param>
    /// <param name="fileName">The file in it.</param>
    /// <param name="holder">What kind of process holds it, for the error.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: another process has it; its pid is named.</exception>
    /// <exception cref="LinuxException">The file cannot be made.</exception>
    public static DirectoryLock Take(string directory, string fileName = "lock", string holder = "edgehost daemon")
    {
        var path = Path.Combine(directory, fileName);
        fixed (byte* name = Libc.Z(path))
        {
            var file = new Fd((int)Libc.Check(
                Libc.openat(Libc.AT_FDCWD, name, Libc.O_RDWR | Libc.O_CREAT | Libc.O_CLOEXEC | Libc.O_NOFOLLOW, 0x180),
                $"open {path}"));
            var taken = false;
            try
            {
                if (Libc.flock(file.Value, LOCK_EX | LOCK_NB) == -1)
                {
                    if (Libc.LastErrno != Errno.EAGAIN)
                    {
                        throw Libc.Failure($"lock {path}");
                    }

                    throw new EdgeHostException(
                        ErrorKind.Conflict,
                        $"{directory} is in use by another {holder} (pid {Holder(file)}); stop it first, or choose another directory");
                }

                Libc.Check(Libc.syscall(Nr.ftruncate, file.Value, 0), $"empty {path}");
                Files.WriteAll(file, Encoding.ASCII.GetBytes(Environment.ProcessId.ToString(CultureInfo.InvariantCulture) + "\n"), path);
                taken = true;
                return new DirectoryLock(file);
            }
            finally
            {
                if (!taken)
                {
                    file.Dispose();
                }
            }
        }
    }

    /// <summary>Gives the directory back.</summary>
    public void Dispose() => _file.Dispose();

    private static string Holder(Fd file)
    {
        var text = stackalloc byte[16];
        var count = Libc.read(file.Value, text, 16);
        var pid = count > 0 ? Encoding.ASCII.GetString(text, (int)count).Trim() : string.Empty;
        return pid.Length > 0 ? pid : "unknown";
    }
}
