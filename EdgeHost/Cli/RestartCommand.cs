using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost restart</c>.</summary>
internal static class RestartCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var seconds = new Option<int?>("--time", "-t") { Description = "Seconds to wait before killing it", HelpName = "seconds" };
        var command = new Command("restart", "Restart one or more containers") { seconds, containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, (client, name) =>
            client.PostAsync($"containers/{DaemonClient.Escape(name)}/restart" + EachContainer.Query(("t", parsed.GetValue(seconds)?.ToString(System.Globalization.CultureInfo.InvariantCulture)))), "restarting"));
        return command;
    }
}
