using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using EdgeHost.Networks;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>
/// The published daemon with directories, a cgroup and a broker port of its own, started as a user would and killed as
/// a board would. At the end everything is ended, and the test fails when a process, a mount, a cgroup of a container or
/// a file that says that something runs is left.
/// </summary>
public sealed class DaemonUnderTest : IAsyncDisposable
{
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);

    private static readonly string[] Hierarchies = ["memory", "cpu", "cpuacct", "cpuset", "pids", "freezer", "devices", "unified", "systemd", "blkio"];

    private readonly DirectoryInfo _directory;
    private readonly List<Task> _readers = [];
    private readonly StringBuilder _said = new();
    private TaskCompletionSource _saidMore = New();
    private Process? _process;
    private string? _bootId;

    private DaemonUnderTest(DirectoryInfo directory)
    {
        _directory = directory;
        Data = Path.Combine(directory.FullName, "data");
        CgroupRoot = "edgehost-" + directory.Name;
        Settings["cgroupRoot"] = CgroupRoot;
        Settings["network"] = new { bridge = Bridge };
        Settings["broker"] = new { listen = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{BrokerPort}") };
        Settings["device"] = new { id = Device };
    }

    internal const string Device = BrokerUnderTest.Device;

    /// <summary>The bridge of its default network, of at most 15 bytes.</summary>
    internal string Bridge { get; } = "ehb" + Guid.NewGuid().ToString("N")[..8];

    /// <summary>What survives a boot.</summary>
    internal string Data { get; set; }

    /// <summary>Sockets and live state; short, because a path of a socket has 107 bytes at most.</summary>
    internal string Run => Path.Combine(_directory.FullName, "run");

    internal string Socket => Path.Combine(Run, "edgehost.sock");

    internal string ConfigFile => Path.Combine(_directory.FullName, "edgehost.json");

    internal string CgroupRoot { get; }

    internal int BrokerPort { get; } = BrokerUnderTest.FreePort();

    /// <summary>What the next start is configured with, by the first part of the key.</summary>
    internal Dictionary<string, object> Settings { get; } = new(StringComparer.Ordinal);

    /// <summary>Variables that the next start sees.</summary>
    internal Dictionary<string, string> Variables { get; } = new(StringComparer.Ordinal);

    /// <summary>A program with arguments that executes the daemon in surroundings of its own, such as nsenter.</summary>
    internal IReadOnlyList<string> Before { get; set; } = [];

    /// <summary>The program of the next start; the one of this build when null.</summary>
    internal string? Program { get; set; }

    internal int Pid => _process!.Id;

    /// <summary>Everything that daemons, shepherds and loggers have said.</summary>
    internal string Said
    {
        get
        {
            lock (_said)
            {
                return _said.ToString();
            }
        }
    }

    /// <summary>Makes one that is not started yet.</summary>
    internal static DaemonUnderTest Make()
    {
        Needs.Root();
        return new DaemonUnderTest(Directory.CreateTempSubdirectory("eh-"));
    }

    /// <summary>Starts one with the busybox image loaded.</summary>
    internal static async Task<DaemonUnderTest> StartWithImageAsync()
    {
        var daemon = Make();
        try
        {
            await daemon.StartAsync();
            await daemon.LoadAsync("busybox");
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts the daemon and waits until it says that it is ready.</summary>
    internal async Task StartAsync()
    {
        await File.WriteAllTextAsync(ConfigFile, JsonSerializer.Serialize(Settings));
        var before = Said.Length;
        _process = await SpawnAsync();
        var exited = _process.WaitForExitAsync();
        var ready = SaysAsync("ready; the API is at", before);
        if (await Task.WhenAny(ready, exited) == exited && !Said[before..].Contains("ready; the API is at", StringComparison.Ordinal))
        {
            Assert.Fail($"the daemon ended with {_process.ExitCode}:\n{Said}");
        }

        await ready;
    }

    /// <summary>Starts the daemon where it is to fail, and gives what it said and its exit code.</summary>
    internal async Task<(int ExitCode, string Said)> StartInVainAsync()
    {
        await File.WriteAllTextAsync(ConfigFile, JsonSerializer.Serialize(Settings));
        return await StartInVainWithFileAsync();
    }

    /// <summary>As <see cref="StartInVainAsync"/>, with the configuration file as it stands.</summary>
    internal async Task<(int ExitCode, string Said)> StartInVainWithFileAsync()
    {
        var run = await CommandRun.RunAsync(await PublishedBinary.NativeAsync(), Arguments, environment: DaemonEnvironment());
        return (run.ExitCode, run.Output + run.Error);
    }

    /// <summary>Stops the daemon alone, as systemd does.</summary>
    internal async Task StopAsync()
    {
        await SignalAsync(Pid, "TERM");
        await EndedAsync();
    }

    /// <summary>Waits until the daemon, which was told to, has ended well.</summary>
    internal async Task EndedAsync()
    {
        await _process!.WaitForExitAsync().WaitAsync(Patience);
        Assert.True(_process.ExitCode == 0, $"the daemon ended with {_process.ExitCode}:\n{Said}");
    }

    /// <summary>Kills the daemon alone, as a pulled plug or the OOM killer does.</summary>
    internal async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync().WaitAsync(Patience);
    }

    /// <summary>Lets daemons that start from now on see another boot, with nothing of the last one left.</summary>
    internal async Task RebootAsync()
    {
        await KillAsync();
        var shepherd = await ShepherdPidAsync();
        var pids = CgroupPids();
        await SignalAsync(shepherd, "KILL");
        await GoneAsync(shepherd);
        foreach (var pid in pids)
        {
            await SignalAsync(pid, "KILL");
            await GoneAsync(pid);
        }

        DeleteCgroups();
        Directory.Delete(Run, recursive: true);
        _bootId = Guid.NewGuid().ToString();
    }

    /// <summary>Waits until a line with this text was said.</summary>
    /// <param name="text">The text.</param>
    /// <param name="after">How much of <see cref="Said"/> does not count.</param>
    internal async Task SaysAsync(string text, int after = 0)
    {
        using var limit = new CancellationTokenSource(Patience);
        while (true)
        {
            Task more;
            lock (_said)
            {
                if (_said.ToString(after, _said.Length - after).Contains(text, StringComparison.Ordinal))
                {
                    return;
                }

                more = _saidMore.Task;
            }

            try
            {
                await more.WaitAsync(limit.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Fail($"\"{text}\" was not said; but:\n{Said}");
            }
        }
    }

    /// <summary>Runs Docker's client.</summary>
    internal Task<CommandRun> DockerAsync(params string[] arguments) =>
        CommandRun.RunAsync("docker", ["-H", "unix://" + Socket, .. arguments], environment: Clean());

    /// <summary>Runs edgehost's own client.</summary>
    internal async Task<CommandRun> EdgehostAsync(params string[] arguments) =>
        await CommandRun.RunAsync(await PublishedBinary.NativeAsync(), arguments, environment: new Dictionary<string, string?>(Clean()) { ["EDGEHOST_HOST"] = "unix://" + Socket });

    /// <summary>Loads a sample image.</summary>
    internal async Task LoadAsync(string image) =>
        Assert.Contains(image + ":latest", (await DockerAsync("load", "-q", "-i", await TaggedImageAsync(image))).Succeeds().Output, StringComparison.Ordinal);

    /// <summary>Runs a container and waits for its end.</summary>
    internal Task<CommandRun> RunAsync(params string[] arguments) => DockerAsync(["run", .. arguments]);

    /// <summary>Starts a container in the background and gives its id.</summary>
    internal async Task<string> RunDetachedAsync(params string[] arguments) =>
        (await DockerAsync(["run", "-d", .. arguments])).Succeeds().Output.Trim();

    /// <summary>A value of <c>docker inspect</c>.</summary>
    internal async Task<string> InspectAsync(string container, string format) =>
        (await DockerAsync("inspect", "-f", format, container)).Succeeds().Output.TrimEnd('\n');

    internal async Task<int> PidOfAsync(string container) =>
        int.Parse(await InspectAsync(container, "{{.State.Pid}}"), CultureInfo.InvariantCulture);

    /// <summary>Runs a program in some namespaces of a container, with the options of nsenter(1) before it.</summary>
    internal async Task<CommandRun> InAsync(string container, params string[] command) =>
        await CommandRun.RunAsync("nsenter", ["-t", $"{await PidOfAsync(container)}", .. command]);

    /// <summary>The lines that a container has written so far.</summary>
    internal async Task<string[]> LinesAsync(string container) =>
        (await DockerAsync("logs", container)).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Follows a container's output until a line fits.</summary>
    internal async Task<string> LineAsync(string container, Func<string, bool> fits)
    {
        var start = new ProcessStartInfo("docker", ["-H", "unix://" + Socket, "logs", "-f", container]) { RedirectStandardOutput = true, RedirectStandardError = true };
        using var follow = Process.Start(start)!;
        using var limit = new CancellationTokenSource(Patience);
        var error = follow.StandardError.ReadToEndAsync(limit.Token);
        try
        {
            while (await follow.StandardOutput.ReadLineAsync(limit.Token) is { } line)
            {
                if (fits(line))
                {
                    return line;
                }
            }

            Assert.Fail($"no such line of {container} came: {await error}\n{Said}");
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"no such line of {container} came in time\n{Said}");
        }
        finally
        {
            follow.Kill();
            await follow.WaitForExitAsync();
        }

        return string.Empty;
    }

    /// <summary>A file of the kernel about a container's cgroup: the name of v2, and controller and name of v1.</summary>
    internal string CgroupFile(string id, string controller, string name) =>
        File.ReadAllText(Path.Combine("/sys/fs/cgroup", controller, CgroupRoot, id, name));

    // By cat: .NET takes a lock on what it reads, and this one is the shepherd's.
    internal async Task<int> ShepherdPidAsync() =>
        int.Parse((await CommandRun.RunAsync("cat", [Path.Combine(Run, "shepherd.lock")])).Succeeds().Output, CultureInfo.InvariantCulture);

    internal async Task<int> LoggerPidAsync() => ChildrenOf(await ShepherdPidAsync()).Single(pid => CommandLineOf(pid).StartsWith("edgehost\0logger", StringComparison.Ordinal));

    /// <summary>How much the logger has written of a container's output and not given up since.</summary>
    internal long LogBytes(string id) => new DirectoryInfo(LogDirectory(id)).EnumerateFiles("*.log").Sum(file => file.Length);

    /// <summary>Waits until the logger has written more than that.</summary>
    internal async Task UntilLogGrowsAsync(string id, long bytes)
    {
        using var watch = new FileSystemWatcher(LogDirectory(id)) { NotifyFilter = NotifyFilters.Size };
        var grown = New();
        watch.Changed += (_, _) => Look();
        watch.EnableRaisingEvents = true;
        Look();
        await grown.Task.WaitAsync(Patience);

        void Look()
        {
            if (LogBytes(id) > bytes)
            {
                grown.TrySetResult();
            }
        }
    }

    /// <summary>Waits until the database has a container, which happens with its next batch unless a restart policy makes it urgent.</summary>
    internal async Task UntilStoredAsync(string id)
    {
        using var watch = new FileSystemWatcher(Data, "state.db") { NotifyFilter = NotifyFilters.Size };
        using var news = new SemaphoreSlim(0);
        watch.Changed += (_, _) => news.Release();
        watch.EnableRaisingEvents = true;

        // The daemon holds a lock on it, by which .NET abides.
        while ((await CommandRun.RunAsync("grep", ["-qaF", id, Path.Combine(Data, "state.db")])).ExitCode != 0)
        {
            Assert.True(await news.WaitAsync(Patience), $"container {id} has not reached the database:\n{Said}");
        }
    }

    internal string LogDirectory(string id) => Path.Combine(Data, "containers", id, "log");

    /// <summary>Sends a signal.</summary>
    internal static async Task SignalAsync(int pid, string signal) => _ = await CommandRun.RunAsync("sh", ["-c", $"kill -{signal} {pid}"]);

    /// <summary>Waits until a process is gone, its zombie included.</summary>
    internal static async Task GoneAsync(int pid)
    {
        using var limit = new CancellationTokenSource(Patience);
        try
        {
            using var process = Process.GetProcessById(pid);
            await process.WaitForExitAsync(limit.Token);
        }
        catch (ArgumentException)
        {
            // Gone before.
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"process {pid} has not ended: {CommandLineOf(pid)}");
        }
    }

    internal static bool Lives(int pid) =>
        File.Exists($"/proc/{pid}/stat") && !File.ReadAllText($"/proc/{pid}/stat").Split(") ")[^1].StartsWith('Z');

    /// <inheritdoc/>
    private void RemoveNetworks()
    {
        if (Directory.Exists(Path.Combine(Data, "networks")) && Directory.EnumerateFiles(Path.Combine(Data, "networks")).Any())
        {
            using var networks = new NetworkHost(new NetworkOptions { DataDirectory = Data, DefaultBridge = Bridge, Table = "edgehost-" + Bridge }, NullLogger.Instance);
            networks.RemoveFromKernel();
        }
    }

    public async ValueTask DisposeAsync()
    {
        var ended = 0;
        if (_process is { HasExited: false })
        {
            await SignalAsync(Pid, "TERM");
            await _process.WaitForExitAsync().WaitAsync(Patience);
            ended = _process.ExitCode;
        }

        if (File.Exists(Path.Combine(Run, "shepherd.lock")))
        {
            var shepherd = await ShepherdPidAsync();
            if (Lives(shepherd) && CommandLineOf(shepherd).Contains(Run, StringComparison.Ordinal))
            {
                await SignalAsync(shepherd, "TERM");
                await GoneAsync(shepherd);
            }
        }

        await Task.WhenAll(_readers).WaitAsync(Patience);
        var left = CgroupPids();
        foreach (var pid in left)
        {
            await SignalAsync(pid, "KILL");
            await GoneAsync(pid);
        }

        DeleteCgroups();
        RemoveNetworks();
        var mounts = File.ReadLines("/proc/self/mounts").Where(line => line.Contains(_directory.FullName + "/", StringComparison.Ordinal) && !line.Contains(_directory.FullName + "/small", StringComparison.Ordinal)).ToList();
        var processes = Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _))
            .Select(name => CommandLineOf(int.Parse(name!, CultureInfo.InvariantCulture))).Where(line => line.Contains(_directory.FullName, StringComparison.Ordinal)).ToList();
        if (Directory.Exists(Path.Combine(_directory.FullName, "small")))
        {
            (await CommandRun.RunAsync("umount", [Path.Combine(_directory.FullName, "small")])).Succeeds();
        }

        (await CommandRun.RunAsync("rm", ["-rf", "--one-file-system", _directory.FullName])).Succeeds();
        _process?.Dispose();
        Assert.True(ended == 0 && left.Count == 0 && mounts.Count == 0 && processes.Count == 0, $"the daemon's last exit code is {ended}; left behind: processes {string.Join(' ', left)} {string.Join(' ', processes)}, mounts {string.Join('\n', mounts)}; it said:\n{Said}");
    }

    /// <summary>The processes in all cgroups of this daemon's containers.</summary>
    internal List<int> CgroupPids() => [.. Roots()
        .SelectMany(root => Directory.EnumerateFiles(root, "cgroup.procs", SearchOption.AllDirectories))
        .SelectMany(File.ReadAllLines).Select(line => int.Parse(line, CultureInfo.InvariantCulture)).Distinct()];

    /// <summary>The ids of containers that have a cgroup.</summary>
    internal List<string> CgroupNames() => [.. Roots().SelectMany(Directory.EnumerateDirectories).Select(path => Path.GetFileName(path)!).Distinct()];

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private static string CommandLineOf(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (IOException)
        {
            // It ended while it was looked at.
            return string.Empty;
        }
    }

    private static IEnumerable<int> ChildrenOf(int pid) => File.ReadAllText($"/proc/{pid}/task/{pid}/children")
        .Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(text => int.Parse(text, CultureInfo.InvariantCulture));

    // An image of build.sh is called latest; this gives it the name by which people ask for it.
    internal static async Task<string> TaggedImageAsync(string image)
    {
        var path = await SampleImage.PathAsync(image, PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64");
        await Packages.NeedAsync("skopeo");
        await OneAtATime.WaitAsync();
        try
        {
            var named = Path.ChangeExtension(path, ".docker.tar");
            if (!File.Exists(named) || File.GetLastWriteTimeUtc(named) < File.GetLastWriteTimeUtc(path))
            {
                File.Delete(named);
                (await CommandRun.RunAsync("skopeo", ["--insecure-policy", "copy", "--quiet", $"oci-archive:{path}:latest", $"docker-archive:{named}.new:{image}:latest"])).Succeeds();
                File.Move($"{named}.new", named);
            }

            return named;
        }
        finally
        {
            OneAtATime.Release();
        }
    }

    private static readonly SemaphoreSlim OneAtATime = new(1);

    private IEnumerable<string> Roots() => Hierarchies.Select(name => $"/sys/fs/cgroup/{name}/{CgroupRoot}").Append($"/sys/fs/cgroup/{CgroupRoot}").Where(Directory.Exists);

    private void DeleteCgroups()
    {
        foreach (var root in Roots())
        {
            foreach (var directory in Directory.EnumerateDirectories(root, "*", SearchOption.AllDirectories).OrderByDescending(path => path.Length).Append(root))
            {
                Directory.Delete(directory);
            }
        }
    }

    private string[] Arguments => ["daemon", "--config", ConfigFile, "--data-dir", Data, "--run-dir", Run];

    private async Task<Process> SpawnAsync()
    {
        var binary = Program ?? await PublishedBinary.NativeAsync();
        List<string> command = [.. Before, binary, .. Arguments];
        var start = _bootId is null
            ? new ProcessStartInfo(command[0], command[1..])
            : new ProcessStartInfo("unshare", ["--mount", "sh", "-c", "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"", await BootFileAsync(), binary, .. Arguments]);
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        foreach (var (name, value) in DaemonEnvironment())
        {
            start.Environment[name] = value;
        }

        var process = Process.Start(start)!;
        process.StandardInput.Close();
        _readers.Add(ReadAsync(process.StandardOutput));
        _readers.Add(ReadAsync(process.StandardError));
        return process;
    }

    private async Task<string> BootFileAsync()
    {
        var file = Path.Combine(_directory.FullName, "boot_id");
        await File.WriteAllTextAsync(file, _bootId + "\n");
        return file;
    }

    private async Task ReadAsync(StreamReader reader)
    {
        while (await reader.ReadLineAsync() is { } line)
        {
            TaskCompletionSource more;
            lock (_said)
            {
                _said.Append(line).Append('\n');
                more = _saidMore;
                _saidMore = New();
            }

            more.SetResult();
        }
    }

    private Dictionary<string, string?> DaemonEnvironment()
    {
        var environment = Clean();
        foreach (var (name, value) in Variables)
        {
            environment[name] = value;
        }

        return environment;
    }

    private Dictionary<string, string?> Clean() => new()
    {
        ["DOCKER_CONFIG"] = Path.Combine(_directory.FullName, "docker"),
        ["DOCKER_HOST"] = null,
        ["EDGEHOST_CONFIG"] = null,
        ["EDGEHOST_DATA_DIR"] = null,
        ["EDGEHOST_RUN_DIR"] = null,
    };
}

/// <summary>A daemon with the busybox image that the tests of a class share; each names its own containers.</summary>
public sealed class SharedDaemon : IAsyncLifetime
{
    internal DaemonUnderTest Daemon { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Daemon = await DaemonUnderTest.StartWithImageAsync();

    public ValueTask DisposeAsync() => Daemon.DisposeAsync();
}
