using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>Standard input and terminals of running containers.</summary>
public sealed partial class ShepherdClient
{
    /// <summary>Asks for a container's standard input, or its terminal.</summary>
    /// <returns>Where it is written; does not block. The caller closes it.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it does not run; <see cref="ErrorKind.NotFound"/>: it has none, or it was closed.</exception>
    public async Task<Fd> TakeInputAsync(string id)
    {
        var pending = new Pending();
        Send(Register(pending), ShepherdMessageKind.TakeInput, (ref ShepherdMessageWriter writer) => writer.Put(id));
        await pending.Answer.Task.ConfigureAwait(false);
        return pending.Input!;
    }

    /// <summary>Ends a container's standard input, once nobody holds it any more; a terminal has no such end.</summary>
    public Task CloseInputAsync(string id) => Ask(ShepherdMessageKind.CloseInput, (ref ShepherdMessageWriter writer) => writer.Put(id));

    /// <summary>Sets the size of a container's terminal, if it has one.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: it does not run.</exception>
    public Task ResizeAsync(string id, int rows, int columns) => Ask(ShepherdMessageKind.Resize, (ref ShepherdMessageWriter writer) =>
    {
        writer.Put(id);
        writer.Put(rows);
        writer.Put(columns);
    });
}

/// <summary>The standard streams of a container that is launched.</summary>
public sealed class LaunchStreams
{
    /// <summary>Whether it has a terminal in place of pipes.</summary>
    public bool Terminal { get; init; }

    /// <summary>Whether its standard input is open.</summary>
    public bool Input { get; init; }

    /// <summary>Pipes that get all that it writes; it waits for who reads them.</summary>
    public IReadOnlyList<LaunchTap> Taps { get; init; } = [];

    /// <summary>Whether its plan has a process of ours before the program.</summary>
    public bool Init { get; init; }

    internal bool NeedsVersion => Terminal || Input || Init;
}

/// <summary>A pipe that gets what a container writes.</summary>
/// <param name="stream">1 for standard output, 2 for standard error.</param>
/// <param name="pipe">Its writing end.</param>
public sealed class LaunchTap(int stream, Fd pipe)
{
    /// <summary>1 for standard output, 2 for standard error.</summary>
    public int Stream { get; } = stream;

    /// <summary>Its writing end; a duplicate is made of it.</summary>
    public Fd Pipe { get; } = pipe;
}
