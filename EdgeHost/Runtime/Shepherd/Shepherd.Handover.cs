using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Giving this process to another build of the program, under running containers: it executes the other program in place, so
/// it stays the parent of every container and keeps every descriptor. The other program is first run as a child, which has
/// to understand the state as it is; then what cannot be handed over (starts, checks) comes to its end, while no new request
/// is read; then it is executed. One that fails to take over executes this one again. Until then nothing has changed.
/// </summary>
internal sealed partial class Shepherd
{
    /// <summary>What the other program says when it can take over; a part of the protocol.</summary>
    internal const string ReadyToTakeOver = "edgehost shepherd: ready to take over";

    private const int HandoverCheckMilliseconds = 10_000;
    private const int HandoverPatienceMilliseconds = 5000;

    private readonly string _startedFrom;
    private Handover? _handover;

    private long? NextHandoverAt => _handover?.Until;

    // Nothing is under way that lives in this program alone.
    private ShepherdContainer? BusyContainer =>
        _checks.Count > 0 ? _checks[0].Container : _containers.Values.FirstOrDefault(container => !container.Running && container.Exit is null)
            ?? _execs.Find(static exec => !exec.EnteringGone || !exec.PlanEnded)?.Container;

    private void BeginHandover(PacketSocket? client, int request, string path)
    {
        path = path.Length > 0 ? path : _startedFrom;
        if (!path.StartsWith('/'))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"hand-over to \"{path}\": not an absolute path");
        }

        if (IsEnding || _handover is not null)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"hand-over to {path}: {(IsEnding ? "the shepherd is ending" : $"one to {_handover!.Path} is under way")}");
        }

        var program = ProgramFile.Open(path);
        try
        {
            ProgramFile.CheckMachine(program, path);
            var (check, plan, output) = StartHandoverCheck(program, path);
            _handover = new Handover(client, request, path, program, check, plan, output) { Until = Environment.TickCount64 + HandoverCheckMilliseconds };
            _loop.Add(check.PidFd, OnHandoverChecked);
        }
        finally
        {
            if (_handover is null)
            {
                program.Dispose();
            }
        }
    }

    private (LaunchedProcess Check, LaunchPlan Plan, Fd Output) StartHandoverCheck(Fd program, string path)
    {
        using var state = SealedMemory.Create("shepherd-state", WriteState(out _));
        var builder = new LaunchPlan.Builder(callerSlots: 4);
        builder.Add(LaunchOp.NewSession);
        builder.Add(LaunchOp.Duplicate, slot: 0, a: 0);
        builder.Add(LaunchOp.Duplicate, slot: 1, a: 1);
        builder.Add(LaunchOp.Duplicate, slot: 1, a: 2);
        builder.Add(LaunchOp.CloseFrom, a: 3);
        builder.Add(LaunchOp.Duplicate, slot: 2, a: state.Value);
        builder.Add(LaunchOp.ResetSignals);
        string[] arguments = [path, "shepherd", "--check-handover", state.Value.ToString(CultureInfo.InvariantCulture)];
        builder.AddRaw(LaunchOp.Execute, -1, -1, builder.PutList([$"/proc/self/fd/{program.Value}"]), builder.PutTable(arguments), builder.PutTable([]), 0, arguments.Length, 0);
        var plan = builder.Build();
        var output = Pipe.Make();
        LaunchedProcess? check = null;
        try
        {
            check = Launcher.Start(plan, null, [_null.Value, output.Write.Value, state.Value, program.Value]);
            return (check, plan, output.Read);
        }
        finally
        {
            output.Write.Dispose();
            if (check is null)
            {
                output.Read.Dispose();
            }
        }
    }

    private void OnHandoverChecked()
    {
        var handover = _handover!;
        if (!Processes.TryReap(handover.Check.Pid, out var exitCode))
        {
            return;
        }

        _loop.Remove(handover.Check.PidFd);
        handover.IsChecked = true;
        var said = Encoding.UTF8.GetString(_buffer.AsSpan(0, Math.Clamp(Pipe.Read(handover.Output, _buffer), 0, 1000))).Split('\n')[0];
        if (LaunchedProcess.ReadOutcome(handover.Plan, handover.Check.Status) is { } failure)
        {
            RefuseHandover(failure.ToException().Message);
        }
        else if (exitCode != 0 || said != ReadyToTakeOver)
        {
            RefuseHandover(string.Create(CultureInfo.InvariantCulture, $"its check ended with {exitCode}{(exitCode > 128 ? $" (signal {exitCode - 128})" : string.Empty)}: {(said.Length > 0 ? said : "it said nothing")}"));
        }
        else
        {
            // Requests wait in their sockets for whoever is here next.
            _clients.ForEach(other => _loop.Remove(other.Fd));
            _loop.Remove(_listener);
            _checks.ForEach(Cancel);
            handover.IsAlone = true;
            handover.Until = Environment.TickCount64 + HandoverPatienceMilliseconds;
        }
    }

    private void GoOnHandingOver()
    {
        if (_handover is not { } handover)
        {
            return;
        }

        var late = Environment.TickCount64 >= handover.Until;
        if (IsEnding)
        {
            RefuseHandover("the shepherd was told to end");
        }
        else if (!handover.IsAlone)
        {
            if (late)
            {
                RefuseHandover($"its check has not ended within {HandoverCheckMilliseconds / 1000} s");
            }
        }
        else if (BusyContainer is null && _making.Count == 0)
        {
            HandOver(handover);
        }
        else if (late)
        {
            RefuseHandover($"a start or check of {(BusyContainer is { } busy ? $"container {ShortId(busy)}" : "a container")} has not come to its end within {HandoverPatienceMilliseconds / 1000} s; try again");
        }
    }

    private void RefuseHandover(string why)
    {
        var handover = _handover!;
        _handover = null;
        if (!handover.IsChecked)
        {
            _loop.Remove(handover.Check.PidFd);
            Processes.TryKill(handover.Check.PidFd, Signals.SIGKILL);
            _strays.Add(handover.Check.Pid);
        }

        if (handover.IsAlone)
        {
            foreach (var client in _clients)
            {
                _loop.Add(client.Fd, () => OnMessage(client));
            }

            _listenAt = Environment.TickCount64;
        }

        SayRefused(handover.Client, handover.Request, $"hand-over to {handover.Path} is refused, nothing has changed: {why}");
        handover.Dispose();
    }

    private void SayRefused(PacketSocket? client, int request, string text)
    {
        SingleThread.PrintError($"edgehost shepherd: {text}\n");
        if (client is not null)
        {
            Fail(client, request, new EdgeHostException(ErrorKind.Infeasible, text));
        }
    }

    private byte[] WriteState(out List<int> descriptors)
    {
        var state = new ShepherdState
        {
            StartedFrom = _startedFrom,
            Lock = _lock.File,
            Listener = _listener,
            NextRank = _nextRank,
            AskedBy = _handover?.Client is { } client ? _clients.IndexOf(client) : -1,
            Request = _handover?.Request ?? 0,
        };
        state.Clients.AddRange(_clients.Select(each => each.Fd));
        state.Loggers.AddRange(_logger.Peers);
        state.Strays.AddRange(_strays);
        foreach (var exec in _execs)
        {
            var asker = _clients.IndexOf(exec.Client);
            if (exec.Pid > 0 && asker >= 0)
            {
                state.Execs.Add(new ExecState { Container = exec.Container.Rank, Client = asker, Request = exec.Request, Pid = exec.Pid, PidFd = exec.PidFd ?? (exec.Entering.Pid == exec.Pid ? exec.Entering.PidFd : null) });
            }
            else if (exec.Pid > 0)
            {
                state.Strays.Add(exec.Pid);
            }
        }

        foreach (var container in _draining.Concat(_containers.Values))
        {
            container.IsDraining = _draining.Contains(container);
            state.Containers.Add(container);
        }

        return state.Write(out descriptors);
    }

    private void HandOver(Handover handover)
    {
        try
        {
            using var state = SealedMemory.Create("shepherd-state", WriteState(out var descriptors));
            using var own = ProgramFile.OpenOwn();
            descriptors.Add(state.Value);
            descriptors.Add(own.Value);
            try
            {
                descriptors.ForEach(static number => Fd.SetInherited(number, true));
                SingleThread.Execute(handover.Program, SuccessorArguments(handover.Path, _runDirectory, _stopWithin, state.Value, own.Value, null), $"execute {handover.Path}");
            }
            finally
            {
                descriptors.ForEach(static number => Fd.SetInherited(number, false));
            }
        }
        catch (LinuxException e)
        {
            RefuseHandover(e.Message);
        }
    }

    private static List<string> SuccessorArguments(string path, string runDirectory, long stopWithin, int state, int before, string? why)
    {
        List<string> arguments = [path, "shepherd", "--run-dir", runDirectory, "--stop-within", Number(stopWithin / 1000), "--take-over", Number(state)];
        arguments.AddRange(why is null ? ["--before", Number(before)] : ["--refused", why]);
        return arguments;

        static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>Whether this build understands a state, for one that would leave it to it.</summary>
    /// <returns>The exit code.</returns>
    /// <exception cref="EdgeHostException">It does not.</exception>
    internal static int CheckHandover(int state)
    {
        using var memory = new Fd(state);
        _ = ShepherdState.Read(SealedMemory.Read(memory, ShepherdState.MaximumLength));
        SingleThread.Print(ReadyToTakeOver + "\n");
        return 0;
    }

    /// <summary>Takes over what the program before this one has left in this process.</summary>
    /// <param name="runDirectory">The absolute run directory.</param>
    /// <param name="stopWithin">How long the end of all containers may take.</param>
    /// <param name="signals">The descriptor of its signals.</param>
    /// <param name="memory">The descriptor of the state.</param>
    /// <param name="before">That of the program before, which is executed again when this fails; -1 where this is it.</param>
    /// <param name="why">Why the successor has given it back; null where this is the successor.</param>
    /// <exception cref="EdgeHostException">Neither can.</exception>
    internal static Shepherd TakeOver(string runDirectory, TimeSpan stopWithin, Fd signals, int memory, int before, string? why)
    {
        var descriptors = new List<int>();
        try
        {
            var sealedState = new Fd(memory);
            var content = SealedMemory.Read(sealedState, ShepherdState.MaximumLength);
            descriptors = ShepherdState.DescriptorsOf(content);
            descriptors.AddRange(before < 0 ? [memory] : [memory, before]);
            descriptors.ForEach(static number => Fd.SetInherited(number, false));
            var state = ShepherdState.Read(content);
            var shepherd = new Shepherd(runDirectory, stopWithin, signals, state, why is null ? ProgramFile.StartedFrom : state.StartedFrom);

            // From here on there is no way back.
            sealedState.Dispose();
            state.CloseUnclaimed();
            if (before >= 0)
            {
                new Fd(before).Dispose();
            }

            shepherd.SayTakenOver(state, why);
            return shepherd;
        }
        catch (Exception e) when (before >= 0)
        {
            SingleThread.PrintError($"edgehost shepherd: {ProgramFile.StartedFrom} cannot take over, the program before goes on: {e.Message}\n");
            descriptors.ForEach(static number => Fd.SetInherited(number, true));
            var arguments = SuccessorArguments(ProgramFile.StartedFrom, runDirectory, (long)stopWithin.TotalMilliseconds, memory, -1, $"hand-over to {ProgramFile.StartedFrom} failed, the program before goes on: {e.Message}");
            SingleThread.Execute($"/proc/self/fd/{before}", arguments, "execute the program before again");
            throw;
        }
    }

    private void Restore(ShepherdState state)
    {
        _nextRank = state.NextRank;
        _strays.AddRange(state.Strays);
        foreach (var fd in state.Clients)
        {
            var client = new PacketSocket(fd);
            _clients.Add(client);
            _loop.Add(fd, () => OnMessage(client));
        }

        foreach (var container in state.Containers)
        {
            if (container.IsDraining)
            {
                _draining.Add(container);
            }
            else
            {
                _containers.Add(container.Id, container);
                if (container.Running)
                {
                    _loop.Add(container.Process.PidFd, () => OnExit(container));
                }
            }
        }

        foreach (var left in state.Execs)
        {
            if (state.Containers.Find(container => container.Rank == left.Container) is { } container && left.Client < _clients.Count)
            {
                var exec = new ShepherdExec(container, _clients[left.Client], left.Request, new LaunchedProcess(left.Pid, left.PidFd ?? Pipe.OpenNull())) { Pid = left.Pid, EnteringGone = true, PlanEnded = true };
                _execs.Add(exec);
                if (left.PidFd is not null)
                {
                    _loop.Add(left.PidFd, () => Guard(exec, () => FinishExec(exec)));
                }
            }
            else
            {
                _strays.Add(left.Pid);
            }
        }

        foreach (var logger in state.Loggers)
        {
            _logger.Succeed(logger);
            _strays.Add(logger.Pid);
        }
    }

    private void SayTakenOver(ShepherdState state, string? why)
    {
        var asker = state.AskedBy >= 0 && state.AskedBy < _clients.Count ? _clients[state.AskedBy] : null;
        if (why is not null)
        {
            SayRefused(asker, state.Request, why);
            return;
        }

        SingleThread.PrintError(string.Create(CultureInfo.InvariantCulture, $"edgehost shepherd: {_startedFrom} has taken over {_containers.Count} containers\n"));
        foreach (var client in _clients.ToArray())
        {
            var replaced = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Replaced);
            replaced.Put(0);
            replaced.Put(ProtocolVersion);
            Answer(client, replaced);
        }

        if (asker is not null)
        {
            var done = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Done);
            done.Put(state.Request);
            Answer(asker, done);
        }
    }

    /// <summary>A hand-over from the check on.</summary>
    private sealed class Handover(PacketSocket? client, int request, string path, Fd program, LaunchedProcess check, LaunchPlan plan, Fd output) : IDisposable
    {
        /// <summary>Who asked; null where it was a signal.</summary>
        internal PacketSocket? Client { get; } = client;

        internal int Request { get; } = request;

        internal string Path { get; } = path;

        internal Fd Program { get; } = program;

        internal LaunchedProcess Check { get; } = check;

        internal LaunchPlan Plan { get; } = plan;

        internal Fd Output { get; } = output;

        /// <summary>Whether its check has ended.</summary>
        internal bool IsChecked { get; set; }

        /// <summary>Whether no request is read any more.</summary>
        internal bool IsAlone { get; set; }

        /// <summary>When it is given up, in ticks of <see cref="Environment.TickCount64"/>.</summary>
        internal long Until { get; set; }

        public void Dispose()
        {
            Program.Dispose();
            Check.Dispose();
            Output.Dispose();
        }
    }
}
