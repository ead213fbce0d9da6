using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Standard streams of containers: pipes, or a terminal, of which our ends are kept here, so that they outlive daemon and
/// logger.
/// </summary>
internal sealed partial class Shepherd
{
    private const int MostTaps = 64;

    private ShepherdContainer Clone(LaunchPlan plan, Fd? cgroup, StreamsWanted wanted, Func<LaunchedProcess, Fd?, Fd?, ShepherdContainer> made)
    {
        LaunchedProcess? process = null;
        (Fd Read, Fd Write)? input = null, output = null, error = null;
        (PacketSocket Ours, PacketSocket Theirs)? terminal = null;
        try
        {
            if (wanted.Terminal)
            {
                terminal = PacketSocket.MakePair();
                process = Launcher.Start(plan, cgroup, [terminal.Value.Theirs.Fd.Value, _null.Value, _null.Value]);
            }
            else
            {
                input = wanted.Input ? Pipe.MakeForInput() : null;
                output = Pipe.Make();
                error = Pipe.Make();
                process = Launcher.Start(plan, cgroup, [(input?.Read ?? _null).Value, output.Value.Write.Value, error.Value.Write.Value]);
            }

            var container = made(process, output?.Read, error?.Read);
            container.Input = input?.Write;
            container.TerminalSocket = terminal?.Ours;
            return container;
        }
        finally
        {
            terminal?.Theirs.Dispose();
            input?.Read.Dispose();
            output?.Write.Dispose();
            error?.Write.Dispose();
            if (process is null)
            {
                terminal?.Ours.Dispose();
                input?.Write.Dispose();
                output?.Read.Dispose();
                error?.Read.Dispose();
            }
        }
    }

    // The logger reads from it, and daemons write to it, whether or not standard input is open: a terminal is one file.
    private static void TakeTerminal(ShepherdContainer container)
    {
        if (container.TerminalSocket is not { } socket)
        {
            return;
        }

        container.TerminalSocket = null;
        using (socket)
        {
            container.Streams[0] = Terminal.Take(socket) ?? throw new EdgeHostException(ErrorKind.Internal, $"container {ShortId(container)}: no terminal came from it");
            container.Input = Pipe.Duplicate(container.Streams[0]!);
        }
    }

    private void TakeInput(PacketSocket client, int request, string id)
    {
        if (FindRunning(id).Input is not { } input)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"container {id} has no standard input, or its end was reached");
        }

        var taken = new ShepherdMessageWriter(_answer, ShepherdMessageKind.InputTaken);
        taken.Put(request);
        Answer(client, taken, input.Value);
    }

    private void CloseInput(string id)
    {
        if (_containers.TryGetValue(id, out var container) && !container.HasTerminal)
        {
            container.Input?.Dispose();
            container.Input = null;
            Unstore(container, StandardInput);
        }
    }

    private void Resize(string id, int rows, int columns)
    {
        if (FindRunning(id) is { HasTerminal: true, Input: { } terminal })
        {
            Terminal.Resize(terminal, Math.Clamp(rows, 0, ushort.MaxValue), Math.Clamp(columns, 0, ushort.MaxValue));
        }
    }

    private ShepherdContainer FindRunning(string id) => _containers.TryGetValue(id, out var container) && container is { Running: true, Exit: null }
        ? container
        : throw new EdgeHostException(ErrorKind.Conflict, $"container {id} is not running");

    /// <summary>What a launch says of its streams.</summary>
    private sealed class StreamsWanted
    {
        /// <summary>As before there was a choice: pipes, and nothing to read.</summary>
        internal StreamsWanted() => Taps = [];

        internal StreamsWanted(ref ShepherdMessageReader reader)
        {
            Terminal = reader.TakeInt32() != 0;
            Input = reader.TakeInt32() != 0;
            var count = reader.TakeInt32();
            Taps = count is >= 0 and <= MostTaps ? new int[count] : throw new EdgeHostException(ErrorKind.Invalid, $"launch: {count} pipes for its output are not what a daemon may ask for");
            for (var tap = 0; tap < count; tap++)
            {
                Taps[tap] = reader.TakeInt32();
                if (Taps[tap] is not (1 or 2))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"launch: a pipe for stream {Taps[tap]}, which is not there");
                }
            }
        }

        internal bool Terminal { get; }

        internal bool Input { get; }

        internal int[] Taps { get; }
    }
}
