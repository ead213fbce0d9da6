using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Shepherd;

/// <summary><c>edgehost shepherd</c> and <c>edgehost logger</c>: the two processes that hold containers while daemons come and go.</summary>
public static class ShepherdCommand
{
    /// <summary>Runs the shepherd until it is told to end.</summary>
    /// <param name="arguments">What follows <c>shepherd</c>.</param>
    /// <returns>The exit code.</returns>
    public static int RunShepherd(ReadOnlySpan<string> arguments)
    {
        var runDirectory = "/run/edgehost";
        for (var i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] == "--run-dir" && i + 1 < arguments.Length)
            {
                runDirectory = arguments[++i];
            }
            else
            {
                SingleThread.PrintError($"edgehost shepherd: unknown argument {arguments[i]}; it is started by the daemon, or as: edgehost shepherd [--run-dir DIR]\n");
                return 1;
            }
        }

        try
        {
            using var signals = SingleThread.BlockSignals(Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP, Signals.SIGCHLD);
            using var shepherd = new Shepherd(Path.GetFullPath(runDirectory), signals);
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
