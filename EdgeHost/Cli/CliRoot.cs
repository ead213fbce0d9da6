using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>
/// The command <c>edgehost</c>. A new command is a file of its own with a static <c>Create</c>, and one line in
/// <see cref="Commands"/>; its action throws <see cref="EdgeHostException"/> for what a user is to read.
/// </summary>
public static class CliRoot
{
    // Commands of docker that people will try.
    private static readonly string[] DockersAlone = ["build", "push", "commit", "export", "import", "compose"];

    /// <summary>Runs a command line.</summary>
    /// <param name="args">What follows the program's name.</param>
    /// <param name="daemon">Runs the daemon, which this room cannot see.</param>
    /// <param name="output">Where results go; standard output when null.</param>
    /// <param name="error">Where complaints go; standard error when null.</param>
    /// <param name="configuration">Reads the daemon's configuration from a file, or the usual one, which this room cannot see either.</param>
    /// <returns>The exit code, see <see cref="ExitCode"/>.</returns>
    public static int Run(
        string[] args,
        Func<DaemonFlags, int> daemon,
        TextWriter? output = null,
        TextWriter? error = null,
        Func<string?, IReadOnlyList<ConfigurationLine>>? configuration = null)
    {
        try
        {
            return RunParsed(args, Create(daemon, configuration ?? (_ => [])), output ?? new StreamWriter(OutputStream.StandardOutput()) { AutoFlush = true }, error ?? Screen.Error());
        }
        catch (LinuxException failure) when (failure.Errno == Errno.EPIPE)
        {
            // The end of a pipeline has had enough: as if ended by SIGPIPE, and nothing to say about it.
            return ExitCode.BrokenPipe;
        }
        catch (EdgeHostException failure)
        {
            Complain(failure.Message);
        }
        catch (TemplateException failure)
        {
            Complain($"template parsing error: {failure.Message}");
            return failure.ExitCode;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            // Nearly always the output itself: a full disk, a closed descriptor.
            Complain(failure.InnerException is IOException inner ? inner.Message : failure.Message);
        }
        catch (Exception defect)
        {
            Complain($"internal error, please report it: {defect}");
        }

        return ExitCode.Failed;

        // The journal takes each line for a message of its own.
        void Complain(string what) => (error ?? Screen.Error()).WriteLine(error is null && ServiceSupervisor.LogsToJournal
            ? $"<3>edgehost: {what.Replace("\n", "\n<3>", StringComparison.Ordinal)}"
            : $"edgehost: {what}");
    }

    private static int RunParsed(string[] args, RootCommand root, TextWriter output, TextWriter error)
    {
        // An argument that begins with @ is one like any other, not the name of a file with more of them.
        var parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (parsed.Action is not HelpText and not PrintVersion)
        {
            var command = parsed.CommandResult.Command;
            if (command.Subcommands.Count > 0 && parsed.UnmatchedTokens.Count == 0 && !parsed.Errors.Any(each => each.SymbolResult is OptionResult))
            {
                new HelpText().Write(command, output);
                return ExitCode.Ok;
            }

            if (parsed.Errors.Count > 0 || UnknownFlag(parsed) is not null)
            {
                return Misunderstood(parsed, error);
            }
        }

        return parsed.Invoke(new InvocationConfiguration
        {
            EnableDefaultExceptionHandler = false,
            // A signal ends a command as it ends any program; those that mean something else by it say so themselves.
            ProcessTerminationTimeout = null,
            Output = output,
            Error = error,
        });
    }

    private static IEnumerable<Command> Commands(Func<DaemonFlags, int> daemon, Func<string?, IReadOnlyList<ConfigurationLine>> configuration) =>
    [
        ApplyCommand.Create(),
        AttachCommand.Create(),
        CheckCommand.Create(configuration),
        CompletionCommand.Create(),
        CompletionCommand.CreateHidden(),
        ConfigCommand.Create(configuration),
        ContainerCommand.Create(),
        CpCommand.Create(),
        RunCommand.CreateOnly(),
        DaemonCommand.Create(daemon),
        DeployCommand.Create(),
        DiffCommand.Create(),
        EventsCommand.Create(),
        ExecCommand.Create(),
        HistoryCommand.Create(),
        ImageCommand.Create(),
        NetworkCommand.Create(),
        .. ImageCommand.ShortForms(),
        InfoCommand.Create(),
        InspectCommand.Create(),
        InstallCommand.Create(),
        KillCommand.Create(),
        LoginCommand.Create(),
        LogoutCommand.Create(),
        LogsCommand.Create(),
        ManCommand.Create(),
        PauseCommand.Create(),
        PortCommand.Create(),
        PsCommand.Create(),
        RenameCommand.Create(),
        RestartCommand.Create(),
        RmCommand.Create(),
        RunCommand.Create(),
        SaveCommand.Create(),
        StartCommand.Create(),
        StatsCommand.Create(),
        StopCommand.Create(),
        SystemCommand.Create(),
        TagCommand.Create(),
        TopCommand.Create(),
        UninstallCommand.Create(daemon),
        PauseCommand.CreateUnpause(),
        UpdateCommand.Create(),
        VersionCommand.Create(),
        VolumeCommand.Create(),
        WaitCommand.Create(),
    ];

