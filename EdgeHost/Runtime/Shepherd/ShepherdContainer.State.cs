using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>A container as it is left to a successor. How to add a field: <see cref="StateWriter"/>.</summary>
internal sealed partial class ShepherdContainer
{
    /// <summary>Whether its exit was taken and only its pipes are waited for.</summary>
    internal bool IsDraining { get; set; }

    /// <summary>Whether another process has started it, which has died: its end is seen, and how it ended only as far as the kernel tells strangers.</summary>
    internal bool IsStranger { get; init; }

    internal void Write(StateWriter writer)
    {
        writer.Put((ushort)ContainerField.Id, Id);
        writer.Put((ushort)ContainerField.Pid, Process.Pid);
        writer.Put((ushort)ContainerField.PidFd, Process.PidFd);
        writer.Put((ushort)ContainerField.StartTime, StartTime);
        writer.Put((ushort)ContainerField.StandardOutput, Streams[0]);
        writer.Put((ushort)ContainerField.StandardError, Streams[1]);
        writer.Put((ushort)ContainerField.LogDirectory, Log.Directory);
        writer.Put((ushort)ContainerField.SegmentBytes, Log.SegmentBytes);
        writer.Put((ushort)ContainerField.Segments, Log.Segments);
        writer.Put((ushort)ContainerField.StopSignal, StopSignal);
        writer.Put((ushort)ContainerField.Grace, GraceMilliseconds);
        writer.Put((ushort)ContainerField.Rank, Rank);
        writer.Put((ushort)ContainerField.ExitCode, Exit?.ExitCode);
        writer.Put((ushort)ContainerField.ExitAt, Exit?.At.ToUnixTimeMilliseconds());
        writer.Put((ushort)ContainerField.TellAt, TellAt);
        writer.Put((ushort)ContainerField.IsDraining, IsDraining ? 1 : null);
        writer.Put((ushort)ContainerField.HasGap, HasGap ? 1 : null);
        writer.Put((ushort)ContainerField.IsStranger, IsStranger ? 1 : null);
        writer.Put((ushort)ContainerField.HasTerminal, HasTerminal ? 1 : null);
        writer.Put((ushort)ContainerField.Input, Input);
        Taps[0].ForEach(tap => writer.Put((ushort)ContainerField.OutputTap, tap));
        Taps[1].ForEach(tap => writer.Put((ushort)ContainerField.ErrorTap, tap));
    }

    /// <summary>Writes down what a successor needs when this process dies.</summary>
    internal byte[] WriteFile()
    {
        var record = new StateWriter { WithoutDescriptors = true };
        Write(record);
        record.Put((ushort)ContainerField.BootId, SystemIdentity.BootId);
        record.Put((ushort)ContainerField.OpenStreams, (Streams[0] is null ? 0 : 1) | (Streams[1] is null ? 0 : 2));
        var whole = new StateWriter();
        whole.Put((ushort)StateField.Version, ShepherdState.Version);
        whole.Put((ushort)StateField.Container, record);
        return [.. whole.Written];
    }

    /// <summary>Reads what a process that has died wrote down.</summary>
    /// <param name="content">The bytes.</param>
    /// <param name="openProcess">Opens its process by pid and start time.</param>
    /// <returns>Null where it is of another boot.</returns>
    internal static ShepherdContainer? ReadFile(ReadOnlySpan<byte> content, Func<int, long, Fd> openProcess)
    {
        var reader = new StateReader(content);
        return reader.TryNext() && reader.Field == (ushort)StateField.Version && reader.Number is >= ShepherdState.OldestVersion and <= ShepherdState.Version
            && reader.TryNext() && reader.Field == (ushort)StateField.Container
            && Read(new StateReader(reader.Content), static descriptor => descriptor, openProcess, out _) is { BootId: var boot } container && boot == SystemIdentity.BootId
            ? container
            : null;
    }

    /// <summary>Of what was read from a file: the boot.</summary>
    private string? BootId { get; init; }

    /// <summary>Of what was read from a file: whether it had pipes that had not ended.</summary>
    internal bool HadStreams { get; private init; }

