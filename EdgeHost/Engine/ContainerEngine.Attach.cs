using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost.Engine;

/// <summary>Those who are at the standard streams of containers.</summary>
public sealed partial class ContainerEngine
{
    /// <inheritdoc/>
    public ProcessStreams Attach(string container, AttachQuery query)
    {
        var found = Find(container);
        var spec = found.Record.Spec;
        var terminal = spec.Terminal;
        var input = query.Input && (spec.OpenInput || terminal);
        if (query.Follow && !query.Past)
        {
            lock (found.Attaching)
            {
                if (!found.IsRunning && !found.IsLaunching && _shepherd is { CanExec: true })
                {
                    return AttachToNextRun(found, input, query);
                }
            }
        }

        var logs = new LogQuery(
            query.Follow,
            StandardOutput: query.Output,
            StandardError: query.Error,
            FromNextRun: query.Follow && !found.IsRunning && !query.Past,
            FromEnd: !query.Past,
            Raw: true);
        var taken = input && found.IsRunning ? TakeInputAsync(found) : Task.FromResult<Fd?>(null);
        return LogPipes.Open(
            cancel => ReadLogsAsync(found.Record.Id, logs, cancel),
            query.Output,
            query.Error && !terminal,
            terminal,
            taken,
            () => !input || EndInput(found, taken),
            () => LeaveInput(found, taken));
    }

    /// <inheritdoc/>
    public async Task ResizeAsync(string container, TerminalSize size)
    {
        var found = Find(container);
        if (!found.IsRunning)
        {
            throw new EdgeHostException(ErrorKind.Conflict, $"container {found.Record.Id} is not running");
        }

        if (found.Record.Spec.Terminal)
        {
            await Shepherd.ResizeAsync(found.Record.Id, size.Rows, size.Columns).ConfigureAwait(false);
            Tell(found.Record, "resize", ("height", $"{size.Rows}"), ("width", $"{size.Columns}"));
        }
    }

    private ProcessStreams AttachToNextRun(Container container, bool input, AttachQuery query)
    {
        var pending = new PendingAttach { WantsInput = input };
        (Fd Read, Fd Write)? output = query.Output ? Pipe.MakeBetween() : null;
        (Fd Read, Fd Write)? error = query.Error && !container.Record.Spec.Terminal ? Pipe.MakeBetween() : null;
        pending.Output = output?.Write;
        pending.Error = error?.Write;
        if (!input)
        {
            pending.Input.TrySetResult(null);
        }

        container.Attaching.Add(pending);
        return new ProcessStreams(streams =>
        {
            lock (container.Attaching)
            {
                if (container.Attaching.Remove(pending))
                {
                    pending.Dispose();
                }
            }

            streams.Output?.Dispose();
            streams.Error?.Dispose();
            pending.Input.TrySetResult(null);
            LeaveInput(container, pending.Input.Task);
        })
        {
            Input = pending.Input.Task,
            EndInput = () => !input || EndInput(container, pending.Input.Task),
            Output = output?.Read,
            Error = error?.Read,
            IsTerminal = container.Record.Spec.Terminal,
        };
    }

    /// <summary>Those who wait for the run that is about to begin.</summary>
    private static List<PendingAttach> TakeAttaching(Container container)
    {
        lock (container.Attaching)
        {
            container.IsLaunching = true;
            List<PendingAttach> taken = [.. container.Attaching];
            container.Attaching.Clear();
            return taken;
        }
    }

    /// <summary>The run has begun, or has not: the daemon's writing ends are closed, and who waits for input gets it.</summary>
    private async Task EndAttachingAsync(Container container, List<PendingAttach> attaching, bool runs)
    {
        lock (container.Attaching)
        {
            container.IsLaunching = false;
        }

        foreach (var pending in attaching)
        {
            pending.Dispose();
            if (pending.WantsInput)
            {
                var input = runs ? await TakeInputAsync(container).ConfigureAwait(false) : null;
                if (!pending.Input.TrySetResult(input))
                {
                    // Who waited for it has gone meanwhile.
                    input?.Dispose();
                    CloseInputOnce(container);
                }
            }
        }
    }

    private async Task<Fd?> TakeInputAsync(Container container)
    {
        try
        {
            return await Shepherd.TakeInputAsync(container.Record.Id).ConfigureAwait(false);
        }
        catch (EdgeHostException)
        {
            // It has ended, or its input has: there is nobody who would read.
            return null;
        }
    }

    /// <summary>A client has sent all.</summary>
    /// <returns>Whether it still listens.</returns>
    private bool EndInput(Container container, Task<Fd?> input)
    {
        if (!container.Record.Spec.InputOnce || container.Record.Spec.Terminal)
        {
            // As in Docker: it was one of many who may write, and is at its end.
            return false;
        }

        LeaveInput(container, input);
        return true;
    }

    /// <summary>A client writes no more: the input that is open once ends with it.</summary>
    private void LeaveInput(Container container, Task<Fd?> input)
    {
        if (input.IsCompletedSuccessfully && input.Result is { IsOpen: true } fd)
        {
            fd.Dispose();
            CloseInputOnce(container);
        }
    }

    private void CloseInputOnce(Container container)
    {
        if (container.Record.Spec is { InputOnce: true, Terminal: false } && _shepherd is { CanExec: true } shepherd)
        {
            _ = CloseAsync(shepherd, container.Record.Id);
        }

        static async Task CloseAsync(ShepherdClient shepherd, string id)
        {
            try
            {
                await shepherd.CloseInputAsync(id).ConfigureAwait(false);
            }
            catch (EdgeHostException)
            {
                // The shepherd is gone, and its end of the pipe with it.
            }
        }
    }
}

/// <summary>Somebody who was there before a start: gets all of the run that begins next.</summary>
internal sealed class PendingAttach : IDisposable
{
    /// <summary>The writing end for standard output or a terminal; null where it is not wanted.</summary>
    internal Fd? Output { get; set; }

    /// <summary>The writing end for standard error; null where it is not wanted.</summary>
    internal Fd? Error { get; set; }

    /// <summary>Whether it was to write to standard input, which ends with it also when it has gone before there was one.</summary>
    internal bool WantsInput { get; init; }

    /// <summary>The program's standard input once it runs; null when it has none or is not wanted.</summary>
    internal TaskCompletionSource<Fd?> Input { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Dispose()
    {
        Output?.Dispose();
        Error?.Dispose();
    }
}
