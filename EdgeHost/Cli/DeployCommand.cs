using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost deploy</c>.</summary>
internal static class DeployCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var target = new DeployTarget();
        var file = new Argument<string>("file") { Description = "The desired state as JSON; - reads standard input" };
        var command = new Command("deploy", "Publish a desired state over MQTT, as it is, and follow it to its end") { file };
        target.AddTo(command);
        command.SetAction(async parsed =>
        {
            var document = DeployTarget.ReadDocument(parsed.GetValue(file)!);
            await using var client = await target.ConnectAsync(parsed);
            await target.FollowAsync(parsed, client, document);
            return ExitCode.Ok;
        });
        return command;
    }
}
