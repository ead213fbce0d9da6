using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Deployments;

/// <summary>One thing to do, in the order in which it is to be done.</summary>
public abstract record DeploymentAction
{
    private DeploymentAction()
    {
    }

    /// <summary>Fetch an image.</summary>
    /// <param name="Workload">The first workload that needs it.</param>
    /// <param name="Image">The reference.</param>
    public sealed record Pull(string Workload, string Image) : DeploymentAction;

    /// <summary>Make a network. Nothing that runs is touched by it.</summary>
    /// <param name="Network">Which.</param>
    public sealed record CreateNetwork(WorkloadNetwork Network) : DeploymentAction;

    /// <summary>Remove a network that no container of ours is in.</summary>
    /// <param name="Key">How the document that made it called it.</param>
    /// <param name="Name">Its name.</param>
    public sealed record RemoveNetwork(string Key, string Name) : DeploymentAction;

    /// <summary>Make the container of a workload. Nothing that runs is touched by it.</summary>
    /// <param name="Workload">Which.</param>
    public sealed record Create(PlannedWorkload Workload) : DeploymentAction;

    /// <summary>Wait until a workload has reached what another one needs.</summary>
    /// <param name="Workload">The one that needs it.</param>
    /// <param name="Dependency">What it needs.</param>
    /// <param name="Container">The name or id of the container that is waited for.</param>
    public sealed record Await(string Workload, WorkloadDependency Dependency, string Container) : DeploymentAction;

    /// <summary>Start the container of a workload.</summary>
    /// <param name="Workload">Which.</param>
    /// <param name="Container">The container's name or id.</param>
    public sealed record Start(string Workload, string Container) : DeploymentAction;

    /// <summary>Stop a container that is not wanted, and keep it as the way back.</summary>
    /// <param name="Workload">Whose it was.</param>
    /// <param name="Container">The container's id.</param>
    public sealed record Stop(string Workload, string Container) : DeploymentAction;

    /// <summary>Remove a container that is not wanted.</summary>
    /// <param name="Workload">Whose it was.</param>
    /// <param name="Container">The container's id.</param>
    public sealed record Remove(string Workload, string Container) : DeploymentAction;

    /// <summary>Leave a container as it is.</summary>
    /// <param name="Workload">Whose it is.</param>
    /// <param name="Container">The container's id.</param>
    public sealed record Keep(string Workload, string Container) : DeploymentAction;
}

/// <summary>Decides what is to be done. Pure functions; nothing here touches the world.</summary>
public static class DeploymentPlanner
{
    /// <summary>Which images are to be fetched before anything else.</summary>
    /// <param name="desired">What is wanted.</param>
    /// <param name="isHeld">Whether an image is here.</param>
    public static IReadOnlyList<DeploymentAction.Pull> PlanFetch(DesiredState desired, Func<string, bool> isHeld)
    {
        var pulls = new List<DeploymentAction.Pull>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var workload in desired.Workloads)
        {
            var image = workload.Container.Image;
            var wanted = workload.PullPolicy == PullPolicy.Always || (workload.PullPolicy == PullPolicy.Missing && !isHeld(image));
            if (wanted && seen.Add(image))
            {
                pulls.Add(new DeploymentAction.Pull(workload.Name, image));
            }
        }

