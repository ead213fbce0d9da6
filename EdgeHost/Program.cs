using EdgeHost.Runtime.Oci;
using EdgeHost.Runtime.Shepherd;

namespace EdgeHost;

/// <summary>Entry point.</summary>
public static class Program
{
    /// <summary>Dispatches to the kind of process that was asked for.</summary>
    /// <param name="args">The command line.</param>
    /// <returns>The exit code.</returns>
    public static int Main(string[] args)
    {
        // These keep one managed thread, so they come before anything that would start another.
        switch (args)
        {
            case ["oci", ..]: return OciCommand.Run(args.AsSpan(1));
            case ["shepherd", ..]: return ShepherdCommand.RunShepherd(args.AsSpan(1));
            case ["logger"]: return ShepherdCommand.RunLogger();
            default: return 1;
        }
    }
}
