using EdgeHost.Errors;

namespace EdgeHost.Networks;

/// <summary>What networks there are. Each method throws <see cref="EdgeHostException"/> with the kind that says why.</summary>
public interface INetworks
{
    /// <summary>All networks, the oldest first; the default one is there once it was used.</summary>
    IReadOnlyList<NetworkRecord> Networks { get; }

    /// <summary>Makes a network; it is on disk when this returns.</summary>
    /// <exception cref="EdgeHostException">
    /// <see cref="ErrorKind.Invalid"/>: a bad name, subnet, gateway or option; <see cref="ErrorKind.Conflict"/>: the name is
    /// taken, or the subnet overlaps another; <see cref="ErrorKind.Full"/>: no subnet is left;
    /// <see cref="ErrorKind.Unsupported"/>: what the kernel lacks.
    /// </exception>
    NetworkRecord Create(NetworkSpec spec);

    /// <summary>Removes a network.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>; <see cref="ErrorKind.Conflict"/>: containers are in it, or it is the default one.</exception>
    void Remove(string nameOrId);
}
