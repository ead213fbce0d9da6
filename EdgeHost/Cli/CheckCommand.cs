using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Board;
using EdgeHost.Errors;
using EdgeHost.Runtime.Oci;

namespace EdgeHost.Cli;

/// <summary><c>edgehost check</c>: whether this board will do, and how to mend what it lacks.</summary>
internal static class CheckCommand
{
    // Any will do that nobody has: nothing is left of it.
    private const uint FirstUserOfATry = 0x7FFE_0000;

    /// <summary>Makes the command.</summary>
    /// <param name="read">Reads a configuration as the daemon would, which this room cannot see.</param>
    internal static Command Create(Func<string?, IReadOnlyList<ConfigurationLine>> read)
    {
        var json = new Option<bool>("--json") { Description = "Print JSON" };
        var dataDirectory = new Option<string>("--data-dir")
        {
            Description = "Where the data are or will be (default \"/var/lib/edgehost\")",
            HelpName = "directory",
            DefaultValueFactory = _ => "/var/lib/edgehost",
        };
        var command = new Command("check", "Check this board for what EdgeHost needs; exits 1 if something is missing, 3 if the memory controller is off")
        {
            dataDirectory,
            json,
        };
        command.SetAction(parsed =>
        {
            var configured = Configured(read);
            var report = BoardCheck.Observe(
                parsed.GetValue(dataDirectory)!,
                configured,
                Environment.IsPrivilegedProcess ? directory => UserProbe.Try(directory, FirstUserOfATry, out _) : null);
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(report, BoardJson.Default.BoardReport));
            }
            else
            {
                Print(report, output);
            }

            return report.Verdict switch
            {
                BoardVerdict.Ok => ExitCode.Ok,
                BoardVerdict.MemoryControllerOff => ExitCode.MemoryControllerOff,
                _ => ExitCode.Failed,
            };
        });
        return command;
    }

    private static BoardSettings Configured(Func<string?, IReadOnlyList<ConfigurationLine>> read)
    {
        try
        {
            var lines = read(null);
            return new BoardSettings
            {
                Profile = Value("profile"),
                Devices = Value("devices.allow"),
                WatchdogDriver = Value("watchdog.driver"),
                WatchdogMaxTimeout = Value("watchdog.maxTimeout") is { } seconds ? int.Parse(seconds, CultureInfo.InvariantCulture) : null,
            };

            string? Value(string key) => lines.FirstOrDefault(line => line.Key == key)?.Value;
        }
        catch (EdgeHostException e)
        {
            return new BoardSettings { Error = e.Message };
        }
    }

    private static void Print(BoardReport report, TextWriter output)
    {
        var board = report.Board;
        output.WriteLine($"{board.Model ?? "Board"}: {board.Architecture}, Linux {board.Kernel}, {board.Cpus} CPU{(board.Cpus == 1 ? string.Empty : "s")}, cgroup {report.Cgroups}");
        output.WriteLine();
        Print(report.Features, Mark, output);
        if (report.Neighbours.Count > 0)
        {
            output.WriteLine();
            output.WriteLine("Neighbours:");
            Print(report.Neighbours, each => each.State == FeatureState.Present ? "ok" : "note", output);
        }

        output.WriteLine();
        output.WriteLine(report.Verdict switch
        {
            BoardVerdict.Ok => "This board will do.",
            BoardVerdict.MemoryControllerOff => "Memory limits cannot be held: the memory controller is off.",
            _ => "Something that EdgeHost needs is missing.",
        });
    }

    private static void Print(IReadOnlyList<FeatureStatus> features, Func<FeatureStatus, string> mark, TextWriter output)
    {
        var width = features.Max(f => f.Name.Length) + 2;
        foreach (var feature in features)
        {
            output.WriteLine($"{mark(feature),-9}{feature.Name.PadRight(width)}{feature.Found}");
            if (feature is { State: not FeatureState.Present, Remedy: { } remedy })
            {
                output.WriteLine($"{string.Empty,-9}{string.Empty.PadRight(width)}-> {remedy}");
            }
        }
    }

    private static string Mark(FeatureStatus feature) => feature switch
    {
        { State: FeatureState.Present } => "ok",
        { State: FeatureState.Unknown } => "unknown",
        { Need: FeatureNeed.Required } => "MISSING",
        _ => "lacks",
    };
}
