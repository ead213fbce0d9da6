using System.Net;
using EdgeHost.Linux;

namespace EdgeHost.Networks;

/// <summary>A port of a container that is to be published.</summary>
/// <param name="ContainerPort">1 to 65535.</param>
/// <param name="Protocol">TCP or UDP.</param>
/// <param name="HostPort">1 to 65535; 0 takes a free one.</param>
/// <param name="HostAddress">The address of this machine; null for all.</param>
public sealed record PortBinding(ushort ContainerPort, PortProtocol Protocol, ushort HostPort, IPAddress? HostAddress = null);

/// <summary>What a container wants of networks.</summary>
/// <param name="Container">Its id.</param>
/// <param name="Name">Its name, by which others find it.</param>
/// <param name="Endpoints">The networks that it is to be in; the first gives the default route.</param>
/// <param name="Ports">What is to be published.</param>
/// <param name="NameServers">Whom to ask about names that are not of its networks; empty for those of this machine.</param>
public sealed record SandboxSpec(
    string Container,
    string Name,
    IReadOnlyList<EndpointSpec> Endpoints,
    IReadOnlyList<PortBinding> Ports,
    IReadOnlyList<IPAddress> NameServers);

/// <summary>What a running container has of networks; kept with it, so that a new daemon finds it again.</summary>
/// <param name="Endpoints">Its places in networks.</param>
/// <param name="Ports">Its published ports, with the host's port that each has got.</param>
public sealed record SandboxStatus(IReadOnlyList<Endpoint> Endpoints, IReadOnlyList<PortBinding> Ports)
{
    /// <summary>No network at all.</summary>
    public static readonly SandboxStatus Empty = new([], []);
}

/// <summary>
/// A network namespace with all that a container was promised in it, for the launch of its first process. It lives on
/// with its processes once this is disposed.
/// </summary>
public sealed class Sandbox : IDisposable
{
    internal Sandbox(NetworkNamespace space, SandboxStatus status) => (Namespace, Status) = (space, status);

    /// <summary>The namespace.</summary>
    public NetworkNamespace Namespace { get; }

    /// <summary>What it has.</summary>
    public SandboxStatus Status { get; }

    /// <inheritdoc/>
    public void Dispose() => Namespace.Dispose();
}
