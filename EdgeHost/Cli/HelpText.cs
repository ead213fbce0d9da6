using System.CommandLine;
using System.CommandLine.Invocation;

namespace EdgeHost.Cli;

/// <summary>Help in the layout of docker's: usage, what it does, commands, options.</summary>
internal sealed class HelpText : SynchronousCommandLineAction
{
    private const int Gap = 3;

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        Write(parseResult.CommandResult.Command, parseResult.InvocationConfiguration.Output);
        return ExitCode.Ok;
    }

    /// <summary>Writes the help of a command.</summary>
    internal void Write(Command command, TextWriter output)
    {
        output.WriteLine($"Usage:  {UsageOf(command)}");
        output.WriteLine();
        output.WriteLine(command.Description);
        Section(output, "Commands:", command.Subcommands.Where(c => !c.Hidden).Select(c => ($"  {c.Name}", c.Description)));
        Section(output, "Arguments:", command.Arguments.Where(a => !a.Hidden && a.Description is not null).Select(a => ($"  {LabelOf(a)}", a.Description)));
        Section(output, command is RootCommand ? "Global Options:" : "Options:",
            command.Options.Where(o => !o.Hidden).OrderBy(o => o.Name, StringComparer.Ordinal).Select(o => (LabelOf(o), o.Description)));
        if (command.Subcommands.Count > 0)
        {
            output.WriteLine();
            output.WriteLine($"Run '{NameOf(command)} COMMAND --help' for more information on a command.");
        }
    }

    /// <summary>The usage line of a command, without the word "Usage".</summary>
    internal static string UsageOf(Command command)
    {
        var usage = NameOf(command);
        if (command.Options.Any(o => !o.Hidden))
        {
            usage += " [OPTIONS]";
        }

        if (command.Subcommands.Count > 0)
        {
            usage += " COMMAND";
        }

        foreach (var argument in command.Arguments.Where(a => !a.Hidden))
        {
            var label = LabelOf(argument);
            var many = argument.Arity.MaximumNumberOfValues > 1 ? $" [{label}...]" : string.Empty;
            usage += argument.Arity.MinimumNumberOfValues == 0 ? $" [{label}{(many.Length > 0 ? "..." : string.Empty)}]" : $" {label}{many}";
        }

        return usage;
    }

    /// <summary>A command as it is typed, as in <c>edgehost image pull</c>.</summary>
    internal static string NameOf(Command command) =>
        command.Parents.OfType<Command>().FirstOrDefault() is { } parent ? $"{NameOf(parent)} {command.Name}"
        : command is RootCommand ? "edgehost" : command.Name;

    /// <summary>Whether a word follows the option.</summary>
    internal static bool TakesValue(Option option) => option.ValueType != typeof(bool) && option is not System.CommandLine.Help.HelpOption;

    /// <summary>An argument as help shows it.</summary>
    internal static string LabelOf(Argument argument) => argument.HelpName ?? argument.Name.ToUpperInvariant();

    /// <summary>An option as help shows it: its letter, its name, and what follows it.</summary>
    internal static string LabelOf(Option option)
    {
        var letter = option.Aliases.FirstOrDefault(a => a.Length == 2);
        var value = TakesValue(option) ? $" {option.HelpName ?? "string"}" : string.Empty;
        return $"  {(letter is null ? "   " : $"{letter},")} {option.Name}{value}";
    }

    private static void Section(TextWriter output, string title, IEnumerable<(string Label, string? Description)> rows)
    {
        var all = rows.ToArray();
        if (all.Length == 0)
        {
            return;
        }

        output.WriteLine();
        output.WriteLine(title);
        var width = all.Max(r => r.Label.Length) + Gap;
        foreach (var (label, description) in all)
        {
            output.WriteLine($"{label.PadRight(width)}{description}");
        }
    }
}
