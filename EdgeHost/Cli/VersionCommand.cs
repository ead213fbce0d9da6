using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost version</c>: what this binary is, without asking the daemon unless a template may ask for it.</summary>
internal static class VersionCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var format = DocumentTemplate.Option("-f");
        var json = new Option<bool>("--json") { Description = "Print JSON" };
        var command = new Command("version", "Show version information") { format, json };
        command.SetAction(async parsed =>
        {
            var template = DocumentTemplate.Of(parsed.GetValue(format));
            var version = ProductVersion.Read();
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(version, CliJson.Default.ProductVersion));
                return ExitCode.Ok;
            }

            if (template is not null)
            {
                return await PrintAsync(parsed, version, template);
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

    // What docker's templates ask for. Without a daemon its part is null, and that is said.
    private static async Task<int> PrintAsync(ParseResult parsed, ProductVersion version, DocumentTemplate template)
    {
        using var client = DaemonClient.For(parsed);
        JsonElement server = default;
        string? failure = null;
        try
        {
            using var answer = await client.GetAsync("version");
            server = answer.RootElement.Clone();
        }
        catch (EdgeHostException e) when (e.Kind is ErrorKind.Unavailable or ErrorKind.Denied)
        {
            failure = e.Message;
        }

        var both = DaemonJson.Made(json =>
        {
            json.WriteStartObject("Client");
            json.WriteString("Version", version.Version);
            json.WriteString("ApiVersion", DaemonClient.ApiVersion);
            json.WriteString("DefaultAPIVersion", DaemonClient.ApiVersion);
            json.WriteString("GitCommit", version.Commit ?? string.Empty);
            json.WriteString("Os", "linux");
            json.WriteString("Arch", version.Rid.EndsWith("arm64", StringComparison.Ordinal) ? "arm64" : "amd64");
            json.WriteString("KernelVersion", version.Kernel);
            json.WriteEndObject();
            json.WritePropertyName("Server");
            if (failure is null)
            {
                server.WriteTo(json);
            }
            else
            {
                json.WriteNullValue();
            }
        });
        parsed.InvocationConfiguration.Output.WriteLine(template.Text(both));
        return failure is null ? ExitCode.Ok : throw new EdgeHostException(ErrorKind.Unavailable, failure);
    }
}
