using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Launch;

/// <summary>The container's files: its root, mounts and devices.</summary>
public static partial class LaunchPlanCompiler
{
    private static readonly (string Name, uint Major, uint Minor)[] DefaultDevices =
    [
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    ];

    private static readonly string[] ShownInProc =
    [
        "/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat", "/proc/swaps", "/proc/uptime", "/proc/net/dev",
    ];

    private static int AddRoot(LaunchPlan.Builder plan, RuntimeSpec spec, LaunchTarget target, Users? users)
    {
        var root = plan.TakeSlot();
        plan.Add(LaunchOp.Propagation, a: (long)(Libc.MS_REC | (FollowsHost(spec) ? Libc.MS_SLAVE : Libc.MS_PRIVATE)));
        if (target.Overlay is { } overlay)
        {
            // Relative to their common directory, so that many layers fit into the one page that mount(2) takes.
            var common = CommonDirectory([.. overlay.Lower, overlay.Upper, overlay.Work]);
            plan.Add(LaunchOp.OpenHost, slot: root, text1: overlay.MountPoint);
            if (users is { } mapped)
            {
                // All of it at once, in the container's own mount namespace: on disk layers keep the owners that they
                // have in the image, the topmost one as well.
                var layers = plan.TakeSlot();
                plan.Add(LaunchOp.OpenHost, slot: layers, text1: common);
                plan.Add(LaunchOp.BindMapped, slot: layers, slot2: mapped.Slot, text1: common);
                AddMakeAs(plan, mapped.Maps);
            }

            plan.Add(LaunchOp.ChangeDirectory, text1: common);
            var lower = string.Join(':', overlay.Lower.Select(layer => Escape(Path.GetRelativePath(common, layer))));
            var data = $"lowerdir={lower},upperdir={Escape(Path.GetRelativePath(common, overlay.Upper))},workdir={Escape(Path.GetRelativePath(common, overlay.Work))}";
            if (System.Text.Encoding.UTF8.GetByteCount(data) > 4095)
            {
                throw new EdgeHostException(ErrorKind.Infeasible, $"the image has {overlay.Lower.Count} layers, whose names do not fit into one mount; build it with fewer layers");
            }

            // A layer may carry device nodes: they are not used, whatever its cgroup allows, unless it may make its own.
            var makesNodes = (CapabilitySets.From(spec.Process!.Capabilities).Bounding & Capabilities.Mknod) != 0;
            plan.Add(LaunchOp.MountByData, slot: root, text1: "overlay", text2: "overlay", text3: data, a: makesNodes ? 0 : (long)Libc.MS_NODEV);
            plan.Add(LaunchOp.OpenHost, slot: root, text1: overlay.MountPoint);
            return root;
        }

        if (spec.Root?.Path is not { Length: > 0 } given)
        {
            throw Invalid("root.path: is missing");
        }

        // A root must be a mount for pivot_root: it is bound to itself.
        var path = Path.GetFullPath(given, target.Bundle);
        plan.Add(LaunchOp.OpenHost, slot: root, text1: path);
        plan.Add(LaunchOp.Bind, slot: root, text1: path, c: 1);
        plan.Add(LaunchOp.OpenHost, slot: root, text1: path);
        if (users is not null)
        {
            AddMakeAs(plan, users.Maps);
        }

        return root;

        static string Escape(string path) => path
            .Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace(":", "\\:", StringComparison.Ordinal)
            .Replace(",", "\\,", StringComparison.Ordinal);
    }

    // Directories for mounts, the roots of new file systems and device nodes belong to the container's root.
    private static void AddMakeAs(LaunchPlan.Builder plan, IdMaps maps) =>
        plan.Add(LaunchOp.MakeAs, a: maps.ToHostUser(0, "linux.uidMappings"), b: maps.ToHostGroup(0, "linux.gidMappings"));

    // Whether something of the container is to see what the host mounts later. The copy of the host's mounts then stays
    // their slave, and everything that did not ask for it is made private by itself.
    private static bool FollowsHost(RuntimeSpec spec) =>
        spec.Linux?.RootfsPropagation is "slave" or "rslave"
        || (spec.Mounts ?? []).Any(mount => (MountOptions.Parse(mount).Propagation & Libc.MS_SLAVE) != 0);

    private static string CommonDirectory(IReadOnlyList<string> paths)
    {
        var common = Path.GetDirectoryName(paths[0]) ?? "/";
        foreach (var path in paths)
        {
            while (common != "/" && !path.StartsWith(common + "/", StringComparison.Ordinal))
            {
                common = Path.GetDirectoryName(common) ?? "/";
            }
        }

        return common;
    }

