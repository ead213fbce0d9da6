using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Engine;

/// <summary>
/// The devices of the host that a container is given. Its nodes are its own, made at each start with the numbers that
/// the host's have then, and owned by its own users; what it may do with them its cgroup says.
/// </summary>
internal sealed class HostDevices
{
    private const string EveryRight = "rwm";
    private const int MostNodes = 1024;

    private readonly List<RuntimeDevice> _nodes = [];
    private readonly List<RuntimeDeviceRule> _rules = [new() { Allow = false, Access = EveryRight }];

    // What a container has of its own in /dev, its terminals and memory.
    private static readonly string[] Own = ["console", "fd", "mqueue", "ptmx", "pts", "shm"];

    private HostDevices()
    {
    }

    /// <summary>Of a container that is there already: nothing is made for what comes into it.</summary>
    internal static HostDevices None { get; } = new();

    /// <summary>The nodes.</summary>
    internal IReadOnlyList<RuntimeDevice> Nodes => _nodes;

    /// <summary>What may be done with them, and what else was asked for.</summary>
    internal DeviceRules Rules => DeviceRules.From(_rules);

    /// <summary>Looks the devices of a container up.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: one is not there, or is no device.</exception>
    internal static HostDevices Find(ContainerSpec spec)
    {
        var found = new HostDevices();
        if (spec.Privileged)
        {
            found._rules.Add(new RuntimeDeviceRule { Allow = true, Access = EveryRight });
            found.AddAll("/dev");
        }

        foreach (var device in spec.Devices)
        {
            var (source, path, access) = Parse(device);
            var node = DeviceNames.Find(source) ?? (DeviceNames.Has(source)
                ? throw new EdgeHostException(ErrorKind.Infeasible, $"device {source}: no device of this machine is called so; plug it in, or start the container without it")
                : source);
            path = path.Length > 0 ? path : node;
            found._nodes.RemoveAll(each => each.Path == path);
            found.Add(node, path, access);
        }

        found._rules.AddRange(spec.DeviceRules.Select(ParseRule));
        return found;
    }

    /// <summary>
    /// The first device that a workload of the desired state needs and that is not there: it waits for it. Any other
    /// container is refused without, as with Docker.
    /// </summary>
    internal static string? FindMissing(ContainerSpec spec) => spec.Devices.Count > 0 && spec.Labels.ContainsKey(ContainerLabels.Workload)
        ? spec.Devices.Select(static device => Parse(device).Source).FirstOrDefault(IsMissing)
        : null;

    private static bool IsMissing(string source)
    {
        try
        {
            return DeviceNames.Find(source) is null;
        }
        catch (EdgeHostException)
        {
            // Too many of them are no reason to wait: the start says it.
            return false;
        }
    }

    /// <summary>
    /// Takes docker's short form apart, <c>SOURCE[:PATH][:rwm]</c>, where the source may be one of <see cref="DeviceNames"/>:
    /// then the path is empty unless it is given.
    /// </summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it is not that.</exception>
    internal static (string Source, string Path, string Access) Parse(string text)
    {
        // From its end: udev's names by a path, as beneath /dev/serial/by-path, have colons themselves.
        var (rest, access) = text.LastIndexOf(':') is > 0 and var last && IsAccess(text[(last + 1)..]) ? (text[..last], text[(last + 1)..]) : (text, EveryRight);
        var at = rest.LastIndexOf(":/", StringComparison.Ordinal);
        var source = at > 0 ? rest[..at] : rest;
        var isNamed = DeviceNames.Has(source);
        var path = at > 0 ? rest[(at + 1)..] : isNamed ? string.Empty : source;
        return (isNamed || IsAbsolute(source)) && (path.Length == 0 || IsAbsolute(path))
            ? (source, path, access)
            : throw new EdgeHostException(ErrorKind.Invalid, $"device \"{text}\" is not SOURCE[:PATH][:ACCESS] with absolute paths, or i2c=, spi=, gpiochip=, gpioline=, usb= or tty= and a name for the source, and an access of r, w and m");

        static bool IsAbsolute(string path) => path.Length > 1 && path[0] == '/' && path[^1] != '/'
            && (!path.Contains(':', StringComparison.Ordinal) || path.Contains("/by-", StringComparison.Ordinal));
    }

    /// <summary>Reads a rule as in <c>c 189:* rwm</c>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: it is none.</exception>
    internal static RuntimeDeviceRule ParseRule(string text)
    {
        if (text.Split(' ') is [("a" or "b" or "c") and var type, var numbers, var access]
            && numbers.Split(':') is [var major, var minor]
            && TryNumber(major, out var first) && TryNumber(minor, out var second) && IsAccess(access))
        {
            return new RuntimeDeviceRule { Allow = true, Type = type, Major = first, Minor = second, Access = access };
        }

        throw new EdgeHostException(ErrorKind.Invalid, $"invalid device cgroup format: \"{text}\"; it is TYPE MAJOR:MINOR ACCESS, as in \"c 189:* rwm\"");

        static bool TryNumber(string text, out long? number)
        {
            number = uint.TryParse(text, out var value) ? value : null;
            return text == "*" || number is not null;
        }
    }

    private static bool IsAccess(string text) => text.Length is > 0 and <= 3 && text.All("rwm".Contains);

    // Every device that this machine has now. What is gone in this moment is not there.
    private void AddAll(string directory)
    {
        foreach (var entry in new DirectoryInfo(directory).EnumerateFileSystemInfos().OrderBy(static entry => entry.Name, StringComparer.Ordinal))
        {
            if (entry.LinkTarget is not null || entry.Name[0] == '.' || (directory == "/dev" && Own.Contains(entry.Name)))
            {
                continue;
            }

            if (entry is DirectoryInfo)
            {
                AddAll(entry.FullName);
            }
            else
            {
                try
                {
                    var facts = Files.Stat(entry.FullName);
                    if (facts.IsDevice)
                    {
                        AddNode(facts, entry.FullName);
                    }
                }
                catch (LinuxException e) when (e.Errno == Errno.ENOENT)
                {
                }
            }
        }
    }

    // A directory stands for the devices in it, as /dev/snd does.
    private void Add(string source, string path, string access)
    {
        FileFacts facts;
        try
        {
            facts = Files.Stat(source);
        }
        catch (LinuxException e)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"device {source}: {e.Errno.InWords()}; plug it in, or start the container without it", e);
        }

        if (facts.IsDirectory)
        {
            foreach (var entry in Directory.EnumerateFileSystemEntries(source).Order(StringComparer.Ordinal))
            {
                var inner = Files.Stat(entry);
                if (inner.IsDirectory || inner.IsDevice)
                {
                    Add(entry, $"{path}/{Path.GetFileName(entry)}", access);
                }
            }

            return;
        }

        if (!facts.IsDevice)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"device {source}: it is no device; mount it with -v instead");
        }

        if (_nodes.Count >= MostNodes)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"device {source}: a container is given {MostNodes} devices at most");
        }

        var type = AddNode(facts, path);
        _rules.Add(new RuntimeDeviceRule { Allow = true, Type = type, Major = facts.DeviceMajor, Minor = facts.DeviceMinor, Access = access });
    }

    private string AddNode(FileFacts facts, string path)
    {
        var type = facts.IsBlockDevice ? "b" : "c";
        _nodes.Add(new RuntimeDevice
        {
            Path = path,
            Type = type,
            Major = facts.DeviceMajor,
            Minor = facts.DeviceMinor,
            FileMode = facts.Mode & 0x1FF,
            Uid = facts.Uid,
            Gid = facts.Gid,
        });
        return type;
    }
}
