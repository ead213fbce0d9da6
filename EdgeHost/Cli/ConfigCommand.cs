using System.CommandLine;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary>A key of the configuration and what holds for it.</summary>
/// <param name="key">As in <c>log.maxSize</c>.</param>
/// <param name="value">As it was written, or the default; null when there is none.</param>
/// <param name="from"><c>FILE:LINE</c>, a variable, or <c>default</c>.</param>
public sealed class ConfigurationLine(string key, string? value, string from)
{
    /// <summary>As in <c>log.maxSize</c>.</summary>
    public string Key => key;

    /// <summary>As it was written, or the default; null when there is none.</summary>
    public string? Value => value;

    /// <summary><c>FILE:LINE</c>, a variable, or <c>default</c>.</summary>
    public string From => from;
}

/// <summary><c>edgehost config check|show</c>: the daemon's own reader, without a daemon.</summary>
internal static class ConfigCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    /// <param name="read">Reads a configuration as the daemon would, which this room cannot see.</param>
    internal static Command Create(Func<string?, IReadOnlyList<ConfigurationLine>> read) => new("config", "Look at the configuration of the daemon") { Check(read), Show(read) };

    private static Command Check(Func<string?, IReadOnlyList<ConfigurationLine>> read)
    {
        var file = FileArgument();
        var command = new Command("check", "Say whether the daemon would take it; exits 1 and names file, line and key if not") { file };
        command.SetAction(parsed =>
        {
            _ = read(parsed.GetValue(file));
            parsed.InvocationConfiguration.Output.WriteLine("configuration OK");
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Show(Func<string?, IReadOnlyList<ConfigurationLine>> read)
    {
        var list = new Listing(
            "table {{.Key}}\t{{.Value}}\t{{.From}}",
            new("Key", "KEY", (line, _) => line.Text("Key")),
            new("Value", "VALUE", (line, _) => line.Text("Value")),
            new("From", "FROM", (line, _) => line.Text("From")));
        var file = FileArgument();
        var command = new Command("show", "Print what holds for each key, and from where it comes") { file };
        list.AddTo(command, filters: null);
        command.SetAction(parsed =>
        {
            var printer = list.Printer(parsed);
            var lines = new List<JsonElement>();
            foreach (var line in read(parsed.GetValue(file)))
            {
                lines.Add(DaemonJson.Made(json =>
                {
                    json.WriteString("Key", line.Key);
                    json.WriteString("Value", line.Value);
                    json.WriteString("From", line.From);
                }));
            }

            list.Print(parsed, printer, lines);
            return ExitCode.Ok;
        });
        return command;
    }

    private static Argument<string?> FileArgument() => new("file")
    {
        Arity = ArgumentArity.ZeroOrOne,
        Description = "The configuration (default: EDGEHOST_CONFIG, or /etc/edgehost/edgehost.json where it is there)",
    };
}
