using System.Globalization;
using System.Net;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>A container's place in networks.</summary>
public sealed partial class ContainerEngine
{
    /// <inheritdoc/>
    public async Task JoinNetworkAsync(string container, EndpointSpec endpoint, CancellationToken cancel)
    {
        var found = Find(container);
        var network = _networks.Find(endpoint.Network);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        var (record, spec) = (found.Record, found.Record.Spec);
        if (spec.Network is NetworkMode.Host or NetworkMode.Container)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"container {record.Name} shares a network with {(spec.Network == NetworkMode.Host ? "the host" : "another container")} and cannot be in network {network.Name} too");
        }

        if (EndpointsOf(spec).Any(each => each.Network == network.Name))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {record.Name} is already in network {network.Name}");
        }

        var status = found.IsRunning ? _networks.Join(record.Id, record.Name, record.Pid, endpoint) : null;
        try
        {
            Change(found, was => was with
            {
                Spec = was.Spec with { Network = NetworkMode.Bridge, Endpoints = [.. EndpointsOf(was.Spec), endpoint with { Network = network.Name }] },
                Sandbox = status ?? was.Sandbox,
            });
        }
        catch when (status is not null)
        {
            // What is not written down would be given to another after the next start of the daemon.
            _networks.Leave(record.Id, record.Name, record.Pid, network.Id);
            throw;
        }

        RefreshFiles(found);
        TellOfNetwork("connect", network.Id, network.Name, network.Driver, record.Id);
    }

    /// <inheritdoc/>
    public async Task LeaveNetworkAsync(string container, string network, CancellationToken cancel)
    {
        var found = Find(container);
        var left = _networks.Find(network);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        var (record, spec) = (found.Record, found.Record.Spec);
        List<EndpointSpec> others = [.. EndpointsOf(spec).Where(each => each.Network != left.Name)];
        if (others.Count == EndpointsOf(spec).Count)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {record.Name} is not connected to network {network}");
        }

        var status = found.IsRunning ? _networks.Leave(record.Id, record.Name, record.Pid, network) : null;
        Change(found, was => was with
        {
            Spec = was.Spec with { Network = others.Count > 0 ? NetworkMode.Bridge : NetworkMode.None, Endpoints = others },
            Sandbox = status ?? was.Sandbox,
        });
        RefreshFiles(found);
        TellOfNetwork("disconnect", left.Id, left.Name, left.Driver, record.Id);
    }

    /// <summary>Names and name servers of a running container, after its networks have changed.</summary>
    private void RefreshFiles(Container container)
    {
        if (container.IsRunning && container.Record.Sandbox is not null)
        {
            NetworkFiles.Refresh(container.Record, _files.RunDirectory(container.Record.Id));
        }
    }

    /// <summary>Containers follow the name servers of this machine, as far as they have none of their own.</summary>
    private async Task FollowResolverAsync()
    {
        foreach (var container in _containers.Values)
        {
            try
            {
                using var turn = await container.TakeTurnAsync(_ended).ConfigureAwait(false);
                if (container.Record.Spec.Network == NetworkMode.Host && container.IsRunning)
                {
                    NetworkFiles.Refresh(container.Record, _files.RunDirectory(container.Record.Id));
                }
                else
                {
                    RefreshFiles(container);
                }
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
            {
                // It was removed meanwhile.
            }
            catch (OperationCanceledException)
            {
                // The next daemon looks at its start.
                return;
            }
            catch (Exception e)
            {
                LogResolverNotFollowed(_log, container.Record.Name, e.Message);
            }
        }
    }

    /// <summary>The process of a running container; one that took its number over is none.</summary>
    private int? ProcessOf(string id) =>
        _containers.TryGetValue(id, out var container) && container.Record is { State: ContainerState.Running } record && Processes.TryReadStartTime(record.Pid) == record.StartTime
            ? record.Pid
            : null;

    private static IReadOnlyList<EndpointSpec> EndpointsOf(ContainerSpec spec) =>
        spec.Network != NetworkMode.Bridge ? [] : spec.Endpoints.Count > 0 ? spec.Endpoints : [new EndpointSpec(NetworkDrivers.Bridge)];

    /// <summary>
    /// Refuses what no start could do, and calls each network by its name, whatever it was called; that it is the
    /// container that is bad and not its image is the kind's to say.
    /// </summary>
    private ContainerSpec NameNetworks(ContainerSpec spec)
    {
        try
        {
            var endpoints = spec.Endpoints.Select(each => each with { Network = _networks.Find(each.Network).Name }).ToList();
            if (endpoints.GroupBy(each => each.Network).FirstOrDefault(same => same.Count() > 1) is { } twice)
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"network {twice.Key} is asked for twice");
            }

            if (spec.NetworkOf is { } other)
            {
                Find(other);
            }

            return spec with { Endpoints = endpoints };
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
    private NetworkPlace PlaceInNetworks(Container container, MadeNamespaces? made)
    {
        var record = container.Record;
        switch (record.Spec.Network)
        {
            case NetworkMode.Bridge:
                var ports = ExposedPorts.Publish(record.Spec, _images.Find(record.ImageId)?.Config.Config.ExposedPorts.Keys ?? []);
                var sandbox = _networks.Connect(new SandboxSpec(record.Id, record.Name, EndpointsOf(record.Spec), ports, NameServersOf(record)), made?.Network);
                Change(container, was => was with { Sandbox = sandbox.Status });
                TellOfNetworks("connect", record.Id, sandbox.Status);

                return new NetworkPlace(PathOf(sandbox.Namespace.Fd), Sandbox: sandbox);
            case NetworkMode.Container:
                var other = Find(record.Spec.NetworkOf!);
                return other.IsRunning
                    ? new NetworkPlace($"/proc/{other.Record.Pid}/ns/net", FilesOf: other.Record.Id)
                    : throw new EdgeHostException(ErrorKind.Conflict, $"cannot join the network of container {other.Record.Name}: it is not running");
            default:
                return new NetworkPlace(made is { Network: { } alone } ? PathOf(alone) : null);
        }
    }

    /// <summary>Lets namespaces go, also those that are yet to be made.</summary>
    private static void LetGo(Task<MadeNamespaces>? making) => making?.ContinueWith(
        static done =>
        {
            // That it failed was said by who waited for it.
            if (done.Exception is null)
            {
                done.Result.Dispose();
            }
        },
        CancellationToken.None,
        TaskContinuationOptions.ExecuteSynchronously,
        TaskScheduler.Default);

    /// <summary>Where the child that is cloned opens a namespace: by this process, which holds it until the launch is done.</summary>
    private static string PathOf(Fd space) => string.Create(CultureInfo.InvariantCulture, $"/proc/{Environment.ProcessId}/fd/{space.Value}");

    private static List<IPAddress> NameServersOf(ContainerRecord record) => [.. record.Spec.Dns.Select(IPAddress.Parse)];

    /// <summary>Where a namespace is found, whose files of names it has if not its own, and what holds it until the launch is done.</summary>
    private sealed record NetworkPlace(string? Path, string? FilesOf = null, Sandbox? Sandbox = null) : IDisposable
    {
        public void Dispose() => Sandbox?.Dispose();
    }
}
