using EdgeHost.Cli;
using EdgeHost.Linux;
using EdgeHost.Runtime.Oci;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost;

/// <summary>Entry point.</summary>
public static class Program
{
    /// <summary>Dispatches to the kind of process that was asked for.</summary>
    /// <param name="args">The command line.</param>
    /// <returns>The exit code.</returns>
    // The first three stay single-threaded, so nothing before them may touch Console, the host or System.CommandLine:
    // each of these starts a thread, and a clone of a process with one may hang.
    public static int Main(string[] args)
    {
        SingleThread.HoldStandardStreams();
        return args switch
        {
            ["oci", ..] => OciCommand.Run(args.AsSpan(1)),
            ["shepherd", ..] => ShepherdCommand.RunShepherd(args.AsSpan(1)),
            ["logger", ..] => ShepherdCommand.RunLogger(args.AsSpan(1)),
            _ => CliRoot.Run(args, Daemon.Run, configuration: file => ConfigurationListing.Read(file, Environment.GetEnvironmentVariable)),
        };
    }
}
