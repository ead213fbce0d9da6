using System.CommandLine;

namespace EdgeHost.Cli;

/// <summary><c>edgehost logout</c>.</summary>
internal static class LogoutCommand
{
    /// <summary>Makes the command.</summary>
    internal static Command Create()
    {
        var server = new Argument<string?>("server") { Arity = ArgumentArity.ZeroOrOne };
        var file = LoginCommand.FileOption();
        var command = new Command("logout", "Log out from a registry (default: Docker Hub)") { file, server };
        command.SetAction(async parsed =>
        {
            var registry = LoginCommand.RegistryOf(parsed.GetValue(server));
            parsed.InvocationConfiguration.Output.WriteLine($"Removing login credentials for {Oci.RegistryLogins.KeyOf(registry)}");
            await DockerConfigFile.Read(parsed.GetValue(file)).EraseAsync(registry);
            return ExitCode.Ok;
        });
        return command;
    }
}
