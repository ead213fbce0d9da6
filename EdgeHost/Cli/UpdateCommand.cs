using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost update</c>.</summary>
internal static class UpdateCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var containers = EachContainer.Argument();
        var memory = new Option<string?>("--memory", "-m") { Description = "Memory at most, as in 64m", HelpName = "bytes" };
        var cpus = new Option<string?>("--cpus") { Description = "CPUs at most, as in 0.5", HelpName = "decimal" };
        var pids = new Option<long?>("--pids-limit") { Description = "Processes and threads at most", HelpName = "number" };
        var cpuset = new Option<string?>("--cpuset-cpus") { Description = "CPUs to run on, as in 0-2,4", HelpName = "list" };
        var restart = new Option<string?>("--restart") { Description = "When to start it again: no, always, unless-stopped, on-failure[:most]", HelpName = "policy" };
        var command = new Command("update", "Change limits and restart policy of one or more containers") { memory, cpus, pids, cpuset, restart, containers };
        command.SetAction(parsed =>
        {
            if (!command.Options.Any(option => parsed.GetResult(option) is { Implicit: false }))
            {
                throw new EdgeHostException(ErrorKind.Invalid, "you must provide one or more flags when using this command");
            }

            using var buffer = new MemoryStream();
            using (var json = new Utf8JsonWriter(buffer))
            {
                json.WriteStartObject();
                if (parsed.GetValue(memory) is { } bytes)
                {
                    json.WriteNumber("Memory", Humanly.ParseSize("--memory", bytes));
                }

                if (parsed.GetValue(cpus) is { } number)
                {
                    json.WriteNumber("NanoCpus", RunOptions.ParseCpus(number));
                }

                if (parsed.GetValue(pids) is { } most)
                {
                    json.WriteNumber("PidsLimit", most);
                }

                if (parsed.GetValue(cpuset) is { } list)
                {
                    json.WriteString("CpusetCpus", list);
                }

                if (parsed.GetValue(restart) is { } policy)
                {
                    var (name, count) = RunOptions.Cut(policy, ':');
                    json.WriteStartObject("RestartPolicy");
                    json.WriteString("Name", name);
                    json.WriteNumber("MaximumRetryCount", count is null ? 0 : RunOptions.ParseNumber("--restart", policy, count));
                    json.WriteEndObject();
                }

                json.WriteEndObject();
            }

            var body = buffer.ToArray();
            return EachContainer.DoAsync(parsed, parsed.GetValue(containers)!, async (client, name) =>
            {
                using var answer = await client.PostAsync($"containers/{DaemonClient.Escape(name)}/update", body);
                foreach (var warning in answer.RootElement.Texts("Warnings"))
                {
                    await parsed.InvocationConfiguration.Error.WriteLineAsync($"edgehost: warning: {warning}");
                }
            });
        });
        return command;
    }
}
