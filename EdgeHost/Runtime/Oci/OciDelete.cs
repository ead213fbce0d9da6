using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci delete</c>: removes a container that has ended.</summary>
internal static class OciDelete
{
    internal static int Execute(OciArguments line)
    {
        var force = line.TakeFlag("-f", "--force");
        var id = line.TakeOperands(1, 1, "one container id")[0];
        var state = line.State;
        OciContainer container;
        try
        {
            container = state.Load(id);
        }
        catch (EdgeHostException e) when (force && e.Kind == ErrorKind.NotFound)
        {
            // What a killed create left has no state yet, but may have its name.
            state.Release(id);
            return 0;
        }

        var status = state.Observe(container).Status;
        if (status is not "stopped" && !force)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is {status}; stop it first, or delete it with --force");
        }

        var cgroup = OciStateDirectory.CgroupOf(container);
        if (status is not "stopped")
        {
            using var process = Processes.TryOpen(container.Pid);
            if (process is not null && Processes.TryReadStartTime(container.Pid) == container.StartTime)
            {
                Processes.TryKill(process, Signals.SIGKILL);
                SingleThread.WaitReadable([process.Value], 10_000);
            }
        }

        OciLaunch.Remove(cgroup);
        state.Release(id);
        return 0;
    }
}
