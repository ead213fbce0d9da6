using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Engine;

/// <summary>
/// The front door of the engine. A container is named by its id, an unambiguous beginning of it, or its name.
/// Each method throws <see cref="EdgeHostException"/> with the kind that says why; a name that fits nothing is
/// <see cref="ErrorKind.NotFound"/>.
/// </summary>
public interface IContainerEngine
{
    /// <summary>The directories that containers share and that outlive them.</summary>
    IVolumes Volumes { get; }

    /// <summary>The networks that containers can be in.</summary>
    INetworks Networks { get; }

    /// <summary>The files of containers.</summary>
    IContainerArchives Archives { get; }

    /// <summary>Why containers have the host's users unless they ask for their own; null when each has its own.</summary>
    string? WhyHostUsers { get; }

    /// <summary>Why containers are confined by no AppArmor profile of ours; null when they are.</summary>
    string? WhyNoAppArmor { get; }

    /// <summary>The AppArmor profile that confines a container; null when none does.</summary>
    string? AppArmorOf(ContainerSpec spec);

    /// <summary>Programs that are started in running containers.</summary>
    IContainerExecs Execs { get; }

    /// <summary>Makes a container of an image that is present. With a restart policy it is on disk before this returns.</summary>
    /// <returns>The id.</returns>
    Task<string> CreateAsync(ContainerSpec spec, CancellationToken cancel);

    /// <summary>
    /// Starts it; returns once its program runs, or throws with <see cref="ErrorKind.CannotExecute"/> and the like,
    /// everything undone. Running already is no error: false. After a start that failed, readers of the next run end, and
    /// a container with <see cref="ContainerSpec.AutoRemove"/> is removed: <c>docker run --rm</c> waits for both.
    /// </summary>
    Task<bool> StartAsync(string container, CancellationToken cancel);

    /// <summary>Asks it to stop, by a signal (null: its own), and kills it when the grace (null: its own) is over. False when it did not run.</summary>
    Task<bool> StopAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel);

    /// <summary>Stops it by its own signal.</summary>
    Task<bool> StopAsync(string container, TimeSpan? grace, CancellationToken cancel) => StopAsync(container, null, grace, cancel);

    /// <summary>Sends a signal to its first process.</summary>
    Task KillAsync(string container, int signal, CancellationToken cancel);

    /// <summary>Stops and starts it.</summary>
    Task RestartAsync(string container, int? signal, TimeSpan? grace, CancellationToken cancel);

    /// <summary>Stops it by its own signal, and starts it.</summary>
    Task RestartAsync(string container, TimeSpan? grace, CancellationToken cancel) => RestartAsync(container, null, grace, cancel);

    /// <summary>Holds all its processes still; they keep what they have. Not running, or paused already: <see cref="ErrorKind.Conflict"/>.</summary>
    Task PauseAsync(string container, CancellationToken cancel);

    /// <summary>Lets it go on. Not paused: <see cref="ErrorKind.Conflict"/>.</summary>
    Task UnpauseAsync(string container, CancellationToken cancel);

    /// <summary>Its processes, by pid. Not running: <see cref="ErrorKind.Conflict"/>.</summary>
    IReadOnlyList<ContainerProcess> ListProcesses(string container);

    /// <summary>
    /// Changes its limits, at once where it runs, and its restart policy; all that is asked, or nothing. A limit that the
    /// kernel cannot hold is <see cref="ErrorKind.Infeasible"/>; less memory than it uses now is <see cref="ErrorKind.Conflict"/>.
    /// </summary>
    /// <param name="container">The container.</param>
    /// <param name="limits">What is null stays as it is.</param>
    /// <param name="restart">Null stays as it is.</param>
    /// <param name="cancel">Ends the waiting for its turn.</param>
    Task UpdateAsync(string container, ResourceLimits limits, RestartPolicy? restart, CancellationToken cancel);

    /// <summary>Gives it another name.</summary>
    Task RenameAsync(string container, string name, CancellationToken cancel);

    /// <summary>Puts it into one more network, at once when it runs.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it is in it already, or shares another's network.</exception>
    Task JoinNetworkAsync(string container, EndpointSpec endpoint, CancellationToken cancel);

    /// <summary>Takes it out of a network, at once when it runs.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it is not in it.</exception>
    Task LeaveNetworkAsync(string container, string network, CancellationToken cancel);

    /// <summary>Removes it; a running one only with <paramref name="force"/>, which kills it.</summary>
    Task RemoveAsync(string container, bool force, bool removeAnonymousVolumes, CancellationToken cancel);

    /// <summary>Waits for its end.</summary>
    /// <returns>The exit code; null when nobody saw it.</returns>
    Task<int?> WaitAsync(string container, WaitCondition condition, CancellationToken cancel);

    /// <summary>All containers, newest first.</summary>
    IReadOnlyList<ContainerStatus> List();

    /// <summary>One container.</summary>
    ContainerStatus Inspect(string container);

    /// <summary>The bytes in the files that a container has written into its root, its volumes not counted; reads all directories of what it has written.</summary>
    long MeasureBytes(string container, CancellationToken cancel);

    /// <summary>The kernel's counters of a running container.</summary>
    ContainerStats ReadStats(string container);

    /// <summary>
    /// Its output, oldest first; with <see cref="LogQuery.Follow"/> until it ends, also when it is removed then: what it
    /// wrote is still delivered. The reader counts from the call of its first MoveNextAsync on: what is written after
    /// that call has returned its task is not missed, however soon the container ends.
    /// </summary>
    IAsyncEnumerable<LogRecord> ReadLogsAsync(string container, LogQuery query, CancellationToken cancel);

    /// <summary>
    /// Standard streams of it. Where it does not run they are those of its next run: all of it comes, and the container
    /// waits for who reads it. Where it runs, a reader that falls too far behind is ended, with a reason.
    /// </summary>
    ProcessStreams Attach(string container, AttachQuery query);

    /// <summary>Sets the size of its terminal; without one it does nothing. Not running: <see cref="ErrorKind.Conflict"/>.</summary>
    Task ResizeAsync(string container, TerminalSize size);

    /// <summary>What happens from now on. A reader that falls 1024 events behind is ended with <see cref="ErrorKind.Unavailable"/>.</summary>
    IAsyncEnumerable<EngineEvent> WatchAsync(CancellationToken cancel);

    /// <summary>What happened between two moments, both counted in, the oldest first; of the last 256 events of this daemon.</summary>
    IReadOnlyList<EngineEvent> PastEvents(DateTimeOffset since, DateTimeOffset until);
}

