using System.Buffers.Binary;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// What daemon, shepherd and logger say to each other: one message a packet, its kind first. Numbers are never given
/// another meaning; a newer side speaks the version that the older one told it.
/// </summary>
internal enum ShepherdMessageKind : ushort
{
    /// <summary>Client: version.</summary>
    Hello = 1,

    /// <summary>Shepherd: version, pid.</summary>
    Welcome = 2,

    /// <summary>Client: request, id, log directory, segment bytes, segments, stop signal, grace in ms, whether a cgroup follows the plan's descriptor.</summary>
    Launch = 3,

    /// <summary>Shepherd: request, pid, start time.</summary>
    Launched = 4,

    /// <summary>Shepherd: request, kind of error, message.</summary>
    Failed = 5,

    /// <summary>Client: request, id, signal.</summary>
    Signal = 6,

    /// <summary>Shepherd: request. Done.</summary>
    Done = 7,

    /// <summary>Client: request.</summary>
    List = 8,

    /// <summary>Shepherd: request, container.</summary>
    Entry = 9,

    /// <summary>Shepherd, unasked: container.</summary>
    Exited = 10,

    /// <summary>Client: request, id, pid. The exit was taken; the shepherd may forget it.</summary>
    Acknowledge = 11,

    /// <summary>Client: request. End all containers, then yourself.</summary>
    Shutdown = 12,

    /// <summary>Shepherd, unasked: container. Another daemon's launch has come to its end.</summary>
    Started = 13,

    /// <summary>Shepherd, unasked: 0. It was told to end: it ends all containers, launches no other, and is gone then.</summary>
    Ending = 14,

    /// <summary>
    /// Client, from version 2 on: request, id, directory of the check's cgroup, timeout in ms, whether a descriptor of that
    /// directory follows the plan's. Runs the plan in the container and answers when it has ended.
    /// </summary>
    Check = 15,

    /// <summary>Shepherd: request, how it ended (<see cref="CheckOutcome"/>), exit code, whether output was left out, output.</summary>
    Checked = 16,

    /// <summary>Client, from version 2 on: request, the request of a check. It is killed; the check is answered as ever.</summary>
    CancelCheck = 17,

    /// <summary>
    /// To a logger of the same build, with pipes: run, log directory, segment bytes, segments, whether output before it may be
    /// missing, and for each pipe its stream; or that and <see cref="LoggerLink.Tap"/>, for one that gets what comes from that
    /// stream.
    /// </summary>
    AddStreams = 20,

    /// <summary>From the logger: run, stream. The pipe has ended and everything is in the log.</summary>
    StreamEnded = 21,

    /// <summary>
    /// Client, from version 4 on: request, the absolute path of a program; none for the one at the path that the shepherd was
    /// started from. The shepherd is replaced by it in place, or goes on and says why not.
    /// </summary>
    Replace = 30,

    /// <summary>Shepherd, unasked: 0, version. Another build has taken its place.</summary>
    Replaced = 31,

    /// <summary>
    /// To a logger of any build since version 4: read no more, write out what was read, give the pipes back, end. Where
    /// anything follows, it is also told <see cref="Taken"/>.
    /// </summary>
    Finish = 32,

    /// <summary>From a logger that was told to finish, with pipes: run, and for each pipe its stream. It has these.</summary>
    Held = 33,

    /// <summary>From a logger that was told to finish: it has said all that it has.</summary>
    HeldAll = 34,

    /// <summary>
    /// From a logger that was told to finish: run. All that it had read is in the log, and it has closed its pipes; or, where
    /// anything follows, it closes them once it is told <see cref="Taken"/>.
    /// </summary>
    Released = 35,

    /// <summary>To a logger that waits for it: run. Another has its pipes.</summary>
    Taken = 36,

    /// <summary>
    /// Client, from version 5 on: request, id, whether a descriptor of a cgroup's directory follows the plan's; then standard
    /// input, output and error. Runs the plan in the container; answered when its program is executed, and at its end.
    /// </summary>
    Exec = 40,

    /// <summary>Shepherd: request, pid. The program of an exec runs.</summary>
    ExecStarted = 41,

    /// <summary>Shepherd: request, exit code, whether the container ends too. The program of an exec has ended.</summary>
    ExecEnded = 42,

    /// <summary>
    /// Client, from version 5 on: as <see cref="Launch"/>, then whether it has a terminal, whether its standard input is
    /// open, and how many pipes follow as descriptors that get what it writes, with the stream of each.
    /// </summary>
    LaunchWithStreams = 43,

    /// <summary>Client, from version 5 on: request, id. Asks for the container's standard input.</summary>
    TakeInput = 44,

    /// <summary>Shepherd: request; with it a duplicate of the writing end, or of the terminal.</summary>
    InputTaken = 45,

    /// <summary>Client, from version 5 on: request, id. Nothing more is written to its standard input: once all duplicates are closed it has ended.</summary>
    CloseInput = 46,

    /// <summary>Client, from version 5 on: request, id, lines, columns of its terminal.</summary>
    Resize = 47,

    /// <summary>Client, from version 6 on: request, the maps of users and of groups. Asks for a user namespace, and a network namespace that belongs to it.</summary>
    MakeNamespaces = 48,

    /// <summary>Shepherd: request; with it the two namespaces in this order.</summary>
    NamespacesMade = 49,
}

