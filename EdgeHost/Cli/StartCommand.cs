using System.CommandLine;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost start</c>.</summary>
internal static class StartCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var attach = new Option<bool>("--attach", "-a") { Description = "Show what it writes, pass signals on, and end with its exit code" };
        var interactive = new Option<bool>("--interactive", "-i") { Description = "Pass standard input on to it" };
        var keys = StreamOptions.Keys();
        var proxy = StreamOptions.SignalProxy();
        var containers = EachContainer.Argument();
        var command = new Command("start", "Start one or more stopped containers") { attach, interactive, keys, proxy, containers };
        command.SetAction(async parsed =>
        {
            var names = parsed.GetValue(containers)!;
            if (!parsed.GetValue(attach) && !parsed.GetValue(interactive))
            {
                return await EachContainer.DoAsync(parsed, names, (client, name) => client.PostAsync($"containers/{DaemonClient.Escape(name)}/start"));
            }

            if (names.Length != 1)
            {
                throw new EdgeHostException(ErrorKind.Invalid, "you cannot start and attach multiple containers at once");
            }

            using var client = DaemonClient.For(parsed);
            using var inspected = await client.GetAsync($"containers/{DaemonClient.Escape(names[0])}/json");
            return await AttachCommand.RunAsync(parsed, client, inspected.RootElement, parsed.GetValue(interactive), parsed.GetValue(keys), parsed.GetValue(proxy), start: true);
        });
        return command;
    }
}
