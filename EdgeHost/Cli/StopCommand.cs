using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost stop</c>.</summary>
internal static class StopCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var seconds = new Option<int?>("--time", "-t") { Description = "Seconds to wait before killing it (default: as it was created with, else 10)", HelpName = "seconds" };
        var signal = new Option<string?>("--signal", "-s") { Description = "Signal to send first", HelpName = "signal" };
        var command = new Command("stop", "Stop one or more running containers") { seconds, signal, containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, (client, name) =>
            client.PostAsync($"containers/{DaemonClient.Escape(name)}/stop" + EachContainer.Query(("t", parsed.GetValue(seconds)?.ToString(System.Globalization.CultureInfo.InvariantCulture)), ("signal", parsed.GetValue(signal))))));
        return command;
    }
}
