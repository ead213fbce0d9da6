using System.Collections.Concurrent;
using System.Net.Sockets;
using Edge.Tests.Api;
using EdgeHost;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Edge.Tests.Configuration;

/// <summary>The daemon's start, its locks and its re-read, over an engine in memory.</summary>
public sealed class DaemonTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-daemon-").FullName;
    private readonly RecordedLog _log = new();

    private DaemonPaths Paths => new(Path.Combine(_directory, "edgehost.json"), false, Path.Combine(_directory, "a/data"), Path.Combine(_directory, "run"));

    public void Dispose()
    {
        _log.Dispose();
        Directory.Delete(_directory, true);
    }

    [Fact]
    public void A_daemon_makes_its_directories_and_answers_on_its_socket()
    {
        using var daemon = Start(Paths);
        Assert.True(Answers(Paths.Socket));
        Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(Paths.DataDirectory) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute));
        Assert.Equal(UnixFileMode.None, File.GetUnixFileMode(Paths.Socket) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute));
    }

    [Fact]
    public void A_second_daemon_on_the_same_data_is_refused_with_the_pid_of_the_first()
    {
        using var daemon = Start(Paths);
        var failure = Assert.Throws<EdgeHostException>(() => Start(Paths with { RunDirectory = Path.Combine(_directory, "run2") }));
        Assert.Equal(ErrorKind.Conflict, failure.Kind);
        Assert.Contains($"{Paths.DataDirectory} is in use by another edgehost daemon (pid {Environment.ProcessId})", failure.Message);
        Assert.True(Answers(Paths.Socket));
    }

    [Fact]
    public void Files_that_had_no_name_yet_when_the_power_was_lost_are_removed_and_those_of_others_are_not()
    {
        string[] left = [".device-id.ab.tmp", "deployments/.accepted.json.1f.tmp", "containers/0123/.container.json.7.tmp"];
        string[] others = ["volumes/box/_data/.mine.tmp", "snapshots/1/fs/.mine.tmp", "deployments/accepted.json"];
        foreach (var file in left.Concat(others).Select(file => Path.Combine(Paths.DataDirectory, file)))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, "whole");
        }

        using var daemon = Start(Paths);

        Assert.DoesNotContain(left, file => File.Exists(Path.Combine(Paths.DataDirectory, file)));
        Assert.All(others, file => Assert.True(File.Exists(Path.Combine(Paths.DataDirectory, file)), file));
    }

    [Fact]
    public void A_daemon_starts_again_after_one_that_left_its_socket_behind()
    {
        using (Start(Paths))
        {
        }

        using (var left = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            left.Bind(new UnixDomainSocketEndPoint(Path.Combine(_directory, "run", "left.sock")));
            File.Move(Path.Combine(_directory, "run", "left.sock"), Paths.Socket, true);
        }

        Assert.True(Path.Exists(Paths.Socket));
        using var daemon = Start(Paths);
        Assert.True(Answers(Paths.Socket));
    }

    [Fact]
    public void A_file_in_the_place_of_the_socket_is_left_alone_and_named()
    {
        Directory.CreateDirectory(Paths.RunDirectory);
        File.WriteAllText(Paths.Socket, "mine");
        Assert.Contains($"{Paths.Socket} is there and is not a socket", Assert.Throws<EdgeHostException>(() => Start(Paths)).Message);
        Assert.Equal("mine", File.ReadAllText(Paths.Socket));
    }

    [Fact]
    public void A_failed_start_gives_the_directories_back()
    {
        Assert.Throws<EdgeHostException>(() => Daemon.Start(Paths, _ => null, _log, (_, _) => throw new EdgeHostException(ErrorKind.Full, "no space")));
        using var daemon = Start(Paths);
    }

    [Fact]
    public void A_re_read_applies_what_can_be_and_says_what_needs_a_restart()
    {
        using var daemon = Start(Paths);
        var applied = 0;
        daemon.Configuration.OnChange("registries", configuration => (applied = configuration.Registries.Count) > 0);
        File.WriteAllText(Paths.ConfigFile, """{ "registries": { "r": { "plainHttp": true } }, "log": { "maxFiles": 9 } }""");
        Assert.True(daemon.Configuration.Reload());
        Assert.Equal((1, 9), (applied, daemon.Configuration.Current.Log.MaxFiles));
        Assert.Contains("configuration: registries changed and is applied", _log.Lines);
        Assert.Contains("configuration: log changed; restart the daemon to apply it (containers go on)", _log.Lines);
    }

    [Fact]
    public void A_broken_file_at_a_re_read_is_said_and_what_held_goes_on_to_hold()
    {
        File.WriteAllText(Paths.ConfigFile, """{ "log": { "maxFiles": 9 } }""");
        using var daemon = Start(Paths);
        File.WriteAllText(Paths.ConfigFile, "{\n \"log\": { \"maxFiles\": \"many\" } }");
        Assert.False(daemon.Configuration.Reload());
        Assert.Equal(9, daemon.Configuration.Current.Log.MaxFiles);
        Assert.Contains($"the configuration was not taken, and the one before holds: {Paths.ConfigFile}:2: log.maxFiles must be a whole number", _log.Lines);
    }

    [Fact]
    public void The_log_has_a_priority_for_the_journal_and_a_time_for_others()
    {
        using var journal = new MemoryStream();
        using (var log = new DaemonLog(journal, journal: true))
        {
            log.CreateLogger("EdgeHost.X").LogWarning("one\ntwo");
            log.CreateLogger("Microsoft.X").LogInformation("not for the journal of a board");
        }

        Assert.Equal("<4>one\n<4>two\n", System.Text.Encoding.UTF8.GetString(journal.ToArray()));
        using var terminal = new MemoryStream();
        using (var log = new DaemonLog(terminal, journal: false))
        {
            log.CreateLogger("EdgeHost.X").LogError("bad");
            log.CreateLogger("EdgeHost.X").LogError(new EdgeHostException(ErrorKind.Infeasible, "no cgroups", new IOException()), "not started");
        }

        Assert.Matches(@"^\d\d:\d\d:\d\d error bad\n\d\d:\d\d:\d\d error not started: no cgroups\n$", System.Text.Encoding.UTF8.GetString(terminal.ToArray()));
    }

    [Fact]
    public void A_group_is_found_by_its_name_alone()
    {
        var file = Path.Combine(_directory, "group");
        File.WriteAllText(file, "root:x:0:\nedgehost2:x:7:\nedgehost:x:998:me\n");
        Assert.Equal(998u, SystemGroup.Find("edgehost", file));
        Assert.Null(SystemGroup.Find("edge", file));
    }

    private RunningDaemon Start(DaemonPaths paths) => Daemon.Start(paths, _ => null, _log, (services, context) =>
    {
        var images = new MemoryImages();
        services.AddSingleton<IImageStore>(images);
        services.AddSingleton<IContainerEngine>(new MemoryEngine(images, _directory));
        DaemonComposition.AddApi(services, context);
    });

    private static bool Answers(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send("GET /_ping HTTP/1.0\r\n\r\n"u8);
        using var reader = new StreamReader(new NetworkStream(socket));
        return reader.ReadToEnd().EndsWith("OK", StringComparison.Ordinal);
    }

    private sealed class RecordedLog : ILoggerProvider, ILogger
    {
        internal ConcurrentQueue<string> Lines { get; } = [];

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Enqueue(formatter(state, exception));

        public void Dispose()
        {
        }
    }
}
