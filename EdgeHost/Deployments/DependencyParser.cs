using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>Reads <c>depends_on</c> in Compose's short and long form, and brings workloads into the order that it asks for.</summary>
internal static class DependencyParser
{
    internal static List<WorkloadDependency> Parse(JsonNode value)
    {
        if (value.Kind == JsonValueKind.Array)
        {
            return WorkloadParser.Bounded(value, "a list")
                .Select(static item => new WorkloadDependency(item.Text("a workload's name"), DependencyCondition.Started))
                .ToList();
        }

        var dependencies = new List<WorkloadDependency>();
        foreach (var (name, wanted) in value.Properties("a list of workloads, or an object"))
        {
            var condition = DependencyCondition.Started;
            foreach (var (field, item) in wanted.Properties("an object with condition"))
            {
                switch (field)
                {
                    case "condition":
                        const string Expected = "service_started, service_healthy or service_completed_successfully";
                        condition = item.Text(Expected) switch
                        {
                            "service_started" => DependencyCondition.Started,
                            "service_healthy" => DependencyCondition.Healthy,
                            "service_completed_successfully" => DependencyCondition.Completed,
                            _ => throw item.Wrong(Expected),
                        };
                        break;
                    case "required" when item.Boolean():
                    case "restart" when !item.Boolean():
                        break;
                    case "required" or "restart":
                        item.Unknown("a field of Compose that this version has with its default only");
                        break;
                    default:
                        item.Unknown();
                        break;
                }
            }

            dependencies.Add(new WorkloadDependency(name, condition));
        }

        return dependencies;
    }

    /// <summary>Each workload after those on which it depends, and otherwise in the order of the document.</summary>
    /// <exception cref="DesiredStateException">One depends on itself in the end, on one that is not there, or on what never comes.</exception>
    internal static List<WorkloadSpec> Sort(List<WorkloadSpec> workloads)
    {
        var byName = workloads.ToDictionary(static workload => workload.Name, StringComparer.Ordinal);
        var sorted = new List<WorkloadSpec>(workloads.Count);
        var done = new HashSet<string>(StringComparer.Ordinal);
        var way = new List<string>();
        foreach (var workload in workloads)
        {
            Visit(workload);
        }

        return sorted;

        void Visit(WorkloadSpec workload)
        {
            if (done.Contains(workload.Name))
            {
                return;
            }

            var place = $"workloads.{workload.Name}.depends_on";
            if (way.Contains(workload.Name))
            {
                throw new DesiredStateException(ErrorKind.Invalid, place, $"a circle: {string.Join(" needs ", way[way.IndexOf(workload.Name)..])} needs {workload.Name}");
            }

            way.Add(workload.Name);
            foreach (var dependency in workload.DependsOn)
            {
                var needed = byName.GetValueOrDefault(dependency.On) ?? throw new DesiredStateException(ErrorKind.Invalid, place, $"there is no workload {dependency.On}");
                if (dependency.Condition == DependencyCondition.Completed && needed.Container.Restart.Kind is RestartKind.Always or RestartKind.UnlessStopped)
                {
                    throw new DesiredStateException(ErrorKind.Invalid, place, $"{dependency.On} is started again whenever it ends: service_completed_successfully never comes; give it restart: on-failure, or \"no\"");
                }

                Visit(needed);
            }

            way.RemoveAt(way.Count - 1);
            done.Add(workload.Name);
            sorted.Add(workload);
        }
    }
}
