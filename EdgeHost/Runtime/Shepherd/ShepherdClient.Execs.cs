using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>Programs in running containers.</summary>
public sealed partial class ShepherdClient
{
    /// <summary>Whether it starts programs in running containers, and has terminals and standard inputs.</summary>
    public bool CanExec => Version >= Shepherd.VersionWithExec;

    /// <summary>Starts a program in a running container.</summary>
    /// <param name="id">The container's id.</param>
    /// <param name="plan">The plan of <see cref="Launch.LaunchPlanCompiler.CompileExec"/>.</param>
    /// <param name="cgroupDirectory">The directory of cgroup v2 that it is born in; null for v1.</param>
    /// <param name="streams">Its standard input, output and error; duplicates are made of them.</param>
    /// <exception cref="EdgeHostException">The step that failed, in words; <see cref="ErrorKind.Conflict"/>: the container
    /// does not run; <see cref="ErrorKind.Unsupported"/>: not <see cref="CanExec"/>.</exception>
    public async Task<RunningExec> ExecAsync(string id, LaunchPlan plan, string? cgroupDirectory, int[] streams)
    {
        if (!CanExec)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"the shepherd (process {Pid}) was started by an older version and speaks protocol {Version}, which has no exec; it has when it was ended and started again");
        }

        using var memory = SealedMemory.Create("exec", plan.Block.Span);
        using var cgroup = cgroupDirectory is null ? null : Files.OpenDirectory(cgroupDirectory);
        var pending = new Pending { Started = new(TaskCreationOptions.RunContinuationsAsynchronously) };
        Send(Register(pending), ShepherdMessageKind.Exec, (ref ShepherdMessageWriter writer) =>
        {
            writer.Put(id);
            writer.Put(cgroup is null ? 0 : 1);
        }, cgroup is null ? [memory.Value, .. streams] : [memory.Value, cgroup.Value, .. streams]);
        var pid = await pending.Started.Task.ConfigureAwait(false);
        return new RunningExec(pid, EndAsync(pending));
    }

    private static async Task<ExecEnd?> EndAsync(Pending pending)
    {
        try
        {
            await pending.Answer.Task.ConfigureAwait(false);
            return pending.ExecEnd;
        }
        catch (EdgeHostException)
        {
            return null;
        }
    }
}

/// <summary>A program that runs in a container beside its own.</summary>
public sealed class RunningExec
{
    internal RunningExec(int pid, Task<ExecEnd?> ended)
    {
        Pid = pid;
        Ended = ended;
    }

    /// <summary>The host's pid.</summary>
    public int Pid { get; }

    /// <summary>How it ended; null when nobody saw it, because the shepherd was gone.</summary>
    public Task<ExecEnd?> Ended { get; }
}

/// <summary>How such a program ended.</summary>
public sealed class ExecEnd
{
    internal ExecEnd(int exitCode, bool withContainer)
    {
        ExitCode = exitCode;
        WithContainer = withContainer;
    }

    /// <summary>0 to 255; 128 + signal when it was killed.</summary>
    public int ExitCode { get; }

    /// <summary>Whether the container had ended, or was about to.</summary>
    public bool WithContainer { get; }
}
