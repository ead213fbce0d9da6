using System.CommandLine;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary>What is common to commands that do one thing to each container named: one that fails does not keep the others from it.</summary>
internal static class EachContainer
{
    /// <summary>The argument that names them.</summary>
    internal static Argument<string[]> Argument() => new("container") { Arity = ArgumentArity.OneOrMore };

    /// <summary>Does it and prints each name that it was done to.</summary>
    internal static async Task<int> DoAsync(ParseResult parsed, IEnumerable<string> names, Func<DaemonClient, string, Task> act)
    {
        using var client = DaemonClient.For(parsed);
        var output = parsed.InvocationConfiguration.Output;
        var error = parsed.InvocationConfiguration.Error;
        var exit = ExitCode.Ok;
        foreach (var name in names)
        {
            try
            {
                await act(client, name);
                await output.WriteLineAsync(name);
            }
            catch (EdgeHostException e) when (e.Kind is not (ErrorKind.Unavailable or ErrorKind.Denied))
            {
                await error.WriteLineAsync($"edgehost: {e.Message}");
                exit = ExitCode.Failed;
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