    private static RootCommand Create(Func<DaemonFlags, int> daemon, Func<string?, IReadOnlyList<ConfigurationLine>> configuration)
    {
        var root = new RootCommand("A container host for ARM Linux boards");
        root.Options.Clear();
        root.Directives.Clear();
        root.Add(new HelpOption("--help", "-h") { Description = "Print help", Action = new HelpText(), Recursive = true });
        root.Add(new Option<bool>("--version", "-v") { Description = "Print version information and quit", Action = new PrintVersion() });
        root.Add(DaemonClient.HostOption());
        foreach (var command in Commands(daemon, configuration))
        {
            root.Add(command);
        }

        return root;
    }

    /// <summary>
    /// An option that the command does not know: the parser takes it for a name where one is due, and an image of that
    /// name would be asked of a registry. After <c>--</c> names may begin as they like.
    /// </summary>
    private static string? UnknownFlag(ParseResult parsed) => parsed.Tokens.Any(static token => token.Type == TokenType.DoubleDash) ? null
        : parsed.CommandResult.Children.OfType<ArgumentResult>()
            .Where(static given => !given.Argument.CaptureRemainingTokens)
            .SelectMany(static given => given.Tokens)
            .FirstOrDefault(static token => token.Value is ['-', _, ..])?.Value;

    // In docker's words, which scripts and people know.
    private static int Misunderstood(ParseResult parsed, TextWriter error)
    {
        var command = parsed.CommandResult.Command;
        var name = HelpText.NameOf(command);
        var unmatched = UnknownFlag(parsed) ?? (parsed.UnmatchedTokens.Count > 0 ? parsed.UnmatchedTokens[0] : null);
        if (unmatched is not null && command.Subcommands.Count > 0 && !unmatched.StartsWith('-'))
        {
            if (command.Parents.FirstOrDefault() is null && DockersAlone.Contains(unmatched))
            {
                error.WriteLine($"edgehost: {unmatched} is not in this version");
                return ExitCode.Failed;
            }

            error.WriteLine($"edgehost: unknown command: {name} {unmatched}");
            error.WriteLine();
            error.WriteLine($"Run '{name} --help' for more information");
            return ExitCode.Failed;
        }

        var wrong = parsed.Errors.FirstOrDefault(each => each.SymbolResult is OptionResult);
        error.WriteLine(unmatched switch
        {
            ['-', '-', ..] => $"unknown flag: {unmatched}",
            ['-', _, ..] => $"unknown shorthand flag: '{unmatched[1]}' in {unmatched}",
            not null when command.Arguments.Count == 0 => $"edgehost: '{name}' accepts no arguments",
            not null => $"edgehost: '{name}' has too many arguments: {unmatched}",
            null when wrong is { SymbolResult: OptionResult { Tokens: [var value, ..] } option } => $"edgehost: invalid argument \"{value.Value}\" for {option.Option.Name}: it is not a whole number",
            null when wrong is not null => $"edgehost: {wrong.Message}",
            null => $"edgehost: '{name}' requires {Required(command)}",
        });
        error.WriteLine();
        error.WriteLine($"Usage:  {HelpText.UsageOf(command)}");
        error.WriteLine();
        error.WriteLine($"Run '{name} --help' for more information");
        return unmatched is ['-', ..] || (unmatched is null && wrong is not null) ? ExitCode.Usage : ExitCode.Failed;
    }

    private static string Required(Command command)
    {
        int least = 0, most = 0;
        foreach (var argument in command.Arguments)
        {
            least += argument.Arity.MinimumNumberOfValues;
            most = (int)Math.Min(int.MaxValue, (long)most + argument.Arity.MaximumNumberOfValues);
        }

        return $"{(least == most ? string.Empty : "at least ")}{least} {(least == 1 ? "argument" : "arguments")}";
    }

    private sealed class PrintVersion : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            parseResult.InvocationConfiguration.Output.WriteLine(ProductVersion.Read().OneLine);
            return ExitCode.Ok;
        }
    }
}
