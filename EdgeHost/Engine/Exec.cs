using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Engine;

/// <summary>A program in a running container while the daemon remembers it.</summary>
internal sealed class Exec(string id, Container container, ExecSpec spec)
{
    private readonly Lock _lock = new();
    private Fd? _terminal;
    private bool _started;

    internal string Id { get; } = id;

    internal Container Container { get; } = container;

    internal ExecSpec Spec { get; } = spec;

    internal bool Running { get; private set; }

    /// <summary>Whether it was started and has ended, or could not be.</summary>
    internal bool Over { get; private set; }

    internal int Pid { get; private set; }

    internal int? ExitCode { get; private set; }

    internal bool OomKilled { get; private set; }

    internal ExecStatus Status
    {
        get
        {
            lock (_lock)
            {
                return new ExecStatus { Id = Id, ContainerId = Container.Record.Id, Spec = Spec, Running = Running, Pid = Pid, ExitCode = ExitCode, OomKilled = OomKilled };
            }
        }
    }

    /// <summary>Takes it for being started, which nobody else does then.</summary>
    internal void Take()
    {
        lock (_lock)
        {
            if (_started)
            {
                throw new EdgeHostException(ErrorKind.Conflict, Running ? $"exec {Id} is already running" : $"exec {Id} has already run");
            }

            _started = true;
        }
    }

    /// <summary>It runs.</summary>
    internal void Begin(int pid, Fd? terminal)
    {
        lock (_lock)
        {
            Pid = pid;
            Running = true;
            _terminal = terminal;
        }
    }

    /// <summary>It has ended.</summary>
    internal void End(int? exitCode, bool oomKilled)
    {
        lock (_lock)
        {
            Running = false;
            Over = true;
            ExitCode = exitCode;
            OomKilled = oomKilled;
        }
    }

    internal void Resize(TerminalSize size)
    {
        lock (_lock)
        {
            if (!Running)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"exec {Id} is not running");
            }

            if (_terminal is { IsOpen: true } terminal)
            {
                Terminal.Resize(terminal, size.Rows, size.Columns);
            }
        }
    }

    /// <summary>Closes its terminal, which nobody uses any more.</summary>
    internal void CloseTerminal()
    {
        lock (_lock)
        {
            _terminal?.Dispose();
        }
    }
}
