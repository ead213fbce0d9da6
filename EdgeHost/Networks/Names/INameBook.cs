using System.Net;

namespace EdgeHost.Networks.Names;

/// <summary>Who is called what, as the one sees it who asks.</summary>
internal interface INameBook
{
    /// <summary>The addresses of a name; null when no container has it that the asker shares a network with.</summary>
    IReadOnlyList<IPAddress>? AddressesOf(IPAddress asker, string name);

    /// <summary>The name of an address of one of the asker's networks; null when nobody has it.</summary>
    string? NameOf(IPAddress asker, IPAddress address);

    /// <summary>Whom to ask about all other names; empty when the asker is in no network that leads out.</summary>
    IReadOnlyList<IPAddress> ServersOf(IPAddress asker);
}
