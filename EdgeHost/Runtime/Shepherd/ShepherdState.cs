using System.Buffers.Binary;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>What a field of the whole state is. How to add one: <see cref="StateWriter"/>.</summary>
internal enum StateField : ushort
{
    /// <summary>Always the first.</summary>
    Version = 1,

    /// <summary>The numbers of all descriptors that are handed over, four bytes each; always the second.</summary>
    Descriptors = 2,

    StartedFrom = 3,
    Lock = 4,
    Listener = 5,

    /// <summary>A connection; repeated.</summary>
    Client = 6,

    /// <summary>A logger, a record; repeated.</summary>
    Logger = 7,

    /// <summary>A container, a record of <see cref="ContainerField"/>; repeated.</summary>
    Container = 8,

    /// <summary>A process that is only to be reaped; repeated.</summary>
    Stray = 9,

    NextRank = 10,

    /// <summary>Which of the connections asked for the hand-over, from 0 on; none where it was a signal.</summary>
    AskedBy = 11,

    /// <summary>Its request.</summary>
    Request = 12,

    /// <summary>A program that was started in a container, a record of <see cref="ExecField"/>; repeated.</summary>
    Exec = 13,
}

/// <summary>What a field of a container is. How to add one: <see cref="StateWriter"/>.</summary>
internal enum ContainerField : ushort
{
    Id = 1,
    Pid = 2,
    PidFd = 3,
    StartTime = 4,
    StandardOutput = 5,
    StandardError = 6,
    LogDirectory = 7,
    SegmentBytes = 8,
    Segments = 9,
    StopSignal = 10,
    Grace = 11,
    Rank = 12,
    ExitCode = 13,
    ExitAt = 14,
    TellAt = 15,

    /// <summary>Its exit was taken, its pipes have not ended.</summary>
    IsDraining = 16,

    /// <summary>Which of the loggers has its pipes, from 0 on.</summary>
    Logger = 17,

    /// <summary>A logger died that had its pipes, and the log does not say so yet.</summary>
    HasGap = 18,

    /// <summary>It was started by another process, which has died: this one is not its parent.</summary>
    IsStranger = 19,

    /// <summary>Only in its file: the boot in which it runs.</summary>
    BootId = 20,

    /// <summary>Only in its file: which of its pipes have not ended, a bit for each.</summary>
    OpenStreams = 21,

    /// <summary>Its first stream is a terminal.</summary>
    HasTerminal = 22,

    /// <summary>The writing end of its standard input, or its terminal.</summary>
    Input = 23,

    /// <summary>A pipe that gets its standard output; repeated.</summary>
    OutputTap = 24,

    /// <summary>A pipe that gets its standard error; repeated.</summary>
    ErrorTap = 25,
}

/// <summary>What a field of a program that was started in a container is.</summary>
internal enum ExecField : ushort
{
    /// <summary>Its container's rank.</summary>
    Container = 1,

    /// <summary>Which of the connections asked for it, from 0 on.</summary>
    Client = 2,

    Request = 3,
    Pid = 4,
    PidFd = 5,
}

/// <summary>What a field of a logger is.</summary>
internal enum LoggerField : ushort
{
    Pid = 1,
    Socket = 2,
}

/// <summary>
/// Everything that a shepherd leaves to the program that takes its place in the same process: in sealed memory, and in
/// descriptors that stay open over the exec. A build understands the versions from <see cref="OldestVersion"/> on.
/// </summary>
internal sealed class ShepherdState
{
    internal const int Version = 1;

    /// <summary>Two before this one.</summary>
    internal const int OldestVersion = 1;

    internal const int MaximumLength = 64 << 20;

    private readonly List<int> _unclaimed = [];

    internal string StartedFrom { get; set; } = string.Empty;

    internal Fd? Lock { get; set; }

    internal Fd? Listener { get; set; }

    internal List<Fd> Clients { get; } = [];

    internal List<LoggerPeer> Loggers { get; } = [];

    internal List<ShepherdContainer> Containers { get; } = [];

    internal List<ExecState> Execs { get; } = [];

    internal List<int> Strays { get; } = [];

    internal int NextRank { get; set; }

    internal int AskedBy { get; set; } = -1;

    internal int Request { get; set; }

    /// <summary>Writes it down.</summary>
    /// <param name="descriptors">The descriptors that belong to it.</param>
    internal byte[] Write(out List<int> descriptors)
    {
        var fields = new StateWriter();
        fields.Put((ushort)StateField.StartedFrom, StartedFrom);
        fields.Put((ushort)StateField.Lock, Lock);
        fields.Put((ushort)StateField.Listener, Listener);
        foreach (var client in Clients)
        {
            fields.Put((ushort)StateField.Client, client);
        }

        foreach (var logger in Loggers)
        {
            var record = new StateWriter();
            record.Put((ushort)LoggerField.Pid, logger.Pid);
            record.Put((ushort)LoggerField.Socket, logger.Socket.Fd);
            fields.Put((ushort)StateField.Logger, record);
        }

        foreach (var container in Containers)
        {
            var record = new StateWriter();
            container.Write(record);
            var logger = container.Logger is null ? -1 : Loggers.IndexOf(container.Logger);
            record.Put((ushort)ContainerField.Logger, logger < 0 ? null : logger);
            fields.Put((ushort)StateField.Container, record);
        }

        foreach (var exec in Execs)
        {
            var record = new StateWriter();
            record.Put((ushort)ExecField.Container, exec.Container);
            record.Put((ushort)ExecField.Client, exec.Client);
            record.Put((ushort)ExecField.Request, exec.Request);
            record.Put((ushort)ExecField.Pid, exec.Pid);
            record.Put((ushort)ExecField.PidFd, exec.PidFd);
            fields.Put((ushort)StateField.Exec, record);
        }

        foreach (var stray in Strays)
        {
            fields.Put((ushort)StateField.Stray, stray);
        }

        fields.Put((ushort)StateField.NextRank, NextRank);
        if (AskedBy >= 0)
        {
            fields.Put((ushort)StateField.AskedBy, AskedBy);
            fields.Put((ushort)StateField.Request, Request);
        }

        descriptors = fields.Descriptors;
        var numbers = new byte[descriptors.Count * 4];
        for (var i = 0; i < descriptors.Count; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(numbers.AsSpan(i * 4), descriptors[i]);
        }

        var whole = new StateWriter();
        whole.Put((ushort)StateField.Version, Version);
        whole.Put((ushort)StateField.Descriptors, numbers);
        return [.. whole.Written, .. fields.Written];
    }

