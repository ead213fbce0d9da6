using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost image pull|load|ls|rm|inspect</c>, and docker's short forms of them.</summary>
internal static class ImageCommand
{
    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("image", "Work with images")
    {
        List("ls"),
        Load(),
        HistoryCommand.Create(),
        ImagePruneCommand.Create(),
        TagCommand.Create(),
        Pull(),
        Remove("rm"),
        Inspect(),
    };

    /// <summary>Makes <c>images</c>, <c>load</c>, <c>pull</c> and <c>rmi</c>, as docker's users type.</summary>
    internal static IEnumerable<Command> ShortForms() => [List("images"), Load(), Pull(), Remove("rmi")];

    private static Command List(string name)
    {
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Print ids only" };
        var whole = new Option<bool>("--no-trunc") { Description = "Shorten nothing" };
        var filter = new Option<string[]>("--filter", "-f") { Description = "Show those that fit (reference=, dangling=)", HelpName = "key=value" };
        var json = new Option<bool>("--json") { Description = "Print what the daemon answers, as JSON" };
        var command = new Command(name, "List images") { quiet, whole, filter, json };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            using var answer = await client.GetAsync("images/json" + EachContainer.Query(("filters", PsCommand.Filters(parsed.GetValue(filter)!))));
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(DaemonJson.Indented(answer.RootElement.EnumerateArray()));
                return ExitCode.Ok;
            }

            var table = new Table("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE");
            foreach (var image in answer.RootElement.EnumerateArray())
            {
                var id = image.Text("Id");
                id = parsed.GetValue(whole) ? id : id[(id.IndexOf(':', StringComparison.Ordinal) + 1)..][..12];
                if (parsed.GetValue(quiet))
                {
                    output.WriteLine(id);
                    continue;
                }

                foreach (var reference in image.Texts("RepoTags").DefaultIfEmpty("<none>:<none>"))
                {
                    var colon = reference.LastIndexOf(':');
                    table.Add(
                        reference[..colon],
                        reference[(colon + 1)..],
                        id,
                        Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(image.Number("Created")), DateTimeOffset.UtcNow),
                        Humanly.Size(image.Number("Size")));
                }
            }

            if (!parsed.GetValue(quiet))
            {
                table.Write(output);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Load()
    {
        var input = new Option<string?>("--input", "-i") { Description = "Read this file (default: standard input)", HelpName = "file" };
        var command = new Command("load", "Load images from an OCI layout or a docker archive (tar)") { input };
        command.SetAction(async parsed =>
        {
            if (parsed.GetValue(input) is null && !Console.IsInputRedirected)
            {
                throw new EdgeHostException(ErrorKind.Invalid, "nothing to load: name a file with --input, or pipe an archive in");
            }

            using var client = DaemonClient.For(parsed);
            await using var archive = Open(parsed.GetValue(input));
            using var content = new StreamContent(archive);
            content.Headers.ContentType = new("application/x-tar");
            using var response = await client.SendAsync(HttpMethod.Post, "images/load?quiet=1", content);
            await ImagePull.FollowAsync(response, parsed.InvocationConfiguration.Output, terminal: false);
            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Pull()
    {
        var reference = new Argument<string>("name");
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Show no progress" };
        var command = new Command("pull", "Fetch an image from its registry") { quiet, reference };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var name = parsed.GetValue(reference)!;
            await ImagePull.RunAsync(client, name, parsed.GetValue(quiet) ? null : parsed.InvocationConfiguration.Output, !Console.IsOutputRedirected);
            if (parsed.GetValue(quiet))
            {
                parsed.InvocationConfiguration.Output.WriteLine(name);
            }

            return ExitCode.Ok;
        });
        return command;
    }

    private static Command Remove(string name)
    {
        var names = new Argument<string[]>("image") { Arity = ArgumentArity.OneOrMore };
        var force = new Option<bool>("--force", "-f") { Description = "Remove it although containers use it" };
        var command = new Command(name, "Remove one or more images") { force, names };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var exit = ExitCode.Ok;
            foreach (var image in parsed.GetValue(names)!)
            {
                try
                {
                    using var response = await client.SendAsync(HttpMethod.Delete, $"images/{DaemonClient.Escape(image)}" + EachContainer.Query(("force", parsed.GetValue(force) ? "1" : null)));
                    using var removed = await JsonDocument.ParseAsync(await response.Content.ReadAsStreamAsync());
                    foreach (var line in removed.RootElement.EnumerateArray().SelectMany(r => r.EnumerateObject()))
                    {
                        parsed.InvocationConfiguration.Output.WriteLine($"{line.Name}: {line.Value}");
                    }
                }
                catch (EdgeHostException e) when (e.Kind is ErrorKind.NotFound or ErrorKind.Conflict or ErrorKind.Invalid)
                {
                    parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                    exit = ExitCode.Failed;
                }
            }

            return exit;
        });
        return command;
    }

    private static Command Inspect()
    {
        var names = new Argument<string[]>("image") { Arity = ArgumentArity.OneOrMore };
        var command = new Command("inspect", "Show all that is known of images, as JSON") { names };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var found = new List<JsonElement>();
            foreach (var name in parsed.GetValue(names)!)
            {
                using var answer = await client.GetAsync($"images/{DaemonClient.Escape(name)}/json");
                found.Add(answer.RootElement.Clone());
            }

            parsed.InvocationConfiguration.Output.WriteLine(DaemonJson.Indented(found));
            return ExitCode.Ok;
        });
        return command;
    }

    private static Stream Open(string? file)
    {
        if (file is null)
        {
            return Console.OpenStandardInput();
        }

        try
        {
            return File.OpenRead(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{file} cannot be read: {e.Message}", e);
        }
    }
}