    /// <summary>Reads one.</summary>
    /// <param name="reader">Its fields.</param>
    /// <param name="claim">Told of each descriptor of it.</param>
    /// <param name="openProcess">Opens its process by pid and start time, where no pidfd is handed over.</param>
    /// <param name="logger">Which of the loggers has its pipes; -1 for none.</param>
    internal static ShepherdContainer Read(StateReader reader, Func<Fd, Fd> claim, Func<int, long, Fd>? openProcess, out int logger)
    {
        string? id = null, directory = null, boot = null;
        Fd? pidFd = null, output = null, error = null;
        long startTime = 0, segmentBytes = 0;
        long? exitAt = null, tellAt = null;
        int pid = 0, segments = 0, stopSignal = 0, grace = 0, rank = 0;
        int? exitCode = null;
        Fd? input = null;
        List<Fd> outputTaps = [], errorTaps = [];
        bool terminal = false, draining = false, gap = false, stranger = false, hadStreams = false;
        logger = -1;
        while (reader.TryNext())
        {
            switch ((ContainerField)reader.Field)
            {
                case ContainerField.Id:
                    id = reader.Text;
                    break;
                case ContainerField.Pid:
                    pid = reader.Int32;
                    break;
                case ContainerField.PidFd:
                    pidFd = claim(reader.Descriptor);
                    break;
                case ContainerField.StartTime:
                    startTime = reader.Number;
                    break;
                case ContainerField.StandardOutput:
                    output = claim(reader.Descriptor);
                    break;
                case ContainerField.StandardError:
                    error = claim(reader.Descriptor);
                    break;
                case ContainerField.LogDirectory:
                    directory = reader.Text;
                    break;
                case ContainerField.SegmentBytes:
                    segmentBytes = reader.Number;
                    break;
                case ContainerField.Segments:
                    segments = reader.Int32;
                    break;
                case ContainerField.StopSignal:
                    stopSignal = reader.Int32;
                    break;
                case ContainerField.Grace:
                    grace = reader.Int32;
                    break;
                case ContainerField.Rank:
                    rank = reader.Int32;
                    break;
                case ContainerField.ExitCode:
                    exitCode = reader.Int32;
                    break;
                case ContainerField.ExitAt:
                    exitAt = reader.Number;
                    break;
                case ContainerField.TellAt:
                    tellAt = reader.Number;
                    break;
                case ContainerField.IsDraining:
                    draining = reader.Number != 0;
                    break;
                case ContainerField.Logger:
                    logger = reader.Int32;
                    break;
                case ContainerField.HasGap:
                    gap = reader.Number != 0;
                    break;
                case ContainerField.IsStranger:
                    stranger = reader.Number != 0;
                    break;
                case ContainerField.BootId:
                    boot = reader.Text;
                    break;
                case ContainerField.OpenStreams:
                    hadStreams = reader.Number != 0;
                    break;
                case ContainerField.HasTerminal:
                    terminal = reader.Number != 0;
                    break;
                case ContainerField.Input:
                    input = claim(reader.Descriptor);
                    break;
                case ContainerField.OutputTap:
                    outputTaps.Add(claim(reader.Descriptor));
                    break;
                case ContainerField.ErrorTap:
                    errorTaps.Add(claim(reader.Descriptor));
                    break;
                default:
                    reader.Skip("a container");
                    break;
            }
        }

        pidFd ??= openProcess?.Invoke(pid, startTime);
        if (id is null || directory is null || pid <= 0 || pidFd is null)
        {
            throw StateReader.Bad("a container has no id, log, pid or pidfd");
        }

        return new ShepherdContainer(id, new LaunchedProcess(pid, pidFd), output, error, new LogPolicy(directory, segmentBytes, segments), stopSignal, grace, rank)
        {
            StartTime = startTime,
            Running = exitAt is null,
            Exit = exitAt is { } at ? new ContainerExit(exitCode, DateTimeOffset.FromUnixTimeMilliseconds(at)) : null,
            TellAt = tellAt,
            IsDraining = draining,
            HasGap = gap,
            IsStranger = stranger || openProcess is not null,
            BootId = boot,
            HadStreams = hadStreams,
            HasTerminal = terminal,
            Input = input,
            Taps = [outputTaps, errorTaps],
        };
    }
}