        return pulls;
    }

    /// <summary>Which networks are to be made before any container is.</summary>
    /// <param name="wanted">Those of the document.</param>
    /// <param name="observed">All networks.</param>
    /// <exception cref="DesiredStateException"><see cref="ErrorKind.NotFound"/>: an external one is not there.</exception>
    public static IReadOnlyList<DeploymentAction.CreateNetwork> PlanNetworks(IReadOnlyList<WorkloadNetwork> wanted, IReadOnlyList<NetworkRecord> observed)
    {
        var names = observed.Select(static network => network.Name).ToHashSet(StringComparer.Ordinal);
        var plan = new List<DeploymentAction.CreateNetwork>();
        foreach (var network in wanted.Where(network => !names.Contains(network.Spec.Name)))
        {
            // The default bridge is there as soon as it is asked for.
            if (!network.IsExternal)
            {
                plan.Add(new DeploymentAction.CreateNetwork(network));
            }
            else if (network.Spec.Name != NetworkDrivers.Bridge)
            {
                throw new DesiredStateException(
                    ErrorKind.NotFound, $"networks.{network.Key}", $"there is no network {network.Spec.Name}, and an external one is not made; make it by 'edgehost network create {network.Spec.Name}'");
            }
        }

        return plan;
    }

    /// <summary>Which networks of ours nobody wants any more.</summary>
    /// <param name="wanted">Those of the document that runs.</param>
    /// <param name="networks">All networks; those without our label are ignored.</param>
    /// <param name="containers">All containers: a network that one of ours could be started in stays.</param>
    public static IReadOnlyList<DeploymentAction.RemoveNetwork> PlanNetworkRemoval(
        IReadOnlyList<WorkloadNetwork> wanted, IReadOnlyList<NetworkRecord> networks, IReadOnlyList<ContainerStatus> containers)
    {
        var needed = wanted.Select(static network => network.Spec.Name)
            .Concat(containers.SelectMany(static container => container.Spec.Endpoints).Select(static endpoint => endpoint.Network))
            .ToHashSet(StringComparer.Ordinal);
        return networks
            .Where(network => network.Labels.ContainsKey(PlannedWorkload.NetworkLabel) && !needed.Contains(network.Name))
            .Select(static network => new DeploymentAction.RemoveNetwork(network.Labels[PlannedWorkload.NetworkLabel], network.Name))
            .ToList();
    }

    /// <summary>
    /// What leads from the containers that are there to the ones that are wanted: first everything is made, then what
    /// is not wanted gives way, each workload directly before its successor starts. Nothing is removed: that is
    /// <see cref="PlanRemoval"/>, once the way back is no longer needed.
    /// </summary>
    /// <param name="target">What is wanted.</param>
    /// <param name="observed">All containers; those without our labels are ignored.</param>
    /// <param name="isNewBoot">Whether the board was booted since this was last done.</param>
    public static IReadOnlyList<DeploymentAction> PlanSwitch(
        IReadOnlyList<PlannedWorkload> target,
        IReadOnlyList<ContainerStatus> observed,
        bool isNewBoot)
    {
        var (wanted, unwanted) = Sort(target, observed);
        var plan = new List<DeploymentAction>();
        foreach (var workload in target)
        {
            if (!wanted.ContainsKey(workload.Workload.Name))
            {
                plan.Add(new DeploymentAction.Create(workload));
            }
        }

        var leaving = unwanted.Where(IsActive).ToLookup(static container => PlannedWorkload.Read(container)!.Value.Workload, StringComparer.Ordinal);
        var names = target.Select(static workload => workload.Workload.Name).ToHashSet(StringComparer.Ordinal);

        // Workloads that are gone first: what comes may need their memory, ports or devices.
        // Of these each before those that it needs.
        var gone = StartOrder.Sort(unwanted.Where(container => IsActive(container) && !names.Contains(PlannedWorkload.Read(container)!.Value.Workload)), static container => container.Spec.Labels);
        gone.Reverse();
        plan.AddRange(gone.Select(static container => new DeploymentAction.Stop(PlannedWorkload.Read(container)!.Value.Workload, container.Id)));

        foreach (var workload in target)
        {
            var name = workload.Workload.Name;
            plan.AddRange(leaving[name].Select(container => new DeploymentAction.Stop(name, container.Id)));
            var container = wanted.GetValueOrDefault(name);
            if (container is not null && !ShouldStart(container, isNewBoot))
            {
                plan.Add(new DeploymentAction.Keep(name, container.Id));
                continue;
            }

            foreach (var dependency in workload.Workload.DependsOn)
            {
                plan.Add(new DeploymentAction.Await(name, dependency, wanted.GetValueOrDefault(dependency.On)?.Id ?? target.First(each => each.Workload.Name == dependency.On).ContainerName));
            }

            plan.Add(new DeploymentAction.Start(name, container?.Id ?? workload.ContainerName));
        }

        return plan;
    }

    /// <summary>Which containers of ours nobody wants any more.</summary>
    /// <param name="target">What is wanted.</param>
    /// <param name="observed">All containers; those without our labels are ignored.</param>
    public static IReadOnlyList<DeploymentAction.Remove> PlanRemoval(
        IReadOnlyList<PlannedWorkload> target,
        IReadOnlyList<ContainerStatus> observed) =>
        Sort(target, observed).Unwanted
            .Select(static container => new DeploymentAction.Remove(PlannedWorkload.Read(container)!.Value.Workload, container.Id))
            .ToList();

    private static (Dictionary<string, ContainerStatus> Wanted, List<ContainerStatus> Unwanted) Sort(
        IReadOnlyList<PlannedWorkload> target,
        IReadOnlyList<ContainerStatus> observed)
    {
        var hashes = target.ToDictionary(static workload => workload.Workload.Name, static workload => workload.SpecHash, StringComparer.Ordinal);
        var wanted = new Dictionary<string, ContainerStatus>(StringComparer.Ordinal);
        var unwanted = new List<ContainerStatus>();
        foreach (var container in observed.OrderByDescending(IsActive).ThenBy(static container => container.Id, StringComparer.Ordinal))
        {
            if (PlannedWorkload.Read(container) is not { } ours)
            {
                continue;
            }

            if (container.State is ContainerState.Removing or ContainerState.Dead
                || !hashes.TryGetValue(ours.Workload, out var hash)
                || hash != ours.SpecHash
                || !wanted.TryAdd(ours.Workload, container))
            {
                unwanted.Add(container);
            }
        }

        return (wanted, unwanted);
    }

    private static bool IsActive(ContainerStatus container) => container.State is ContainerState.Running or ContainerState.Restarting;

    /// <summary>
    /// A container that has ended belongs to its restart policy, which the engine keeps. It is started from here when
    /// it never ran, when it ran until the board or the shepherd went down (nobody saw its end), and once with every
    /// boot; but one that was stopped by hand and is to remain so across boots is the engine's alone.
    /// </summary>
    private static bool ShouldStart(ContainerStatus container, bool isNewBoot) => container.State switch
    {
        ContainerState.Created => true,
        ContainerState.Exited => container.ExitCode is null
            || (isNewBoot && container.Spec.Restart.Kind != RestartKind.UnlessStopped),
        _ => false,
    };
}
