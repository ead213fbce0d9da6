using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>
/// What systemd is told by and tells a service (sd_notify(3), sd_watchdog_enabled(3)). Without systemd each verb does
/// nothing. Uses a socket of the runtime: not for single-threaded processes.
/// </summary>
public static class ServiceSupervisor
{
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

    /// <summary>Whether standard error goes to the journal, which reads a priority from <c>&lt;N&gt;</c> in front of a line.</summary>
    public static bool LogsToJournal => Environment.GetEnvironmentVariable("JOURNAL_STREAM") is { Length: > 0 };

    /// <summary>Sends a state, as in <c>READY=1</c>; more than one separated by newlines.</summary>
    /// <returns>Whether somebody was told.</returns>
    public static bool Notify(string state)
    {
        if (Environment.GetEnvironmentVariable("NOTIFY_SOCKET") is not { Length: > 1 } path || path[0] is not ('/' or '@'))
        {
            return false;
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        try
        {
            // A leading @ stands for the zero byte of an abstract name.
            socket.Connect(new UnixDomainSocketEndPoint(path[0] == '@' ? $"\0{path[1..]}" : path));
            socket.Send(Encoding.UTF8.GetBytes(state));
            return true;
        }
        catch (SocketException)
        {
            // A supervisor that does not listen is no reason to fail; it will say itself that it was not told.
            return false;
        }
    }
}
