using System.Net;
using EdgeHost.Api;
using EdgeHost.Engine;
using EdgeHost.Images;
using EdgeHost.Mqtt;
using EdgeHost.Networks;
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
        services.AddSingleton<IImageStore>(provider =>
        {
            var logins = new DaemonLogins(DaemonLogins.FileOf(context.Paths), provider.GetRequiredService<ILoggerFactory>().CreateLogger<DaemonLogins>());
            var store = new ImageStore(
                context.Paths.DataDirectory,
                provider.GetRequiredService<StateDatabase>(),
                new ImageStoreOptions { Registries = Registries(context.Configuration.Current), Logins = logins.FindAsync },
                provider.GetRequiredService<ILogger<ImageStore>>());
            context.Configuration.OnChange("registries", configuration =>
            {
                store.UseRegistries(Registries(configuration));
                return true;
            });
            return store;
        });
        services.AddSingleton(_ => new DeviceName(DeviceId.Resolve(context.Configuration.Current.DeviceId, context.Paths.DataDirectory)));
        services.AddSingleton(provider => Grants(context, provider.GetRequiredService<DeviceName>().Id));
        services.AddSingleton(provider => new ContainerEngine(
            Engine(context) with { Secrets = provider.GetRequiredService<WorkloadGrants>() },
            provider.GetRequiredService<IImageStore>(),
            provider.GetRequiredService<NetworkHost>(),
            provider.GetRequiredService<StateDatabase>(),
            provider.GetRequiredService<ILogger<ContainerEngine>>()));
        services.AddSingleton<IContainerEngine>(provider => provider.GetRequiredService<ContainerEngine>());
        services.AddSingleton<IHostedService>(provider => new EngineService(
            provider.GetRequiredService<ContainerEngine>(), provider.GetRequiredService<IHostApplicationLifetime>()));
        services.AddSingleton<IHostedService>(provider => new DeploymentService(
            context,
            provider.GetRequiredService<IContainerEngine>(),
            provider.GetRequiredService<IImageStore>(),
            provider.GetRequiredService<NetworkHost>(),
            provider.GetRequiredService<WorkloadGrants>(),
            provider.GetRequiredService<DeviceName>().Id,
            Cli.ProductVersion.Read().Version,
            provider.GetRequiredService<ILoggerFactory>()));
        AddApi(services, context);
        services.AddSingleton<IHostedService>(_ => new IdleMemory());
    }

    /// <summary>Where the broker keeps its files.</summary>
    internal static string BrokerDirectory(DaemonContext context) => Path.Combine(context.Paths.DataDirectory, "broker");

    private static WorkloadGrants Grants(DaemonContext context, string device)
    {
        var broker = context.Configuration.Current.Broker;
        return new WorkloadGrants(BrokerDirectory(context), device, broker.Enabled == false ? null : IPEndPoint.Parse(broker.Listen));
    }

    private static EngineOptions Engine(DaemonContext context)
    {
        var configuration = context.Configuration.Current;
        var options = new EngineOptions
        {
            DataDirectory = context.Paths.DataDirectory,
            RunDirectory = context.Paths.RunDirectory,
            ReserveMemoryBytes = configuration.Reserve.Memory,
            HostUsers = configuration.Userns.Host,
            UserRangeFile = configuration.Userns.RangeFile,
            ReservePids = configuration.Reserve.Pids,
            LogSegmentBytes = configuration.Log.MaxSize,
            LogSegments = configuration.Log.MaxFiles,
            LogTotalBytes = configuration.Log.MaxTotal ?? ShareOfDisk(context.Paths.DataDirectory),
            ExternalShepherd = context.ExternalShepherd,
        };
        return configuration.CgroupRoot is { } root ? options with { CgroupRoot = "/" + root.Trim('/') } : options;
    }

    /// <summary>A tenth of a file system, in bytes, for what may grow on it.</summary>
    internal static long ShareOfDisk(string directory)
    {
        using var opened = Linux.Files.OpenDirectory(directory);
        return Math.Max(LogConfiguration.LeastTotal, Linux.DiskSpace.Of(opened).TotalBytes / 10);
    }

    /// <summary>What the configuration says of networks.</summary>
    internal static NetworkOptions Networks(DaemonContext context)
    {
        var network = context.Configuration.Current.Network;
        var options = new NetworkOptions
        {
            DataDirectory = context.Paths.DataDirectory,
            DefaultBridge = network.Bridge,
            EnableIPv6 = network.IPv6,

            // Two daemons on a machine have a bridge and a table each.
            Table = network.Bridge == new NetworkConfiguration().Bridge ? "edgehost" : "edgehost-" + network.Bridge,
            Machine = File.Exists("/etc/machine-id") ? File.ReadAllText("/etc/machine-id").Trim() : Environment.MachineName,
        };
        return network.Pools is { } pools ? options with { Pools = [.. pools.Split(',').Select(each => IPNetwork.Parse(each.Trim()))] } : options;
    }

    /// <summary>What the configuration says of registries, with passwords read from their files.</summary>
    internal static Dictionary<string, RegistryOptions> Registries(Configuration configuration) =>
        configuration.Registries.ToDictionary(
            r => r.Key,
            r => new RegistryOptions
            {
                PlainHttp = r.Value.PlainHttp,
                Insecure = r.Value.Insecure,
                CaFile = r.Value.CaFile,
                Credentials = r.Value is { User: { } user, PasswordFile: { } file }
                    ? new RegistryCredentials(user, ConfigurationReader.ReadSecret($"registries.{r.Key}.passwordFile", file))
                    : null,
            },
            StringComparer.Ordinal);

    /// <summary>Adds the API, which comes last: what it hands out must run.</summary>
    internal static void AddApi(IServiceCollection services, DaemonContext context)
    {
        services.AddSingleton(provider => new NetworkHost(Networks(context), provider.GetRequiredService<ILoggerFactory>().CreateLogger<NetworkHost>()));
        services.AddSingleton<IHostedService>(provider => new ApiServer(
            new ApiOptions(context.Paths.Socket, context.GroupId, context.Paths.DataDirectory)
            {
                // Clients on this host learn from it which device they are on.
                Labels = provider.GetService<DeviceName>() is { } device ? [$"edgehost.device={device.Id}"] : [],
            },
            provider.GetRequiredService<IContainerEngine>(),
            provider.GetRequiredService<IImageStore>(),
            provider.GetRequiredService<NetworkHost>(),
            provider.GetRequiredService<ILoggerFactory>()));
    }
}

/// <summary>The name of this device, fixed for the life of the daemon.</summary>
/// <param name="Id">As in topics.</param>
internal sealed record DeviceName(string Id);
