using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost diff</c>.</summary>
internal static class DiffCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var container = new Argument<string>("container");
        var command = new Command("diff", "Show what a container has changed in its file system: A added, C changed, D deleted") { container };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync($"containers/{DaemonClient.Escape(parsed.GetValue(container)!)}/changes");
            if (answer.RootElement.ValueKind == System.Text.Json.JsonValueKind.Array)
            {
                foreach (var change in answer.RootElement.EnumerateArray())
                {
                    parsed.InvocationConfiguration.Output.WriteLine($"{"CAD"[(int)change.Number("Kind")]} {change.Text("Path")}");
                }
            }

            return ExitCode.Ok;
        });
        return command;
    }
}
