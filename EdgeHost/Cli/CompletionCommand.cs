using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>
/// <c>edgehost completion</c>, and the hidden verb that its scripts ask for what may follow: one word a line, with what
/// it means behind a tab, or <c>:files</c> for the shell's own completion of files.
/// </summary>
internal static class CompletionCommand
{
    private const string Files = ":files";

    // Whoever pressed the key waits; a daemon that is there answers in a hundredth of it.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    private const string Bash = """
        # bash completion for edgehost: source <(edgehost completion bash)
        _edgehost() {
          local line=${COMP_LINE:0:COMP_POINT} current= candidate answer words
          read -ra words <<<"$line"
          if [[ $line == *[[:space:]] ]]; then words+=(''); else current=${words[-1]}; fi
          mapfile -t answer < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
          COMPREPLY=()
          if [[ ${answer[0]-} == :files ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
          fi
          # bash has cut the line at these signs too, and replaces what follows the last of them.
          local prefix=
          [[ $current == *[:=]* ]] && prefix=${current%"${current##*[:=]}"}
          for candidate in "${answer[@]}"; do
            candidate=${candidate%%$'\t'*}
            COMPREPLY+=("${candidate#"$prefix"}")
          done
        }
        complete -F _edgehost edgehost
        """;

    private const string Zsh = """
        #compdef edgehost
        # zsh completion for edgehost: source <(edgehost completion zsh), or this as _edgehost in a directory of fpath
        _edgehost() {
          local -a answer described
          local line
          answer=("${(@f)$("${(Q)words[1]}" __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
          if [[ ${answer[1]} == :files ]]; then
            _files
            return
          fi
          for line in "${answer[@]}"; do
            [[ -n $line ]] && described+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
          done
          _describe -V edgehost described
        }
        if [[ ${funcstack[1]} == _edgehost ]]; then _edgehost "$@"; else compdef _edgehost edgehost; fi
        """;

    private const string Fish = """
        # fish completion for edgehost: edgehost completion fish | source
        function __edgehost_complete
            set -l words (commandline -opc)
            set -l current (commandline -ct)
            set -l answer ($words[1] __complete -- $words[2..] "$current" 2>/dev/null)
            if test "$answer[1]" = :files
                __fish_complete_path "$current"
            else if set -q answer[1]
                printf '%s\n' $answer
            end
        end
        complete -c edgehost -f -a '(__edgehost_complete)'
        """;

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = "bash, zsh or fish" };
        var command = new Command("completion", "Print a script by which a shell completes edgehost's command line") { shell };
        command.SetAction(parsed =>
        {
            parsed.InvocationConfiguration.Output.WriteLine(parsed.GetValue(shell) switch
            {
                "bash" => Bash,
                "zsh" => Zsh,
                "fish" => Fish,
                var other => throw new EdgeHostException(ErrorKind.Unsupported, $"completion {other}: not bash, zsh or fish"),
            });
            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>Makes the verb that the scripts call with the words up to the cursor; an empty last one is a word that begins.</summary>
    internal static Command CreateHidden()
    {
        var words = new Argument<string[]>("word") { Arity = ArgumentArity.ZeroOrMore };
        var command = new Command("__complete", "What may follow") { words };
        command.Hidden = true;
        command.SetAction(async parsed =>
        {
            var line = parsed.GetValue(words)!;
            var current = line.Length > 0 ? line[^1] : string.Empty;
            var place = CommandPlace.Of(parsed.RootCommandResult.Command, line.AsSpan(0, Math.Max(0, line.Length - 1)));
            foreach (var candidate in await CandidatesAsync(parsed.RootCommandResult.Command, place, line, current))
            {
                if (candidate == Files || candidate.StartsWith(current, StringComparison.Ordinal))
                {
                    parsed.InvocationConfiguration.Output.WriteLine(candidate);
                }
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<IEnumerable<string>> CandidatesAsync(Command root, CommandPlace place, string[] line, string current)
    {
        if (place.Awaiting is { } option)
        {
            return await ValuesAsync(root, line, option.Name, option.HelpName);
        }

        if (current.StartsWith('-') && !place.OnlyArguments)
        {
            return place.Options().Where(each => !each.Hidden).Select(each => $"{each.Name}\t{each.Description}").Order(StringComparer.Ordinal);
        }

        if (place.Arguments == 0 && place.Command.Subcommands.Count > 0)
        {
            return place.Command.Subcommands.Where(each => !each.Hidden).Select(each => $"{each.Name}\t{each.Description}").Order(StringComparer.Ordinal);
        }

        var arguments = place.Command.Arguments;
        var argument = arguments.Count == 0 || (place.Arguments >= arguments.Count && arguments[^1].Arity.MaximumNumberOfValues == 1)
            ? null
            : arguments[Math.Min(place.Arguments, arguments.Count - 1)];
        return argument is null ? []
            : await ValuesAsync(root, line, argument.Name is "name" ? HelpText.NameOf(place.Command) : argument.Name, null);
    }

    private static Task<IEnumerable<string>> ValuesAsync(Command root, string[] line, string name, string? help) => name switch
    {
        "container" or "edgehost inspect" => AskAsync(root, line, "containers/json?all=1", "Names"),
        "image" or "repository" or "edgehost pull" or "edgehost image pull" => AskAsync(root, line, "images/json", "RepoTags"),
        "volume" => AskAsync(root, line, "volumes", "Name"),
        "network" or "--network" or "edgehost network inspect" or "edgehost network rm" => AskAsync(root, line, "networks", "Name"),
        "shell" => Known("bash", "fish", "zsh"),
        "--type" => Known("container", "image", "network", "volume"),
        "--pull" => Known("always", "missing", "never"),
        "--restart" => Known("always", "no", "on-failure", "unless-stopped"),
        "--driver" => Known("bridge", "macvlan"),
        "--format" => Known("json", "table"),
        "command" or "file" or "--volume" => Known(Files),
        _ => Known(help is "file" or "directory" or "socket" ? [Files] : []),
    };

    private static Task<IEnumerable<string>> Known(params string[] words) => Task.FromResult<IEnumerable<string>>(words);

    /// <summary>Names that the daemon knows; none, and not a word about it, where it is not there or has no time.</summary>
    private static async Task<IEnumerable<string>> AskAsync(Command root, string[] line, string path, string member)
    {
        try
        {
            // The line may name the daemon that is meant.
            using var client = DaemonClient.For(root.Parse(line));
            using var answer = await client.GetAsync(path).WaitAsync(Patience);
            var names = new List<string>();
            foreach (var item in (answer.RootElement.ValueKind == JsonValueKind.Object ? answer.RootElement.GetProperty("Volumes") : answer.RootElement).EnumerateArray())
            {
                names.AddRange(member == "Name" ? [item.Text(member)] : item.Texts(member).Select(name => name.TrimStart('/')));
            }

            return names.Order(StringComparer.Ordinal);
        }
        catch (Exception e) when (e is EdgeHostException or TimeoutException or InvalidOperationException)
        {
            return [];
        }
    }
}

/// <summary>Where in a command line the next word stands.</summary>
internal sealed class CommandPlace
{
    private CommandPlace(Command root) => Command = root;

    /// <summary>The command that was named so far.</summary>
    internal Command Command { get; private set; }

    /// <summary>The option whose value is next; null when it is none's.</summary>
    internal Option? Awaiting { get; private set; }

    /// <summary>How many arguments the command has already.</summary>
    internal int Arguments { get; private set; }

    /// <summary>Whether what begins with a dash is no option any more.</summary>
    internal bool OnlyArguments { get; private set; }

    /// <summary>Goes through the words before it.</summary>
    internal static CommandPlace Of(Command root, ReadOnlySpan<string> words)
    {
        var place = new CommandPlace(root);
        foreach (var word in words)
        {
            place.Take(word);
        }

        return place;
    }

    /// <summary>The options that the command takes, with those of all commands.</summary>
    internal List<Option> Options()
    {
        List<Option> options = [.. Command.Options];
        for (var above = Command.Parents.FirstOrDefault(); above is not null; above = above.Parents.FirstOrDefault())
        {
            options.AddRange(((Command)above).Options.Where(option => option.Recursive && !options.Exists(known => known.Name == option.Name)));
        }

        return options;
    }

    private void Take(string word)
    {
        if (Awaiting is not null)
        {
            Awaiting = null;
        }
        else if (OnlyArguments)
        {
            Arguments++;
        }
        else if (word == "--")
        {
            OnlyArguments = true;
        }
        else if (word is ['-', _, ..])
        {
            Awaiting = Options().Find(option => option.Name == word || option.Aliases.Contains(word)) is { } found && HelpText.TakesValue(found) ? found : null;
        }
        else if (Arguments == 0 && Command.Subcommands.FirstOrDefault(each => each.Name == word || each.Aliases.Contains(word)) is { } sub)
        {
            Command = sub;
        }
        else
        {
            // What follows the image of run is the container's own command line.
            Arguments++;
            OnlyArguments = Command.Arguments is [.., var last] && last.Name == "command";
        }
    }
}
