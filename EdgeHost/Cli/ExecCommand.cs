using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost exec</c>.</summary>
internal static class ExecCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var detach = new Option<bool>("--detach", "-d") { Description = "Start it and do not wait for it" };
        var interactive = new Option<bool>("--interactive", "-i") { Description = "Pass standard input on to it" };
        var tty = new Option<bool>("--tty", "-t") { Description = "Give it a terminal" };
        var user = new Option<string?>("--user", "-u") { Description = "User, and group (name|uid[:group|gid])", HelpName = "user" };
        var directory = new Option<string?>("--workdir", "-w") { Description = "Working directory", HelpName = "directory" };
        var env = new Option<string[]>("--env", "-e") { Description = "Set a variable; without a value, to ours", HelpName = "name=value" };
        var envFile = new Option<string[]>("--env-file") { Description = "Set the variables of a file, one a line", HelpName = "file" };
        var privileged = new Option<bool>("--privileged") { Description = "Give it all capabilities that a container can have" };
        var keys = StreamOptions.Keys();
        var container = new Argument<string>("container");
        var program = new Argument<string[]>("command") { Arity = ArgumentArity.OneOrMore, CaptureRemainingTokens = true };
        var command = new Command("exec", "Run a command in a running container")
        {
            detach, interactive, tty, user, directory, env, envFile, privileged, keys, container, program,
        };
        command.SetAction(parsed =>
        {
            var background = parsed.GetValue(detach);
            var terminal = parsed.GetValue(tty);
            var input = parsed.GetValue(interactive) && !background;
            RequireTerminal(terminal && input);
            var leaving = DetachKeys.Parse(parsed.GetValue(keys));
            using var connection = DaemonConnection.Open(parsed);
            var created = connection.Ask("POST", $"containers/{DaemonClient.Escape(parsed.GetValue(container)!)}/exec", Body(json =>
            {
                json.WriteBoolean("AttachStdin", input);
                json.WriteBoolean("AttachStdout", !background);
                json.WriteBoolean("AttachStderr", !background);
                json.WriteBoolean("Tty", terminal);
                json.WriteBoolean("Privileged", parsed.GetValue(privileged));
                Text(json, "User", parsed.GetValue(user));
                Text(json, "WorkingDir", parsed.GetValue(directory));
                Text(json, "DetachKeys", parsed.GetValue(keys));
                json.WriteStartArray("Env");
                RunOptions.Variables(parsed.GetValue(envFile)!, parsed.GetValue(env)!).ForEach(json.WriteStringValue);
                json.WriteEndArray();
                json.WriteStartArray("Cmd");
                Array.ForEach(parsed.GetValue(program)!, json.WriteStringValue);
                json.WriteEndArray();
            }));
            string id;
            using (var document = JsonDocument.Parse(created))
            {
                id = document.RootElement.Text("Id");
            }

            if (background)
            {
                _ = connection.Ask("POST", $"exec/{id}/start", Body(json => json.WriteBoolean("Detach", true)));
                return ExitCode.Ok;
            }

            using var streams = DaemonConnection.Open(parsed);
            streams.Upgrade($"exec/{id}/start", Body(json =>
            {
                json.WriteBoolean("Tty", terminal);
                WriteSize(json, terminal);
            }));
            using (var session = new StreamSession(streams, terminal, input, leaving))
            {
                if (terminal)
                {
                    session.FollowSize(parsed, $"exec/{id}/resize");
                }

                _ = session.PassOutput();
                if (session.Left)
                {
                    session.Dispose();
                    parsed.InvocationConfiguration.Error.WriteLine("read escape sequence");
                    return ExitCode.Ok;
                }
            }

            using var end = JsonDocument.Parse(connection.Ask("GET", $"exec/{id}/json"));

            if (end.RootElement.Member("OOMKilled").ValueKind == JsonValueKind.True)
            {
                parsed.InvocationConfiguration.Error.WriteLine("edgehost: the kernel killed it: the memory limit of the container was reached");
            }

            return end.RootElement.Member("ExitCode").ValueKind == JsonValueKind.Number
                ? (int)end.RootElement.Number("ExitCode")
                : throw new EdgeHostException(ErrorKind.Unavailable, "nobody saw how it ended");
        });
        return command;
    }

    /// <summary>Refuses a terminal for input that is none, which would only show what is typed elsewhere.</summary>
    internal static void RequireTerminal(bool wanted)
    {
        if (wanted && !Terminal.Is(0))
        {
            throw new EdgeHostException(ErrorKind.Invalid, "the input device is not a TTY; leave -t out to pass a pipe or a file on");
        }
    }

    /// <summary>The size of the user's terminal, as Docker's <c>ConsoleSize</c>.</summary>
    internal static void WriteSize(Utf8JsonWriter json, bool terminal)
    {
        if (terminal && Terminal.ReadSize(0) is { } size)
        {
            json.WriteStartArray("ConsoleSize");
            json.WriteNumberValue(size.Rows);
            json.WriteNumberValue(size.Columns);
            json.WriteEndArray();
        }
    }

    private static void Text(Utf8JsonWriter json, string name, string? value)
    {
        if (value is not null)
        {
            json.WriteString(name, value);
        }
    }

    private static byte[] Body(Action<Utf8JsonWriter> members)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            members(json);
            json.WriteEndObject();
        }

        return buffer.ToArray();
    }
}
