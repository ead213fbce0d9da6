using System.Globalization;

namespace EdgeHost.Linux;

/// <summary>Finds out which program has a port, by what the kernel shows beneath /proc.</summary>
public static class SocketOwner
{
    private const string Listening = "0A";

    /// <summary>The program that has a port of this machine.</summary>
    /// <param name="port">1 to 65535.</param>
    /// <param name="isTcp">Whether it listens there by TCP; else by UDP.</param>
    /// <returns>As in <c>nginx (pid 312)</c>; null when nobody has it, or it cannot be told who.</returns>
    public static string? Find(int port, bool isTcp)
    {
        var protocol = isTcp ? "tcp" : "udp";
        var inodes = new HashSet<string>(StringComparer.Ordinal);
        foreach (var table in (string[])[protocol, protocol + "6"])
        {
            AddInodes($"/proc/net/{table}", port, isTcp, inodes);
        }

        return inodes.Count == 0 ? null : FindOwner(inodes);
    }

    private static void AddInodes(string table, int wanted, bool isTcp, HashSet<string> inodes)
    {
        if (!File.Exists(table))
        {
            return;
        }

        foreach (var line in File.ReadLines(table).Skip(1))
        {
            // sl, local address:port, remote address:port, state, queues, timer, retransmits, uid, timeout, inode
            var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length > 9
                && int.TryParse(fields[1].AsSpan(fields[1].LastIndexOf(':') + 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out var port)
                && port == wanted
                && (!isTcp || fields[3] == Listening))
            {
                inodes.Add($"socket:[{fields[9]}]");
            }
        }
    }

    private static string? FindOwner(HashSet<string> sockets)
    {
        foreach (var process in Directory.EnumerateDirectories("/proc").Where(each => char.IsAsciiDigit(Path.GetFileName(each)[0])))
        {
            try
            {
                foreach (var descriptor in Directory.EnumerateFiles(process + "/fd"))
                {
                    if (new FileInfo(descriptor).LinkTarget is { } target && sockets.Contains(target))
                    {
                        return $"{File.ReadAllText(process + "/comm").Trim()} (pid {Path.GetFileName(process)})";
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // It has ended meanwhile, or is not ours to look at.
                continue;
            }
        }

        return null;
    }
}
