using System.Diagnostics;
using System.Text;
using Xunit;

namespace Edge.Tests.Fixtures;

/// <summary>A program that was run to its end.</summary>
internal sealed record CommandRun
{
    /// <summary>How long a program may take when the test does not say: far beyond what a busy machine needs.</summary>
    internal static readonly TimeSpan UsualPatience = TimeSpan.FromMinutes(2);

    // More than any test reads, less than what would hurt when a program goes mad.
    private const int MostOutput = 16 << 20;

    /// <summary>The command line, for people.</summary>
    internal required string Command { get; init; }

    /// <summary>Its exit code; 128 plus the signal when one ended it.</summary>
    internal required int ExitCode { get; init; }

    /// <summary>Standard output.</summary>
    internal required string Output { get; init; }

    /// <summary>Standard error.</summary>
    internal required string Error { get; init; }

    /// <summary>Whether it read all of its input; false when it ended, or closed it, before.</summary>
    internal bool TookInput { get; init; } = true;

    /// <summary>Runs a program; when it takes too long, it and all that it started are killed and the test fails.</summary>
    /// <param name="program">A path, or a name in PATH.</param>
    /// <param name="arguments">Its arguments.</param>
    /// <param name="input">What it reads from standard input; nothing when null.</param>
    /// <param name="directory">Where it runs; the root of the checkout when null.</param>
    /// <param name="environment">Variables to set, or to remove where the value is null.</param>
    /// <param name="patience">How long it may take.</param>
    internal static async Task<CommandRun> RunAsync(
        string program,
        IEnumerable<string> arguments,
        string? input = null,
        string? directory = null,
        IReadOnlyDictionary<string, string?>? environment = null,
        TimeSpan? patience = null)
    {
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = directory ?? Repository.Root,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (name, value) in environment ?? new Dictionary<string, string?>())
        {
            start.Environment[name] = value;
        }

        var command = $"{program} {string.Join(' ', start.ArgumentList)}";
        using var process = Process.Start(start)!;
        var output = new StringBuilder();
        var error = new StringBuilder();
        var read = Task.WhenAll(ReadAsync(process.StandardOutput, output), ReadAsync(process.StandardError, error));
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        limit.CancelAfter(patience ?? UsualPatience);
        var tookInput = false;
        try
        {
            tookInput = await TryWriteAsync(process.StandardInput, input, limit.Token);
            await process.WaitForExitAsync(limit.Token);

            // What it started may still hold the pipes.
            await read.WaitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            lock (output)
            {
                lock (error)
                {
                    Assert.Fail($"{command}\nhad not ended after {patience ?? UsualPatience}; so far\n{output}{error}");
                }
            }
        }

        return new CommandRun
        {
            Command = command,
            ExitCode = process.ExitCode,
            Output = output.ToString(),
            Error = error.ToString(),
            TookInput = tookInput,
        };
    }

    /// <summary>Fails the test, with all that the program said, unless it ended with this exit code.</summary>
    internal CommandRun Exits(int code)
    {
        if (ExitCode != code)
        {
            Assert.Fail($"expected exit code {code} of\n{this}");
        }

        return this;
    }

    /// <summary>Fails the test unless the program succeeded.</summary>
    internal CommandRun Succeeds() => Exits(0);

    /// <inheritdoc/>
    public override string ToString() => $"{Command}\nexit code {ExitCode}\n--- standard output\n{Output}\n--- standard error\n{Error}";

    private static async Task<bool> TryWriteAsync(StreamWriter writer, string? input, CancellationToken cancellation)
    {
        try
        {
            await writer.WriteAsync(input.AsMemory(), cancellation);
            writer.Close();
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static async Task ReadAsync(StreamReader reader, StringBuilder text)
    {
        var buffer = new char[8192];
        int count;
        while ((count = await reader.ReadAsync(buffer)) > 0)
        {
            lock (text)
            {
                _ = text.Append(buffer, 0, Math.Min(count, MostOutput - text.Length));
            }
        }
    }
}
