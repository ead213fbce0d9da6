namespace EdgeHost.Engine;

/// <summary>In which order containers are started; turned around, in which they are stopped. Pure.</summary>
internal static class StartOrder
{
    /// <summary>As they come, but each after those that it needs.</summary>
    /// <param name="containers">Each once.</param>
    /// <param name="labelsOf">Those of a container.</param>
    internal static List<T> Sort<T>(IEnumerable<T> containers, Func<T, IReadOnlyDictionary<string, string>> labelsOf)
        where T : class
    {
        var all = containers.ToList();
        var sorted = new List<T>(all.Count);
        var seen = new HashSet<T>(ReferenceEqualityComparer.Instance);
        foreach (var container in all)
        {
            Visit(container);
        }

        return sorted;

        void Visit(T container)
        {
            // Seen before it is done: a circle, which no document may have, ends here too.
            if (!seen.Add(container))
            {
                return;
            }

            var needed = labelsOf(container).GetValueOrDefault(ContainerLabels.DependsOn, string.Empty).Split(',', StringSplitOptions.RemoveEmptyEntries);
            foreach (var other in all)
            {
                if (labelsOf(other).TryGetValue(ContainerLabels.Workload, out var workload) && needed.Contains(workload))
                {
                    Visit(other);
                }
            }

            sorted.Add(container);
        }
    }
}
