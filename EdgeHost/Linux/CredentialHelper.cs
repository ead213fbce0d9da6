using System.Diagnostics;
using System.Text;
using EdgeHost.Errors;

namespace EdgeHost.Linux;

/// <summary>
/// A program <c>docker-credential-NAME</c>, which keeps the logins of registries: the verb is its argument, and it speaks
/// over its standard input and output (docker-credential-helpers, README, "Development").
/// </summary>
public static class CredentialHelper
{
    // A person may have to unlock a key ring first.
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    /// <summary>Runs it to its end.</summary>
    /// <param name="name">What follows <c>docker-credential-</c>; it is looked for in PATH.</param>
    /// <param name="verb"><c>get</c>, <c>store</c> or <c>erase</c>.</param>
    /// <param name="input">What it reads: the registry's key, or with <c>store</c> a JSON object.</param>
    /// <param name="cancel">Ends the waiting, and the program.</param>
    /// <returns>What it wrote; null when it says that it has no such login.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>: there is no such program; <see cref="ErrorKind.Unavailable"/>: it failed, in its own words.</exception>
    public static async Task<string?> RunAsync(string name, string verb, string input, CancellationToken cancel)
    {
        var program = $"docker-credential-{name}";
        if (name.Contains('/', StringComparison.Ordinal))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"credential helper {name}: it is the end of a program's name (docker-credential-NAME), not a path");
        }

        using var process = Start(program, verb);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(Patience);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(limit.Token);
            try
            {
                await process.StandardInput.WriteAsync(input.AsMemory(), limit.Token).ConfigureAwait(false);
                process.StandardInput.Close();
            }
            catch (IOException)
            {
                // It ended without reading; what it says tells why.
            }

            var said = (await output.ConfigureAwait(false)).Trim();
            await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return process.ExitCode == 0 ? said
                : said.Contains("credentials not found", StringComparison.OrdinalIgnoreCase) ? null
                : throw new EdgeHostException(ErrorKind.Unavailable, $"{program} {verb} ended with {process.ExitCode}: {(said.Length > 0 ? said.ReplaceLineEndings(" ") : "it said nothing")}");
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            cancel.ThrowIfCancellationRequested();
            throw new EdgeHostException(ErrorKind.Unavailable, $"{program} {verb} did not end within {Patience.TotalMinutes:0} minutes");
        }
    }

    private static Process Start(string program, string verb)
    {
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            StandardInputEncoding = new UTF8Encoding(false),
            StandardOutputEncoding = new UTF8Encoding(false),
        };
        start.ArgumentList.Add(verb);
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"credential helper {program} cannot be run: {e.Message}; install it, or take its name out of the file that names it", e);
        }
    }
}
