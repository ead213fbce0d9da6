using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Runtime.Launch;

/// <summary>The five capability sets of a process as bits.</summary>
/// <param name="Bounding">What it can ever have.</param>
/// <param name="Effective">What counts now.</param>
/// <param name="Permitted">What it may make effective.</param>
/// <param name="Inheritable">What an exec may hand on.</param>
/// <param name="Ambient">What an exec without privileges hands on.</param>
public sealed record CapabilitySets(ulong Bounding, ulong Effective, ulong Permitted, ulong Inheritable, ulong Ambient)
{
    /// <summary>
    /// What Docker gives by default, without CAP_MKNOD: a container that can make device nodes needs device rules that
    /// are enforced, and those are not in this version.
    /// </summary>
    public const ulong Default = 0xA80425FB & ~Capabilities.Mknod;

    /// <summary>The sets of a configuration; none given is none had.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: an unknown name; <see cref="ErrorKind.Infeasible"/>: one that cannot be given.</exception>
    public static CapabilitySets From(RuntimeCapabilities? asked)
    {
        var sets = new CapabilitySets(
            Parse(asked?.Bounding, "bounding"),
            Parse(asked?.Effective, "effective"),
            Parse(asked?.Permitted, "permitted"),
            Parse(asked?.Inheritable, "inheritable"),
            Parse(asked?.Ambient, "ambient"));
        if ((sets.Effective & ~sets.Permitted) != 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"process.capabilities.effective: {string.Join(", ", Capabilities.NamesOf(sets.Effective & ~sets.Permitted))} must be permitted too");
        }

        // The kernel raises only what is permitted and inheritable. Bundles made by "runc spec" ask for more, and every
        // runtime gives them this much.
        return sets with { Ambient = sets.Ambient & sets.Permitted & sets.Inheritable };
    }

    private static ulong Parse(IReadOnlyList<string>? names, string set)
    {
        ulong bits = 0;
        foreach (var name in names ?? [])
        {
            if (!Capabilities.TryParse(name, out var bit))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"process.capabilities.{set}: \"{name}\" is not known");
            }

            bits |= bit;
        }

        return bits;
    }
}
