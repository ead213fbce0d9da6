using System.Globalization;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary><c>edgehost shepherd</c> and <c>edgehost logger</c>: the two processes that hold containers while daemons come and go.</summary>
public static class ShepherdCommand
{
    private const int MostSeconds = 86_400;

    /// <summary>Runs the shepherd until it is told to end.</summary>
    /// <param name="arguments">What follows <c>shepherd</c>.</param>
    /// <returns>The exit code.</returns>
    public static int RunShepherd(ReadOnlySpan<string> arguments)
    {
        var runDirectory = "/run/edgehost";
        var stopWithin = Shepherd.UsualStopWithin;
        for (var i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] == "--run-dir" && i + 1 < arguments.Length)
            {
                runDirectory = arguments[++i];
            }
            else if (arguments[i] == "--stop-within" && i + 1 < arguments.Length
                && int.TryParse(arguments[i + 1], NumberStyles.None, CultureInfo.InvariantCulture, out var seconds) && seconds is >= 1 and <= MostSeconds)
            {
                i++;
                stopWithin = TimeSpan.FromSeconds(seconds);
            }
            else
            {
                SingleThread.PrintError($"edgehost shepherd: argument {arguments[i]} is not understood; it is started by the daemon, or as: edgehost shepherd [--run-dir DIR] [--stop-within SECONDS (1 to {MostSeconds})]\n");
                return 1;
            }
        }

        try
        {
            using var signals = SingleThread.BlockSignals(Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP, Signals.SIGCHLD);
            SingleThread.SealProgram();
            using var shepherd = new Shepherd(Path.GetFullPath(runDirectory), stopWithin, signals);
            return shepherd.Run();
        }
        catch (EdgeHostException e)
        {
            SingleThread.PrintError($"edgehost shepherd: {e.Message}\n");
            return 1;
        }
    }

    /// <summary>Runs the logger on descriptor 3 until its other end is gone.</summary>
    /// <returns>The exit code.</returns>
    public static int RunLogger()
    {
        try
        {
            return Logger.LoggerProcess.Run(new PacketSocket(new Fd(3)));
        }
        catch (EdgeHostException e)
        {
            SingleThread.PrintError($"edgehost logger: {e.Message}\n");
            return 1;
        }
    }
}
