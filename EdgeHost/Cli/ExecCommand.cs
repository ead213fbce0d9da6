using System.CommandLine;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost exec</c>, which comes with a later version and says so.</summary>
internal static class ExecCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var all = new Argument<string[]>("container") { Arity = ArgumentArity.ZeroOrMore, CaptureRemainingTokens = true };
        var command = new Command("exec", "Run a command in a running container (not in this version)") { all };
        command.Hidden = true;
        command.SetAction(new Func<ParseResult, int>(_ => throw new EdgeHostException(ErrorKind.Unsupported, "exec is not in this version of EdgeHost")));
        return command;
    }
}
