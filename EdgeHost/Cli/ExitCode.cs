namespace EdgeHost.Cli;

/// <summary>Exit codes of the command line; those of <c>run</c> and <c>exec</c> are the container's own, and docker's 125 to 127.</summary>
public static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Ok = 0;

    /// <summary>It failed, and said why on standard error.</summary>
    public const int Failed = 1;

    /// <summary>The board's memory controller is off: an edit of the kernel command line and a reboot mend it.</summary>
    public const int MemoryControllerOff = 3;

    /// <summary>A template of <c>--format</c> is wrong, where docker says so by a code of its own (EX_USAGE of sysexits).</summary>
    public const int BadTemplate = 64;

    /// <summary>The command line was not understood, or a container could not be made: as docker.</summary>
    public const int Usage = 125;

    /// <summary>Nobody reads the output any more: what a shell says of a program that SIGPIPE ended.</summary>
    public const int BrokenPipe = 141;
}
