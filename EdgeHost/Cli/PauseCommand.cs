using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost pause</c> and <c>edgehost unpause</c>.</summary>
internal static class PauseCommand
{
    /// <summary>Makes <c>pause</c>.</summary>
    internal static Command Create() => Verb("pause", "Hold all processes of one or more containers still");

    /// <summary>Makes <c>unpause</c>.</summary>
    internal static Command CreateUnpause() => Verb("unpause", "Let one or more paused containers go on");

    private static Command Verb(string verb, string description)
    {
        var containers = EachContainer.Argument();
        var command = new Command(verb, description) { containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, (client, name) =>
            client.PostAsync($"containers/{DaemonClient.Escape(name)}/{verb}")));
        return command;
    }
}
