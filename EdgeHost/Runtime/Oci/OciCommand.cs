using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Runtime.Oci;

/// <summary>
/// <c>edgehost oci …</c>: the command line of an OCI runtime. It runs before anything of the host, Console or
/// System.CommandLine is touched, because its process must keep one managed thread to be cloned.
/// </summary>
public static class OciCommand
{
    private const string Usage = """
        Usage: edgehost oci [--root DIR] COMMAND [OPTIONS]

        An OCI runtime: starts a container from a bundle (a directory with config.json and a root file system).

        Commands:
          run     [-b BUNDLE] [-d] [--pid-file FILE] [--keep] ID   create, start, wait, delete
          create  [-b BUNDLE] [--pid-file FILE] ID                 make it, ready to start
          start   ID                                               execute its program
          state   ID                                               print its state as JSON
          kill    [-a] ID [SIGNAL]                                 send a signal (SIGTERM)
          delete  [-f] ID                                          remove it (-f kills it first)
          plan    [-b BUNDLE] ID                                   print what a start would do
          probe   DIR FIRST                                        try a user namespace with files in DIR

        Options:
          --root DIR   where state is kept (/run/edgehost/oci)

        """;

    /// <summary>Runs one command.</summary>
    /// <param name="arguments">What follows <c>oci</c>.</param>
    /// <returns>The exit code: that of the container for a <c>run</c> in the foreground; 126 and 127 when its program cannot be executed; else 0 or 1.</returns>
    public static int Run(ReadOnlySpan<string> arguments)
    {
        var line = new OciArguments(arguments);
        try
        {
            return line.Command switch
            {
                "run" => OciRun.Execute(line),
                "create" => OciCreate.Execute(line),
                "start" => OciStart.Execute(line),
                "state" => OciStateVerb.Execute(line),
                "kill" => OciKill.Execute(line),
                "delete" => OciDelete.Execute(line),
                "plan" => OciPlan.Execute(line),
                "probe" => OciProbe.Execute(line),
                "--help" or "-h" or "help" => Help(0),
                "" => Help(1),
                _ => throw new EdgeHostException(ErrorKind.Invalid, $"unknown command \"{line.Command}\"; see edgehost oci --help"),
            };
        }
        catch (EdgeHostException e)
        {
            SingleThread.PrintError($"edgehost oci{(line.Command.Length > 0 ? " " : string.Empty)}{line.Command}: {e.Message}\n");
            return e switch
            {
                { Kind: ErrorKind.CannotExecute } when e.Message.Contains("not found", StringComparison.Ordinal) => 127,
                { Kind: ErrorKind.CannotExecute } => 126,
                _ => 1,
            };
        }
    }

    private static int Help(int exitCode)
    {
        SingleThread.Print(Usage);
        return exitCode;
    }
}

/// <summary>The words of an <c>oci</c> command line.</summary>
internal sealed class OciArguments
{
    private readonly List<string> _words = [];

    internal OciArguments(ReadOnlySpan<string> arguments)
    {
        var words = new List<string>(arguments.ToArray());
        Root = OciStateDirectory.DefaultRoot;
        while (words.Count > 0 && words[0].StartsWith("--", StringComparison.Ordinal) && words[0] is not "--help")
        {
            // Engines that drive a runtime pass these to every one; the first changes what we do, the others how others log.
            var (name, value) = Split(words[0]);
            words.RemoveAt(0);
            if (name is "--root" or "--log" or "--log-format" or "--log-level" && value is null && words.Count > 0)
            {
                value = words[0];
                words.RemoveAt(0);
            }

            switch (name)
            {
                case "--root": Root = value ?? Root; break;
                case "--log" or "--log-format" or "--log-level" or "--debug": break;
                default: words.Insert(0, name); Command = name; return;
            }
        }

        Command = words.Count > 0 ? words[0] : string.Empty;
        _words.AddRange(words.Skip(1));
    }

    internal string Root { get; }

    internal string Command { get; }

    internal OciStateDirectory State => new(Root);

    /// <summary>Takes a switch; it may stand anywhere before the operands end.</summary>
    internal bool TakeFlag(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (_words.Remove(name))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Takes an option with a value, as <c>--name value</c> or <c>--name=value</c>.</summary>
    internal string? TakeOption(params ReadOnlySpan<string> names)
    {
        for (var i = 0; i < _words.Count; i++)
        {
            var (name, value) = Split(_words[i]);
            if (names.Contains(name))
            {
                _words.RemoveAt(i);
                if (value is null)
                {
                    if (i >= _words.Count)
                    {
                        throw new EdgeHostException(ErrorKind.Invalid, $"option {name} needs a value");
                    }

                    value = _words[i];
                    _words.RemoveAt(i);
                }

                return value;
            }
        }

        return null;
    }

    /// <summary>Takes what is left: the operands.</summary>
    internal IReadOnlyList<string> TakeOperands(int minimum, int maximum, string names)
    {
        if (_words.Find(word => word.StartsWith('-')) is { } unknown)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"unknown option {unknown}; see edgehost oci --help");
        }

        return _words.Count >= minimum && _words.Count <= maximum
            ? _words
            : throw new EdgeHostException(ErrorKind.Invalid, $"wants {names}; see edgehost oci --help");
    }

    private static (string Name, string? Value) Split(string word)
    {
        var equals = word.StartsWith("--", StringComparison.Ordinal) ? word.IndexOf('=', StringComparison.Ordinal) : -1;
        return equals < 0 ? (word, null) : (word[..equals], word[(equals + 1)..]);
    }
}
