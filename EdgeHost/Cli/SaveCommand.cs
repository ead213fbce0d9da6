using System.CommandLine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Cli;

/// <summary><c>edgehost save</c>.</summary>
internal static class SaveCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var names = new Argument<string[]>("image") { Arity = ArgumentArity.OneOrMore };
        var file = new Option<string?>("--output", "-o") { Description = "Write to this file (default: standard output)", HelpName = "file" };
        var command = new Command("save", "Save images into an archive (tar) that load, docker load and skopeo read") { file, names };
        command.SetAction(async parsed =>
        {
            var path = parsed.GetValue(file);
            if (path is null && !Console.IsOutputRedirected)
            {
                throw new EdgeHostException(ErrorKind.Invalid, "an archive is nothing for a terminal: name a file with --output, or redirect standard output");
            }

            var target = path is null ? null : CopyPath.Destination(path);
            if (target is { IsDirectory: true })
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"{path} is a directory; name a file");
            }

            using var client = DaemonClient.For(parsed);
            using var response = await client.SendAsync(HttpMethod.Get, "images/get?names=" + string.Join("&names=", parsed.GetValue(names)!.Select(Uri.EscapeDataString)));
            await using var content = await response.Content.ReadAsStreamAsync();
            if (target is null)
            {
                await using var output = OutputStream.StandardOutput();
                await DaemonClient.CopyAsync(content, output);
                return ExitCode.Ok;
            }

            var shown = parsed.InvocationConfiguration.Output;
            using var progress = new Progress(shown, Screen.IsLive(shown));
            await WriteAsync(new CountedStream(content, read => progress.Show(() => $"saving {Humanly.Size(read)}")), target.Path);
            return ExitCode.Ok;
        });
        return command;
    }

    // What was there stays until all of the new one is.
    private static async Task WriteAsync(Stream content, string path)
    {
        var made = $"{path}.{Guid.NewGuid():n}.tmp";
        try
        {
            await using (var file = new FileStream(made, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite }))
            {
                await DaemonClient.CopyAsync(content, file);
                file.Flush(flushToDisk: true);
            }

            File.Move(made, path, overwrite: true);
        }
        catch (Exception e)
        {
            File.Delete(made);
            throw e is IOException or UnauthorizedAccessException ? new EdgeHostException(ErrorKind.Invalid, $"{path} cannot be written: {e.Message}", e) : e;
        }
    }
}
