using System.CommandLine;
using System.Runtime.InteropServices;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Oci;

namespace EdgeHost.Cli;

/// <summary><c>edgehost login</c>.</summary>
internal static class LoginCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var server = new Argument<string?>("server") { Arity = ArgumentArity.ZeroOrOne };
        var user = new Option<string?>("--username", "-u") { Description = "Who to be" };
        var password = new Option<string?>("--password", "-p") { Description = "Password or access token; others on this host can see it, better --password-stdin" };
        var fromInput = new Option<bool>("--password-stdin") { Description = "Read the password or access token from standard input" };
        var file = FileOption();
        var command = new Command("login", "Log in to a registry (default: Docker Hub)") { user, password, fromInput, file, server };
        command.SetAction(async parsed =>
        {
            var registry = RegistryOf(parsed.GetValue(server));
            var config = DockerConfigFile.Read(parsed.GetValue(file));
            var output = parsed.InvocationConfiguration.Output;
            var error = parsed.InvocationConfiguration.Error;
            var (name, secret) = (parsed.GetValue(user), parsed.GetValue(password));
            if (secret is not null)
            {
                error.WriteLine("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
            }

            using var input = Screen.Input();
            if (parsed.GetValue(fromInput))
            {
                secret = secret is not null ? throw new EdgeHostException(ErrorKind.Invalid, "conflicting options: cannot specify both --password and --password-stdin")
                    : string.IsNullOrEmpty(name) ? throw new EdgeHostException(ErrorKind.Invalid, "the --password-stdin option requires --username to be set")
                    : input.ReadToEnd().TrimEnd('\n').TrimEnd('\r');
            }

            using var client = DaemonClient.For(parsed);
            if (string.IsNullOrEmpty(name) && string.IsNullOrEmpty(secret) && await config.FindAsync(registry) is { } known)
            {
                output.WriteLine($"Authenticating with existing credentials...{(known.User.Length > 0 ? $" [Username: {known.User}]" : string.Empty)}");
                try
                {
                    await LogInAsync(client, registry, known, config, output, error);
                    return ExitCode.Ok;
                }
                catch (EdgeHostException e) when (e.Kind == ErrorKind.Denied && !Console.IsInputRedirected)
                {
                    error.WriteLine($"edgehost: {e.Message}");
                }
            }

            var login = Ask(registry, name, secret, input, output);
            await LogInAsync(client, registry, login, config, output, error);
            return ExitCode.Ok;
        });
        return command;
    }

    /// <summary>The option that names another file than the user's own.</summary>
    internal static Option<string?> FileOption() => new("--authfile")
    {
        Description = "Keep it in this file (default: config.json in $DOCKER_CONFIG or ~/.docker); /etc/edgehost/auth.json is the daemon's own",
        HelpName = "file",
    };

    /// <summary>The registry that a person means.</summary>
    internal static string RegistryOf(string? server) => string.IsNullOrEmpty(server) ? ImageReference.DockerHub : RegistryLogins.RegistryOf(server);

    private static RegistryLogin Ask(string registry, string? name, string? secret, StreamReader input, TextWriter output)
    {
        if ((string.IsNullOrEmpty(name) || string.IsNullOrEmpty(secret)) && Console.IsInputRedirected)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "Cannot perform an interactive login from a non TTY device; give --username and --password-stdin");
        }

        if (string.IsNullOrEmpty(name))
        {
            output.Write($"Username for {registry}: ");
            name = input.ReadLine()?.Trim();
            name = string.IsNullOrEmpty(name) ? throw new EdgeHostException(ErrorKind.Invalid, "username is required") : name;
        }

        if (string.IsNullOrEmpty(secret))
        {
            output.Write("Password: ");
            using (var echo = ChangedTerminal.HideInput())
            {
                // Whoever gives up here wants to see what is typed next.
                using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, _ => echo?.Dispose());
                secret = input.ReadLine();
            }

            output.WriteLine();
            secret = string.IsNullOrEmpty(secret) ? throw new EdgeHostException(ErrorKind.Invalid, "password is required") : secret;
        }

        return new RegistryLogin(name, secret, null);
    }

    private static async Task LogInAsync(DaemonClient client, string registry, RegistryLogin login, DockerConfigFile config, TextWriter output, TextWriter error)
    {
        using var answer = await client.PostAsync("auth", RegistryAuth.Json(registry, login));
        if (answer.RootElement.Text("IdentityToken") is { Length: > 0 } token)
        {
            login = new RegistryLogin(login.User, string.Empty, token);
        }

        if (await config.StoreAsync(registry, login))
        {
            error.WriteLine();
            error.WriteLine($"WARNING! Your credentials are stored unencrypted in '{config.Path}'.");
            error.WriteLine("Configure a credential helper to remove this warning.");
            error.WriteLine();
        }

        output.WriteLine(answer.RootElement.Text("Status"));
    }
}
