using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Launch;

/// <summary>The options of a mount (mount(8), runtime-spec config.md "Linux mount options"), sorted by what the kernel takes them as.</summary>
internal sealed record MountOptions
{
    internal ulong Set { get; init; }

    internal ulong Clear { get; init; }

    internal ulong Propagation { get; init; }

    internal bool Bind { get; init; }

    internal bool Recursive { get; init; }

    internal bool RecursiveAttributes { get; init; }

    /// <summary>Whether files belong to whom the container's user namespace says (<c>idmap</c>, <c>ridmap</c>).</summary>
    internal bool MapIds { get; init; }

    /// <summary>Options of the file system itself, as in <c>size=64m</c>.</summary>
    internal required IReadOnlyList<string> Data { get; init; }

    internal static MountOptions Parse(RuntimeMount mount)
    {
        ulong set = 0, clear = 0, propagation = 0;
        var bind = mount.Type is "bind";
        bool recursive = false, recursiveAttributes = false, mapIds = false;
        var data = new List<string>();
        foreach (var option in mount.Options ?? [])
        {
            switch (option)
            {
                case "bind": bind = true; break;
                case "rbind": bind = recursive = true; break;
                case "ro": Put(Libc.MOUNT_ATTR_RDONLY, true); break;
                case "rw": Put(Libc.MOUNT_ATTR_RDONLY, false); break;
                case "rro": Put(Libc.MOUNT_ATTR_RDONLY, true); recursiveAttributes = true; break;
                case "nosuid": Put(Libc.MOUNT_ATTR_NOSUID, true); break;
                case "suid": Put(Libc.MOUNT_ATTR_NOSUID, false); break;
                case "nodev": Put(Libc.MOUNT_ATTR_NODEV, true); break;
                case "dev": Put(Libc.MOUNT_ATTR_NODEV, false); break;
                case "noexec": Put(Libc.MOUNT_ATTR_NOEXEC, true); break;
                case "exec": Put(Libc.MOUNT_ATTR_NOEXEC, false); break;
                case "nodiratime": Put(Libc.MOUNT_ATTR_NODIRATIME, true); break;
                case "diratime": Put(Libc.MOUNT_ATTR_NODIRATIME, false); break;
                case "noatime": AccessTime(Libc.MOUNT_ATTR_NOATIME); break;
                case "strictatime": AccessTime(Libc.MOUNT_ATTR_STRICTATIME); break;
                case "relatime" or "atime" or "norelatime" or "nostrictatime": AccessTime(0); break;
                case "private": propagation = Libc.MS_PRIVATE; break;
                case "rprivate": propagation = Libc.MS_PRIVATE | Libc.MS_REC; break;
                case "slave": propagation = Libc.MS_SLAVE; break;
                case "rslave": propagation = Libc.MS_SLAVE | Libc.MS_REC; break;
                case "shared": propagation = Libc.MS_SHARED; break;
                case "rshared": propagation = Libc.MS_SHARED | Libc.MS_REC; break;
                case "unbindable": propagation = Libc.MS_UNBINDABLE; break;
                case "runbindable": propagation = Libc.MS_UNBINDABLE | Libc.MS_REC; break;
                case "defaults" or "async" or "nomand" or "loud" or "silent" or "noiversion" or "nolazytime": break;
                case "idmap": mapIds = true; break;
                case "ridmap": mapIds = recursive = true; break;
                case "remount" or "tmpcopyup" or "mand":
                    throw new EdgeHostException(ErrorKind.Infeasible, $"mount on {mount.Destination}: this version does not know the option {option}; take it out");
                default: data.Add(option); break;
            }
        }

        return new MountOptions
        {
            Set = set,
            Clear = clear,
            Propagation = propagation,
            Bind = bind,
            Recursive = recursive,
            RecursiveAttributes = recursiveAttributes,
            MapIds = mapIds,
            Data = data,
        };

        void Put(ulong attribute, bool on)
        {
            set = on ? set | attribute : set & ~attribute;
            clear = on ? clear & ~attribute : clear | attribute;
        }

        void AccessTime(ulong mode)
        {
            set = (set & ~Libc.MOUNT_ATTR__ATIME) | mode;
            clear |= Libc.MOUNT_ATTR__ATIME;
        }
    }
}
