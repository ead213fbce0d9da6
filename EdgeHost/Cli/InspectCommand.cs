using System.CommandLine;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Cli;

/// <summary><c>edgehost inspect</c>.</summary>
internal static class InspectCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var names = new Argument<string[]>("name") { Arity = ArgumentArity.OneOrMore };
        var type = new Option<string?>("--type") { Description = "container or image (default: whichever is found first)", HelpName = "type" };
        var command = new Command("inspect", "Show all that is known of containers or images, as JSON") { type, names };
        command.SetAction(async parsed =>
        {
            using var client = DaemonClient.For(parsed);
            var found = new List<JsonElement>();
            var exit = ExitCode.Ok;
            foreach (var name in parsed.GetValue(names)!)
            {
                try
                {
                    found.Add(await FindAsync(client, name, parsed.GetValue(type)));
                }
                catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
                {
                    parsed.InvocationConfiguration.Error.WriteLine($"edgehost: {e.Message}");
                    exit = ExitCode.Failed;
                }
            }

            parsed.InvocationConfiguration.Output.WriteLine(DaemonJson.Indented(found));
            return exit;
        });
        return command;
    }

    private static async Task<JsonElement> FindAsync(DaemonClient client, string name, string? type)
    {
        if (type is not (null or "container" or "image"))
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"--type {type}: not container or image");
        }

        try
        {
            return await GetAsync(client, type == "image" ? "images" : "containers", name);
        }
        catch (EdgeHostException e) when (type is null && e.Kind == ErrorKind.NotFound)
        {
            try
            {
                return await GetAsync(client, "images", name);
            }
            catch (EdgeHostException image) when (image.Kind == ErrorKind.NotFound)
            {
                throw new EdgeHostException(ErrorKind.NotFound, $"no such container or image: {name}", image);
            }
        }
    }

    private static async Task<JsonElement> GetAsync(DaemonClient client, string what, string name)
    {
        using var answer = await client.GetAsync($"{what}/{DaemonClient.Escape(name)}/json");
        return answer.RootElement.Clone();
    }
}
