using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost wait</c>.</summary>
internal static class WaitCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var command = new Command("wait", "Wait until containers end, and print their exit codes") { containers };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            foreach (var name in parsed.GetValue(containers)!)
            {
                using var answer = await client.PostAsync($"containers/{DaemonClient.Escape(name)}/wait", ReadOnlyMemory<byte>.Empty);
                parsed.InvocationConfiguration.Output.WriteLine(answer.RootElement.Number("StatusCode"));
            }

            return ExitCode.Ok;
        });
        return command;
    }
}
