using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost image pull|load|ls|rm|inspect|save</c>, and docker's short forms of them.</summary>
internal static class ImageCommand
{
    private const string WithDigests = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

    /// <summary>Makes the command with its verbs.</summary>
    internal static Command Create() => new("image", "Work with images")
    {
        List("ls"),
        Load(),
        HistoryCommand.Create(),
        ImagePruneCommand.Create(),
        SaveCommand.Create(),
        TagCommand.Create(),
        Pull(),
        Remove("rm"),
        Inspect(),
    };

    /// <summary>Makes <c>images</c>, <c>load</c>, <c>pull</c> and <c>rmi</c>, as docker's users type.</summary>
    internal static IEnumerable<Command> ShortForms() => [List("images"), Load(), Pull(), Remove("rmi")];

    private static Command List(string name)
    {
        var list = Images();
        var all = new Option<bool>("--all", "-a") { Description = "Taken for docker's sake: no image here is a step of another" };
        var digests = new Option<bool>("--digests") { Description = "Show digests, too" };
        var reference = new Argument<string?>("repository") { Arity = ArgumentArity.ZeroOrOne };
        var command = new Command(name, "List images") { all, digests, reference };
        list.AddTo(command, "before=, dangling=, label=, reference=, since=, until=");
        command.SetAction(async parsed =>
        {
            var printer = list.Printer(parsed, parsed.GetValue(digests) ? WithDigests : null);
            using var client = DaemonClient.For(parsed);
            string[] wanted = parsed.GetValue(reference) is { } only ? [$"reference={only}"] : [];
            using var answer = await client.GetAsync("images/json" + EachContainer.Query(("filters", list.Filters(parsed, wanted))));
            var images = answer.RootElement.EnumerateArray();
            var lines = new List<JsonElement>();
            foreach (var image in images)
            {
                AddNamed(lines, image);
            }

            list.Print(parsed, printer, lines, images);
            return ExitCode.Ok;
        });
        return command;
    }

    private static Listing Images() => new(
        "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        new("ID", "IMAGE ID", (i, whole) => Listing.ShortId(i.Text("Id"), whole)),
        new("Repository", "REPOSITORY", (i, _) => i.Text("Repository")),
        new("Tag", "TAG", (i, _) => i.Text("Tag")),
        new("Digest", "DIGEST", (i, _) => i.Text("Digest")),
        new("CreatedSince", "CREATED", (i, _) => Humanly.Ago(DateTimeOffset.FromUnixTimeSeconds(i.Number("Created")), DateTimeOffset.UtcNow)),
        new("CreatedAt", "CREATED AT", (i, _) => Listing.Created(i)),
        new("Size", "SIZE", (i, _) => Humanly.Size(i.Number("Size"))),
        new("Containers", "CONTAINERS", (i, _) => i.Number("Containers") is >= 0 and var count ? count.ToString(CultureInfo.InvariantCulture) : "N/A"),
        new("VirtualSize", "SIZE", (i, _) => Pruning.Size(i.Number("Size"))),
        new("SharedSize", "SHARED SIZE", (i, _) => i.Number("SharedSize") is >= 0 and var size ? Humanly.Size(size) : "N/A"),
        new("UniqueSize", "UNIQUE SIZE", (i, _) => i.Number("SharedSize") is >= 0 and var size ? Humanly.Size(i.Number("Size") - size) : "N/A"));

    /// <summary>A line for each of its names, with what docker makes of the name.</summary>
    private static void AddNamed(List<JsonElement> lines, JsonElement image)
    {
        var digests = image.Texts("RepoDigests").ToList();
        var names = image.Texts("RepoTags").ToList();
        if (names.Count == 0)
        {
            names = [.. digests.Select(digest => digest[..digest.IndexOf('@', StringComparison.Ordinal)] + ":<none>").DefaultIfEmpty("<none>:<none>")];
        }

        foreach (var name in names)
        {
            var colon = name.LastIndexOf(':');
            var repository = name[..colon];
            var digest = digests.Find(each => each.StartsWith(repository + "@", StringComparison.Ordinal));
            lines.Add(DaemonJson.Made(json =>
            {
                json.WriteString("Repository", repository);
                json.WriteString("Tag", name[(colon + 1)..]);
                json.WriteString("Digest", digest is null ? "<none>" : digest[(repository.Length + 1)..]);
                foreach (var member in image.EnumerateObject())
                {
                    member.WriteTo(json);
                }
            }));
        }
    }

    private static Command Load()
    {
        var input = new Option<string?>("--input", "-i") { Description = "Read this file (default: standard input)", HelpName = "file" };
        var quiet = new Option<bool>("--quiet", "-q") { Description = "Show no progress" };
        var command = new Command("load", "Load images from an OCI layout or a docker archive (tar)") { input, quiet };
        command.SetAction(async parsed =>
        {
            if (parsed.GetValue(input) is null && !Console.IsInputRedirected)
            {
                throw new EdgeHostException(ErrorKind.Invalid, "nothing to load: name a file with --input, or pipe an archive in");
            }

            using var client = DaemonClient.For(parsed);
            await using var archive = Open(parsed.GetValue(input));
            var output = parsed.InvocationConfiguration.Output;
            using var response = await SendAsync(client, archive, new Progress(output, !parsed.GetValue(quiet) && Screen.IsLive(output)));
            await ImagePull.FollowAsync(response, output, terminal: false);
            return ExitCode.Ok;
        });
        return command;
    }

    // The daemon unpacks while it reads, so what was sent is what is done.
    private static async Task<HttpResponseMessage> SendAsync(DaemonClient client, Stream archive, Progress progress)
    {
        using (progress)
        {
            long? total = archive.CanSeek ? archive.Length : null;
            var counted = new CountedStream(archive, read => progress.Show(() => total is { } all
                ? $"loading {Progress.Bar(read, all)} {Humanly.Size(read)} of {Humanly.Size(all)}"
                : $"loading {Humanly.Size(read)}"));
            using var content = new StreamContent(counted);
            content.Headers.ContentType = new("application/x-tar");
            return await client.SendAsync(HttpMethod.Post, "images/load?quiet=1", content);
        }
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
            await ImagePull.RunAsync(client, name, parsed.GetValue(quiet) ? null : parsed.InvocationConfiguration.Output, Screen.IsLive(parsed.InvocationConfiguration.Output));
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
                    exit = e.Kind == ErrorKind.NotFound && parsed.GetValue(force) ? exit : ExitCode.Failed;
                }
            }

            return exit;
        });
        return command;
    }

    private static Command Inspect() =>
        InspectCommand.Make("image", "Show all that is known of images, as JSON", (client, _, name) => client.GetAsync($"images/{DaemonClient.Escape(name)}/json"));

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
            throw new EdgeHostException(ErrorKind.Invalid, $"{file} cannot be read: {(Directory.Exists(file) ? "it is a directory" : e.Message)}", e);
        }
    }
}
