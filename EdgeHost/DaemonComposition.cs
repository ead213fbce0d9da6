using EdgeHost.Api;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
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
        services.AddSingleton<IImageStore>(_ => throw new EdgeHostException(ErrorKind.Unsupported, "this build has no image store"));
        services.AddSingleton<IContainerEngine>(_ => throw new EdgeHostException(ErrorKind.Unsupported, "this build has no engine"));
        AddApi(services, context);
    }

    /// <summary>Adds the API, which comes last: what it hands out must run.</summary>
    internal static void AddApi(IServiceCollection services, DaemonContext context) =>
        services.AddSingleton<IHostedService>(provider => new ApiServer(
            new ApiOptions(context.Paths.Socket, context.GroupId, context.Paths.DataDirectory),
            provider.GetRequiredService<IContainerEngine>(),
            provider.GetRequiredService<IImageStore>(),
            provider.GetRequiredService<ILoggerFactory>()));
}
