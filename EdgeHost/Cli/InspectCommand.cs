using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost inspect</c>, and what it has in common with the <c>inspect</c> of images, networks and volumes.</summary>
internal static class InspectCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var type = new Option<string?>("--type") { Description = "container, image, network or volume (default: whichever is found first)", HelpName = "type" };
        var command = Make("name", "Show all that is known of containers, images, networks or volumes, as JSON", (client, parsed, name) => FindAsync(client, parsed.GetValue(type), name));
        command.Add(type);
        return command;
    }

    /// <summary>Makes an <c>inspect</c>.</summary>
    /// <param name="argument">What is named.</param>
    /// <param name="description">What it shows.</param>
    /// <param name="find">Asks the daemon for one.</param>
    internal static Command Make(string argument, string description, Func<DaemonClient, ParseResult, string, Task<JsonDocument>> find)
    {
        var names = new Argument<string[]>(argument) { Arity = ArgumentArity.OneOrMore };
        var format = DocumentTemplate.Option("-f");
        var command = new Command("inspect", description) { format, names };
        command.SetAction(async parsed =>
        {
            var template = DocumentTemplate.Of(parsed.GetValue(format));
            using var client = DaemonClient.For(parsed);
            var found = new List<JsonElement>();
            var exit = ExitCode.Ok;
            foreach (var name in parsed.GetValue(names)!)
            {
                try
                {
                    using var answer = await find(client, parsed, name);
                    found.Add(answer.RootElement.Clone());
                }
                catch (EdgeHostException e) when (e.Kind is ErrorKind.NotFound or ErrorKind.Invalid or ErrorKind.Internal)
                {
                    parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                    exit = ExitCode.Failed;
                }
            }

            var output = parsed.InvocationConfiguration.Output;
            if (template is null)
            {
                output.WriteLine(DaemonJson.Indented(found));
            }
            else
            {
                template.PrintAll(found, output);
            }

            return exit;
        });
        return command;
    }

    private static async Task<JsonDocument> FindAsync(DaemonClient client, string? type, string name)
    {
        if (type is not (null or "container" or "image" or "network" or "volume"))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"--type {type}: not container, image, network or volume");
        }

        var escaped = DaemonClient.Escape(name);
        foreach (var path in (string[])[$"containers/{escaped}/json", $"images/{escaped}/json", $"networks/{escaped}", $"volumes/{escaped}"])
        {
            if (type is not null && !path.StartsWith(type, StringComparison.Ordinal))
            {
                continue;
            }

            try
            {
                return await client.GetAsync(path);
            }
            catch (EdgeHostException e) when (type is null && e.Kind == ErrorKind.NotFound)
            {
                // Perhaps it is of another kind.
            }
        }

        throw new EdgeHostException(ErrorKind.NotFound, $"no such object: {name}");
    }
}

/// <summary>The template by which a command prints documents of the daemon.</summary>
internal sealed class DocumentTemplate
{
    private readonly Template? _template;

    private DocumentTemplate(Template? template) => _template = template;

    /// <summary>Makes the option.</summary>
    internal static Option<string?> Option(params string[] letter) =>
        Listing.FormatOption("Print by a template, as in '{{.Id}}' or '{{json .Labels}}'; 'json' as JSON on one line", letter);

    /// <summary>Parses; null when none is asked for.</summary>
    /// <exception cref="TemplateException">It is wrong; the exit code is docker's.</exception>
    internal static DocumentTemplate? Of(string? format)
    {
        try
        {
            return string.IsNullOrEmpty(format) ? null : new DocumentTemplate(format == "json" ? null : new Template(format));
        }
        catch (TemplateException e)
        {
            throw new TemplateException(e.Message) { ExitCode = ExitCode.BadTemplate };
        }
    }

    /// <summary>Prints a line for each, or all as one JSON list.</summary>
    internal void PrintAll(List<JsonElement> documents, TextWriter output)
    {
        var lines = documents.ConvertAll(Text);
        if (_template is null)
        {
            output.WriteLine($"[{string.Join(',', lines)}]");
        }
        else
        {
            lines.ForEach(output.WriteLine);
        }
    }

    /// <summary>What is printed for one.</summary>
    internal string Text(JsonElement document) => _template is null
        ? TemplateText.Json(new JsonPart(document, string.Empty))
        : _template.Run(new JsonPart(document, string.Empty));
}