/// <summary>What a wait waits for, as in Docker's API.</summary>
public enum WaitCondition
{
    /// <summary>Until it does not run; at once when it does not run now.</summary>
    NotRunning,

    /// <summary>Until the next end.</summary>
    NextExit,

    /// <summary>Until it was removed.</summary>
    Removed,
}

/// <summary>Which output.</summary>
/// <param name="Follow">Go on with what comes.</param>
/// <param name="Tail">The last so many lines; null for all.</param>
/// <param name="Since">Not before.</param>
/// <param name="Until">Not after.</param>
/// <param name="StandardOutput">With what came from standard output.</param>
/// <param name="StandardError">With what came from standard error.</param>
/// <param name="FromNextRun">With <paramref name="Follow"/>, for a container that does not run: waits for its next start and shows what that run writes, as an attach before the start does.</param>
/// <param name="FromEnd">Only what is written from now on.</param>
/// <param name="Raw">As it was written, not cut into lines.</param>
public sealed record LogQuery(
    bool Follow = false,
    int? Tail = null,
    DateTimeOffset? Since = null,
    DateTimeOffset? Until = null,
    bool StandardOutput = true,
    bool StandardError = true,
    bool FromNextRun = false,
    bool FromEnd = false,
    bool Raw = false);

/// <summary>Which of a container's streams somebody is at.</summary>
public sealed class AttachQuery
{
    /// <summary>Whether it writes to standard input, or to the terminal.</summary>
    public bool Input { get; init; }

    /// <summary>Whether it reads standard output, or the terminal.</summary>
    public bool Output { get; init; }

    /// <summary>Whether it reads standard error.</summary>
    public bool Error { get; init; }

    /// <summary>Whether it stays for what comes.</summary>
    public bool Follow { get; init; }

    /// <summary>Whether it first reads what was written so far.</summary>
    public bool Past { get; init; }
}

/// <summary>A piece of output: a line with its end, or part of a longer line.</summary>
/// <param name="Time">When the logger read it.</param>
/// <param name="IsError">Whether it came from standard error.</param>
/// <param name="Bytes">The bytes as written, a newline included where there was one; none at the end of a run, where they are raw.</param>
public readonly record struct LogRecord(DateTimeOffset Time, bool IsError, ReadOnlyMemory<byte> Bytes);

/// <summary>Something that happened, in the words of <c>docker events</c>.</summary>
/// <param name="Time">When.</param>
/// <param name="Type"><c>container</c> or <c>volume</c>; images tell of nothing yet.</param>
/// <param name="Action"><c>create</c>, <c>start</c>, <c>die</c>, <c>oom</c>, <c>kill</c>, <c>stop</c>, <c>pause</c>, <c>unpause</c>, <c>update</c>, <c>restart</c>, <c>rename</c>, <c>destroy</c>, <c>archive-path</c>, <c>extract-to-dir</c>, <c>prune</c>, <c>health_status: healthy</c>, <c>exec_create: COMMAND</c>, <c>exec_start: COMMAND</c>, <c>exec_die</c>.</param>
/// <param name="Id">Of the object.</param>
/// <param name="Attributes">Name, image, labels, exit code and the like.</param>
public sealed record EngineEvent(
    DateTimeOffset Time,
    string Type,
    string Action,
    string Id,
    IReadOnlyDictionary<string, string> Attributes);
