using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost kill</c>.</summary>
internal static class KillCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var signal = new Option<string?>("--signal", "-s") { Description = "Signal to send (default \"KILL\")", HelpName = "signal" };
        var command = new Command("kill", "Send a signal to one or more running containers") { signal, containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, (client, name) =>
            client.PostAsync($"containers/{DaemonClient.Escape(name)}/kill" + EachContainer.Query(("signal", parsed.GetValue(signal))))));
        return command;
    }
}
