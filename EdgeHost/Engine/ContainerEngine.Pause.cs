using EdgeHost.Errors;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Engine;

/// <summary>Holding a container still, and letting it go on.</summary>
public sealed partial class ContainerEngine
{
    private static readonly TimeSpan FreezePatience = TimeSpan.FromSeconds(10);

    /// <inheritdoc/>
    public async Task PauseAsync(string container, CancellationToken cancel)
    {
        var found = Find(container);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        if (!found.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {found.Record.Id} is not running");
        }

        if (found.Record.Paused)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {found.Record.Id} is already paused");
        }

        // A check that is held would not end when its time is over.
        await StopHealthAsync(found).ConfigureAwait(false);
        var cgroup = CgroupOf(found.Record.Id);
        try
        {
            await FreezeAsync(found, cgroup, cancel).ConfigureAwait(false);
        }
        catch
        {
            cgroup.Thaw();
            StartHealth(found, started: false);
            throw;
        }

        Change(found, record => record with { Paused = true });
        Tell(found.Record, "pause");
    }

    /// <inheritdoc/>
    public async Task UnpauseAsync(string container, CancellationToken cancel)
    {
        var found = Find(container);
        using var turn = await found.TakeTurnAsync(cancel).ConfigureAwait(false);
        if (!found.Record.Paused)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"Container {found.Record.Id} is not paused");
        }

        Thaw(found);
    }

    private static async Task FreezeAsync(Container container, Cgroup cgroup, CancellationToken cancel)
    {
        var until = Environment.TickCount64 + (long)FreezePatience.TotalMilliseconds;
        for (var pause = 1; ; pause = Math.Min(pause * 2, 50))
        {
            // v1 stops at a process that was just born; asked again, it goes on from there.
            cgroup.Freeze();
            if (cgroup.IsFrozen)
            {
                return;
            }

            if (Environment.TickCount64 > until)
            {
                throw new EdgeHostException(
                    ErrorKind.Internal, $"container {container.Record.Name} was not frozen within {FreezePatience.TotalSeconds:0} s; one of its processes waits for a device or file system that hangs");
            }

            await Task.Delay(pause, cancel).ConfigureAwait(false);
        }
    }

    /// <summary>Lets a container go on that is to end, or that somebody wants to.</summary>
    private void Thaw(Container container)
    {
        if (!container.Record.Paused)
        {
            return;
        }

        CgroupOf(container.Record.Id).Thaw();
        Change(container, record => record with { Paused = false });
        Tell(container.Record, "unpause");
        StartHealth(container, started: false);
    }
}
