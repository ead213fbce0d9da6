namespace EdgeHost.Engine;

/// <summary>In which order containers are started that ran before. Pure.</summary>
internal static class StartOrder
{
    /// <summary>As they were started the last time, but each after those that it needs.</summary>
    internal static List<ContainerRecord> Sort(IEnumerable<ContainerRecord> records)
    {
        var byTime = records.OrderBy(record => record.StartedAt ?? record.Created).ToList();
        var sorted = new List<ContainerRecord>(byTime.Count);
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (var record in byTime)
        {
            Visit(record);
        }

        return sorted;

        void Visit(ContainerRecord record)
        {
            // Seen before it is done: a circle, which no document may have, ends here too.
            if (!seen.Add(record.Id))
            {
                return;
            }

            var needed = record.Spec.Labels.GetValueOrDefault(ContainerLabels.DependsOn, string.Empty).Split(',', StringSplitOptions.RemoveEmptyEntries);
            foreach (var other in byTime)
            {
                if (other.Spec.Labels.TryGetValue(ContainerLabels.Workload, out var workload) && needed.Contains(workload))
                {
                    Visit(other);
                }
            }

            sorted.Add(record);
        }
    }
}
