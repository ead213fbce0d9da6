using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost start</c>.</summary>
internal static class StartCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var command = new Command("start", "Start one or more stopped containers") { containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, (client, name) =>
            client.PostAsync($"containers/{DaemonClient.Escape(name)}/start")));
        return command;
    }
}
