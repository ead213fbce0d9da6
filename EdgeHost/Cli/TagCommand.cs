using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost tag</c>.</summary>
internal static class TagCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var source = new Argument<string>("source") { HelpName = "SOURCE_IMAGE[:TAG]" };
        var target = new Argument<string>("target") { HelpName = "TARGET_IMAGE[:TAG]" };
        var command = new Command("tag", "Give an image another name") { source, target };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var name = parsed.GetValue(target)!;
            var colon = name.LastIndexOf(':');
            var (repository, tag) = colon > name.LastIndexOf('/') ? (name[..colon], name[(colon + 1)..]) : (name, null);
            await client.PostAsync($"images/{DaemonClient.Escape(parsed.GetValue(source)!)}/tag" + EachContainer.Query(("repo", repository), ("tag", tag)));
            return ExitCode.Ok;
        });
        return command;
    }
}
