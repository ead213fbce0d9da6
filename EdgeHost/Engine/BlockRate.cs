using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Engine;

/// <summary>How much of a disk of the host a container may use in a second, as in <c>/dev/sda rbps=1048576</c>.</summary>
internal static class BlockRate
{
    /// <summary>Docker's fields, in the order of <see cref="BlockLimit.Kinds"/>.</summary>
    internal static readonly string[] DockerFields = ["BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"];

    // The kernel counts operations in 32 bits.
    private const long MostOperations = uint.MaxValue;

    /// <summary>Puts one together.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it is none.</exception>
    internal static string Make(int kind, string path, long rate)
    {
        if (!path.StartsWith('/') || path.Length == 1 || path.Contains('\0', StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"\"{path}\" is not the absolute path of a disk, as /dev/sda is");
        }

        var most = kind < 2 ? long.MaxValue : MostOperations;
        return rate >= 1 && rate <= most
            ? string.Create(CultureInfo.InvariantCulture, $"{path} {BlockLimit.Kinds[kind]}={rate}")
            : throw new EdgeHostException(ErrorKind.Invalid, $"a rate of {rate} for {path} is not within 1 and {most}");
    }

    /// <summary>Takes one apart that was put together here.</summary>
    internal static (int Kind, string Path, long Rate) Parse(string text)
    {
        var end = text.LastIndexOf(' ');
        var equals = text.LastIndexOf('=');
        return (Array.IndexOf(BlockLimit.Kinds, text[(end + 1)..equals]), text[..end], long.Parse(text.AsSpan(equals + 1), CultureInfo.InvariantCulture));
    }

    /// <summary>Looks the disks up: their numbers are those that they have now.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: one is not there, or is no disk.</exception>
    internal static IReadOnlyList<BlockLimit> Find(ResourceLimits limits)
    {
        if (limits.BlockRates is not { } texts)
        {
            return [];
        }

        var found = new BlockLimit[texts.Count];
        for (var at = 0; at < found.Length; at++)
        {
            found[at] = Find(texts[at]);
        }

        return found;
    }

    private static BlockLimit Find(string text)
    {
        var (kind, path, rate) = Parse(text);
        FileFacts facts;
        try
        {
            facts = Files.Stat(path);
        }
        catch (LinuxException e)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"rate of disk {path}: {(e.Errno == Errno.ENOENT ? "it is not there" : e.Errno.InWords())}; plug it in, or start the container without this limit", e);
        }

        if (!facts.IsBlockDevice)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"rate of disk {path}: it is no disk; lsblk lists them");
        }

        var inKernel = string.Create(CultureInfo.InvariantCulture, $"/sys/dev/block/{facts.DeviceMajor}:{facts.DeviceMinor}");
        if (File.Exists(inKernel + "/partition") && File.ResolveLinkTarget(inKernel, returnFinalTarget: true) is { } partition)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"rate of disk {path}: it is a partition, and the kernel limits whole disks: give /dev/{Path.GetFileName(Path.GetDirectoryName(partition.FullName))}");
        }

        return new BlockLimit(facts.DeviceMajor, facts.DeviceMinor, BlockLimit.Kinds[kind], rate);
    }
}
