using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost port</c>.</summary>
internal static class PortCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var container = new Argument<string>("container");
        var port = new Argument<string?>("port") { Arity = ArgumentArity.ZeroOrOne, HelpName = "PRIVATE_PORT[/PROTO]" };
        var command = new Command("port", "Show which ports of the host lead to a container") { container, port };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var name = parsed.GetValue(container)!;
            using var answer = await client.GetAsync($"containers/{DaemonClient.Escape(name)}/json");
            var ports = answer.RootElement.GetProperty("NetworkSettings").Member("Ports");
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(port) is { } written)
            {
                var asked = written.Contains('/', StringComparison.Ordinal) ? written : written + "/tcp";
                if (!ushort.TryParse(asked.AsSpan(0, asked.IndexOf('/', StringComparison.Ordinal)), NumberStyles.None, CultureInfo.InvariantCulture, out _))
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"invalid port {written}: it is a number, with /tcp or /udp behind it or nothing");
                }

                var bindings = ports.Member(asked);
                if (bindings.ValueKind != JsonValueKind.Array || bindings.GetArrayLength() == 0)
                {
                    throw new EdgeHostException(ErrorKind.NotFound, $"No public port '{written}' published for {name}");
                }

                foreach (var words in Words(bindings))
                {
                    output.WriteLine(words);
                }

                return ExitCode.Ok;
            }

            if (ports.ValueKind == JsonValueKind.Object)
            {
                foreach (var each in ports.EnumerateObject().Where(each => each.Value.ValueKind == JsonValueKind.Array).OrderBy(each => int.Parse(each.Name.AsSpan(0, each.Name.IndexOf('/', StringComparison.Ordinal)), CultureInfo.InvariantCulture)).ThenBy(each => each.Name, StringComparer.Ordinal))
                {
                    foreach (var words in Words(each.Value))
                    {
                        output.WriteLine($"{each.Name} -> {words}");
                    }
                }
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static IEnumerable<string> Words(JsonElement bindings) => bindings.EnumerateArray().Select(Word).Order(StringComparer.Ordinal);

    private static string Word(JsonElement binding) => binding.Text("HostIp") is var address && address.Contains(':', StringComparison.Ordinal)
        ? $"[{address}]:{binding.Text("HostPort")}"
        : $"{address}:{binding.Text("HostPort")}";
}