    private static void AddMounts(LaunchPlan.Builder plan, RuntimeSpec spec, LaunchTarget target, Namespaces namespaces, int root, int scratch, Users? users)
    {
        foreach (var mount in spec.Mounts ?? [])
        {
            var destination = mount.Destination is { Length: > 0 } given
                ? given[0] == '/' ? given : "/" + given
                : throw Invalid("mounts: a destination is missing");
            var options = MountOptions.Parse(mount);
            RefuseOverProc(mount, options, destination);
            if (options.Bind)
            {
                AddBind(plan, mount, options, target, destination, root, scratch, users);
            }
            else if (mount.Type == "cgroup")
            {
                AddCgroupMounts(plan, options, target, namespaces, destination, root, scratch);
            }
            else
            {
                var type = mount.Type is { Length: > 0 } ? mount.Type : throw Invalid($"mounts: {destination}: the type is missing");
                plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: 1);
                AddMount(plan, type, mount.Source ?? type, users is null ? options.Data : Owned(options.Data, destination, users.Maps), options.Set, scratch);
            }

            if ((options.Propagation & Libc.MS_SHARED) != 0)
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"mount on {destination}: what the container mounts there cannot be shown to the host in this version; use rslave or rprivate instead of shared");
            }

            var propagation = options.Propagation != 0 ? options.Propagation : options.Bind && FollowsHost(spec) ? Libc.MS_PRIVATE | Libc.MS_REC : 0;
            if (propagation != 0)
            {
                plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination);
                plan.Add(LaunchOp.SetMountAttributes, slot: scratch, c: (long)propagation);
            }
        }
    }

    // What is written to and hidden in /proc is to be procfs; lxcfs and its like show a container its own numbers there.
    private static void RefuseOverProc(RuntimeMount mount, MountOptions options, string destination)
    {
        var path = Path.GetFullPath(destination);
        var refused = path == "/proc"
            ? options.Bind ? Path.GetFullPath(mount.Source ?? "/") != "/proc" : mount.Type != "proc"
            : path.StartsWith("/proc/", StringComparison.Ordinal) && !(options.Bind && Array.IndexOf(ShownInProc, path) >= 0);
        if (refused)
        {
            throw Invalid($"mounts: {destination}: nothing but procfs can be mounted on or in /proc; choose another target");
        }
    }

    private static void AddMount(LaunchPlan.Builder plan, string type, string source, IReadOnlyList<string> data, ulong attributes, int slot) =>
        plan.AddRaw(LaunchOp.Mount, slot, -1, plan.Put(type), plan.Put(source), data.Count == 0 ? -1 : plan.PutList(data), (long)attributes, 0, 0);

    private static void AddBind(LaunchPlan.Builder plan, RuntimeMount mount, MountOptions options, LaunchTarget target, string destination, int root, int scratch, Users? users)
    {
        if (mount.Source is not { Length: > 0 } source)
        {
            throw Invalid($"mounts: {destination}: the source of a bind mount is missing");
        }

        if (options.Data.Count > 0)
        {
            throw Invalid($"mounts: {destination}: a bind mount takes no option \"{options.Data[0]}\"");
        }

        source = Path.GetFullPath(source, target.Bundle);

        // A mount point of the same kind is made where it is missing; what cannot be seen now is a directory.
        var isFile = File.Exists(source);
        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: isFile ? 2 : 1);
        if (options.MapIds)
        {
            var slot = users?.Slot ?? throw Invalid($"mounts: {destination}: idmap means nothing without a user namespace");
            plan.Add(LaunchOp.BindMapped, slot: scratch, slot2: slot, text1: source, a: (long)options.Set, b: (long)options.Clear, c: options.Recursive || options.RecursiveAttributes ? 1 : 0);
            return;
        }

        plan.Add(LaunchOp.Bind, slot: scratch, text1: source, a: (long)options.Set, b: (long)options.Clear, c: options.Recursive || options.RecursiveAttributes ? 1 : 0);
    }

    // uid= and gid= are those of the container, and the mount is made outside of it.
    private static List<string> Owned(IReadOnlyList<string> data, string destination, IdMaps maps)
    {
        var name = $"mounts: {destination}";
        return [.. data.Select(option => option switch
        {
            ['u', 'i', 'd', '=', .. var id] when uint.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out var user) => "uid=" + maps.ToHostUser(user, name).ToString(CultureInfo.InvariantCulture),
            ['g', 'i', 'd', '=', .. var id] when uint.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out var group) => "gid=" + maps.ToHostGroup(group, name).ToString(CultureInfo.InvariantCulture),
            _ => option,
        })];
    }

    private static void AddCgroupMounts(LaunchPlan.Builder plan, MountOptions options, LaunchTarget target, Namespaces namespaces, string destination, int root, int scratch)
    {
        var cgroup = target.Cgroup ?? throw Invalid($"mounts: {destination}: there is no cgroup to show");
        const ulong safe = Libc.MOUNT_ATTR_NOSUID | Libc.MOUNT_ATTR_NODEV | Libc.MOUNT_ATTR_NOEXEC;
        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination, a: 1);
        if (target.CgroupMounts.Unified is not null)
        {
            if (namespaces.NewCgroup)
            {
                AddMount(plan, "cgroup2", "cgroup", [], options.Set | safe, scratch);
            }
            else
            {
                plan.Add(LaunchOp.Bind, slot: scratch, text1: cgroup.BirthDirectory, a: (long)(options.Set | safe));
            }

            return;
        }

        AddMount(plan, "tmpfs", "cgroup", ["mode=755", "size=64k"], safe, scratch);
        foreach (var (hierarchy, controllers) in target.CgroupMounts.V1
            .GroupBy(pair => pair.Value, pair => pair.Key)
            .OrderBy(group => group.Key, StringComparer.Ordinal)
            .Select(group => (group.Key, group.Order(StringComparer.Ordinal).ToList())))
        {
            var own = hierarchy + cgroup.CgroupPath;
            if (!cgroup.JoinFiles.Any(file => Path.GetDirectoryName(file) == own))
            {
                // Not limited there: the container is in somebody else's cgroup, which it is not shown.
                continue;
            }

            plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: $"{destination}/{Path.GetFileName(hierarchy)}", a: 1);
            if (namespaces.NewCgroup)
            {
                AddMount(plan, "cgroup", "cgroup", controllers, options.Set | safe, scratch);
            }
            else
            {
                plan.Add(LaunchOp.Bind, slot: scratch, text1: own, a: (long)(options.Set | safe));
            }
        }

        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: destination);
        plan.Add(LaunchOp.SetMountAttributes, slot: scratch, a: (long)Libc.MOUNT_ATTR_RDONLY);
    }

    private static void AddDevices(LaunchPlan.Builder plan, RuntimeSpec spec, int root, int scratch, Users? users)
    {
        // A /dev that was bound from the host has its own nodes.
        if ((spec.Mounts ?? []).Any(mount => mount.Destination?.TrimEnd('/') == "/dev" && MountOptions.Parse(mount).Bind))
        {
            return;
        }

        plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: "/dev", a: 1);
        foreach (var (name, major, minor) in DefaultDevices)
        {
            plan.Add(LaunchOp.MakeNode, slot: scratch, text1: name, a: Libc.S_IFCHR | 0x1B6, b: Device(major, minor));
        }

        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "fd", text2: "/proc/self/fd");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stdin", text2: "/proc/self/fd/0");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stdout", text2: "/proc/self/fd/1");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "stderr", text2: "/proc/self/fd/2");
        plan.Add(LaunchOp.MakeLink, slot: scratch, text1: "ptmx", text2: "pts/ptmx");
        foreach (var device in spec.Linux?.Devices ?? [])
        {
            var path = device.Path is { Length: > 1 } given && given[0] == '/' && given[^1] != '/'
                ? given
                : throw Invalid($"linux.devices: path \"{device.Path}\" is not absolute");
            if (DefaultDevices.Any(known => path == "/dev/" + known.Name))
            {
                continue;
            }

            var kind = device.Type switch
            {
                "c" or "u" => Libc.S_IFCHR,
                "b" => Libc.S_IFBLK,
                "p" => Libc.S_IFIFO,
                _ => throw Invalid($"linux.devices: {path}: type \"{device.Type}\" is not c, b, u or p"),
            };
            plan.Add(LaunchOp.OpenInRoot, slot: scratch, slot2: root, text1: Path.GetDirectoryName(path), a: 1);
            plan.Add(
                LaunchOp.MakeNode,
                slot: scratch,
                text1: Path.GetFileName(path),
                a: kind | (device.FileMode & 0xFFF ?? 0x1B6),
                b: kind == Libc.S_IFIFO ? 0 : Device((uint)device.Major, (uint)device.Minor),
                c: Owner(device.Uid ?? 0, device.Gid ?? 0, path));
        }

        long Owner(uint user, uint group, string path) => users is { Maps: var maps }
            ? maps.ToHostUser(user, $"linux.devices: {path}") | ((long)maps.ToHostGroup(group, $"linux.devices: {path}") << 32)
            : user | ((long)group << 32);
    }

    // makedev(3).
    private static long Device(uint major, uint minor) =>
        ((long)(major & 0xFFFFF000) << 32) | ((long)(major & 0xFFF) << 8) | ((long)(minor & 0xFFFFFF00) << 12) | (minor & 0xFF);
}
