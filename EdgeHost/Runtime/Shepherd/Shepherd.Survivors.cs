using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// What is left of a shepherd that has died: its containers go on, and their output does. What is needed to take them back
/// stands in the run directory; their pipes are with the logger, and with systemd where that is the supervisor. A
/// container whose pipes are nowhere is not taken back: the daemon ends what is left of it.
/// </summary>
internal sealed partial class Shepherd
{
    private const string StateFile = "shepherd";
    private const string NewStateFile = ".shepherd";

    // In the place of a stream's number.
    private const int StandardInput = -1;

    private void TakeBack()
    {
        var held = new Dictionary<int, HeldPipes>();
        var stored = ServiceSupervisor.TakeStored();
        var loggers = LoggerLink.TakeBack(_runDirectory, held);
        var kept = new HashSet<string>(StringComparer.Ordinal);
        foreach (var directory in Directory.EnumerateDirectories(_runDirectory + "/containers"))
        {
            var file = $"{directory}/{StateFile}";
            if (!File.Exists(file))
            {
                continue;
            }

            try
            {
                // What has ended has no process any more, but what it wrote last may still be in its pipes.
                if (ShepherdContainer.ReadFile(File.ReadAllBytes(file), static (pid, start) => OpenProcess(pid, start) ?? Pipe.OpenNull()) is { } container)
                {
                    TakeBack(container, loggers.Count > 0, held, stored, kept);
                }
            }
            catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException or OverflowException)
            {
                SingleThread.PrintError($"edgehost shepherd: {file}: {e.Message}; the container is not taken back\n");
            }
        }

        foreach (var (name, descriptor) in stored)
        {
            if (!kept.Contains(name))
            {
                descriptor.Dispose();
                ServiceSupervisor.Unstore(name);
            }
        }

        foreach (var pipes in held.Values)
        {
            pipes.Dispose();
        }

        loggers.ForEach(_logger.Succeed);

        if (_containers.Count > 0)
        {
            SingleThread.PrintError(string.Create(CultureInfo.InvariantCulture, $"edgehost shepherd: the one before has died; {_containers.Count} containers are taken back\n"));
        }
    }

    private void TakeBack(ShepherdContainer container, bool hasLogger, Dictionary<int, HeldPipes> held, Dictionary<string, Fd> stored, HashSet<string> kept)
    {
        _nextRank = Math.Max(_nextRank, container.Rank + 1);
        var isThere = Processes.TryReadStartTimeOfAny(container.Process.Pid) == container.StartTime;
        if (held.Remove(container.Rank, out var pipes))
        {
            pipes.Streams.CopyTo(container.Streams, 0);
            pipes.Taps.CopyTo(container.Taps, 0);
            container.Logger = pipes.Logger;
        }

        for (var stream = 0; stream < container.Streams.Length; stream++)
        {
            var name = StoredName(container, stream);
            if (!hasLogger && stored.Remove(name, out var descriptor))
            {
                container.Streams[stream] = descriptor;
                container.HasGap = true;
            }

            if (container.Streams[stream] is not null)
            {
                kept.Add(name);
            }
        }

        if (stored.Remove(StoredName(container, StandardInput), out var input))
        {
            kept.Add(StoredName(container, StandardInput));
            container.Input = input;
        }
        else if (container.HasTerminal && container.Streams[0] is { } terminal)
        {
            container.Input = Pipe.Duplicate(terminal);
        }

        if (isThere && container.Drained && container.HadStreams && !hasLogger)
        {
            SingleThread.PrintError($"edgehost shepherd: container {ShortId(container)} (process {container.Process.Pid}) is not taken back: its logger has died too\n");
            container.Dispose();
        }
        else if (isThere)
        {
            _containers.Add(container.Id, container);
            _loop.Add(container.Process.PidFd, () => OnExit(container));
        }
        else if (!container.Drained)
        {
            _draining.Add(container);
        }
        else
        {
            container.Dispose();
        }
    }

    private static Fd? OpenProcess(int pid, long startTime)
    {
        // Whose pid was given to another between the two has another start time.
        var process = Processes.TryOpen(pid);
        if (process is not null && Processes.TryReadStartTimeOfAny(pid) != startTime)
        {
            process.Dispose();
            return null;
        }

        return process;
    }

    private static void Store(ShepherdContainer container)
    {
        if (container is { Input: { } input, HasTerminal: false })
        {
            ServiceSupervisor.Store(StoredName(container, StandardInput), input);
        }

        for (var stream = 0; stream < container.Streams.Length; stream++)
        {
            if (container.Streams[stream] is { } pipe)
            {
                ServiceSupervisor.Store(StoredName(container, stream), pipe);
            }
        }
    }

    private static void Unstore(ShepherdContainer container, int stream) => ServiceSupervisor.Unstore(StoredName(container, stream));

    // A name is one run's: that of the next may be stored before the pipes of the one before have ended.
    private static string StoredName(ShepherdContainer container, int stream) =>
        string.Create(CultureInfo.InvariantCulture, $"{container.Id.Replace(':', '_')}.{container.Process.Pid}.{stream + 1}");
}
