using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary>What <c>edgehost daemon</c> was given; null is not given.</summary>
/// <param name="ConfigFile">The configuration file.</param>
/// <param name="DataDirectory">What survives a boot.</param>
/// <param name="RunDirectory">Sockets and live state.</param>
/// <param name="ExternalShepherd">Whether the shepherd is a service of its own.</param>
public sealed record DaemonFlags(string? ConfigFile, string? DataDirectory, string? RunDirectory, bool ExternalShepherd = false)
{
    /// <summary>Whether it is only to take out of the kernel what earlier ones have left there, once no container runs.</summary>
    internal bool Leaves { get; init; }
}

/// <summary><c>edgehost daemon</c>.</summary>
internal static class DaemonCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="run">Runs the daemon to its end.</param>
    internal static Command Create(Func<DaemonFlags, int> run)
    {
        var config = new Option<string?>("--config") { Description = "Configuration file (default \"/etc/edgehost/edgehost.json\")", HelpName = "file" };
        var data = new Option<string?>("--data-dir") { Description = "What survives a boot (default \"/var/lib/edgehost\")", HelpName = "directory" };
        var runDirectory = new Option<string?>("--run-dir") { Description = "Sockets and live state (default \"/run/edgehost\")", HelpName = "directory" };
        var external = new Option<bool>("--external-shepherd") { Description = "Wait for a shepherd that is a service of its own, and start none" };
        var command = new Command("daemon", "Run the daemon") { config, data, runDirectory, external };
        command.SetAction(parsed => run(new DaemonFlags(parsed.GetValue(config), parsed.GetValue(data), parsed.GetValue(runDirectory), parsed.GetValue(external))));
        return command;
    }
}
