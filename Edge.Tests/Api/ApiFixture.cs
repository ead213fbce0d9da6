using System.Net.Sockets;
using Edge.Tests.Fixtures;
using EdgeHost.Api;
using EdgeHost.Networks;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>The API on a socket of its own, over an engine in memory.</summary>
public sealed class ApiFixture : IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-api-").FullName;
    private ApiServer? _server;

    internal MemoryImages Images { get; } = new();

    internal MemoryEngine Engine { get; private set; } = null!;

    /// <summary>Records only: no container has anything of them.</summary>
    internal NetworkHost Networks { get; private set; } = null!;

    internal string Socket => Path.Combine(_directory, "edgehost.sock");

    internal HttpClient Http { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Engine = new MemoryEngine(Images, _directory);
        Networks = new NetworkHost(new NetworkOptions { DataDirectory = _directory }, NullLogger.Instance);
        _server = new ApiServer(new ApiOptions(Socket, null, _directory), Engine, Images, Networks, NullLoggerFactory.Instance);
        await _server.StartAsync(TestContext.Current.CancellationToken);
        Http = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) => new NetworkStream(await ConnectAsync(cancel), true),
        })
        {
            BaseAddress = new Uri("http://edgehost/v1.44/"),
        };
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (_server is not null)
        {
            using var now = new CancellationTokenSource();
            await now.CancelAsync();
            await _server.StopAsync(now.Token);
            await _server.DisposeAsync();
        }

        Directory.Delete(_directory, true);
    }

    internal async Task<Socket> ConnectAsync(CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(Socket), cancel);
        return socket;
    }

    /// <summary>Runs docker's own client against the API.</summary>
    internal Task<CommandRun> DockerAsync(params string[] arguments) =>
        CommandRun.RunAsync("docker", ["-H", $"unix://{Socket}", .. arguments]);
}
