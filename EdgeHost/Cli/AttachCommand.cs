using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost attach</c>.</summary>
internal static class AttachCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var keys = StreamOptions.Keys();
        var noInput = new Option<bool>("--no-stdin") { Description = "Pass no standard input on" };
        var proxy = StreamOptions.SignalProxy();
        var container = new Argument<string>("container");
        var command = new Command("attach", "Be at the standard streams of a running container") { keys, noInput, proxy, container };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var inspected = await client.GetAsync($"containers/{DaemonClient.Escape(parsed.GetValue(container)!)}/json");
            var state = inspected.RootElement.Member("State");
            if (state.Member("Running").ValueKind != JsonValueKind.True)
            {
                throw new EdgeHostException(ErrorKind.Conflict, "you cannot attach to a stopped container, start it first");
            }

            return await RunAsync(parsed, client, inspected.RootElement, !parsed.GetValue(noInput), parsed.GetValue(keys), parsed.GetValue(proxy), start: false);
        });
        return command;
    }

    /// <summary>Attaches to a container, and starts it then if that is asked for.</summary>
    internal static async Task<int> RunAsync(ParseResult parsed, DaemonClient client, JsonElement inspected, bool input, string? keys, bool proxy, bool start)
    {
        var id = inspected.Text("Id");
        var config = inspected.Member("Config");
        var terminal = config.Member("Tty").ValueKind == JsonValueKind.True;
        input &= config.Member("OpenStdin").ValueKind == JsonValueKind.True;
        ExecCommand.RequireTerminal(terminal && input);
        using var connection = StreamOptions.Attach(parsed, id, input, true, true, keys);
        using var waiting = await client.SendAsync(HttpMethod.Post, $"containers/{id}/wait?condition={(start ? "next-exit" : "not-running")}");
        using var session = new StreamSession(connection, terminal, input, DetachKeys.Parse(keys));
        var output = Task.Run(session.PassOutput);
        if (start)
        {
            await client.PostAsync($"containers/{id}/start");
        }

        if (terminal)
        {
            session.FollowSize(parsed, $"containers/{id}/resize");
        }

        var forwarding = proxy && !terminal ? StreamOptions.Forward(client, id) : [];
        try
        {
            return await StreamOptions.EndAsync(parsed, session, output, waiting, mayGoOn: input && !terminal && config.Member("StdinOnce").ValueKind != JsonValueKind.True);
        }
        finally
        {
            forwarding.ForEach(static each => each.Dispose());
        }
    }
}
