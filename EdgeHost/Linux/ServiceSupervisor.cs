using System.Globalization;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// What systemd is told by and tells a service (sd_notify(3), sd_watchdog_enabled(3)). Without systemd each verb does
/// nothing. Starts no thread: single-threaded processes use it, too.
/// </summary>
public static unsafe class ServiceSupervisor
{
    // sizeof(struct sockaddr_un)
    private const int LongestAddress = 110;

    /// <summary>How often systemd wants a sign of life; null when it does not.</summary>
    public static TimeSpan? WatchdogInterval
    {
        get
        {
            var forUs = Environment.GetEnvironmentVariable("WATCHDOG_PID") is not { Length: > 0 } pid
                || pid == Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
            return forUs
                && long.TryParse(Environment.GetEnvironmentVariable("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out var microseconds)
                && microseconds > 0
                ? TimeSpan.FromMicroseconds(microseconds)
                : null;
        }
    }

    /// <summary>
    /// Whether standard error goes to the journal, which reads a priority from <c>&lt;N&gt;</c> in front of a line: the
    /// variable, which every child inherits, has to name the very stream (systemd.exec(5)).
    /// </summary>
    public static bool LogsToJournal => Environment.GetEnvironmentVariable("JOURNAL_STREAM") is { Length: > 0 } stream && stream == NameOf(2);

    /// <summary>A descriptor as stat(1) would name it, <c>DEVICE:INODE</c>; null for what cannot be looked at.</summary>
    private static string? NameOf(int descriptor)
    {
        byte empty = 0;
        Libc.statx_t found;
        if (Libc.statx(descriptor, &empty, Libc.AT_EMPTY_PATH, Libc.STATX_BASIC_STATS, &found) == -1)
        {
            return null;
        }

        // makedev(3): twelve and eight low bits in the middle, the high ones around them.
        var device = ((ulong)(found.stx_dev_major & 0xFFFu) << 8) | (found.stx_dev_minor & 0xFFu)
            | ((ulong)(found.stx_dev_minor & ~0xFFu) << 12) | ((ulong)(found.stx_dev_major & ~0xFFFu) << 32);
        return string.Create(CultureInfo.InvariantCulture, $"{device}:{found.stx_ino}");
    }

    /// <summary>Sends a state, as in <c>READY=1</c>; more than one separated by newlines.</summary>
    /// <returns>Whether somebody was told.</returns>
    public static bool Notify(string state) => Notify(state, null);

    /// <summary>
    /// Lets the supervisor keep a duplicate of a descriptor until <see cref="Unstore"/>, also where its other end is closed:
    /// the next process of the service is given it (sd_pid_notify_with_fds(3)).
    /// </summary>
    /// <param name="name">Up to 255 characters without a colon.</param>
    /// <param name="descriptor">The descriptor.</param>
    public static void Store(string name, Fd descriptor) => Notify($"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", descriptor);

    /// <summary>Lets the supervisor close what it keeps under a name.</summary>
    public static void Unstore(string name) => Notify($"FDSTOREREMOVE=1\nFDNAME={name}");

    /// <summary>Takes what the supervisor has kept for this service (sd_listen_fds_with_names(3)); once, and before anything is opened.</summary>
    /// <returns>Each with its name; the caller closes them.</returns>
    public static Dictionary<string, Fd> TakeStored()
    {
        const int First = 3;
        var stored = new Dictionary<string, Fd>(StringComparer.Ordinal);
        if (Environment.GetEnvironmentVariable("LISTEN_PID") == Environment.ProcessId.ToString(CultureInfo.InvariantCulture)
            && int.TryParse(Environment.GetEnvironmentVariable("LISTEN_FDS"), NumberStyles.None, CultureInfo.InvariantCulture, out var count))
        {
            var names = (Environment.GetEnvironmentVariable("LISTEN_FDNAMES") ?? string.Empty).Split(':');
            for (var i = 0; i < count; i++)
            {
                Fd.SetInherited(First + i, false);
                var descriptor = new Fd(First + i);
                if (i >= names.Length || !stored.TryAdd(names[i], descriptor))
                {
                    descriptor.Dispose();
                }
            }
        }

        return stored;
    }

    private static bool Notify(string state, Fd? descriptor)
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path || path[0] is not ('/' or '@'))
        {
            return false;
        }

        var address = new byte[2 + Encoding.UTF8.GetByteCount(path)];
        if (address.Length > LongestAddress)
        {
            return false;
        }

        address[0] = Libc.AF_UNIX;
        Encoding.UTF8.GetBytes(path, address.AsSpan(2));
        if (path[0] == '@')
        {
            // Stands for the zero byte of an abstract name.
            address[2] = 0;
        }

        using var socket = new PacketSocket(new Fd((int)Libc.Check(Libc.socket(Libc.AF_UNIX, Libc.SOCK_DGRAM | Libc.SOCK_CLOEXEC, 0), "make a socket")));
        fixed (byte* name = address)
        {
            try
            {
                // A supervisor that does not listen is no reason to fail, and one that does not read none to wait: it will
                // say itself that it was not told.
                return Libc.connect(socket.Fd.Value, name, (uint)address.Length) == 0
                    && socket.TrySend(Encoding.UTF8.GetBytes(state), descriptor is null ? [] : [descriptor.Value]) is true;
            }
            catch (LinuxException)
            {
                return false;
            }
        }
    }
}
