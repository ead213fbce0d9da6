using System.Security.Cryptography;
using System.Text;

namespace EdgeHost.Linux;

/// <summary>Which board and which boot this is.</summary>
public static class SystemIdentity
{
    /// <summary>The boot's id: random(4), <c>/proc/sys/kernel/random/boot_id</c>.</summary>
    public static string BootId { get; } = ReadFirstLine("/proc/sys/kernel/random/boot_id") ?? "unknown";

    /// <summary>
    /// A number for this board, derived from machine-id(5). The id itself is never shown to others (the manual page
    /// asks for that), so it is hashed together with our name.
    /// </summary>
    /// <returns>Eight lower-case hex digits; null when the board has no machine id.</returns>
    public static string? DerivedMachineId()
    {
        var id = ReadFirstLine("/etc/machine-id") ?? ReadFirstLine("/var/lib/dbus/machine-id");
        return id is { Length: >= 32 }
            ? Convert.ToHexStringLower(HMACSHA256.HashData("io.edgehost.device"u8, Encoding.ASCII.GetBytes(id)))[..8]
            : null;
    }

    private static string? ReadFirstLine(string path)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        using var reader = new StreamReader(path);
        return reader.ReadLine()?.Trim() is { Length: > 0 } line ? line : null;
    }
}
