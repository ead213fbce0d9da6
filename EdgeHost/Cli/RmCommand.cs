using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost rm</c>.</summary>
internal static class RmCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var force = new Option<bool>("--force", "-f") { Description = "Kill it first if it runs" };
        var volumes = new Option<bool>("--volumes", "-v") { Description = "Remove its anonymous volumes too" };
        var command = new Command("rm", "Remove one or more containers") { force, volumes, containers };
        command.SetAction(parsed => EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, async (client, name) =>
        {
            using var response = await client.SendAsync(
                HttpMethod.Delete,
                $"containers/{DaemonClient.Escape(name)}" + EachContainer.Query(("force", parsed.GetValue(force) ? "1" : null), ("v", parsed.GetValue(volumes) ? "1" : null)));
        }, "removing", mayBeGone: parsed.GetValue(force)));
        return command;
    }
}
