using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>
/// Programs that are started in running containers beside their own: Docker's <c>exec</c>. Such a program is held by all
/// that holds the container, and ends with it at the latest. Each method throws <see cref="EdgeHostException"/>; an id
/// that fits nothing, any more, is <see cref="ErrorKind.NotFound"/>.
/// </summary>
public interface IContainerExecs
{
    /// <summary>Says what is to be started in a container, which must run and not be paused.</summary>
    /// <returns>The id; it is forgotten a while after the program has ended.</returns>
    string Create(string container, ExecSpec spec);

    /// <summary>How far it is.</summary>
    ExecStatus Inspect(string exec);

    /// <summary>The ids of those that run in a container.</summary>
    IReadOnlyList<string> RunningIn(string container);

    /// <summary>Starts it; returns once the program runs, or throws with <see cref="ErrorKind.CannotExecute"/> and the like.</summary>
    /// <param name="exec">The id.</param>
    /// <param name="size">The size of its terminal at the start; null as it was created.</param>
    /// <returns>The daemon's ends of its streams. Who disposes of them closes them; a terminal is kept open for the program, and what it shows is dropped.</returns>
    Task<ProcessStreams> StartAsync(string exec, TerminalSize? size);

    /// <summary>Sets the size of its terminal.</summary>
    void Resize(string exec, TerminalSize size);
}

/// <summary>A program to be started in a running container, in Docker's words.</summary>
public sealed class ExecSpec
{
    /// <summary>The program and its arguments.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Variables as <c>NAME=value</c>, put over the container's.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>In the place of the container's user: <c>name|uid[:group|gid]</c>.</summary>
    public string? User { get; init; }

    /// <summary>In the place of the container's working directory.</summary>
    public string? WorkingDirectory { get; init; }

    /// <summary>Whether it has all capabilities that a container can have, whoever it runs as.</summary>
    public bool Privileged { get; init; }

    /// <summary>Whether it has a terminal in place of pipes.</summary>
    public bool Terminal { get; init; }

    /// <summary>Whether something is read by it.</summary>
    public bool AttachInput { get; init; }

    /// <summary>Whether its standard output is wanted.</summary>
    public bool AttachOutput { get; init; }

    /// <summary>Whether its standard error is wanted.</summary>
    public bool AttachError { get; init; }

    /// <summary>The keys by which who uses its terminal leaves it, as in <c>ctrl-p,ctrl-q</c>; null for these.</summary>
    public string? DetachKeys { get; init; }

    /// <summary>The size of its terminal; null where it is not known.</summary>
    public TerminalSize? Size { get; init; }
}

/// <summary>The size of a terminal.</summary>
/// <param name="rows">Lines.</param>
/// <param name="columns">Characters in a line.</param>
public sealed class TerminalSize(int rows, int columns)
{
    /// <summary>Lines.</summary>
    public int Rows { get; } = rows;

    /// <summary>Characters in a line.</summary>
    public int Columns { get; } = columns;

    /// <summary>As a launch plan takes it.</summary>
    internal int Packed => Rows | (Columns << 16);
}

/// <summary>How far such a program is.</summary>
public sealed class ExecStatus
{
    /// <summary>64 hex digits.</summary>
    public required string Id { get; init; }

    /// <summary>The container's id.</summary>
    public required string ContainerId { get; init; }

    /// <summary>What was asked for.</summary>
    public required ExecSpec Spec { get; init; }

    /// <summary>Whether it runs now.</summary>
    public bool Running { get; init; }

    /// <summary>The host's pid; 0 before the start.</summary>
    public int Pid { get; init; }

    /// <summary>0 to 255, 128 + signal when it was killed, 126 or 127 when it could not be executed; null before its end, or when nobody saw it.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Whether the kernel killed something for want of memory while it ran, and let the container itself go on.</summary>
    public bool OomKilled { get; init; }
}

/// <summary>The daemon's ends of the standard streams of a program in a container.</summary>
/// <param name="release">Called once, when nobody uses them any more.</param>
public sealed class ProcessStreams(Action<ProcessStreams> release) : IDisposable
{
    private int _released;
    private string? _failure;

    /// <summary>Where its standard input is written, or its terminal, once it runs; does not block; null for none.</summary>
    public Task<Fd?> Input { get; init; } = Task.FromResult<Fd?>(null);

    /// <summary>To be called when nothing more is written to it: whether who has written stays for what is still to come.</summary>
    public required Func<bool> EndInput { get; init; }

    /// <summary>Why the streams have ended before the program has; null when they have not.</summary>
    public string? Failure { get => Volatile.Read(ref _failure); internal set => Volatile.Write(ref _failure, value); }

    /// <summary>Where its standard output is read, or its terminal; does not block; null for none.</summary>
    public Fd? Output { get; init; }

    /// <summary>Where its standard error is read; does not block; null for none.</summary>
    public Fd? Error { get; init; }

    /// <summary>Whether <see cref="Input"/> and <see cref="Output"/> are a terminal.</summary>
    public bool IsTerminal { get; init; }

    /// <summary>The end of the program, when that is to be waited for and not only that of its streams; null otherwise.</summary>
    public Task? Ended { get; init; }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
        {
            release(this);
        }
    }
}
