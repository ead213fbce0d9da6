namespace EdgeHost;

/// <summary>Entry point.</summary>
public static class Program
{
    /// <summary>Dispatches to the kind of process that was asked for.</summary>
    /// <param name="args">The command line.</param>
    /// <returns>The exit code.</returns>
    public static int Main(string[] args) => args.Length;
}