/// <summary>Writes a message into a buffer: little-endian numbers, strings with a 16-bit length.</summary>
internal ref struct ShepherdMessageWriter
{
    private readonly Span<byte> _buffer;
    private int _length;

    internal ShepherdMessageWriter(Span<byte> buffer, ShepherdMessageKind kind)
    {
        _buffer = buffer;
        BinaryPrimitives.WriteUInt16LittleEndian(buffer, (ushort)kind);
        _length = 2;
    }

    internal readonly ReadOnlySpan<byte> Written => _buffer[.._length];

    internal void Put(int value)
    {
        BinaryPrimitives.WriteInt32LittleEndian(_buffer[_length..], value);
        _length += 4;
    }

    internal void Put(long value)
    {
        BinaryPrimitives.WriteInt64LittleEndian(_buffer[_length..], value);
        _length += 8;
    }

    internal void Put(ReadOnlySpan<byte> bytes)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(_buffer[_length..], checked((ushort)bytes.Length));
        bytes.CopyTo(_buffer[(_length + 2)..]);
        _length += 2 + bytes.Length;
    }

    internal void Put(string text)
    {
        var count = Encoding.UTF8.GetBytes(text, _buffer[(_length + 2)..]);
        BinaryPrimitives.WriteUInt16LittleEndian(_buffer[_length..], checked((ushort)count));
        _length += 2 + count;
    }
}

/// <summary>Reads a message; one that is too short is refused, not guessed.</summary>
internal ref struct ShepherdMessageReader
{
    private ReadOnlySpan<byte> _rest;

    internal ShepherdMessageReader(ReadOnlySpan<byte> message)
    {
        _rest = message;
        Kind = (ShepherdMessageKind)BinaryPrimitives.ReadUInt16LittleEndian(Take(2));
    }

    internal ShepherdMessageKind Kind { get; }

    internal readonly bool IsAtEnd => _rest.Length == 0;

    internal int TakeInt32() => BinaryPrimitives.ReadInt32LittleEndian(Take(4));

    internal long TakeInt64() => BinaryPrimitives.ReadInt64LittleEndian(Take(8));

    internal string TakeText() => Encoding.UTF8.GetString(Take(BinaryPrimitives.ReadUInt16LittleEndian(Take(2))));

    private ReadOnlySpan<byte> Take(int count)
    {
        if (_rest.Length < count)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "a message between daemon and shepherd is cut short");
        }

        var taken = _rest[..count];
        _rest = _rest[count..];
        return taken;
    }
}

/// <summary>A container as the shepherd holds it.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Pid">The pid of its first process.</param>
/// <param name="StartTime">When that process was started, in clock ticks since the boot.</param>
/// <param name="Exit">How it ended; null while it runs.</param>
public sealed record ShepherdContainerStatus(string Id, int Pid, long StartTime, ContainerExit? Exit)
{
    // One that does not know it reads that it has ended, and this code.
    private const int EndedUnseen = 2;
    private const int UnknownToOlder = 255;

    internal void Write(ref ShepherdMessageWriter writer)
    {
        writer.Put(Id);
        writer.Put(Pid);
        writer.Put(StartTime);
        writer.Put(Exit is null ? 0 : Exit.ExitCode is null ? EndedUnseen : 1);
        writer.Put(Exit is null ? 0 : Exit.ExitCode ?? UnknownToOlder);
        writer.Put(Exit?.At.ToUnixTimeMilliseconds() ?? 0);
    }

    internal static ShepherdContainerStatus Read(ref ShepherdMessageReader reader)
    {
        var id = reader.TakeText();
        var pid = reader.TakeInt32();
        var startTime = reader.TakeInt64();
        var ended = reader.TakeInt32();
        var exitCode = reader.TakeInt32();
        var at = reader.TakeInt64();
        return new ShepherdContainerStatus(
            id, pid, startTime, ended != 0 ? new ContainerExit(ended == EndedUnseen ? null : exitCode, DateTimeOffset.FromUnixTimeMilliseconds(at)) : null);
    }
}

/// <summary>How a container ended.</summary>
/// <param name="ExitCode">0 to 255; 128 + signal when it was killed; null when nobody saw it.</param>
/// <param name="At">When the shepherd saw it.</param>
public sealed record ContainerExit(int? ExitCode, DateTimeOffset At);

/// <summary>How a check came to its end. Numbers are part of the protocol.</summary>
public enum CheckOutcome
{
    /// <summary>Its program has ended by itself.</summary>
    Exited = 0,

    /// <summary>It took too long, and was killed with all that it had started.</summary>
    TimedOut = 1,

    /// <summary>It was killed because nobody wants its result any more.</summary>
    Cancelled = 2,
}

/// <summary>What came of a check.</summary>
public sealed class CheckResult
{
    internal CheckResult(CheckOutcome outcome, int exitCode, bool truncated, string output)
    {
        Outcome = outcome;
        ExitCode = exitCode;
        Truncated = truncated;
        Output = output;
    }

    /// <summary>How it came to its end.</summary>
    public CheckOutcome Outcome { get; }

    /// <summary>0 to 255; 128 + signal when it was killed.</summary>
    public int ExitCode { get; }

    /// <summary>Whether it has written more than <see cref="Output"/>.</summary>
    public bool Truncated { get; }

    /// <summary>The first 4096 bytes that it wrote, on both of its streams.</summary>
    public string Output { get; }
}

/// <summary>How the output of a container is kept.</summary>
/// <param name="Directory">The absolute directory of its segments.</param>
/// <param name="SegmentBytes">The size from which on a new segment is begun.</param>
/// <param name="Segments">How many are kept, the current one included.</param>
public sealed record LogPolicy(string Directory, long SegmentBytes, int Segments);
