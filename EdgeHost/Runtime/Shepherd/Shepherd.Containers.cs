using System.Globalization;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>The containers, from their clone until their exit was taken.</summary>
internal sealed partial class Shepherd
{
    private readonly List<UserNamespace> _making = [];

    // A container's network has to be there before it is launched, and belongs to its users. The kernel may take a while,
    // when other networks are taken apart: it is not waited for.
    private void MakeNamespaces(PacketSocket client, int request, string users, string groups)
    {
        var making = new UserNamespace(users, groups, withNetwork: true);
        _making.Add(making);
        _loop.Add(making.Made, () =>
        {
            _loop.Remove(making.Made);
            _making.Remove(making);
            try
            {
                using var made = making.Take();
                var answer = new ShepherdMessageWriter(_answer, ShepherdMessageKind.NamespacesMade);
                answer.Put(request);
                Answer(client, answer, made.User.Value, made.Network!.Value);
            }
            catch (EdgeHostException e)
            {
                Fail(client, request, e);
            }
            finally
            {
                _strays.Add(making.Release());
            }
        });
    }

    private void Launch(PacketSocket client, int request, ref ShepherdMessageReader reader, List<Fd> descriptors, bool withStreams)
    {
        var id = reader.TakeText();
        var log = new LogPolicy(reader.TakeText(), reader.TakeInt64(), reader.TakeInt32());
        var stopSignal = reader.TakeInt32();
        var grace = reader.TakeInt32();
        var wantsCgroup = reader.TakeInt32() != 0;
        if (id.Length is 0 or > MaximumIdLength || id[0] == '.' || id.Contains('/', StringComparison.Ordinal) || stopSignal is < 1 or > 64 || grace < 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"launch: an id of {id.Length} characters, stop signal {stopSignal}, grace {grace} ms are not what a daemon may ask for");
        }

