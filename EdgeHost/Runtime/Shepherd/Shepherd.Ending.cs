using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Runtime.Cgroups;

namespace EdgeHost.Runtime.Shepherd;

/// <summary>
/// Ending all containers, as when the board shuts down: the last started first, each with its own stop signal and grace,
/// the next when the one before has ended. All of it takes no longer than the shepherd was given: when the graces do not
/// fit into that, each has a share of the time until the next is asked too, and whatever is left at its end is killed.
/// </summary>
internal sealed partial class Shepherd
{
    /// <summary>How long the end of all containers may take unless it is said; systemd waits 90 s for a unit to stop.</summary>
    internal static readonly TimeSpan UsualStopWithin = TimeSpan.FromSeconds(80);

    // What a killed process has until the next is asked, and all have at the end, to be reaped.
    private const int KillPatienceMilliseconds = 2000;

    private readonly long _stopWithin;
    private CgroupMounts? _cgroups;
    private Queue<ShepherdContainer>? _toEnd;
    private ShepherdContainer? _asked;
    private long _turnEnds;
    private long _endBy;

    private bool IsEnding => _toEnd is not null;

    private long? NextEndingAt => !IsEnding ? null
        : _containers.Values.Where(container => container.Exit is null).Select(container => container.KillAt)
            .Append(_toEnd!.Count > 0 ? _turnEnds : _endBy + KillPatienceMilliseconds).Min();

    private void EndAll()
    {
        if (IsEnding)
        {
            return;
        }

        ServiceSupervisor.Notify("STOPPING=1");
        _toEnd = new Queue<ShepherdContainer>(_containers.Values.Where(IsAlive).OrderByDescending(container => container.Rank));
        _endBy = Environment.TickCount64 + _stopWithin;
        SingleThread.PrintError(string.Create(CultureInfo.InvariantCulture, $"edgehost shepherd: ending {_toEnd.Count} containers, the last started first, within {_stopWithin / 1000} s\n"));
        _clients.ToList().ForEach(TellEnding);
        _checks.ForEach(Cancel);
        GoOnEnding();
    }

    /// <summary>Kills whose time is over, and asks the next when it is its turn.</summary>
    private void GoOnEnding()
    {
        if (!IsEnding)
        {
            return;
        }

        foreach (var container in _containers.Values.Where(container => container.Exit is null && Environment.TickCount64 >= container.KillAt))
        {
            container.KillAt = null;
            SingleThread.PrintError(string.Create(
                CultureInfo.InvariantCulture, $"edgehost shepherd: container {ShortId(container)} has not ended {Environment.TickCount64 - container.AskedAt} ms after signal {container.StopSignal}: it is killed\n"));
            Processes.TryKill(container.Process.PidFd, Signals.SIGKILL);
        }

        while ((_asked is null || !IsAlive(_asked) || Environment.TickCount64 >= _turnEnds) && _toEnd!.TryDequeue(out var next))
        {
            if (IsAlive(next))
            {
                Ask(next);
            }
        }
    }

    private void Ask(ShepherdContainer container)
    {
        var now = Environment.TickCount64;
        var left = Math.Max(0, _endBy - now);
        long wanted = container.GraceMilliseconds + _toEnd!.Where(IsAlive).Sum(other => (long)other.GraceMilliseconds);
        container.AskedAt = now;
        container.KillAt = now + Math.Min(container.GraceMilliseconds, left);
        _asked = container;
        _turnEnds = wanted <= left
            ? container.KillAt.Value + KillPatienceMilliseconds
            : now + (long)((double)left * container.GraceMilliseconds / wanted);
        Processes.TryKill(container.Process.PidFd, container.StopSignal);
        Thaw(container);
    }

    // One that is held would take its signal when it goes on, that is never. The kernel knows whether it is, and where.
    private void Thaw(ShepherdContainer container)
    {
        try
        {
            if (Cgroup.Thaw(_cgroups ??= CgroupMounts.Read(), container.Process.Pid))
            {
                SingleThread.PrintError($"edgehost shepherd: container {ShortId(container)} was paused: it goes on, to end\n");
            }
        }
        catch (Exception e) when (e is EdgeHostException or IOException or UnauthorizedAccessException)
        {
            SingleThread.PrintError($"edgehost shepherd: container {ShortId(container)} may be paused: {e.Message}\n");
        }
    }

    private void SayEnded(ShepherdContainer container, int? exitCode)
    {
        if (container.AskedAt is { } asked)
        {
            SingleThread.PrintError(string.Create(
                CultureInfo.InvariantCulture, $"edgehost shepherd: container {ShortId(container)} ended with {exitCode?.ToString(CultureInfo.InvariantCulture) ?? "a code that nobody saw"}, {Environment.TickCount64 - asked} ms after signal {container.StopSignal}\n"));
        }
    }

    // Also told and logged: who hears of an end finds the output before it.
    private bool HasEndedAll()
    {
        if (!IsEnding || _containers.Values.All(container => container is { Exit: not null, TellAt: null }))
        {
            return IsEnding;
        }

        if (Environment.TickCount64 < _endBy + KillPatienceMilliseconds)
        {
            return false;
        }

        foreach (var container in _containers.Values.Where(IsAlive))
        {
            SingleThread.PrintError($"edgehost shepherd: container {ShortId(container)} (process {container.Process.Pid}) is left behind: it did not end when it was killed; a device or file system may hang\n");
        }

        return true;
    }

    private bool IsAlive(ShepherdContainer container) =>
        container.Exit is null && _containers.TryGetValue(container.Id, out var held) && held == container;

    private static string ShortId(ShepherdContainer container) => container.Id.Length > 12 ? container.Id[..12] : container.Id;
}
