using System.Net;

namespace EdgeHost.Networks;

/// <summary>The protocols whose ports can be published, with their numbers of IP.</summary>
public enum PortProtocol
{
    /// <summary>TCP.</summary>
    Tcp = 6,

    /// <summary>UDP.</summary>
    Udp = 17,
}

/// <summary>A port of this machine behind which a container is.</summary>
/// <param name="HostAddress">The address that it is published at; null for all.</param>
/// <param name="HostPort">1 to 65535.</param>
/// <param name="Target">The container's address; its family decides which packets are meant.</param>
/// <param name="ContainerPort">1 to 65535.</param>
/// <param name="Protocol">TCP or UDP.</param>
public sealed record PublishedPort(IPAddress? HostAddress, ushort HostPort, IPAddress Target, ushort ContainerPort, PortProtocol Protocol);
