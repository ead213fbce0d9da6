using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>What runs in a container, from the processes of its cgroup.</summary>
public sealed partial class ContainerEngine
{
    // USER_HZ, fixed at 100 in the kernel's interface on every architecture that we run on.
    private const int TicksPerSecond = 100;

    /// <inheritdoc/>
    public IReadOnlyList<ContainerProcess> ListProcesses(string container)
    {
        var found = Find(container);
        if (!found.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {found.Record.Id} is not running");
        }

        var upSeconds = double.Parse(File.ReadAllText("/proc/uptime").Split(' ')[0], CultureInfo.InvariantCulture);
        var now = DateTimeOffset.UtcNow;
        return [.. CgroupOf(found.Record.Id).ReadPids().Order().Select(pid => TryReadProcess(pid, found.Record.Users, upSeconds, now)).OfType<ContainerProcess>()];
    }

    // proc(5): the name in brackets may hold blanks and brackets itself.
    private static ContainerProcess? TryReadProcess(int pid, MappedUsers? users, double upSeconds, DateTimeOffset now)
    {
        try
        {
            var stat = File.ReadAllText($"/proc/{pid}/stat");
            var name = stat[(stat.IndexOf('(', StringComparison.Ordinal) + 1)..stat.LastIndexOf(')')];
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            var line = File.ReadAllText($"/proc/{pid}/cmdline").TrimEnd('\0').Replace('\0', ' ');
            var uid = File.ReadLines($"/proc/{pid}/status").First(each => each.StartsWith("Uid:", StringComparison.Ordinal)).Split('\t')[2];
            var ran = upSeconds - (Number(fields[19]) / (double)TicksPerSecond);
            return new ContainerProcess(
                pid,
                (int)Number(fields[1]),
                users?.ToContainer((uint)Number(uid)) ?? (uint)Number(uid),
                TimeSpan.FromSeconds((Number(fields[11]) + Number(fields[12])) / (double)TicksPerSecond),
                now - TimeSpan.FromSeconds(Math.Max(ran, 0)),
                line.Length > 0 ? line : $"[{name}]");
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException or IOException or InvalidOperationException)
        {
            // It ended between the list and the look.
            return null;
        }

        static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
    }
}