    /// <summary>The descriptors that belong to a state of any version, as far as it can be read.</summary>
    internal static List<int> DescriptorsOf(byte[] state)
    {
        var reader = new StateReader(state);
        var found = new List<int>();
        while (reader.TryNext())
        {
            if (reader.Field == (ushort)StateField.Descriptors)
            {
                for (var at = 0; at + 4 <= reader.Content.Length; at += 4)
                {
                    found.Add(BinaryPrimitives.ReadInt32LittleEndian(reader.Content[at..]));
                }

                break;
            }
        }

        return found;
    }

    /// <summary>Reads one. Nothing happens to the descriptors that it names.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unsupported"/>: another version, or not understood.</exception>
    internal static ShepherdState Read(byte[] content)
    {
        var state = new ShepherdState();
        var reader = new StateReader(content);
        if (!reader.TryNext() || reader.Field != (ushort)StateField.Version || reader.Number is < OldestVersion or > Version)
        {
            throw StateReader.Bad(reader.Field == (ushort)StateField.Version
                ? $"it has version {reader.Number}, this build takes over {OldestVersion} to {Version}"
                : "it does not begin with a version");
        }

        state._unclaimed.AddRange(DescriptorsOf(content));
        var loggers = new List<int>();
        while (reader.TryNext())
        {
            switch ((StateField)reader.Field)
            {
                case StateField.Descriptors:
                    break;
                case StateField.StartedFrom:
                    state.StartedFrom = reader.Text;
                    break;
                case StateField.Lock:
                    state.Lock = state.Claim(reader.Descriptor);
                    break;
                case StateField.Listener:
                    state.Listener = state.Claim(reader.Descriptor);
                    break;
                case StateField.Client:
                    state.Clients.Add(state.Claim(reader.Descriptor));
                    break;
                case StateField.Logger:
                    state.Loggers.Add(state.ReadLogger(new StateReader(reader.Content)));
                    break;
                case StateField.Container:
                    state.Containers.Add(ShepherdContainer.Read(new StateReader(reader.Content), state.Claim, null, out var logger));
                    loggers.Add(logger);
                    break;
                case StateField.Exec:
                    state.Execs.Add(state.ReadExec(new StateReader(reader.Content)));
                    break;
                case StateField.Stray:
                    state.Strays.Add(reader.Int32);
                    break;
                case StateField.NextRank:
                    state.NextRank = reader.Int32;
                    break;
                case StateField.AskedBy:
                    state.AskedBy = reader.Int32;
                    break;
                case StateField.Request:
                    state.Request = reader.Int32;
                    break;
                default:
                    reader.Skip("it");
                    break;
            }
        }

        for (var i = 0; i < loggers.Count; i++)
        {
            state.Containers[i].Logger = loggers[i] >= 0 && loggers[i] < state.Loggers.Count ? state.Loggers[loggers[i]] : null;
        }

        return state.Lock is not null && state.Listener is not null ? state : throw StateReader.Bad("it has no lock or no listening socket");
    }

    /// <summary>Closes what came with fields that this build may ignore.</summary>
    internal void CloseUnclaimed()
    {
        foreach (var number in _unclaimed)
        {
            new Fd(number).Dispose();
        }
    }

    private Fd Claim(Fd descriptor) => _unclaimed.Remove(descriptor.Value)
        ? descriptor
        : throw StateReader.Bad($"descriptor {descriptor.Value} is not among those that were handed over");

    private ExecState ReadExec(StateReader reader)
    {
        var exec = new ExecState();
        while (reader.TryNext())
        {
            switch ((ExecField)reader.Field)
            {
                case ExecField.Container:
                    exec.Container = reader.Int32;
                    break;
                case ExecField.Client:
                    exec.Client = reader.Int32;
                    break;
                case ExecField.Request:
                    exec.Request = reader.Int32;
                    break;
                case ExecField.Pid:
                    exec.Pid = reader.Int32;
                    break;
                case ExecField.PidFd:
                    exec.PidFd = Claim(reader.Descriptor);
                    break;
                default:
                    reader.Skip("a program in a container");
                    break;
            }
        }

        return exec;
    }

    private LoggerPeer ReadLogger(StateReader reader)
    {
        var pid = 0;
        Fd? socket = null;
        while (reader.TryNext())
        {
            switch ((LoggerField)reader.Field)
            {
                case LoggerField.Pid:
                    pid = reader.Int32;
                    break;
                case LoggerField.Socket:
                    socket = Claim(reader.Descriptor);
                    break;
                default:
                    reader.Skip("a logger");
                    break;
            }
        }

        return new LoggerPeer(new PacketSocket(socket ?? throw StateReader.Bad("a logger has no socket")), pid, null);
    }
}

/// <summary>A program in a container, as it is left to a successor.</summary>
internal sealed class ExecState
{
    internal int Container { get; set; }

    internal int Client { get; set; }

    internal int Request { get; set; }

    internal int Pid { get; set; }

    internal Fd? PidFd { get; set; }
}
