using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>Something that comes into a running container: the process that joins it, then the one that it clones there.</summary>
internal abstract class ShepherdEntry : IDisposable
{
    private protected ShepherdEntry(ShepherdContainer container, PacketSocket client, int request, LaunchedProcess entering)
    {
        Container = container;
        Client = client;
        Request = request;
        Entering = entering;
    }

    internal ShepherdContainer Container { get; }

    internal PacketSocket Client { get; }

    internal int Request { get; }

    /// <summary>The process that joins the container and clones the one that stays.</summary>
    internal LaunchedProcess Entering { get; }

    internal bool EnteringGone { get; set; }

    /// <summary>Whether it was read to its end how the plan came to its end.</summary>
    internal bool PlanEnded { get; set; }

    internal EdgeHostException? Failure { get; set; }

    internal int Pid { get; set; }

    /// <summary>The pidfd of what stays; null before it is known.</summary>
    internal Fd? PidFd { get; set; }

    internal int? ExitCode { get; set; }

    /// <summary>Whether nothing of it is left.</summary>
    internal bool HasEnded => EnteringGone && PlanEnded && IsReaped;

    private bool IsReaped
    {
        get
        {
            if (Pid == 0)
            {
                return Processes.TryReapGroup(Entering.Pid);
            }

            if (ExitCode is null && Processes.TryReap(Pid, out var exitCode))
            {
                ExitCode = exitCode;
            }

            return ExitCode is not null;
        }
    }

    public virtual void Dispose()
    {
        Entering.Dispose();
        PidFd?.Dispose();
    }
}

/// <summary>A program that was started in a container beside its own.</summary>
internal sealed class ShepherdExec(ShepherdContainer container, PacketSocket client, int request, LaunchedProcess entering) : ShepherdEntry(container, client, request, entering);
