using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost run</c> and <c>create</c>, which is its beginning.</summary>
internal static class RunCommand
{
    private const int DaemonFailed = 125;
    private const int CannotExecute = 126;
    private const int NotFound = 127;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var options = new RunOptions();
        var command = new Command("run", "Make and start a container");
        options.AddTo(command);
        command.SetAction(async parsed =>
        {
            try
            {
                return await RunAsync(parsed, options);
            }
            catch (EdgeHostException e)
            {
                // As docker: what goes wrong before the container's program runs has codes of its own.
                parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                return DaemonFailed;
            }
        });
        return command;
    }

    /// <summary>Makes <c>create</c>.</summary>
    internal static Command CreateOnly()
    {
        var options = new RunOptions();
        var command = new Command("create", "Make a container, and do not start it");
        options.AddTo(command);
        command.Options.Remove(options.Detach);
        command.SetAction(async parsed =>
        {
            byte[] body;
            try
            {
                body = options.Body(parsed);
            }
            catch (EdgeHostException e)
            {
                parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                return ExitCode.Usage;
            }

            using var client = DaemonClient.For(parsed);
            parsed.InvocationConfiguration.Output.WriteLine(await CreateAsync(client, parsed, options, body));
            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<int> RunAsync(ParseResult parsed, RunOptions options)
    {
        var body = options.Body(parsed);
        ExecCommand.RequireTerminal(!parsed.GetValue(options.Detach) && parsed.GetValue(options.Tty) && options.Attached(parsed).Input);
        using var client = DaemonClient.For(parsed);
        var id = await CreateAsync(client, parsed, options, body);
        return parsed.GetValue(options.Detach)
            ? await StartAsync(client, parsed, id) ?? Printed(parsed, id)
            : await ForegroundAsync(client, parsed, options, id);
    }

    private static async Task<string> CreateAsync(DaemonClient client, ParseResult parsed, RunOptions options, byte[] body)
    {
        var image = parsed.GetValue(options.Image)!;
        var pull = parsed.GetValue(options.Pull)!;
        var error = parsed.InvocationConfiguration.Error;
        if (pull == "always")
        {
            await ImagePull.RunAsync(client, image, error, Screen.IsLive(error));
        }

        var path = "containers/create" + EachContainer.Query(("name", parsed.GetValue(options.Name)));
        JsonDocument answer;
        try
        {
            answer = await client.PostAsync(path, body);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound && pull == "missing")
        {
            error.WriteLine($"Unable to find image '{image}' locally");
            await ImagePull.RunAsync(client, image, error, Screen.IsLive(error));
            answer = await client.PostAsync(path, body);
        }

        using (answer)
        {
            foreach (var warning in answer.RootElement.Texts("Warnings"))
            {
                error.WriteLine($"WARNING: {warning}");
            }

            return answer.RootElement.Text("Id");
        }
    }

    private static async Task<int> ForegroundAsync(DaemonClient client, ParseResult parsed, RunOptions options, string id)
    {
        // Both are under way before the start: a container may end before anybody could ask.
        var terminal = parsed.GetValue(options.Tty);
        var attached = options.Attached(parsed);
        using var connection = StreamOptions.Attach(parsed, id, attached.Input, attached.Output, attached.Error, parsed.GetValue(options.Keys));
        var condition = parsed.GetValue(options.Remove) ? "removed" : "next-exit";
        using var waiting = await client.SendAsync(HttpMethod.Post, $"containers/{id}/wait?condition={condition}");
        using var session = new StreamSession(connection, terminal, attached.Input, DetachKeys.Parse(parsed.GetValue(options.Keys)));
        var copying = Task.Run(session.PassOutput);
        var forwarding = parsed.GetValue(options.SignalProxy) && !terminal ? StreamOptions.Forward(client, id) : [];
        try
        {
            if (await StartAsync(client, parsed, id) is { } failed)
            {
                return failed;
            }

            if (terminal)
            {
                session.FollowSize(parsed, $"containers/{id}/resize");
            }

            return await StreamOptions.EndAsync(parsed, session, copying, waiting, mayGoOn: false);
        }
        finally
        {
            forwarding.ForEach(f => f.Dispose());
        }
    }

    /// <returns>Null when it runs, else the exit code of the failure, which was said.</returns>
    private static async Task<int?> StartAsync(DaemonClient client, ParseResult parsed, string id)
    {
        try
        {
            await client.PostAsync($"containers/{id}/start");
            return null;
        }
        catch (EdgeHostException e)
        {
            parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
            return ExitCodeOf(e.Message);
        }
    }

    /// <summary>By the words of the failure, as docker's client decides.</summary>
    internal static int ExitCodeOf(string message)
    {
        var words = message.ToLowerInvariant();
        return words.Contains("executable file not found", StringComparison.Ordinal) || words.Contains("no such file or directory", StringComparison.Ordinal) ? NotFound
            : words.Contains("permission denied", StringComparison.Ordinal) || words.Contains("is a directory", StringComparison.Ordinal) || words.Contains("exec format error", StringComparison.Ordinal) ? CannotExecute
            : DaemonFailed;
    }

    private static int Printed(ParseResult parsed, string id)
    {
        parsed.InvocationConfiguration.Output.WriteLine(id);
        return ExitCode.Ok;
    }
}
