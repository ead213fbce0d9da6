using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost system df|events|info|prune</c>.</summary>
internal static class SystemCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("system", "Work with all of it")
    {
        SystemDfCommand.Create(),
        EventsCommand.Create(),
        InfoCommand.Create(),
        Prune(),
    };

    private static Command Prune()
    {
        var all = new Option<bool>("--all", "-a") { Description = "All images that no container uses, not those without a name only" };
        var volumes = new Option<bool>("--volumes") { Description = "Anonymous volumes too" };
        var filter = Pruning.Filter();
        var force = Pruning.Force();
        var command = new Command("prune", "Remove what nobody uses") { all, volumes, filter, force };
        command.SetAction(async parsed =>
        {
            var output = parsed.InvocationConfiguration.Output;
            var filters = parsed.GetValue(filter)!;
            Pruning.Check(filters, untilToo: !parsed.GetValue(volumes));
            if (!parsed.GetValue(force) && !Confirm.Ask(output, Warning(parsed.GetValue(all), parsed.GetValue(volumes), filters)))
            {
                return ExitCode.Failed;
            }

            using var client = DaemonClient.For(parsed);
            var bytes = await Pruning.RunAsync(client, output, "containers/prune", "Deleted Containers:", "ContainersDeleted", filters);
            bytes += await Pruning.RunAsync(client, output, "networks/prune", "Deleted Networks:", "NetworksDeleted", filters);
            if (parsed.GetValue(volumes))
            {
                // Said in any case: older versions of the API mean all of them.
                bytes += await Pruning.RunAsync(client, output, "volumes/prune", "Deleted Volumes:", "VolumesDeleted", [.. filters, "all=false"]);
            }

            bytes += await Pruning.RunAsync(client, output, "images/prune", "Deleted Images:", "ImagesDeleted", [.. filters, ImagePruneCommand.FilterOf(parsed.GetValue(all))]);
            output.WriteLine($"Total reclaimed space: {Pruning.Size(bytes)}");
            return ExitCode.Ok;
        });
        return command;
    }

    private static string Warning(bool all, bool volumes, string[] filters)
    {
        var warning = "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
            + (volumes ? "  - all anonymous volumes not used by at least one container\n" : string.Empty)
            + $"  - {(all ? ImagePruneCommand.Unused : ImagePruneCommand.Dangling)}\n";
        if (filters.Length > 0)
        {
            warning += "\n  Items to be pruned will be filtered with:\n" + string.Concat(filters.Select(each => $"  - {each}\n"));
        }

        return warning;
    }
}
