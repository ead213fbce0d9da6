using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost container …</c>: docker's names for the commands that are about containers.</summary>
internal static class ContainerCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("container", "Work with containers")
    {
        AttachCommand.Create(),
        CpCommand.Create(),
        RunCommand.CreateOnly(),
        DiffCommand.Create(),
        ExecCommand.Create(),
        InspectCommand.Create(),
        KillCommand.Create(),
        LogsCommand.Create(),
        Named("ls", PsCommand.Create()),
        PauseCommand.Create(),
        PortCommand.Create(),
        Prune(),
        RenameCommand.Create(),
        RestartCommand.Create(),
        RmCommand.Create(),
        RunCommand.Create(),
        StartCommand.Create(),
        StatsCommand.Create(),
        StopCommand.Create(),
        TopCommand.Create(),
        PauseCommand.CreateUnpause(),
        UpdateCommand.Create(),
        WaitCommand.Create(),
    };

    private static Command Prune()
    {
        var filter = Pruning.Filter();
        return Pruning.Command(
            "Remove all stopped containers", parsed => ("all stopped containers", parsed.GetValue(filter)!), "containers/prune", "Deleted Containers:", "ContainersDeleted", filter);
    }

    /// <summary>A command under another name.</summary>
    private static Command Named(string name, Command command)
    {
        var named = new Command(name, command.Description) { Action = command.Action };
        foreach (var option in command.Options)
        {
            named.Add(option);
        }

        foreach (var argument in command.Arguments)
        {
            named.Add(argument);
        }

        return named;
    }
}
