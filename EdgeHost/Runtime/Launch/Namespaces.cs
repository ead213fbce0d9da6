using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Launch;

/// <summary>The namespaces of a configuration: those that the clone makes, and those that are joined.</summary>
internal sealed class Namespaces
{
    private static readonly (string Kind, ulong Flag)[] Known =
    [
        ("mount", Libc.CLONE_NEWNS), ("pid", Libc.CLONE_NEWPID), ("network", Libc.CLONE_NEWNET), ("ipc", Libc.CLONE_NEWIPC),
        ("uts", Libc.CLONE_NEWUTS), ("cgroup", Libc.CLONE_NEWCGROUP), ("user", Libc.CLONE_NEWUSER), ("time", Libc.CLONE_NEWTIME),
    ];

    private readonly HashSet<string> _new = new(StringComparer.Ordinal);
    private readonly List<(ulong Flag, string Path)> _joined = [];
    private readonly HashSet<string> _all = new(StringComparer.Ordinal);

    internal Namespaces(IReadOnlyList<RuntimeNamespace> asked)
    {
        foreach (var entry in asked)
        {
            var flag = Array.Find(Known, known => known.Kind == entry.Type).Flag;
            if (flag == 0)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"linux.namespaces: type \"{entry.Type}\" is not known");
            }

            if (entry.Type is "time")
            {
                throw new EdgeHostException(ErrorKind.Unsupported, "linux.namespaces: time namespaces are not in this version; take it out");
            }

            if (!_all.Add(entry.Type!))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"linux.namespaces: {entry.Type} is given twice");
            }

            if (string.IsNullOrEmpty(entry.Path))
            {
                _new.Add(entry.Type!);
            }
            else if (entry.Type is "user")
            {
                User = entry.Path;
            }
            else if (entry.Type is "pid" or "mount")
            {
                throw new EdgeHostException(ErrorKind.Unsupported, $"linux.namespaces: joining a {entry.Type} namespace is not in this version");
            }
            else
            {
                _joined.Add((flag, entry.Path));
            }
        }

        if (!_new.Contains("mount"))
        {
            throw new EdgeHostException(ErrorKind.Invalid, "linux.namespaces: without a mount namespace the host's root would be changed; add it");
        }
    }

    internal ulong CloneFlags => Known.Where(known => known.Kind is not ("cgroup" or "user") && _new.Contains(known.Kind)).Aggregate(0UL, (flags, known) => flags | known.Flag);

    /// <summary>
    /// All that the container has of its own or of another's, but for the user namespace: what a later process of it
    /// joins first, since within that it would have no right to.
    /// </summary>
    internal ulong Flags => Known.Where(known => known.Kind != "user" && _all.Contains(known.Kind)).Aggregate(0UL, (flags, known) => flags | known.Flag);

    internal bool NewCgroup => _new.Contains("cgroup");

    /// <summary>Those that are joined at the beginning.</summary>
    internal IReadOnlyList<(ulong Flag, string Path)> Joined => _joined;

    /// <summary>The user namespace that was made before, and is joined at the end; null where one is made, or none is there.</summary>
    internal string? User { get; }

    internal bool IsNew(string kind) => _new.Contains(kind);

    internal bool Has(string kind) => _all.Contains(kind);
}
