using EdgeHost.Api;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.State;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>The one place where the daemon's parts are plugged together. Services start in this order and stop in reverse.</summary>
internal static class DaemonComposition
{
    /// <summary>Adds all parts.</summary>
    internal static void Compose(IServiceCollection services, DaemonContext context)
    {
        services.AddSingleton(provider => StateDatabase.Open(Path.Combine(context.Paths.DataDirectory, "state.db"), provider.GetRequiredService<ILogger<StateDatabase>>()));
        services.AddSingleton<IImageStore>(provider => new ImageStore(
            context.Paths.DataDirectory,
            provider.GetRequiredService<StateDatabase>(),
            new ImageStoreOptions { Registries = Registries(context.Configuration.Current) },
            provider.GetRequiredService<ILogger<ImageStore>>()));
        services.AddSingleton<IContainerEngine>(_ => throw new EdgeHostException(ErrorKind.Unsupported, "this build has no engine"));
        AddApi(services, context);
    }

    /// <summary>What the configuration says of registries, with passwords read from their files.</summary>
    internal static Dictionary<string, RegistryOptions> Registries(Configuration configuration) =>
        configuration.Registries.ToDictionary(
            r => r.Key,
            r => new RegistryOptions
            {
                PlainHttp = r.Value.PlainHttp,
                CaFile = r.Value.CaFile,
                Credentials = r.Value is { User: { } user, PasswordFile: { } file }
                    ? new RegistryCredentials(user, ConfigurationReader.ReadSecret($"registries.{r.Key}.passwordFile", file))
                    : null,
            },
            StringComparer.Ordinal);

    /// <summary>Adds the API, which comes last: what it hands out must run.</summary>
    internal static void AddApi(IServiceCollection services, DaemonContext context) =>
        services.AddSingleton<IHostedService>(provider => new ApiServer(
            new ApiOptions(context.Paths.Socket, context.GroupId, context.Paths.DataDirectory),
            provider.GetRequiredService<IContainerEngine>(),
            provider.GetRequiredService<IImageStore>(),
            provider.GetRequiredService<ILoggerFactory>()));
}
