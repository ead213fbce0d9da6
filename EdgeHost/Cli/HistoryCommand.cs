using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost image history</c>.</summary>
internal static class HistoryCommand
{
    private const int ShortId = 12;
    private const int ShortStep = 45;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var image = new Argument<string>("image");
        var whole = new Option<bool>("--no-trunc") { Description = "Shorten nothing" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print ids only" };
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command("history", "Show the steps that made an image") { whole, quiet, json, image };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync($"images/{DaemonClient.Escape(parsed.GetValue(image)!)}/history");
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(DaemonJson.Indented(answer.RootElement.EnumerateArray()));
                return ExitCode.Ok;
            }

            var table = new Table("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT");
            foreach (var step in answer.RootElement.EnumerateArray())
            {
                var id = step.Text("Id");
                id = !parsed.GetValue(whole) && id.StartsWith("sha256:", StringComparison.Ordinal) ? id["sha256:".Length..][..ShortId] : id;
                if (parsed.GetValue(quiet))
                {
                    output.WriteLine(id);
                    continue;
                }

                var made = step.Text("CreatedBy").Replace('\t', ' ');
                table.Add(
                    id,
                    step.Number("Created") > 0 ? Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(step.Number("Created")), DateTimeOffset.UtcNow) : "N/A",
                    parsed.GetValue(whole) || made.Length <= ShortStep ? made : made[..(ShortStep - 1)] + "…",
                    Humanly.Size(step.Number("Size")),
                    step.Text("Comment"));
            }

            if (!parsed.GetValue(quiet))
            {
                table.Write(output);
            }

            return ExitCode.Ok;
        });
        return command;
    }
}
