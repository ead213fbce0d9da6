using System.Globalization;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary><c>oci run</c>: create, start, forward signals, wait, delete.</summary>
internal static class OciRun
{
    internal static int Execute(OciArguments line)
    {
        var bundle = line.TakeOption("-b", "--bundle");
        var pidFile = line.TakeOption("--pid-file");
        var detach = line.TakeFlag("-d", "--detach");
        var keep = line.TakeFlag("--keep");
        var id = line.TakeOperands(1, 1, "one container id")[0];

        using var signals = detach
            ? null
            : SingleThread.BlockSignals(
                Signals.SIGHUP, Signals.SIGINT, Signals.SIGQUIT, Signals.SIGUSR1, Signals.SIGUSR2, Signals.SIGTERM, Signals.SIGWINCH);
        using var launch = OciLaunch.Start(line, id, bundle, waitForStart: false);
        if (pidFile is not null)
        {
            OciCreate.WritePid(pidFile, launch.Process.Pid);
        }

        if (signals is null)
        {
            return 0;
        }

        while (SingleThread.WaitReadable([launch.Process.PidFd.Value, signals.Value], -1) != 0)
        {
            while (SingleThread.TakeSignal(signals) is { } signal)
            {
                Processes.TryKill(launch.Process.PidFd, signal);
            }
        }

        var exitCode = Processes.Wait(launch.Process.Pid);
        if (launch.Cgroup.ReadOomKills() is > 0 and var kills)
        {
            var limit = launch.Cgroup.ReadStats().MemoryLimitBytes?.ToString(CultureInfo.InvariantCulture) ?? "none of its own";
            SingleThread.PrintError($"edgehost oci run: {id}: out of memory: the kernel killed {kills} of its processes (memory limit {limit})\n");
        }

        if (!keep)
        {
            launch.Unmake();
        }

        return exitCode;
    }
}
