using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary>What <c>run</c>, <c>start</c> and <c>attach</c> do at the standard streams of a container.</summary>
internal static class StreamOptions
{
    // From the end of its streams until the daemon says that it has ended.
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(2);

    internal static Option<string?> Keys() => new("--detach-keys") { Description = $"Keys that leave its terminal (default \"{DetachKeys.Usual}\")", HelpName = "keys" };

    internal static Option<bool> SignalProxy() => new("--sig-proxy") { Description = "Pass signals on to it (default true)", DefaultValueFactory = _ => true };

    /// <summary>Takes over a connection to the streams of a container.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="id">The container.</param>
    /// <param name="input">Whether standard input is passed on.</param>
    /// <param name="output">Whether standard output is wanted.</param>
    /// <param name="error">Whether standard error is wanted.</param>
    /// <param name="keys">The keys that leave it; null for the usual ones.</param>
    internal static DaemonConnection Attach(ParseResult parsed, string id, bool input, bool output, bool error, string? keys)
    {
        var connection = DaemonConnection.Open(parsed);
        try
        {
            connection.Upgrade($"containers/{DaemonClient.Escape(id)}/attach" + EachContainer.Query(
                ("stream", "1"), ("stdin", input ? "1" : null), ("stdout", output ? "1" : null), ("stderr", error ? "1" : null), ("detachKeys", keys)));
            return connection;
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }

    /// <summary>Passes on what a container writes until its end, and waits for that.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="session">At its streams.</param>
    /// <param name="output">The copying of its output, begun before its start.</param>
    /// <param name="waiting">The answer to a wait that was begun before.</param>
    /// <param name="mayGoOn">Whether its streams may have ended for us alone, because our input has.</param>
    /// <returns>Its exit code; 0 when the user has left it.</returns>
    internal static async Task<int> EndAsync(ParseResult parsed, StreamSession session, Task<string?> output, HttpResponseMessage waiting, bool mayGoOn)
    {
        var failure = await output;
        session.Dispose();
        var said = parsed.InvocationConfiguration.Error;
        if (session.Left)
        {
            said.WriteLine("read escape sequence");
            return ExitCode.Ok;
        }

        if (failure is not null)
        {
            throw new EdgeHostException(ErrorKind.Unavailable, failure);
        }

        var ending = JsonDocument.ParseAsync(await waiting.Content.ReadAsStreamAsync());
        if (mayGoOn && await Task.WhenAny(ending, Task.Delay(EndPatience)) != ending)
        {
            return ExitCode.Ok;
        }

        using var end = await ending;
        if (end.RootElement.Member("Error").Text("Message") is { Length: > 0 } message)
        {
            said.WriteLine($"edgehost: {message}");
            return ExitCode.Usage;
        }

        return (int)end.RootElement.Number("StatusCode");
    }

    /// <summary>Lets the container's program have what the terminal or a supervisor sends to us: it decides what it means.</summary>
    internal static List<PosixSignalRegistration> Forward(DaemonClient client, string id)
    {
        (PosixSignal Signal, string Name)[] signals =
        [
            (PosixSignal.SIGINT, "INT"), (PosixSignal.SIGTERM, "TERM"), (PosixSignal.SIGQUIT, "QUIT"), (PosixSignal.SIGHUP, "HUP"),
            ((PosixSignal)10, "USR1"), ((PosixSignal)12, "USR2"),
        ];
        return signals.Select(s => PosixSignalRegistration.Create(s.Signal, context =>
        {
            context.Cancel = true;
            _ = SendAsync(client, id, s.Name);
        })).ToList();
    }

    private static async Task SendAsync(DaemonClient client, string id, string signal)
    {
        try
        {
            await client.PostAsync($"containers/{id}/kill?signal={signal}");
        }
        catch (EdgeHostException e) when (e.Kind is ErrorKind.Conflict or ErrorKind.NotFound)
        {
            // It has ended: nobody is left to take the signal, and the end is being read already.
        }
        catch (EdgeHostException e)
        {
            Screen.Error().WriteLine($"edgehost: signal {signal} was not delivered: {e.Message}");
        }
    }
}
