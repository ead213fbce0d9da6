using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Engine;

/// <summary>Changing limits and restart policy of a container that is there.</summary>
public sealed partial class ContainerEngine
{
    /// <inheritdoc/>
    public async Task UpdateAsync(string container, ResourceLimits limits, RestartPolicy? restart, CancellationToken cancel)
    {
        var found = Find(container);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        var before = found.Record;
        if (restart is { Kind: not RestartKind.No } && before.Spec.AutoRemove)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "Restart policy cannot be updated because AutoRemove is enabled for the container");
        }

        var old = before.Spec.Limits;
        var merged = new ResourceLimits
        {
            MemoryBytes = limits.MemoryBytes ?? old.MemoryBytes,
            MemoryAndSwapBytes = limits.MemoryAndSwapBytes ?? old.MemoryAndSwapBytes,
            MemoryReservationBytes = limits.MemoryReservationBytes ?? old.MemoryReservationBytes,
            NanoCpus = limits.NanoCpus ?? old.NanoCpus,
            Pids = limits.Pids ?? old.Pids,
            CpusetCpus = limits.CpusetCpus ?? old.CpusetCpus,
            BlockRates = old.BlockRates,
        };
        ContainerSpecCheck.Require(before.Spec with { Limits = merged });
        if (found.IsRunning)
        {
            // The two stand and fall together: what is said of one holds beside what was said of the other.
            var memory = limits.MemoryBytes is not null || limits.MemoryAndSwapBytes is not null;
            Apply(found, CgroupOf(before.Id), limits with { MemoryBytes = memory ? merged.MemoryBytes : null, MemoryAndSwapBytes = memory ? merged.MemoryAndSwapBytes : null }, old);
        }

        Change(found, record => record with
        {
            Spec = record.Spec with { Limits = merged, Restart = restart ?? record.Spec.Restart },
            Effective = record.Effective is { } effective ? effective with { Limits = merged, Restart = restart ?? effective.Restart } : null,
        });
        if (ContainerFiles.IsDurable(found.Record) && !ContainerFiles.IsDurable(before))
        {
            // Its layer was made without waiting for the disk.
            using var data = RootedDirectory.Open(_options.DataDirectory);
            data.FlushFileSystem();
        }

        Tell(found.Record, "update");
    }

    /// <summary>All of them are held by the kernel afterwards, or those from before are.</summary>
    private static void Apply(Container container, Cgroup cgroup, ResourceLimits asked, ResourceLimits old)
    {
        var stats = cgroup.ReadStats();
        if (asked.MemoryBytes is { } memory && memory < stats.MemoryBytes - stats.InactiveFileBytes)
        {
            throw new EdgeHostException(
                ErrorKind.Conflict, $"memory limit {memory} bytes: container {container.Record.Name} uses {stats.MemoryBytes - stats.InactiveFileBytes} bytes now, and would be killed; stop it first");
        }

        try
        {
            cgroup.Apply(RuntimeSpecBuilder.LimitsOf(asked));
        }
        catch
        {
            cgroup.Lift(RuntimeSpecBuilder.LimitsOf(asked));
            cgroup.Apply(RuntimeSpecBuilder.LimitsOf(old));
            throw;
        }
    }
}
