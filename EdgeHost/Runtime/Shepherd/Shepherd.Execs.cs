using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Programs that are started in containers beside their own. What they read and write goes between them and the daemon,
/// which made the pipes; here they are cloned and reaped, and a daemon that has gone is told nothing.
/// </summary>
internal sealed partial class Shepherd
{
    private const int StandardStreams = 3;

    private readonly List<ShepherdExec> _execs = [];

    private void Exec(PacketSocket client, int request, ref ShepherdMessageReader reader, List<Fd> descriptors)
    {
        var id = reader.TakeText();
        var streams = reader.TakeInt32() != 0 ? 2 : 1;
        if (descriptors.Count != streams + StandardStreams)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"exec in {id}: {descriptors.Count} descriptors came with it");
        }

        if (!_containers.TryGetValue(id, out var container) || !container.Running || IsEnding)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is not running");
        }

        var plan = LaunchPlan.Parse(SealedMemory.Read(descriptors[0], LaunchPlan.MaximumLength));
        var process = Launcher.Start(
            plan,
            streams == 2 ? descriptors[1] : null,
            [descriptors[streams].Value, descriptors[streams + 1].Value, descriptors[streams + 2].Value, container.Process.PidFd.Value]);
        var exec = new ShepherdExec(container, client, request, process);
        _execs.Add(exec);
        _loop.Add(process.Status, () => Guard(exec, () => OnReport(exec, plan)));
        _loop.Add(process.PidFd, () => Guard(exec, () => OnEnteringGone(exec)));
    }

    private void OnReport(ShepherdExec exec, LaunchPlan plan)
    {
        var pid = LaunchedProcess.ReadEntered(plan, exec.Entering.Status, out var failure);
        if (pid > 0 && exec.Pid == 0)
        {
            Follow(exec, pid, () => Guard(exec, () => FinishExec(exec)));
            return;
        }

        _loop.Remove(exec.Entering.Status);
        exec.PlanEnded = true;
        exec.Failure = failure?.ToException();
        if (failure is null && exec.Pid != 0)
        {
            var started = new ShepherdMessageWriter(_answer, ShepherdMessageKind.ExecStarted);
            started.Put(exec.Request);
            started.Put(exec.Pid);
            Answer(exec.Client, started);
        }

        FinishExec(exec);
    }

    private void OnEnteringGone(ShepherdExec exec)
    {
        if (TakeEntering(exec))
        {
            FinishExec(exec);
        }
    }

    private void FinishExec(ShepherdExec exec)
    {
        if (!exec.HasEnded)
        {
            return;
        }

        // The kernel ends all in a container when its first process has ended, and lets nobody in any more.
        var ending = exec.Container.Exit is not null || Processes.IsEnding(exec.Container.Process.Pid);
        if (exec.Failure is { } failure && !(ending && failure.Kind != ErrorKind.CannotExecute))
        {
            Fail(exec.Client, exec.Request, failure);
        }
        else if (exec.Failure is not null || exec.Pid == 0)
        {
            Fail(exec.Client, exec.Request, ending
                ? new EdgeHostException(ErrorKind.Conflict, $"container {exec.Container.Id} has ended before the program was started in it")
                : new EdgeHostException(ErrorKind.Infeasible, "it was killed before the program was executed; the container's memory limit may be too small for one more process"));
        }
        else
        {
            var ended = new ShepherdMessageWriter(_answer, ShepherdMessageKind.ExecEnded);
            ended.Put(exec.Request);
            ended.Put(exec.ExitCode!.Value);
            ended.Put(ending ? 1 : 0);
            Answer(exec.Client, ended);
        }

        LetGo(exec);
    }

    private void LetGo(ShepherdExec exec)
    {
        _execs.Remove(exec);
        LetGo((ShepherdEntry)exec);
    }

    // A defect on one of them must not take the parent of all containers with it.
    private void Guard(ShepherdExec exec, Action handler)
    {
        try
        {
            handler();
        }
        catch (Exception e)
        {
            SingleThread.PrintError($"edgehost shepherd: internal error; a program in container {ShortId(exec.Container)} is followed no more: {e}\n");
            if (_execs.Contains(exec))
            {
                Fail(exec.Client, exec.Request, new EdgeHostException(ErrorKind.Internal, $"the program is followed no more: {e.Message}"));
                _strays.Add(exec.Entering.Pid);
                _strays.Add(exec.Pid);
                LetGo(exec);
            }
        }
    }
}
