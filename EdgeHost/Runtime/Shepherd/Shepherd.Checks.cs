using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Checks of the containers' health, at most one of a container at a time. A check is answered when nothing of it is
/// left; one that cannot be killed is answered all the same, and no other is begun until it is gone.
/// </summary>
internal sealed partial class Shepherd
{
    private const int KillAgainMilliseconds = 1000;

    // The end of what was killed is told by nothing where it is no child.
    private const int FirstLookMilliseconds = 1;

    // What nobody keeps is read only so fast that it costs nothing: ten pipes full a second.
    private const int SlowReadMilliseconds = 100;

    private readonly List<ShepherdCheck> _checks = [];

    // Processes of checks that were given up: their containers cannot end before they were reaped.
    private readonly List<int> _strays = [];

    private void Check(PacketSocket client, int request, ref ShepherdMessageReader reader, List<Fd> descriptors)
    {
        var id = reader.TakeText();
        var directory = reader.TakeText();
        var timeout = reader.TakeInt32();
        var wantsCgroup = reader.TakeInt32() != 0;
        if (descriptors.Count != (wantsCgroup ? 2 : 1) || timeout < 1 || !directory.StartsWith('/'))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"check of {id}: {descriptors.Count} descriptors, a timeout of {timeout} ms and the cgroup {directory} came with it");
        }

        if (!_containers.TryGetValue(id, out var container) || !container.Running || IsEnding)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"container {id} is not running");
        }

        if (_checks.Exists(other => other.Container == container))
        {
            throw new EdgeHostException(ErrorKind.Conflict, "the check before this one was killed and has not ended; a device or file system may hang");
        }

        var plan = LaunchPlan.Parse(SealedMemory.Read(descriptors[0], LaunchPlan.MaximumLength));
        LaunchedProcess? process = null;
        var output = Pipe.Make();
        try
        {
            process = Launcher.Start(plan, wantsCgroup ? descriptors[1] : null, [_null.Value, output.Write.Value, output.Write.Value, container.Process.PidFd.Value]);
        }
        finally
        {
            output.Write.Dispose();
            if (process is null)
            {
                output.Read.Dispose();
            }
        }

        var check = new ShepherdCheck(container, client, request, process, output.Read, directory) { KillAt = Environment.TickCount64 + timeout };
        _checks.Add(check);
        _loop.Add(process.Status, () => Guard(check, () => OnReport(check, plan)));
        _loop.Add(process.PidFd, () => Guard(check, () => OnEnteringGone(check)));
        _loop.Add(output.Read, () => Guard(check, () => ReadOutput(check)));
    }

    private void OnReport(ShepherdCheck check, LaunchPlan plan)
    {
        var pid = LaunchedProcess.ReadEntered(plan, check.Entering.Status, out var failure);
        if (pid > 0 && check.Pid == 0)
        {
            Follow(check, pid, () => Guard(check, () => FinishCheck(check)));
            if (check.Outcome != CheckOutcome.Exited)
            {
                Kill(check);
            }

            return;
        }

        _loop.Remove(check.Entering.Status);
        check.PlanEnded = true;
        check.Failure = failure?.ToException();
        FinishCheck(check);
    }

    // A child that nobody has waited for: the number is its own.
    private void Follow(ShepherdEntry entry, int pid, Action ended)
    {
        entry.Pid = pid;
        try
        {
            entry.PidFd = Processes.TryOpen(pid);
            if (entry.PidFd is not null)
            {
                _loop.Add(entry.PidFd, ended);
            }
        }
        catch (LinuxException e)
        {
            // Too many descriptors: its end is seen by the signal that comes with it.
            SingleThread.PrintError($"edgehost shepherd: container {ShortId(entry.Container)}: {e.Message}\n");
        }
    }

    private void OnEnteringGone(ShepherdCheck check)
    {
        if (TakeEntering(check))
        {
            FinishCheck(check);
        }
    }

    private bool TakeEntering(ShepherdEntry entry)
    {
        if (!Processes.TryReap(entry.Entering.Pid, out _))
        {
            return false;
        }

        _loop.Remove(entry.Entering.PidFd);
        entry.EnteringGone = true;
        return true;
    }

    // Once more than is kept was written the rest is only to not hold the writer up, and that at a walk; so it is, too,
    // where somebody in the container reads it before us.
    private void ReadOutput(ShepherdCheck check)
    {
        var count = Pipe.Read(check.Output, _buffer);
        if (count == 0)
        {
            _loop.Remove(check.Output);
            check.ReadAt = null;
        }
        else if (count < 0 || !check.Keep(_buffer.AsSpan(0, count)))
        {
            _loop.Remove(check.Output);
            check.ReadAt = Environment.TickCount64 + SlowReadMilliseconds;
        }
    }

    private void GoOnChecking()
    {
        var now = Environment.TickCount64;
        if (_checks.Exists(check => check.NextAt <= now))
        {
            foreach (var check in _checks.ToArray())
            {
                Guard(check, () => GoOnWith(check, now));
            }
        }
    }

    private void GoOnWith(ShepherdCheck check, long now)
    {
        if (now >= check.ReadAt)
        {
            check.ReadAt = Pipe.Read(check.Output, _buffer) == 0 ? null : now + SlowReadMilliseconds;
        }

        if (now >= check.LookAt)
        {
            FinishCheck(check);
        }

        if (now < check.KillAt || !_checks.Contains(check))
        {
            return;
        }

        if (check.Outcome != CheckOutcome.Exited || check.LookAt is not null)
        {
            // It, or what it left, was killed before and is still there.
            AnswerCheck(check);
        }
        else
        {
            check.Outcome = CheckOutcome.TimedOut;
        }

        Kill(check);
    }

    private void CancelCheck(PacketSocket client, int request)
    {
        if (_checks.Find(check => check.Client == client && check.Request == request) is { } found)
        {
            Cancel(found);
        }
    }

    private void Cancel(ShepherdCheck check)
    {
        if (check.Outcome == CheckOutcome.Exited)
        {
            check.Outcome = CheckOutcome.Cancelled;
            Kill(check);
        }
    }

    // The process that enters may not have come to the cgroup yet.
    private static void Kill(ShepherdCheck check)
    {
        check.KillAt = Environment.TickCount64 + KillAgainMilliseconds;
        Processes.TryKill(check.Entering.PidFd, Signals.SIGKILL);
        if (check.PidFd is not null)
        {
            Processes.TryKill(check.PidFd, Signals.SIGKILL);
        }

        KillWhatIsLeft(check);
    }

    private static bool KillWhatIsLeft(ShepherdCheck check)
    {
        try
        {
            return Cgroup.KillEntry(check.Directory);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            SingleThread.PrintError($"edgehost shepherd: what a check of container {ShortId(check.Container)} started may be left: {e.Message}\n");
            return false;
        }
    }

    // One whose pid was not told, because the process that entered was killed between cloning and telling, or that has no pidfd.
    private void FindLostEntries()
    {
        foreach (var check in _checks.ToArray())
        {
            Guard(check, () => FinishCheck(check));
        }

        foreach (var exec in _execs.ToArray())
        {
            Guard(exec, () => FinishExec(exec));
        }

        _strays.RemoveAll(pid => pid == 0 || Processes.TryReapChild(pid));
    }

    private void FinishCheck(ShepherdCheck check)
    {
        if (!check.HasEnded)
        {
            return;
        }

        if (check is { ExitCode: 128 + Signals.SIGKILL, Outcome: CheckOutcome.Exited } && Processes.IsEnding(check.Container.Process.Pid))
        {
            // The container ends, and the kernel has ended all in it: that says nothing about its health.
            check.Outcome = CheckOutcome.Cancelled;
        }

        var isAnythingLeft = KillWhatIsLeft(check);
        while (!check.Truncated && Pipe.Read(check.Output, _buffer) is > 0 and var count)
        {
            check.Keep(_buffer.AsSpan(0, count));
        }

        if (isAnythingLeft)
        {
            // Whoever freezes the container next would keep it.
            var now = Environment.TickCount64;
            check.KillAt = check.LookAt is null ? now + KillAgainMilliseconds : check.KillAt;
            check.LookAgain = Math.Min(Math.Max(check.LookAgain * 2, FirstLookMilliseconds), KillAgainMilliseconds);
            check.LookAt = now + check.LookAgain;
            return;
        }

        AnswerCheck(check);
        LetGo(check);
    }

    // Its end may have been seen by the signal, with its descriptors still waited on.
    private void LetGo(ShepherdCheck check)
    {
        _checks.Remove(check);
        _loop.Remove(check.Output);
        LetGo((ShepherdEntry)check);
    }

    private void LetGo(ShepherdEntry entry)
    {
        if (!entry.PlanEnded)
        {
            _loop.Remove(entry.Entering.Status);
        }

        _loop.Remove(entry.Entering.PidFd);
        if (entry.PidFd is not null)
        {
            _loop.Remove(entry.PidFd);
        }

        entry.Dispose();
    }

    // A defect on a check must not take the parent of all containers with it.
    private void Guard(ShepherdCheck check, Action handler)
    {
        try
        {
            handler();
        }
        catch (Exception e)
        {
            SingleThread.PrintError($"edgehost shepherd: internal error; a check of container {ShortId(check.Container)} is given up: {e}\n");
            if (_checks.Contains(check))
            {
                Fail(check.Client, check.Request, new EdgeHostException(ErrorKind.Internal, $"the check was given up: {e.Message}"));
                Kill(check);
                _strays.Add(check.Entering.Pid);
                _strays.Add(check.Pid);
                LetGo(check);
            }
        }
    }

    private void AnswerCheck(ShepherdCheck check)
    {
        if (check.Answered)
        {
            return;
        }

        check.Answered = true;
        var failure = check.Failure
            ?? (check.Outcome == CheckOutcome.Exited && check.Pid == 0
                ? new EdgeHostException(ErrorKind.Infeasible, "the check was killed before its program was executed; the container's memory limit may be too small for one more process")
                : null);
        if (failure is not null && check.Outcome == CheckOutcome.Exited)
        {
            Fail(check.Client, check.Request, failure);
            return;
        }

        var answer = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Checked);
        answer.Put(check.Request);
        answer.Put((int)check.Outcome);
        answer.Put(check.ExitCode ?? -1);
        answer.Put(check.Truncated ? 1 : 0);
        answer.Put(check.Kept);
        Answer(check.Client, answer);
    }
}
