using System.CommandLine;
using System.Text.Json;

namespace EdgeHost.Cli;

/// <summary><c>edgehost version</c>: what this binary is, without asking the daemon.</summary>
internal static class VersionCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var json = new Option<bool>("--json") { Description = "Print JSON" };
        var command = new Command("version", "Show version information") { json };
        command.SetAction(parsed =>
        {
            var version = ProductVersion.Read();
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(version, CliJson.Default.ProductVersion));
                return ExitCode.Ok;
            }

            output.WriteLine($"Version:  {version.Version}");
            output.WriteLine($"Commit:   {version.Commit ?? "unknown"}");
            output.WriteLine($"RID:      {version.Rid}");
            output.WriteLine($"Runtime:  {version.Runtime}");
            output.WriteLine($"Kernel:   {version.Kernel}");
            return ExitCode.Ok;
        });
        return command;
    }
}
