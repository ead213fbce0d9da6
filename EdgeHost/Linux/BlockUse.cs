using System.Globalization;

namespace EdgeHost.Linux;

/// <summary>What a cgroup has read from and written to a block device, in bytes. Reads from and writes to the page cache do not count.</summary>
public sealed class BlockUse
{
    /// <summary>The device.</summary>
    public required int Major { get; init; }

    /// <summary>The device.</summary>
    public required int Minor { get; init; }

    /// <summary>Bytes.</summary>
    public long ReadBytes { get; private set; }

    /// <summary>Bytes.</summary>
    public long WrittenBytes { get; private set; }

    /// <summary>
    /// Reads <c>io.stat</c> of v2 (a line for each device, with <c>rbytes=</c> and <c>wbytes=</c> in it), or
    /// <c>blkio.throttle.io_service_bytes_recursive</c> of v1 (a line for each device and operation, and a sum).
    /// </summary>
    public static IReadOnlyList<BlockUse> Parse(string? text)
    {
        var all = new List<BlockUse>();
        foreach (var line in (text ?? string.Empty).Split('\n'))
        {
            var words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var device = words.Length < 2 ? [] : words[0].Split(':');
            if (device.Length != 2 || !int.TryParse(device[0], NumberStyles.None, CultureInfo.InvariantCulture, out var major) || !int.TryParse(device[1], NumberStyles.None, CultureInfo.InvariantCulture, out var minor))
            {
                continue;
            }

            var use = all.Find(each => each.Major == major && each.Minor == minor);
            if (use is null)
            {
                all.Add(use = new BlockUse { Major = major, Minor = minor });
            }

            for (var at = 1; at < words.Length; at++)
            {
                use.Take(words[at], at + 1 < words.Length ? words[at + 1] : string.Empty);
            }
        }

        return all;
    }

    private void Take(string word, string next)
    {
        var equals = word.IndexOf('=', StringComparison.Ordinal);
        _ = long.TryParse(equals < 0 ? next : word[(equals + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out var bytes);
        switch (equals < 0 ? word : word[..equals])
        {
            case "rbytes" or "Read":
                ReadBytes += bytes;
                break;
            case "wbytes" or "Write":
                WrittenBytes += bytes;
                break;
            default:
                break;
        }
    }
}
