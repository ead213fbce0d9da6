using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Edge.Tests.Fixtures;
using EdgeHost.Mqtt;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Mqtt;

/// <summary>A broker with an operator and a device, and the arguments that lead mosquitto's tools to it.</summary>
internal abstract class BrokerUnderTest : IAsyncDisposable
{
    public const string Device = "board-1";

    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public abstract MqttOptions DeviceConnection { get; }

    public abstract MqttOptions OperatorConnection { get; }

    public Topics Topics { get; } = new(Device);

    /// <summary>For mosquitto's tools, as the operator.</summary>
    public string Arguments
    {
        get
        {
            var (host, port, _) = OperatorConnection.Endpoint();
            return string.Create(CultureInfo.InvariantCulture, $"-h {host} -p {port} -u {OperatorConnection.User} -P {OperatorConnection.Password}");
        }
    }

    /// <summary>Has mosquitto's broker and tools installed.</summary>
    public static Task NeedMosquittoAsync() => Packages.NeedAsync("mosquitto", "mosquitto-clients");

    public static async Task<BrokerUnderTest> StartAsync(string kind) => kind switch
    {
        "embedded" => await EmbeddedUnderTest.StartAsync(),
        "mosquitto" => await MosquittoUnderTest.StartAsync(),
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "no such broker"),
    };

    public abstract ValueTask DisposeAsync();

    public async Task PublishAsync(string topic, byte[] payload, params string[] more)
    {
        using var file = new TemporaryFile(payload);
        await RunAsync("mosquitto_pub", [.. Arguments.Split(' '), "-q", "1", "-t", topic, "-f", file.Path, .. more]);
    }

    public async Task<string> ReadAsync(string topic) =>
        (await RunAsync("mosquitto_sub", [.. Arguments.Split(' '), "-C", "1", "-W", "60", "-t", topic])).TrimEnd('\n');

    /// <summary>Runs a program to its end.</summary>
    public static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var (code, output, error) = await TryRunAsync(program, arguments);
        Assert.True(code == 0, $"{program} {string.Join(' ', arguments)} ended with {code}: {output}{error}");
        return output;
    }

    public static async Task<(int Code, string Output, string Error)> TryRunAsync(string program, params string[] arguments)
    {
        await NeedMosquittoAsync();
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var process = Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start");
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        using var timeout = new CancellationTokenSource(Patience);
        try
        {
            await process.WaitForExitAsync(timeout.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            throw new TimeoutException($"{program} {string.Join(' ', arguments)} did not end");
        }

        return (process.ExitCode, await output, await error);
    }

    public static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}

/// <summary>A file for a tool to read.</summary>
internal sealed class TemporaryFile : IDisposable
{
    public TemporaryFile(byte[] content) => File.WriteAllBytes(Path, content);

    public string Path { get; } = System.IO.Path.GetTempFileName();

    public void Dispose() => File.Delete(Path);
}

/// <summary>The broker of the daemon.</summary>
internal sealed class EmbeddedUnderTest : BrokerUnderTest
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-broker-").FullName;
    private readonly BrokerLog _log = new();

    private EmbeddedUnderTest(Func<BrokerOptions, BrokerOptions>? configure)
    {
        Options = new BrokerOptions { Device = Device, Directory = Path.Combine(_directory, "broker"), Port = 0 };
        Options = configure?.Invoke(Options) ?? Options;
        Broker = Make();
    }

    /// <summary>The grants of the containers that there are.</summary>
    public List<WorkloadGrant> Granted { get; } = [];

    /// <summary>What it warned of.</summary>
    public IReadOnlyCollection<string> Warnings => _log.Lines;

    public BrokerOptions Options { get; private set; }

    public EmbeddedBroker Broker { get; private set; }

    public override MqttOptions DeviceConnection => Broker.DeviceConnection;

    public override MqttOptions OperatorConnection => DeployClient.ReadOperator(Broker.OperatorFile);

    public static async Task<EmbeddedUnderTest> StartAsync(Func<BrokerOptions, BrokerOptions>? configure = null)
    {
        await NeedMosquittoAsync();
        var broker = new EmbeddedUnderTest(configure);
        await broker.Broker.StartAsync(CancellationToken.None);
        return broker;
    }

    /// <summary>Lets a container of a workload in.</summary>
    public (string User, string Password) Grant(string workload, string container = "c1", params string[] subscribe)
    {
        var grant = new WorkloadGrant(workload, container, subscribe);
        Granted.Add(grant);
        return (WorkloadGrants.UserPrefix + workload, Grants().PasswordOf(workload, container));
    }

    /// <summary>One that wants the same port; not started.</summary>
    public EmbeddedBroker MakeAnother() => new(Options with { Port = Broker.Address.Port }, Grants(), () => [], NullLogger<EmbeddedBroker>.Instance);

    public async Task StopBrokerAsync() => await Broker.DisposeAsync();

    /// <summary>A new broker on the same disk and port.</summary>
    public async Task StartAgainAsync()
    {
        Options = Options with { Port = Broker.Address.Port };
        Broker = Make();
        await Broker.StartAsync(CancellationToken.None);
    }

    public override async ValueTask DisposeAsync()
    {
        await Broker.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
    }

    private WorkloadGrants Grants() => new(Options.Directory, Options.Device, IPEndPoint.Parse("127.0.0.1:1883"));

    private EmbeddedBroker Make() => new(Options, Grants(), () => Granted, _log);

    private sealed class BrokerLog : ILogger<EmbeddedBroker>
    {
        internal ConcurrentQueue<string> Lines { get; } = new();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel))
            {
                Lines.Enqueue(formatter(state, exception));
            }
        }
    }
}