        var wanted = withStreams ? new StreamsWanted(ref reader) : new StreamsWanted();
        var planned = wantsCgroup ? 2 : 1;
        if (descriptors.Count != planned + wanted.Taps.Length)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"launch of {id}: {descriptors.Count} descriptors came with it");
        }

        if (IsEnding)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"launch of {id}: the shepherd is ending");
        }

        if (_containers.ContainsKey(id))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"launch of {id}: it runs already, or its exit was not taken");
        }

        var plan = LaunchPlan.Parse(SealedMemory.Read(descriptors[0], LaunchPlan.MaximumLength));
        var container = Clone(plan, wantsCgroup ? descriptors[1] : null, wanted, (process, output, error) =>
            new ShepherdContainer(id, process, output, error, log, stopSignal, grace, _nextRank++) { HasTerminal = wanted.Terminal });
        for (var tap = 0; tap < wanted.Taps.Length; tap++)
        {
            container.Taps[wanted.Taps[tap] - 1].Add(new Fd(descriptors[planned + tap].Release()));
        }

        _containers.Add(id, container);

        // Neither the plan nor the program is waited for: the other containers go on.
        _loop.Add(container.Process.Status, () => OnLaunched(client, request, container));
        if (!container.HasTerminal)
        {
            // Beside the child, which is busy with its plan; the name says that it counts.
            container.StartTime = Processes.TryReadStartTimeOfAny(container.Process.Pid) ?? 0;
            container.FactsAreWritten = container.StartTime != 0 && TryWriteFacts(id, NewStateFile, container.WriteFile());
        }
    }

    private void OnLaunched(PacketSocket client, int request, ShepherdContainer container)
    {
        var process = container.Process;
        _loop.Remove(process.Status);
        try
        {
            if (process.Wait() is { } failure)
            {
                throw failure.ToException();
            }

            container.StartTime = container.StartTime == 0 ? Processes.ReadStartTime(process.Pid) : container.StartTime;
            TakeTerminal(container);
        }
        catch (EdgeHostException e)
        {
            // Its end is not waited for: taking a mount namespace apart may have to write to a slow disk.
            Processes.TryKill(process.PidFd, Signals.SIGKILL);
            _loop.Add(process.PidFd, () => OnFailedLaunchGone(client, request, container, e));
            return;
        }

        container.Running = true;
        if (!container.FactsAreWritten || !Files.TryRename($"{RunDirectoryOf(container.Id)}/{NewStateFile}", $"{RunDirectoryOf(container.Id)}/{StateFile}"))
        {
            WriteFacts(container.Id, StateFile, container.WriteFile());
        }

        Store(container);
        _logger.Add(container);
        _loop.Add(process.PidFd, () => OnExit(container));
        foreach (var other in _clients.Where(other => other != client).ToArray())
        {
            // The daemon that asked may be gone, and its successor has listed before this moment.
            var started = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Started);
            container.Status.Write(ref started);
            Answer(other, started);
        }

        var launched = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Launched);
        launched.Put(request);
        launched.Put(process.Pid);
        launched.Put(container.StartTime);
        Answer(client, launched);
    }

    // Only now nothing is left of it, and its id and cgroup are free.
    private void OnFailedLaunchGone(PacketSocket client, int request, ShepherdContainer container, EdgeHostException failure)
    {
        if (Processes.TryReap(container.Process.Pid, out _))
        {
            _loop.Remove(container.Process.PidFd);
            _containers.Remove(container.Id);
            container.Dispose();
            Fail(client, request, failure);
        }
    }

    private void OnExit(ShepherdContainer container)
    {
        int? exitCode;
        if (container.IsStranger)
        {
            exitCode = Processes.ReadExitOfStranger(container.Process.Pid, container.StartTime, container.Process.PidFd);
        }
        else if (Processes.TryReap(container.Process.Pid, out var reaped))
        {
            exitCode = reaped;
        }
        else
        {
            return;
        }

        _loop.Remove(container.Process.PidFd);
        container.Running = false;
        container.Exit = new ContainerExit(exitCode, DateTimeOffset.UtcNow);
        if (exitCode is not null)
        {
            var facts = string.Create(CultureInfo.InvariantCulture, $"{container.Process.Pid} {container.StartTime} {exitCode} {container.Exit.At.ToUnixTimeMilliseconds()}\n");
            WriteFacts(container.Id, "exit", Encoding.ASCII.GetBytes(facts));
        }

        // An end is told once its output is in the log, so that who hears of it finds all of it there; a disk that
        // stalls the logger holds that up for a moment only.
        container.TellAt = Environment.TickCount64 + (container.Drained ? 0 : DrainMilliseconds);
        SayEnded(container, exitCode);
        TellExits();
    }

    private void TellExits()
    {
        foreach (var container in _containers.Values.Where(container => container.TellAt is { } at && (container.Drained || Environment.TickCount64 >= at)).ToArray())
        {
            container.TellAt = null;
            foreach (var client in _clients.ToArray())
            {
                var exited = new ShepherdMessageWriter(_answer, ShepherdMessageKind.Exited);
                container.Status.Write(ref exited);
                Answer(client, exited);
            }
        }
    }

    // Once for all streams that end together, and not at all for what has ended itself.
    private void WriteChangedFacts()
    {
        foreach (var container in _containers.Values)
        {
            if (container is { FactsChanged: true, Running: true })
            {
                container.FactsChanged = false;
                WriteFacts(container.Id, StateFile, container.WriteFile());
            }
        }
    }

    // What a successor finds when this process has died. A run directory that is full must not take it down.
    private void WriteFacts(string id, string name, ReadOnlySpan<byte> facts)
    {
        var directory = RunDirectoryOf(id);
        try
        {
            Directory.CreateDirectory(directory);
            DurableFile.WriteVolatile($"{directory}/{name}", facts);
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            SingleThread.PrintError($"edgehost shepherd: {directory}/{name} is not written: {e.Message}\n");
        }
    }

    // Under a name that nobody reads yet.
    private bool TryWriteFacts(string id, string name, ReadOnlySpan<byte> facts)
    {
        try
        {
            using var directory = Files.OpenDirectoryForPaths(RunDirectoryOf(id));
            Files.WriteIn(directory, name, facts, 0x180);
            return true;
        }
        catch (EdgeHostException)
        {
            return false;
        }
    }

    private string RunDirectoryOf(string id) => $"{_runDirectory}/containers/{id}";

    private void SendSignal(string id, int signal)
    {
        if (!_containers.TryGetValue(id, out var container) || container.Exit is not null || !Processes.TryKill(container.Process.PidFd, signal))
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is not running");
        }
    }

    private void Acknowledge(string id, int pid)
    {
        if (_containers.TryGetValue(id, out var container) && container.Exit is not null && container.Process.Pid == pid)
        {
            // The logger may still be writing what it left: the name is free at once, the pipes when they have ended.
            _containers.Remove(id);
            if (!container.Drained)
            {
                _draining.Add(container);
            }
            else
            {
                container.Dispose();
            }
        }
    }

    private void OnStreamEnded(int rank, int stream)
    {
        var container = _draining.Concat(_containers.Values).FirstOrDefault(each => each.Rank == rank);
        if (container?.Streams[stream] is not null)
        {
            container.CloseStream(stream);
            Unstore(container, stream);
            container.FactsChanged = true;
            if (_draining.Contains(container) && container.Drained)
            {
                _draining.Remove(container);
                container.Dispose();
            }
        }
    }
}
