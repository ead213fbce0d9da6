using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary><c>edgehost shepherd</c> and <c>edgehost logger</c>: the two processes that hold containers while daemons come and go.</summary>
public static class ShepherdCommand
{
    /// <summary>The daemon's oom_score_adj, as its unit has it.</summary>
    public const int DaemonSparedBy = -500;

    private const int MostSeconds = 86_400;

    // As its unit has it, for it and its logger. A daemon that cannot be spared has said so.
    private const int SparedBy = -900;

    /// <summary>Runs the shepherd until it is told to end.</summary>
    /// <param name="arguments">What follows <c>shepherd</c>.</param>
    /// <returns>The exit code.</returns>
    public static int RunShepherd(ReadOnlySpan<string> arguments)
    {
        HugePages.Refuse();
        ProgramPages.ProtectTypeTables();
        var runDirectory = "/run/edgehost";
        var stopWithin = Shepherd.UsualStopWithin;
        var (replace, check, takeOver, before) = (false, -1, -1, -1);
        string? refused = null;
        for (var i = 0; i < arguments.Length; i++)
        {
            var value = i + 1 < arguments.Length ? arguments[i + 1] : string.Empty;
            var number = int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var parsed) ? parsed : -1;
            switch (arguments[i])
            {
                case "--replace":
                    replace = true;
                    continue;
                case "--run-dir" when value.Length > 0:
                    runDirectory = value;
                    break;
                case "--stop-within" when number is >= 1 and <= MostSeconds:
                    stopWithin = TimeSpan.FromSeconds(number);
                    break;

                // What one build says to another: see Shepherd.Handover.cs.
                case "--check-handover" when number >= 0:
                    check = number;
                    break;
                case "--take-over" when number >= 0:
                    takeOver = number;
                    break;
                case "--before" when number >= 0:
                    before = number;
                    break;
                case "--refused" when value.Length > 0:
                    refused = value;
                    break;
                default:
                    SingleThread.PrintError($"edgehost shepherd: argument {arguments[i]} is not understood; it is started by the daemon, or as: edgehost shepherd [--run-dir DIR] [--stop-within SECONDS (1 to {MostSeconds})], and replaced by this program as: edgehost shepherd --replace [--run-dir DIR]\n");
                    return 1;
            }

            i++;
        }

        try
        {
            runDirectory = Path.GetFullPath(runDirectory);
            if (check >= 0)
            {
                return Shepherd.CheckHandover(check);
            }

            if (replace)
            {
                return ShepherdReplacement.Ask(runDirectory);
            }

            using var signals = SingleThread.BlockSignals(Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP, Signals.SIGCHLD);
            SingleThread.SealProgram();
            _ = Processes.TrySpareThis(SparedBy, inherited: DaemonSparedBy);
            using var shepherd = takeOver < 0
                ? new Shepherd(runDirectory, stopWithin, signals)
                : Shepherd.TakeOver(runDirectory, stopWithin, signals, takeOver, before, refused);
            return shepherd.Run();
        }
        catch (EdgeHostException e)
        {
            SingleThread.PrintError($"edgehost shepherd: {e.Message}\n");
            return 1;
        }
    }

    /// <summary>Runs the logger until its shepherd and all pipes are gone, or another logger takes its place.</summary>
    /// <param name="arguments">The descriptors of its socket and of the one on which it listens for another shepherd, and the path of that one.</param>
    /// <returns>The exit code.</returns>
    public static int RunLogger(ReadOnlySpan<string> arguments)
    {
        HugePages.Refuse();
        ProgramPages.ProtectTypeTables();
        if (arguments.Length != 3
            || !int.TryParse(arguments[0], NumberStyles.None, CultureInfo.InvariantCulture, out var socket)
            || !int.TryParse(arguments[1], NumberStyles.None, CultureInfo.InvariantCulture, out var listener))
        {
            SingleThread.PrintError("edgehost logger: it is started by the shepherd\n");
            return 1;
        }

        try
        {
            var code = Logger.LoggerProcess.Run(new PacketSocket(new Fd(socket)), new Fd(listener));
            File.Delete(arguments[2]);
            return code;
        }
        catch (EdgeHostException e)
        {
            SingleThread.PrintError($"edgehost logger: {e.Message}\n");
            return 1;
        }
    }
}