/// <summary>Debian's mosquitto with a password file.</summary>
internal sealed class MosquittoUnderTest : BrokerUnderTest
{
    private const string Password = "secret";

    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-mosquitto-").FullName;
    private readonly string _listener;
    private readonly int _port = FreePort();
    private Process? _process;

    private MosquittoUnderTest(string listener) => _listener = listener;

    public override MqttOptions DeviceConnection => new() { Url = Url, User = "device", Password = Password, ReconnectDelay = TimeSpan.FromMilliseconds(100) };

    public override MqttOptions OperatorConnection => new() { Url = Url, User = "operator", Password = Password };

    public string Url => string.Create(CultureInfo.InvariantCulture, $"mqtt://127.0.0.1:{_port}");

    public int Port => _port;

    /// <summary>Starts it with more lines for its listener, where {dir} is its directory, in which files can be prepared.</summary>
    public static async Task<MosquittoUnderTest> StartAsync(string listener = "", Action<string>? prepare = null)
    {
        await NeedMosquittoAsync();
        var broker = new MosquittoUnderTest(listener);
        prepare?.Invoke(broker._directory);
        await broker.StartProcessAsync();
        return broker;
    }

    public string PathOf(string name) => Path.Combine(_directory, name);

    public async Task StartProcessAsync()
    {
        var passwords = PathOf("passwords");
        await File.WriteAllTextAsync(passwords, $"device:{Password}\noperator:{Password}\n");
        await RunAsync("mosquitto_passwd", "-U", passwords);
        var configuration = PathOf("mosquitto.conf");
        await File.WriteAllTextAsync(configuration, string.Create(CultureInfo.InvariantCulture, $"""
            user root
            listener {_port} 127.0.0.1
            allow_anonymous false
            password_file {passwords}
            persistence true
            persistence_location {_directory}/
            autosave_on_changes true
            autosave_interval 1
            {_listener.Replace("{dir}", _directory, StringComparison.Ordinal)}

            """));
        _process = Process.Start(new ProcessStartInfo("mosquitto", ["-c", configuration, "-v"]) { RedirectStandardError = true, RedirectStandardOutput = true })
            ?? throw new InvalidOperationException("mosquitto did not start");
        var running = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var log = new StringBuilder();
        void OnLine(object? sender, DataReceivedEventArgs line)
        {
            lock (log)
            {
                log.AppendLine(line.Data);
            }

            if (line.Data?.EndsWith(" running", StringComparison.Ordinal) == true)
            {
                running.TrySetResult();
            }
        }

        _process.ErrorDataReceived += OnLine;
        _process.OutputDataReceived += OnLine;
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        var exited = _process.WaitForExitAsync();
        if (await Task.WhenAny(running.Task, exited).WaitAsync(Patience) == exited)
        {
            throw new InvalidOperationException($"mosquitto ended: {log}");
        }
    }

    public async Task StopProcessAsync()
    {
        if (_process is { } process)
        {
            process.Kill();
            await process.WaitForExitAsync();
            process.Dispose();
            _process = null;
        }
    }

    public override async ValueTask DisposeAsync()
    {
        await StopProcessAsync();
        Directory.Delete(_directory, recursive: true);
    }
}
