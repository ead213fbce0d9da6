using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost apply</c>.</summary>
internal static class ApplyCommand
{
    // The reported state is retained: it comes with the subscription, or nobody has ever reported.
    private static readonly TimeSpan ReportWithin = TimeSpan.FromSeconds(10);

    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var target = new DeployTarget();
        var file = new Option<string>("--file", "-f") { Description = "The desired state as JSON; - reads standard input", HelpName = "file", Required = true };
        var command = new Command("apply", "Publish a desired state as the device's next version, and follow it to its end") { file };
        target.AddTo(command);
        command.SetAction(async parsed =>
        {
            var document = DeployTarget.ReadDocument(parsed.GetValue(file)!);
            await using var client = await target.ConnectAsync(parsed);
            using var patience = new CancellationTokenSource(ReportWithin);
            try
            {
                var reported = await client.ReadReportedAsync(patience.Token);
                document = WithVersion(document, reported.Deployment.HighestVersion + 1);
            }
            catch (OperationCanceledException e)
            {
                throw new EdgeHostException(ErrorKind.Unavailable, "the device has never reported to this broker, so its next version is not known; check --device, or use deploy with a version of your own", e);
            }

            await target.FollowAsync(parsed, client, document);
            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>The same document with another version.</summary>
    internal static byte[] WithVersion(byte[] document, long version)
    {
        try
        {
            using var parsed = JsonDocument.Parse(document);
            using var buffer = new MemoryStream();
            using (var writer = new Utf8JsonWriter(buffer))
            {
                writer.WriteStartObject();
                writer.WriteNumber("version", version);
                foreach (var member in parsed.RootElement.EnumerateObject().Where(m => m.Name != "version"))
                {
                    member.WriteTo(writer);
                }

                writer.WriteEndObject();
            }

            return buffer.ToArray();
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the desired state is not a JSON object: {e.Message}", e);
        }
    }
}
