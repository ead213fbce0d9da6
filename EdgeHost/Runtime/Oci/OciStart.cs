using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci start</c>: lets a created container execute its program, and tells whether it could.</summary>
internal static class OciStart
{
    internal static int Execute(OciArguments line)
    {
        var id = line.TakeOperands(1, 1, "one container id")[0];
        var state = line.State;
        var container = state.Load(id);
        var status = state.Observe(container).Status;
        if (status != "created")
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is {status}, not created");
        }

        // Read while there is time to refuse: after an update of this program it may be of another version.
        var plan = LaunchPlan.Parse(File.ReadAllBytes(state.PlanFile(id)));

        // Opened first: whether the exec succeeded is told by the other end being closed.
        using var report = Fifo.OpenForReading(state.StatusFifo(id));
        if (!Fifo.TrySignal(state.StartFifo(id)))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} has ended before its start");
        }

        var failure = LaunchedProcess.ReadOutcome(plan, report);
        File.Delete(state.StartFifo(id));
        return failure is null ? 0 : throw failure.ToException();
    }
}
