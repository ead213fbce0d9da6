using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Launch;

/// <summary>Which users and groups of the host those of a container are (user_namespaces(7), runtime-spec config-linux.md "User namespace mappings").</summary>
internal sealed class IdMaps
{
    // Of the kernel since 4.15.
    private const int MaximumLines = 340;

    private readonly IReadOnlyList<RuntimeIdMapping> _users;
    private readonly IReadOnlyList<RuntimeIdMapping> _groups;

    private IdMaps(IReadOnlyList<RuntimeIdMapping> users, IReadOnlyList<RuntimeIdMapping> groups)
    {
        _users = users;
        _groups = groups;
    }

    /// <summary>As uid_map takes it.</summary>
    internal string Users => Text(_users);

    /// <summary>As gid_map takes it.</summary>
    internal string Groups => Text(_groups);

    /// <summary>The maps of a configuration; null when it has no user namespace of its own.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: they are missing, overlap, or leave the container without a root.</exception>
    internal static IdMaps? Of(RuntimeSpec spec, Namespaces namespaces)
    {
        var users = spec.Linux?.UidMappings ?? [];
        var groups = spec.Linux?.GidMappings ?? [];
        if (namespaces.User is not null && users.Count + groups.Count == 0)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "linux.namespaces: joining a user namespace whose maps are not said is not in this version; give those that it has as linux.uidMappings and linux.gidMappings");
        }

        if (!namespaces.Has("user"))
        {
            return users.Count + groups.Count == 0 ? null : throw Invalid("linux.uidMappings: mean nothing without a user namespace; add one to linux.namespaces");
        }

        Check("linux.uidMappings", users);
        Check("linux.gidMappings", groups);
        return new IdMaps(users, groups);
    }

    /// <summary>The user of the host that one of the container is.</summary>
    internal uint ToHostUser(uint user, string name) => ToHost(_users, user, name);

    /// <summary>The group of the host that one of the container is.</summary>
    internal uint ToHostGroup(uint group, string name) => ToHost(_groups, group, name);

    private static uint ToHost(IReadOnlyList<RuntimeIdMapping> map, uint id, string name)
    {
        foreach (var line in map)
        {
            if (id >= line.ContainerId && id - line.ContainerId < line.Size)
            {
                return line.HostId + (id - line.ContainerId);
            }
        }

        throw Invalid($"{name}: {id} is in none of the maps of the user namespace");
    }

    private static void Check(string name, IReadOnlyList<RuntimeIdMapping> map)
    {
        if (map.Count is 0 or > MaximumLines)
        {
            throw Invalid($"{name}: a user namespace needs 1 to {MaximumLines} of them, {map.Count} are given");
        }

        for (var i = 0; i < map.Count; i++)
        {
            var line = map[i];
            if (line.Size == 0 || line.ContainerId > uint.MaxValue - line.Size || line.HostId > uint.MaxValue - line.Size)
            {
                throw Invalid($"{name}: {line.ContainerId} {line.HostId} {line.Size}: the size must be 1 or more, and the last id below 4294967295");
            }

            for (var j = 0; j < i; j++)
            {
                if (Overlap(map[j].ContainerId, line.ContainerId, map[j].Size, line.Size) || Overlap(map[j].HostId, line.HostId, map[j].Size, line.Size))
                {
                    throw Invalid($"{name}: {line.ContainerId} {line.HostId} {line.Size} overlaps {map[j].ContainerId} {map[j].HostId} {map[j].Size}");
                }
            }
        }

        _ = ToHost(map, 0, name);
    }

    private static bool Overlap(uint first, uint second, uint firstSize, uint secondSize) =>
        first < (ulong)second + secondSize && second < (ulong)first + firstSize;

    private static string Text(IReadOnlyList<RuntimeIdMapping> map) => string.Concat(map.Select(line => string.Create(
        CultureInfo.InvariantCulture, $"{line.ContainerId} {line.HostId} {line.Size}\n")));

    private static EdgeHostException Invalid(string message) => new(ErrorKind.Invalid, message);
}
