using System.CommandLine;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>What is common to commands that do one thing to each container named: one that fails does not keep the others from it.</summary>
internal static class EachContainer
{
    /// <summary>The argument that names them.</summary>
    internal static Argument<string[]> Argument() => new("container") { Arity = ArgumentArity.OneOrMore };

    /// <summary>Does it and prints each name that it was done to.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="names">Whom it is done to.</param>
    /// <param name="act">Does it.</param>
    /// <param name="doing">What is said on a terminal meanwhile, as in <c>stopping</c>; null for what takes no time.</param>
    /// <param name="mayBeGone">Whether one that is not there is said, but is no failure.</param>
    internal static async Task<int> DoAsync(ParseResult parsed, IEnumerable<string> names, Func<DaemonClient, string, Task> act, string? doing = null, bool mayBeGone = false)
    {
        using var progress = new Progress(parsed.InvocationConfiguration.Error, doing is not null && Screen.IsLive(parsed.InvocationConfiguration.Error));
        string[] all = [.. names];
        var begun = 0;
        using var client = DaemonClient.For(parsed);
        var output = parsed.InvocationConfiguration.Output;
        var exit = ExitCode.Ok;
        foreach (var name in all)
        {
            try
            {
                begun++;
                progress.Show(() => all.Length > 1 ? $"{doing} {name} ({begun} of {all.Length})" : $"{doing} {name}");
                await act(client, name);
                progress.Dispose();
                await output.WriteLineAsync(name);
            }
            catch (EdgeHostException e) when (e.Kind is not (ErrorKind.Unavailable or ErrorKind.Denied))
            {
                progress.Step($"edgehost: {e.Message}");
                exit = mayBeGone && e.Kind == ErrorKind.NotFound ? exit : ExitCode.Failed;
            }
        }

        return exit;
    }

    /// <summary>A query from those values that are given.</summary>
    internal static string Query(params ReadOnlySpan<(string Name, string? Value)> values)
    {
        var query = string.Empty;
        foreach (var (name, value) in values)
        {
            if (value is not null)
            {
                query += $"{(query.Length == 0 ? '?' : '&')}{name}={Uri.EscapeDataString(value)}";
            }
        }

        return query;
    }
}
