using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Deployments;

/// <summary>What workloads may ask for of the board's devices. Whoever administers the board itself is not asked.</summary>
internal static class AllowedDevices
{
    private const string Any = "*";

    /// <summary>Refuses a document that asks for more.</summary>
    /// <param name="desired">The document.</param>
    /// <param name="allowed">Names and paths with commas between them, where a * at the end stands for all that begin so; null: anything.</param>
    /// <exception cref="DesiredStateException"><see cref="ErrorKind.Denied"/>.</exception>
    internal static void Require(DesiredState desired, string? allowed)
    {
        if (allowed?.Split(',', StringSplitOptions.TrimEntries) is not { } patterns || patterns.Contains(Any))
        {
            return;
        }

        foreach (var workload in desired.Workloads)
        {
            var spec = workload.Container;
            for (var i = 0; i < spec.Devices.Count; i++)
            {
                var source = HostDevices.Parse(spec.Devices[i]).Source;
                if (!IsPlain(source) || !patterns.Any(pattern => pattern.EndsWith(Any, StringComparison.Ordinal) ? source.StartsWith(pattern[..^1], StringComparison.Ordinal) : source == pattern))
                {
                    throw new DesiredStateException(
                        ErrorKind.Denied, $"workloads.{workload.Name}.devices[{i}]", $"workloads of this board may not ask for {source}; its configuration allows (devices.allow) {allowed}", desired.Version);
                }
            }

            if (spec.DeviceRules.Count > 0)
            {
                throw new DesiredStateException(
                    ErrorKind.Denied, $"workloads.{workload.Name}.device_cgroup_rules", "workloads of this board may ask for single devices only, since its configuration names them (devices.allow)", desired.Version);
            }
        }
    }

    // What a pattern says of the beginning of a path holds for where it leads.
    private static bool IsPlain(string source) => source[0] != '/' || Path.GetFullPath(source) == source;
}
