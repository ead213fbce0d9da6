using System.Buffers.Binary;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// The users and groups of a container with a user namespace, for who looks at its files from outside of it: there they
/// belong to the host's users that the container's are.
/// </summary>
/// <param name="first">The host's user that is the container's root.</param>
/// <param name="size">How many there are.</param>
public sealed class MappedUsers(uint first, uint size)
{
    // Whose are those that the container does not have (/proc/sys/kernel/overflowuid).
    private const uint Nobody = 65534;

    // struct vfs_cap_data of linux/capability.h: a word with version and flags, two masks of two words each, and in
    // version 3 the root user of whose namespaces it holds for.
    private const uint VersionMask = 0xFF00_0000;
    private const uint Version2 = 0x0200_0000;
    private const uint Version3 = 0x0300_0000;
    private const int Length2 = 20;
    private const int Length3 = 24;

    /// <summary>The container's user or group that one of the host is.</summary>
    public uint ToContainer(uint id) => id - first < size ? id - first : Nobody;

    /// <summary>The host's user or group that one of the container is.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the container has no such.</exception>
    public uint ToHost(uint id) => id < size
        ? first + id
        : throw new EdgeHostException(ErrorKind.Invalid, $"user or group {id} is none of a container with a user namespace, which has 0 to {size - 1}");

    /// <summary>
    /// Lets this thread, for the rest of its life, make files as the container's root does: where ids are mapped, the
    /// host's root can make none. Its rights stay.
    /// </summary>
    /// <exception cref="LinuxException">The kernel refuses.</exception>
    public void TakeOn()
    {
        Libc.Check(Libc.prctl(Libc.PR_SET_SECUREBITS, Libc.SECBIT_NO_SETUID_FIXUP), "keep capabilities with another user");
        _ = Libc.syscall(Nr.setfsgid, (nint)first);
        _ = Libc.syscall(Nr.setfsuid, (nint)first);
        if ((uint)Libc.syscall(Nr.setfsgid, -1) != first || (uint)Libc.syscall(Nr.setfsuid, -1) != first)
        {
            throw new LinuxException($"make files as user {first}", Errno.EPERM);
        }
    }

    /// <summary>Capabilities of a file (security.capability) as they are in the container.</summary>
    internal byte[] CapabilitiesToContainer(byte[] value)
    {
        if (value.Length != Length3 || BinaryPrimitives.ReadUInt32LittleEndian(value.AsSpan(Length2)) != first)
        {
            return value;
        }

        var plain = value[..Length2];
        BinaryPrimitives.WriteUInt32LittleEndian(plain, (BinaryPrimitives.ReadUInt32LittleEndian(plain) & ~VersionMask) | Version2);
        return plain;
    }

    /// <summary>Capabilities of a file as who is outside has to write them.</summary>
    internal byte[] CapabilitiesToHost(byte[] value)
    {
        if (value.Length != Length2)
        {
            return value;
        }

        var owned = new byte[Length3];
        value.CopyTo(owned, 0);
        BinaryPrimitives.WriteUInt32LittleEndian(owned, (BinaryPrimitives.ReadUInt32LittleEndian(owned) & ~VersionMask) | Version3);
        BinaryPrimitives.WriteUInt32LittleEndian(owned.AsSpan(Length2), first);
        return owned;
    }
}
