using System.Runtime.InteropServices;
using EdgeHost.Board;
using EdgeHost.Cli;
using EdgeHost.Errors;
using EdgeHost.Linux;
using EdgeHost.Networks;
using EdgeHost.Runtime.Shepherd;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace EdgeHost;

/// <summary>What the parts of the daemon are given.</summary>
/// <param name="Paths">Where it reads and writes.</param>
/// <param name="Configuration">What the operator has decided.</param>
/// <param name="GroupId">The group <c>edgehost</c>; null when the host has none, and everything is root's alone.</param>
public sealed record DaemonContext(DaemonPaths Paths, ConfigurationSource Configuration, uint? GroupId)
{
    /// <summary>Whether the shepherd is a service of its own, which the daemon does not start.</summary>
    public bool ExternalShepherd { get; init; }
}

/// <summary><c>edgehost daemon</c>: a Generic Host around the parts that <see cref="DaemonComposition"/> plugs in.</summary>
public static partial class Daemon
{
    private const string Group = "edgehost";

    // What a stop may take: containers go on, so there are only requests and connections to end.
    private static readonly TimeSpan StopWithin = TimeSpan.FromSeconds(10);

    /// <summary>Runs it until SIGTERM or SIGINT.</summary>
    /// <returns>The exit code.</returns>
    /// <exception cref="EdgeHostException">It cannot start; one line says why.</exception>
    public static int Run(DaemonFlags flags)
    {
        HugePages.Refuse();
        ProgramPages.ProtectTypeTables();
        var paths = DaemonPaths.From(flags.ConfigFile, flags.DataDirectory, flags.RunDirectory, Environment.GetEnvironmentVariable);
        using var log = new DaemonLog(Console.OpenStandardError(), ServiceSupervisor.LogsToJournal);
        if (flags.Leaves)
        {
            Leave(paths, log);
            return ExitCode.Ok;
        }

        // As its unit has it, where something else started it.
        var notSpared = Processes.TrySpareThis(ShepherdCommand.DaemonSparedBy);
        using var running = Start(paths, Environment.GetEnvironmentVariable, log, (services, context) =>
            DaemonComposition.Compose(services, context with { ExternalShepherd = flags.ExternalShepherd }));
        log.Least = running.Configuration.Current.LogLevel;
        if (notSpared is not null)
        {
            LogNotSpared(log.CreateLogger("EdgeHost.Daemon"), notSpared);
        }

        running.Configuration.OnChange("logLevel", configuration =>
        {
            log.Least = configuration.LogLevel;
            return true;
        });

        // systemd's ExecReload; also what administrators of other daemons type.
        using var hangUp = PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal =>
        {
            signal.Cancel = true;
            _ = running.Configuration.Reload();
        });
        running.RunToEnd();
        return ExitCode.Ok;
    }

    /// <summary>Takes bridges and rules out of the kernel.</summary>
    private static void Leave(DaemonPaths paths, DaemonLog log)
    {
        if (Directory.Exists(paths.DataDirectory))
        {
            using var alone = DirectoryLock.Take(paths.DataDirectory);
            var logger = log.CreateLogger("EdgeHost.Daemon");
            using var networks = new NetworkHost(
                DaemonComposition.Networks(new DaemonContext(paths, new ConfigurationSource(paths, Environment.GetEnvironmentVariable, logger), null)), logger);
            if (networks.Networks.Count > 0)
            {
                networks.RemoveFromKernel();
            }
        }
    }

    /// <summary>Takes the directories and starts all parts; returns when they run.</summary>
    internal static RunningDaemon Start(
        DaemonPaths paths,
        Func<string, string?> environment,
        ILoggerProvider log,
        Action<IServiceCollection, DaemonContext> compose)
    {
        var logger = log.CreateLogger("EdgeHost.Daemon");
        var configuration = new ConfigurationSource(paths, environment, logger);
        if (SystemMemory.TotalBytes is var memory and < BoardCheck.LeastMemory)
        {
            LogLittleMemory(logger, memory >> 20, BoardCheck.LeastMemory >> 20);
        }

        var group = SystemGroup.Find(Group);
        // The group reaches its credential files in the data directory by name, and lists nothing.
        OwnedDirectory.Create(paths.DataDirectory, group is null ? 0x1C0u : 0x1C8u, group); // 0700, 0710
        OwnedDirectory.Create(paths.RunDirectory, 0x1ED, null); // 0755
        var locks = new List<DirectoryLock>();
        IHost? host = null;
        var started = false;
        try
        {
            locks.Add(DirectoryLock.Take(paths.DataDirectory));
            locks.Add(DirectoryLock.Take(paths.RunDirectory));
            DurableFile.Sweep(paths.DataDirectory);
            if (group is null)
            {
                LogNoGroup(logger, Group, paths.Socket);
            }

            host = Build(new DaemonContext(paths, configuration, group), log, compose);
            host.Start();
            started = true;
            return new RunningDaemon(host, configuration, locks, logger, paths);
        }
        catch (AggregateException e) when (e.InnerExceptions.OfType<EdgeHostException>().FirstOrDefault() is { } cause)
        {
            throw new EdgeHostException(cause.Kind, cause.Message, e);
        }
        finally
        {
            if (!started)
            {
                host?.Dispose();
                locks.ForEach(l => l.Dispose());
            }
        }
    }

    private static IHost Build(DaemonContext context, ILoggerProvider log, Action<IServiceCollection, DaemonContext> compose)
    {
        // The empty builder reads no files and no variables: 1.4 MB of memory and 6 ms less than the usual one.
        var builder = Host.CreateEmptyApplicationBuilder(new HostApplicationBuilderSettings { ApplicationName = "edgehost", ContentRootPath = "/" });
        builder.Services.AddSingleton(log);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = StopWithin);
        builder.Services.Configure<ConsoleLifetimeOptions>(options => options.SuppressStatusMessages = true);
        builder.Services.AddSingleton(context);
        compose(builder.Services, context);
        if (ServiceSupervisor.WatchdogInterval is { } interval)
        {
            builder.Services.AddHostedService(_ => new WatchdogBeat(interval));
        }

        return builder.Build();
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "this board has {Memory} MiB of memory, and {Least} are needed: whatever runs on it may be ended for want of memory, EdgeHost last; use a bigger board")]
    private static partial void LogLittleMemory(ILogger log, long memory, long least);

    [LoggerMessage(Level = LogLevel.Warning, Message = "there is no group {Name}: only root can use {Socket}; 'groupadd --system edgehost' and a restart change that")]
    private static partial void LogNoGroup(ILogger log, string name, string socket);

    [LoggerMessage(Level = LogLevel.Information, Message = "when the board is out of memory, the daemon is ended like any other process: {Why}")]
    private static partial void LogNotSpared(ILogger log, string why);

    /// <summary>Tells systemd twice in its interval that work is still done.</summary>
    private sealed class WatchdogBeat(TimeSpan interval) : BackgroundService
    {
        protected override async Task ExecuteAsync(CancellationToken stoppingToken)
        {
            using var timer = new PeriodicTimer(interval / 2);
            try
            {
                do
                {
                    ServiceSupervisor.Notify("WATCHDOG=1");
                }
                while (await timer.WaitForNextTickAsync(stoppingToken));
            }
            catch (OperationCanceledException)
            {
                // The stop that ends every background service.
            }
        }
    }
}

/// <summary>A daemon whose parts run.</summary>
internal sealed partial class RunningDaemon(
    IHost host,
    ConfigurationSource configuration,
    List<DirectoryLock> locks,
    ILogger log,
    DaemonPaths paths) : IDisposable
{
    internal ConfigurationSource Configuration => configuration;

    /// <summary>Says that it is ready, waits for a signal, and stops the parts in reverse.</summary>
    internal void RunToEnd()
    {
        // What start-up left behind is given back once; afterwards the collector runs when there is something to collect.
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        LogReady(log, paths.Socket);
        ServiceSupervisor.Notify("READY=1");
        var lifetime = host.Services.GetRequiredService<IHostApplicationLifetime>();
        using var stopping = lifetime.ApplicationStopping.Register(() =>
        {
            ServiceSupervisor.Notify("STOPPING=1");
            LogStopping(log);
        });
        host.WaitForShutdown();
    }

    public void Dispose()
    {
        host.Dispose();
        locks.ForEach(l => l.Dispose());
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "ready; the API is at {Socket}")]
    private static partial void LogReady(ILogger log, string socket);

    [LoggerMessage(Level = LogLevel.Information, Message = "stopping; containers go on")]
    private static partial void LogStopping(ILogger log);
}
