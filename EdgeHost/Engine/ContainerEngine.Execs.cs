using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Engine;

/// <summary>Programs in running containers. They are remembered in memory only: who started one hears of its end from this daemon or from none.</summary>
public sealed partial class ContainerEngine : IContainerExecs
{
    /// <summary>How many are remembered that do not run: the oldest goes when there is one more.</summary>
    private const int MostExecs = 512;

    private readonly ConcurrentDictionary<string, Exec> _execs = new(StringComparer.Ordinal);
    private readonly Queue<Exec> _execsByAge = new();

    /// <inheritdoc/>
    public IContainerExecs Execs => this;

    string IContainerExecs.Create(string container, ExecSpec spec)
    {
        var found = Find(container);
        RequireExecutable(found);
        if (spec.Arguments is not [{ Length: > 0 }, ..])
        {
            throw new EdgeHostException(ErrorKind.Invalid, "no command specified: give the program to run");
        }

        if (spec.WorkingDirectory is { Length: > 0 } directory && directory[0] != '/')
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"working directory \"{directory}\" is not an absolute path");
        }

        _ = DetachKeys.Parse(spec.DetachKeys);
        var exec = new Exec(RandomNumberGenerator.GetHexString(64, lowercase: true), found, spec);
        lock (_execsByAge)
        {
            _execs[exec.Id] = exec;
            _execsByAge.Enqueue(exec);
            for (var looked = _execsByAge.Count; _execsByAge.Count > MostExecs && looked > 0; looked--)
            {
                var oldest = _execsByAge.Dequeue();
                if (oldest.Running)
                {
                    _execsByAge.Enqueue(oldest);
                }
                else
                {
                    _execs.TryRemove(oldest.Id, out _);
                }
            }
        }

        Tell(found.Record, "exec_create: " + string.Join(' ', spec.Arguments), ("execID", exec.Id));
        return exec.Id;
    }

    ExecStatus IContainerExecs.Inspect(string exec) => FindExec(exec).Status;

    IReadOnlyList<string> IContainerExecs.RunningIn(string container)
    {
        var found = Find(container);
        return [.. _execs.Values.Where(exec => exec.Container == found && exec.Running).Select(exec => exec.Id)];
    }

    void IContainerExecs.Resize(string exec, TerminalSize size) => FindExec(exec).Resize(size);

    async Task<ProcessStreams> IContainerExecs.StartAsync(string exec, TerminalSize? size)
    {
        var found = FindExec(exec);
        RequireExecutable(found.Container);
        found.Take();
        try
        {
            var cgroup = CgroupOf(found.Container.Record.Id);
            var entry = cgroup.MakeExecEntry();
            var plan = PlanExec(found, entry, size ?? found.Spec.Size);
            var oomKills = cgroup.ReadExecOomKills();
            return await (found.Spec.Terminal ? StartWithTerminalAsync(found, entry, plan, oomKills) : StartAsync(found, entry, plan, oomKills)).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            found.End(ExitCodeOf(e), oomKilled: false);
            throw;
        }
    }

    private async Task<ProcessStreams> StartAsync(Exec exec, CgroupEntry entry, Linux.Launch.LaunchPlan plan, long oomKills)
    {
        (Fd Read, Fd Write)? input = null, output = null, error = null;
        var running = default(RunningExec);
        using var nothing = Pipe.OpenNull();
        try
        {
            input = exec.Spec.AttachInput ? Pipe.MakeForInput() : null;
            output = exec.Spec.AttachOutput ? Pipe.Make() : null;
            error = exec.Spec.AttachError ? Pipe.Make() : null;
            running = await Shepherd.ExecAsync(
                exec.Container.Record.Id,
                plan,
                entry.BirthDirectory,
                [(input?.Read ?? nothing).Value, (output?.Write ?? nothing).Value, (error?.Write ?? nothing).Value]).ConfigureAwait(false);
        }
        finally
        {
            input?.Read.Dispose();
            output?.Write.Dispose();
            error?.Write.Dispose();
            if (running is null)
            {
                input?.Write.Dispose();
                output?.Read.Dispose();
                error?.Read.Dispose();
            }
        }

        exec.Begin(running.Pid, null);
        Tell(exec.Container.Record, "exec_start: " + string.Join(' ', exec.Spec.Arguments), ("execID", exec.Id));
        return new ProcessStreams(streams =>
        {
            input?.Write.Dispose();
            streams.Output?.Dispose();
            streams.Error?.Dispose();
        })
        {
            Input = Task.FromResult(input?.Write),
            EndInput = () =>
            {
                input?.Write.Dispose();
                return true;
            },
            Output = output?.Read,
            Error = error?.Read,
            Ended = FollowAsync(exec, running.Ended, oomKills),
        };
    }

    private async Task<ProcessStreams> StartWithTerminalAsync(Exec exec, CgroupEntry entry, Linux.Launch.LaunchPlan plan, long oomKills)
    {
        var (ours, theirs) = PacketSocket.MakePair();
        using var nothing = Pipe.OpenNull();
        Fd terminal;
        RunningExec running;
        using (ours)
        {
            using (theirs)
            {
                running = await Shepherd.ExecAsync(exec.Container.Record.Id, plan, entry.BirthDirectory, [theirs.Fd.Value, nothing.Value, nothing.Value]).ConfigureAwait(false);
            }

            terminal = Terminal.Take(ours) ?? throw new EdgeHostException(ErrorKind.Internal, $"no terminal came from exec {exec.Id}");
        }

        exec.Begin(running.Pid, terminal);
        Tell(exec.Container.Record, "exec_start: " + string.Join(' ', exec.Spec.Arguments), ("execID", exec.Id));
        var ended = FollowAsync(exec, running.Ended, oomKills);
        return new ProcessStreams(_ => LeaveTerminal(exec, terminal, ended))
        {
            Input = Task.FromResult(exec.Spec.AttachInput ? terminal : null),
            EndInput = static () => true,
            Output = terminal,
            IsTerminal = true,
            Ended = ended,
        };
    }

    /// <summary>Who was at a terminal has gone: the program goes on, and what it shows is dropped until its end.</summary>
    private static void LeaveTerminal(Exec exec, Fd terminal, Task ended)
    {
        if (ended.IsCompleted)
        {
            exec.CloseTerminal();
            return;
        }

        var pump = new StreamPump(null, framed: false);
        var told = ended.ContinueWith(_ => pump.End(), TaskScheduler.Default);
        new Thread(
            () =>
            {
                try
                {
                    pump.CopyOutput(terminal, null, untilEnd: true);
                }
                catch (LinuxException)
                {
                    // A terminal that cannot be read has nothing more to drop.
                }

                exec.CloseTerminal();
                told.Wait();
                pump.Dispose();
            },
            128 << 10)
        { IsBackground = true, Name = "terminal" }.Start();
    }

    private async Task FollowAsync(Exec exec, Task<ExecEnd?> ended, long oomKillsBefore)
    {
        var end = await ended.ConfigureAwait(false);
        var oomKills = 0L;
        if (end is { ExitCode: 128 + Signals.SIGKILL, WithContainer: false })
        {
            // The container goes on, so none of these kills was its own end.
            oomKills = ExecOomKillsOf(exec.Container) - oomKillsBefore;
            exec.Container.OomKillsBeside += oomKills;
        }

        exec.End(end?.ExitCode, oomKills > 0);
        Tell(exec.Container.Record, "exec_die", ("execID", exec.Id), ("exitCode", end?.ExitCode.ToString(CultureInfo.InvariantCulture) ?? "unknown"));
    }

    private long ExecOomKillsOf(Container container)
    {
        try
        {
            return CgroupOf(container.Record.Id).ReadExecOomKills();
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            // It ends in this moment; its own end tells.
            return 0;
        }
    }

    private Linux.Launch.LaunchPlan PlanExec(Exec exec, CgroupEntry entry, TerminalSize? size)
    {
        var record = exec.Container.Record;
        var asked = exec.Spec;
        var spec = RuntimeSpecBuilder.BuildFor(
            record with
            {
                Arguments = asked.Arguments,
                Spec = record.Spec with
                {
                    User = asked.User is { Length: > 0 } ? asked.User : record.Spec.User,
                    WorkingDirectory = asked.WorkingDirectory is { Length: > 0 } ? asked.WorkingDirectory : record.Spec.WorkingDirectory,
                    Environment = [.. record.Spec.Environment, .. asked.Environment],
                },
            },
            _images,
            _options.Secrets?.Of(exec.Container.Status)?.Environment ?? [],
            AppArmorOf(record.Spec),
            asked.Privileged,
            asked.Terminal);
        return LaunchPlanCompiler.CompileExec(spec, entry, size?.Packed ?? 0);
    }

    private static void RequireExecutable(Container container)
    {
        var record = container.Record;
        if (!container.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, record.State == ContainerState.Restarting
                ? $"Container {record.Id} is restarting, wait until the container is running"
                : $"container {record.Id} is not running");
        }

        if (record.Paused)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"Container {record.Name} is paused, unpause the container before exec");
        }
    }

    private static int ExitCodeOf(Exception failure) => failure is EdgeHostException { Kind: ErrorKind.CannotExecute }
        ? failure.Message.Contains("not found", StringComparison.Ordinal) ? 127 : 126
        : 126;

    private Exec FindExec(string id) => _execs.TryGetValue(id, out var exec) && !exec.Container.Removed
        ? exec
        : throw new EdgeHostException(ErrorKind.NotFound, $"No such exec instance: {id}");
}
