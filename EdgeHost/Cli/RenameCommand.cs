using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost rename</c>.</summary>
internal static class RenameCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var container = new Argument<string>("container");
        var name = new Argument<string>("new_name");
        var command = new Command("rename", "Give a container another name") { container, name };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            await client.PostAsync($"containers/{DaemonClient.Escape(parsed.GetValue(container)!)}/rename" + EachContainer.Query(("name", parsed.GetValue(name))));
            return ExitCode.Ok;
        });
        return command;
    }
}
