using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci kill</c>: sends a signal.</summary>
internal static class OciKill
{
    internal static int Execute(OciArguments line)
    {
        var all = line.TakeFlag("-a", "--all");
        var operands = line.TakeOperands(1, 2, "a container id and perhaps a signal");
        var id = operands[0];
        var signal = Signals.Parse(operands.Count > 1 ? operands[1] : "SIGTERM");
        var container = line.State.Load(id);
        var state = line.State.Observe(container);
        if (all)
        {
            foreach (var pid in OciStateDirectory.CgroupOf(container).ReadPids())
            {
                Processes.TryKill(pid, signal);
            }

            return 0;
        }

        using var process = state.Status == "stopped" ? null : Processes.TryOpen(container.Pid);

        // The start time is read again behind the pidfd: only now it is certain whose pid this is.
        return process is not null && Processes.TryReadStartTime(container.Pid) == container.StartTime && Processes.TryKill(process, signal)
            ? 0
            : throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is not running");
    }
}
