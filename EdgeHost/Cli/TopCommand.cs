using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost top</c>.</summary>
internal static class TopCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var container = new Argument<string>("container");
        var command = new Command("top", "Show the processes of a container") { container };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync($"containers/{DaemonClient.Escape(parsed.GetValue(container)!)}/top");
            var table = new Table([.. answer.RootElement.Texts("Titles")]);
            foreach (var process in answer.RootElement.GetProperty("Processes").EnumerateArray())
            {
                table.Add([.. process.EnumerateArray().Select(cell => cell.GetString() ?? string.Empty)]);
            }

            table.Write(parsed.InvocationConfiguration.Output);
            return ExitCode.Ok;
        });
        return command;
    }
}
