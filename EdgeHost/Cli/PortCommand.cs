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
                var names = new List<string>();
                foreach (var each in ports.EnumerateObject())
                {
                    names.Add(each.Name);
                }

                names.Sort((one, other) => NumberOf(one) != NumberOf(other) ? NumberOf(one) - NumberOf(other) : string.CompareOrdinal(one, other));
                foreach (var each in names)
                {
                    foreach (var words in Words(ports.Member(each)))
                    {
                        output.WriteLine($"{each} -> {words}");
                    }
                }
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static int NumberOf(string port) => int.Parse(port.AsSpan(0, port.IndexOf('/', StringComparison.Ordinal)), CultureInfo.InvariantCulture);

    private static List<string> Words(JsonElement bindings)
    {
        var words = new List<string>();
        if (bindings.ValueKind == JsonValueKind.Array)
        {
            foreach (var binding in bindings.EnumerateArray())
            {
                words.Add(Word(binding));
            }
        }

        words.Sort(StringComparer.Ordinal);
        return words;
    }

    private static string Word(JsonElement binding) => binding.Text("HostIp") is var address && address.Contains(':', StringComparison.Ordinal)
        ? $"[{address}]:{binding.Text("HostPort")}"
        : $"{address}:{binding.Text("HostPort")}";
}
