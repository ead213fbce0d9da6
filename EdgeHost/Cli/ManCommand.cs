using System.CommandLine;
using System.Globalization;
using System.Text;

namespace EdgeHost.Cli;

/// <summary><c>edgehost man</c>: edgehost(1) in the language of man(7), made of the commands themselves.</summary>
internal static class ManCommand
{
    // What mandoc holds to be long enough, with room for what is escaped.
    private const int LongestLine = 66;

    private const string About = """
        A container host for one board: images from OCI registries, containers under limits that the kernel holds,
        networks, volumes, and desired states that come over MQTT. Most commands ask the daemon by its socket; names,
        output and exit codes are docker's wherever docker has them.
        """;

    private static readonly string[] ExitStatus =
    [
        "0", "Done.",
        "1", "It failed, and one line on standard error says why.",
        "3", "check: the memory controller of the kernel is off.",
        "64", "inspect, version, info, events: a template of --format is wrong.",
        "125", "run: the container could not be made. All: an option is not known, or has a value that it cannot have.",
        "126, 127", "run: the program cannot be executed, or is not there.",
        "128 + n", "run: signal n ended the program. Any other code of run is the program's own.",
        "141", "Nobody reads the output any more.",
    ];

    private static readonly string[] Environment =
    [
        "EDGEHOST_HOST", "The daemon's socket, as for --host.",
        "EDGEHOST_CONFIG, EDGEHOST_DATA_DIR, EDGEHOST_RUN_DIR", "For daemon and config, as --config, --data-dir and --run-dir. Keys of the configuration have variables of their own; config show names those that are set.",
        "COLUMNS", "The width of a table on a terminal, instead of the terminal's own.",
        "TERM", "Where it is dumb, nothing is written over and over.",
    ];

    private static readonly string[] Files =
    [
        "/etc/edgehost/edgehost.json", "The configuration.",
        "/var/lib/edgehost", "What survives a boot.",
        "/run/edgehost/edgehost.sock", "The daemon's socket, of root and the group edgehost.",
    ];

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var command = new Command("man", "Print the manual page, for man -l -");
        command.SetAction(parsed =>
        {
            parsed.InvocationConfiguration.Output.Write(Page((RootCommand)parsed.RootCommandResult.Command));
            return ExitCode.Ok;
        });
        return command;
    }

    private static string Page(RootCommand root)
    {
        var page = new StringBuilder();
        page.Append(CultureInfo.InvariantCulture, $".TH EDGEHOST 1 {DateTime.UtcNow:yyyy-MM-dd} \"EdgeHost {ProductVersion.Read().Version}\" \"User Commands\"\n");
        page.Append(CultureInfo.InvariantCulture, $".SH NAME\nedgehost \\- {Text(root.Description!)}\n");
        page.Append(CultureInfo.InvariantCulture, $".SH SYNOPSIS\n.B edgehost\n{Text(HelpText.UsageOf(root)["edgehost ".Length..])}\n");
        page.Append(CultureInfo.InvariantCulture, $".SH DESCRIPTION\n{Wrapped(About)}\n");
        page.Append(".SH OPTIONS\nThese go with every command:\n");
        Options(page, root);
        page.Append(".SH COMMANDS\n");
        Commands(page, root);
        List(page, "EXIT STATUS", ExitStatus);
        List(page, "ENVIRONMENT", Environment);
        List(page, "FILES", Files);
        page.Append(".SH SEE ALSO\n.BR docker (1),\n.BR systemctl (1)\n");
        return page.ToString();
    }

    private static void Commands(StringBuilder page, Command of)
    {
        foreach (var command in of.Subcommands)
        {
            if (command.Hidden)
            {
                continue;
            }

            if (command.Subcommands.Count > 0)
            {
                Commands(page, command);
                continue;
            }

            page.Append(CultureInfo.InvariantCulture, $".SS {Text(HelpText.UsageOf(command))}\n{Wrapped(command.Description! + ".")}\n");
            foreach (var argument in command.Arguments)
            {
                if (argument is { Hidden: false, Description: { } description })
                {
                    Entry(page, HelpText.LabelOf(argument), description);
                }
            }

            Options(page, command);
        }
    }

    private static void Options(StringBuilder page, Command command)
    {
        foreach (var option in command.Options.OrderBy(option => option.Name, StringComparer.Ordinal))
        {
            if (!option.Hidden)
            {
                Entry(page, HelpText.LabelOf(option).Trim(), option.Description ?? string.Empty);
            }
        }
    }

    private static void List(StringBuilder page, string title, string[] entries)
    {
        page.Append(CultureInfo.InvariantCulture, $".SH {title}\n");
        for (var i = 0; i < entries.Length; i += 2)
        {
            Entry(page, entries[i], entries[i + 1]);
        }
    }

    private static void Entry(StringBuilder page, string term, string text) =>
        page.Append(CultureInfo.InvariantCulture, $".TP\n.B {Text(term)}\n{Wrapped(text)}\n");

    private static string Wrapped(string text)
    {
        var lines = new StringBuilder();
        var column = 0;
        foreach (var word in text.Split([' ', '\n']))
        {
            var breaks = column > 0 && column + word.Length > LongestLine;
            lines.Append(column == 0 ? string.Empty : breaks ? "\n" : " ").Append(word);
            column = (breaks || column == 0 ? 0 : column + 1) + word.Length;
        }

        return Text(lines.ToString());
    }

    /// <summary>As roff takes it literally: nothing is a request, a dash is one that can be copied, and all letters are ASCII.</summary>
    private static string Text(string text)
    {
        var escaped = new StringBuilder();
        foreach (var line in text.Split('\n'))
        {
            escaped.Append(escaped.Length > 0 ? "\n" : string.Empty).Append(line is ['.' or '\'', ..] ? "\\&" : string.Empty);
            foreach (var letter in line)
            {
                _ = letter switch
                {
                    '\\' => escaped.Append("\\e"),
                    '-' => escaped.Append("\\-"),
                    '"' => escaped.Append("\\(dq"),
                    '…' => escaped.Append("..."),
                    > '~' => escaped.Append(CultureInfo.InvariantCulture, $"\\[u{(int)letter:X4}]"),
                    _ => escaped.Append(letter),
                };
            }
        }

        return escaped.ToString();
    }
}
