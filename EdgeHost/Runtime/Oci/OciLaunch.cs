using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Linux.Launch;
using EdgeHost.Oci;
using EdgeHost.Runtime.Cgroups;
using EdgeHost.Runtime.Launch;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// The way from a bundle to a cloned process, shared by <c>create</c> and <c>run</c>. Whatever was made is unmade when
/// a later step fails: process, cgroup, state.
/// </summary>
internal sealed class OciLaunch : IDisposable
{
    private readonly OciStateDirectory _state;
    private readonly string _id;
    private LaunchedProcess? _process;
    private Cgroup? _cgroup;
    private bool _claimed;
    private bool _kept;

    private OciLaunch(OciStateDirectory state, string id)
    {
        _state = state;
        _id = id;
    }

    internal LaunchedProcess Process => _process ?? throw new InvalidOperationException("the container was not launched");

    internal Cgroup Cgroup => _cgroup ?? throw new InvalidOperationException("the container was not launched");

    /// <summary>Makes everything and clones; on failure nothing is left.</summary>
    internal static OciLaunch Start(OciArguments line, string id, string? bundlePath, bool waitForStart)
    {
        SingleThread.SealProgram();
        var (bundle, spec) = OciBundle.Load(bundlePath);
        var launch = new OciLaunch(line.State, id);
        try
        {
            launch.Start(bundle, spec, waitForStart);
            return launch;
        }
        catch
        {
            launch.Dispose();
            throw;
        }
    }

    internal static LaunchPlan Compile(OciStateDirectory state, string id, string bundle, RuntimeSpec spec, bool waitForStart, CgroupMounts mounts, Cgroup cgroup) =>
        LaunchPlanCompiler.Compile(spec, new LaunchTarget
        {
            Bundle = bundle,
            CgroupMounts = mounts,
            Cgroup = cgroup,
            Fifos = waitForStart ? (state.StartFifo(id), state.StatusFifo(id)) : null,
        });

    internal static Cgroup CgroupFor(CgroupMounts mounts, string id, RuntimeSpec spec) => Cgroup.At(mounts, spec.Linux?.CgroupsPath switch
    {
        null or "" => "/edgehost/" + id,
        var path when path[0] == '/' => path,
        var path when path.Contains(':', StringComparison.Ordinal) => throw new EdgeHostException(
            ErrorKind.Unsupported, $"linux.cgroupsPath: \"{path}\" is for systemd's cgroup driver, which is not in this version; give a path"),
        var path => "/edgehost/" + path,
    });

    private void Start(string bundle, RuntimeSpec spec, bool waitForStart)
    {
        _state.Claim(_id);
        _claimed = true;
        var mounts = CgroupMounts.Read();
        var cgroup = CgroupFor(mounts, _id, spec);
        var limits = CgroupLimits.From(spec.Linux?.Resources);
        var plan = Compile(_state, _id, bundle, spec, waitForStart, mounts, cgroup);
        if (waitForStart)
        {
            Fifo.Make(_state.StartFifo(_id));
            Fifo.Make(_state.StatusFifo(_id));
            DurableFile.WriteVolatile(_state.PlanFile(_id), plan.Block.Span, 0x180);
        }

        cgroup.Create();
        _cgroup = cgroup;
        cgroup.Apply(limits);
        if (cgroup.Remark is { } remark)
        {
            SingleThread.PrintError($"edgehost oci: {_id}: {remark}\n");
        }

        using var birth = cgroup.BirthDirectory is { } directory ? Files.OpenDirectory(directory) : null;
        _process = Launcher.Start(plan, birth, [0, 1, 2]);

        // A created container's plan closes this pipe when it waits for its start, a running one's by its exec.
        if (_process.Wait() is { } failure)
        {
            throw failure.ToException();
        }

        _state.Save(new OciContainer
        {
            Id = _id,
            Bundle = bundle,
            Pid = _process.Pid,
            StartTime = Processes.TryReadStartTime(_process.Pid) ?? 0,
            CgroupPath = cgroup.CgroupPath,
            Created = DateTimeOffset.UtcNow,
            Annotations = spec.Annotations,
        });
        _kept = true;
    }

    /// <summary>Kills what may still be in a cgroup and removes it; waits for the kernel, up to ten seconds.</summary>
    internal static void Remove(Cgroup cgroup)
    {
        var until = Environment.TickCount64 + 10_000;
        for (var pause = 1; !cgroup.TryDelete(); pause = Math.Min(pause * 2, 100))
        {
            if (Environment.TickCount64 > until)
            {
                throw new EdgeHostException(ErrorKind.Conflict, $"cgroup {cgroup.CgroupPath} still holds processes {string.Join(", ", cgroup.ReadPids())} after 10 s");
            }

            cgroup.Kill();
            Thread.Sleep(pause);
        }
    }

    internal void Unmake()
    {
        if (_cgroup is not null)
        {
            Remove(_cgroup);
        }

        if (_claimed)
        {
            _state.Release(_id);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_kept)
        {
            if (_process is not null)
            {
                Processes.TryKill(_process.PidFd, Signals.SIGKILL);
                Processes.Wait(_process.Pid);
            }

            Unmake();
        }

        _process?.Dispose();
    }
}
