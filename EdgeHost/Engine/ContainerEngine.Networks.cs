using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>A container's place in networks.</summary>
public sealed partial class ContainerEngine
{

    /// <summary>Refuses what no start could do; that it is the container that is bad and not its image is the kind's to say.</summary>
    private void CheckNetworks(ContainerSpec spec)
    {
        try
        {
            foreach (var endpoint in spec.Endpoints)
            {
                _networks.Find(endpoint.Network);
            }

            if (spec.NetworkOf is { } other)
            {
                Find(other);
            }
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
        {
            throw new EdgeHostException(ErrorKind.Invalid, e.Message, e);
        }
    }

    /// <summary>
    /// Gives a container that is about to start its place in networks. What it has is written down first, so that a
    /// daemon which takes over in the middle knows of it.
    /// </summary>
    /// <exception cref="EdgeHostException">It cannot have what it wants; nothing is left of it.</exception>
    private NetworkPlace PlaceInNetworks(Container container)
    {
        var record = container.Record;
        switch (record.Spec.Network)
        {
            case NetworkMode.Bridge:
                var endpoints = record.Spec.Endpoints.Count > 0 ? record.Spec.Endpoints : [new EndpointSpec(NetworkDrivers.Bridge)];
                var sandbox = _networks.Connect(new SandboxSpec(record.Id, record.Name, endpoints, record.Spec.Ports));
                Change(container, was => was with { Sandbox = sandbox.Status });

                // The child that is cloned opens it by this process, which holds it until the launch is done.
                return new NetworkPlace($"/proc/{Environment.ProcessId}/fd/{sandbox.Namespace.Fd.Value}", Sandbox: sandbox);
            case NetworkMode.Container:
                var other = Find(record.Spec.NetworkOf!);
                return other.IsRunning
                    ? new NetworkPlace($"/proc/{other.Record.Pid}/ns/net", FilesOf: other.Record.Id)
                    : throw new EdgeHostException(ErrorKind.Conflict, $"cannot join the network of container {other.Record.Name}: it is not running");
            default:
                return new NetworkPlace(null);
        }
    }

    /// <summary>Where a namespace is found, whose files of names it has if not its own, and what holds it until the launch is done.</summary>
    private sealed record NetworkPlace(string? Path, string? FilesOf = null, Sandbox? Sandbox = null) : IDisposable
    {
        public void Dispose() => Sandbox?.Dispose();
    }
}
