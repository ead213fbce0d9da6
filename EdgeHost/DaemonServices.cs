using System.Net;
using System.Net.Sockets;
using EdgeHost.Board;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Mqtt;
using EdgeHost.Networks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>Brings the engine up: what ran is found again before anybody can ask.</summary>
internal sealed class EngineService(ContainerEngine engine, IHostApplicationLifetime lifetime) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken)
    {
        // The engine stops last, and its shepherd may have been told to end in the same moment as the daemon.
        lifetime.ApplicationStopping.Register(engine.PrepareToEnd);
        return engine.StartAsync(cancellationToken);
    }

    // Containers go on; only the connection to their shepherd ends.
    public Task StopAsync(CancellationToken cancellationToken) => engine.DisposeAsync().AsTask();
}

/// <summary>
/// Deployments and the brokers that they come from. The last deployment is brought back first and needs neither; a
/// broker that cannot listen, or is away, stops nothing else.
/// </summary>
internal sealed partial class DeploymentService(
    DaemonContext context,
    IContainerEngine engine,
    IImageStore images,
    NetworkHost networks,
    WorkloadGrants grants,
    string device,
    string version,
    ILoggerFactory logs) : IHostedService
{
    private readonly SemaphoreSlim _starting = new(1, 1);
    private readonly CancellationTokenSource _stopping = new();
    private readonly ILogger _log = logs.CreateLogger("EdgeHost.Daemon");
    private Reconciler? _reconciler;
    private EmbeddedBroker? _broker;
    private MqttAgent? _agent;
    private bool _isElsewhere;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var configuration = context.Configuration.Current;
        var data = context.Paths.DataDirectory;
        var options = new DeploymentOptions
        {
            Directory = Path.Combine(data, "deployments"),
            Capacity = BoardCapacity.Read(),
            Defaults = Limits(configuration),
            AllowedDevices = configuration.AllowedDevices,
            BootId = SystemIdentity.BootId,
            KeepUnusedBytes = configuration.Images.KeepUnused ?? DaemonComposition.ShareOfDisk(data),
        };
        _reconciler = new Reconciler(options, engine, images, logs.CreateLogger<Reconciler>());
        context.Configuration.OnChange("defaults", UseDefaults);
        context.Configuration.OnChange("devices", UseDevices);
        await _reconciler.StartAsync(cancellationToken).ConfigureAwait(false);
        if (await ConnectionAsync(configuration, cancellationToken).ConfigureAwait(false) is not { } connection)
        {
            return;
        }

        _agent = new MqttAgent(
            connection,
            new AgentOptions { Device = device, Version = version, BootId = SystemIdentity.BootId },
            _reconciler,
            new StateReporter(options, _reconciler, engine, images, new BoardHealthReader(data, BootCounter.Count(data, SystemIdentity.BootId), configuration.HotCelsius)),
            engine,
            logs.CreateLogger<MqttAgent>());
        await _agent.StartAsync(cancellationToken).ConfigureAwait(false);
        context.Configuration.OnChange("mqtt", UseBroker);
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        if (_agent is not null)
        {
            await _agent.StopAsync(cancellationToken).ConfigureAwait(false);
        }

        if (_reconciler is not null)
        {
            await _reconciler.StopAsync(cancellationToken).ConfigureAwait(false);
        }

        if (_broker is not null)
        {
            // Another program may listen there next.
            networks.Offer(null);
            await _broker.StopAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private static DefaultLimits Limits(Configuration configuration) =>
        new(configuration.Defaults.Memory, configuration.Defaults.NanoCpus, configuration.Defaults.Pids);

    private static MqttOptions? Elsewhere(Configuration configuration) => configuration.Mqtt is not { } mqtt ? null : new MqttOptions
    {
        Url = mqtt.Url.OriginalString,
        User = mqtt.User,
        PasswordFile = mqtt.PasswordFile,
        CaFile = mqtt.CaFile,
        CertificateFile = mqtt.CertFile,
        KeyFile = mqtt.KeyFile,
        KeepAlive = TimeSpan.FromSeconds(mqtt.KeepAliveSeconds),
    };

    private bool UseDefaults(Configuration configuration)
    {
        _reconciler!.UseDefaults(Limits(configuration));
        return true;
    }

    private bool UseDevices(Configuration configuration)
    {
        _reconciler!.UseDevices(configuration.AllowedDevices);
        return true;
    }

    /// <summary>From one broker elsewhere to another; to the one in this process, or away from it, is a start.</summary>
    private bool UseBroker(Configuration configuration)
    {
        if (!_isElsewhere || Elsewhere(configuration) is not { } broker)
        {
            return false;
        }

        _agent!.Use(broker);
        return true;
    }

    /// <summary>The broker that is obeyed: the configured one, else the one in this process; null when there is neither.</summary>
    private async Task<MqttOptions?> ConnectionAsync(Configuration configuration, CancellationToken cancel)
    {
        var elsewhere = Elsewhere(configuration);
        _isElsewhere = elsewhere is not null;
        if (configuration.Broker.Enabled ?? elsewhere is null)
        {
            await StartBrokerAsync(configuration, cancel).ConfigureAwait(false);
        }
        else if (configuration.Broker.Enabled is null)
        {
            // It runs once a workload has a grant.
            grants.Needed += () => _ = StartBrokerAsync(configuration, CancellationToken.None);
            if (Granted().Any())
            {
                await StartBrokerAsync(configuration, cancel).ConfigureAwait(false);
            }
        }

        return elsewhere ?? _broker?.DeviceConnection;
    }

    private IEnumerable<WorkloadGrant> Granted() => engine.List().Select(WorkloadGrant.Read).OfType<WorkloadGrant>();

    private async Task StartBrokerAsync(Configuration configuration, CancellationToken cancel)
    {
        await _starting.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (_broker is not null)
            {
                return;
            }

            var listen = IPEndPoint.Parse(configuration.Broker.Listen);
            var broker = new EmbeddedBroker(
                new BrokerOptions { Device = device, Directory = DaemonComposition.BrokerDirectory(context), Address = listen.Address.ToString(), Port = listen.Port },
                grants,
                Granted,
                logs.CreateLogger<EmbeddedBroker>());
            try
            {
                await broker.StartAsync(cancel).ConfigureAwait(false);
                _broker = broker;
                _ = EndVoidAsync(broker);
            }
            catch (EdgeHostException e)
            {
                LogNoBroker(_log, e.Message);
                await broker.DisposeAsync().ConfigureAwait(false);
                return;
            }

            if (listen.AddressFamily == AddressFamily.InterNetwork && IPAddress.IsLoopback(listen.Address))
            {
                Offer(broker.Address);
            }
        }
        finally
        {
            _starting.Release();
        }
    }

    /// <summary>What a container opened ends with it.</summary>
    private async Task EndVoidAsync(EmbeddedBroker broker)
    {
        while (!_stopping.IsCancellationRequested)
        {
            try
            {
                var events = engine.WatchAsync(_stopping.Token);
                await broker.EndVoidAsync().ConfigureAwait(false);
                await foreach (var happened in events.ConfigureAwait(false))
                {
                    if (happened is { Type: "container", Action: "destroy" })
                    {
                        await broker.EndVoidAsync().ConfigureAwait(false);
                    }
                }
            }
            catch (OperationCanceledException)
            {
                return;
            }
            catch (EdgeHostException)
            {
                // It fell behind, and looks at all of them again.
            }
        }
    }

    private void Offer(IPEndPoint broker)
    {
        try
        {
            networks.Offer(broker);
        }
        catch (EdgeHostException e)
        {
            LogNotOffered(_log, e.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "the embedded broker does not run: {Why}; containers go on; mend that, or set broker.listen, and restart the daemon")]
    private static partial void LogNoBroker(ILogger log, string why);

    [LoggerMessage(Level = LogLevel.Error, Message = "containers on bridges do not reach the embedded broker: {Why}")]
    private static partial void LogNotOffered(ILogger log, string why);
}
