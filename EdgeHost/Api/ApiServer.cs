using System.Net.Sockets;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Networks;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace EdgeHost.Api;

/// <summary>Where the API listens and who may use it.</summary>
/// <param name="SocketPath">An absolute path; its directory exists.</param>
/// <param name="GroupId">The group that may connect (mode 0660); null leaves it to root alone (0600).</param>
/// <param name="DataDirectory">What <c>docker info</c> shows as the root directory.</param>
public sealed record ApiOptions(string SocketPath, uint? GroupId, string DataDirectory)
{
    /// <summary>What <c>docker info</c> shows as the daemon's labels, as <c>name=value</c>.</summary>
    public IReadOnlyList<string> Labels { get; init; } = [];
}

/// <summary>
/// The Docker Engine API and EdgeHost's own paths on a unix socket. The server is used directly, without a web host and
/// its services: that idles with 1 to 4 MB less.
/// </summary>
public sealed class ApiServer : IHostedService, IAsyncDisposable
{
    // A client more than this has its connection closed; each costs some tens of KiB.
    private const int MostConnections = 256;

    private readonly ApiOptions _options;
    private readonly ILoggerFactory _loggers;
    private readonly ApiApplication _application;
    private KestrelServer? _server;
    private Socket? _socket;

    /// <summary>Makes the server; it listens after <see cref="StartAsync"/>.</summary>
    public ApiServer(ApiOptions options, IContainerEngine engine, IImageStore images, NetworkHost networks, ILoggerFactory loggers)
    {
        _options = options;
        _loggers = loggers;
        var log = loggers.CreateLogger("EdgeHost.Api");
        var router = new ApiRouter();
        new SystemEndpoints(engine, images, options).Map(router);
        new EventEndpoints(engine).Map(router);
        var list = new ContainerListEndpoint(engine, images, options);
        list.Map(router);
        new DiskUsageEndpoint(engine, images, list).Map(router);
        new PruneEndpoints(engine, images).Map(router);
        new ContainerCreateEndpoint(engine).Map(router);
        new ContainerInspectEndpoint(engine, images, options).Map(router);
        new ContainerLifecycleEndpoints(engine).Map(router);
        new ContainerUpdateEndpoint(engine).Map(router);
        new ContainerTopEndpoint(engine).Map(router);
        new ContainerOutputEndpoints(engine).Map(router);
        new ExecEndpoints(engine).Map(router);
        new ContainerStatsEndpoint(engine).Map(router);
        new ContainerArchiveEndpoints(engine).Map(router);
        new ContainerChangesEndpoint(engine).Map(router);
        new ImageEndpoints(images, engine).Map(router);
        new ImageTransferEndpoints(images).Map(router);
        new AuthEndpoint(images).Map(router);
        new VolumeEndpoints(engine).Map(router);
        new NetworkEndpoints(engine, networks).Map(router);
        LaterEndpoints.Map(router);
        _application = new ApiApplication(router, log);
    }

    /// <summary>Listens.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: another daemon answers on the socket.</exception>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        _socket = ListeningSocket.Bind(_options.SocketPath, _options.GroupId);
        var options = new KestrelServerOptions { AddServerHeader = false };
        // Each handler names its own bound: a body is a container's few kilobytes or an image of gigabytes.
        options.Limits.MaxRequestBodySize = null;
        options.Limits.MinRequestBodyDataRate = null;
        // An archive is read on a thread of its own, by code that hashes, inflates and writes without async.
        options.AllowSynchronousIO = true;
        // A reader of logs may be as slow as it likes: it holds up nobody but itself.
        options.Limits.MinResponseDataRate = null;
        options.Limits.MaxConcurrentConnections = MostConnections;
        options.ListenHandle((ulong)_socket.Handle, listen =>
        {
            listen.Protocols = HttpProtocols.Http1;
            listen.Use(ConnectionClaim.Middleware);
        });

        // An answer goes out before what it has left for other threads to do. Whoever here waits for more of a request
        // without await does so in a thread of its own.
        var transport = new SocketTransportFactory(Options.Create(new SocketTransportOptions { UnsafePreferInlineScheduling = true }), _loggers);
        _server = new KestrelServer(Options.Create(options), transport, _loggers);
        await _server.StartAsync(_application, cancellationToken);
    }

    /// <summary>Stops listening and lets requests that are under way end until <paramref name="cancellationToken"/> fires.</summary>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_server is not null)
        {
            await _server.StopAsync(cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _server?.Dispose();
        _socket?.Dispose();
    }
}
