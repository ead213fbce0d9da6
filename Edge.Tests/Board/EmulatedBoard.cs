using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Edge.Tests.Fixtures;
using Edge.Tests.Mqtt;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What board to boot.</summary>
internal sealed record BoardSpec
{
    /// <summary><c>arm64</c> or <c>amd64</c>.</summary>
    internal string Kind { get; init; } = "arm64";

    /// <summary>
    /// <c>systemd</c> for an installed Debian, with systemd as process 1, dpkg and apt, and no <c>edgehost</c> but the one
    /// that a package brings; <c>16k</c> for a kernel whose pages have 16 KiB, as on a Raspberry Pi 5; null for Debian's
    /// usual one. The last two have a shell script as process 1.
    /// </summary>
    internal string? Flavour { get; init; }

    /// <summary>More arguments on the command line of the kernel.</summary>
    internal string KernelArguments { get; init; } = string.Empty;

    /// <summary>Memory, in MiB.</summary>
    internal int Memory { get; init; } = 512;

    /// <summary>How many CPUs.</summary>
    internal int Cpus { get; init; } = 2;

    /// <summary>Whether the board reaches the host's loopback, as 10.0.2.2.</summary>
    internal bool Network { get; init; }

    /// <summary>A port of the board that the host reaches at <see cref="EmulatedBoard.ForwardedPort"/>; with a network.</summary>
    internal int? Forward { get; init; }

    /// <summary>In MiB, the disk on which everything that is written stays over a power cut; null keeps it in memory, until then.</summary>
    internal int? Disk { get; init; }

    /// <summary>More devices, as arguments of qemu.</summary>
    internal string Devices { get; init; } = string.Empty;
}

/// <summary>
/// A booted board under qemu, without KVM: Debian's kernel, cgroup v2, <c>edgehost</c> for its architecture in PATH.
/// Scripts run on it as root, one after the other, and see what earlier ones left. Its root is an overlayfs; /tmp is a
/// tmpfs; with a disk /mnt/data is none of these. When the tests die, the board notices that its line is dead and turns
/// itself off.
/// </summary>
/// <example>
/// <code>
/// await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Disk = 256, Network = true });
/// (await board.RunAsync("echo data > /root/file; sync")).Succeeds();
/// await board.CutPowerAsync();
/// Assert.Equal("data\n", (await board.RunAsync("cat /root/file")).Succeeds().Output);
/// </code>
/// </example>
internal sealed partial class EmulatedBoard : IAsyncDisposable
{
    /// <summary>How long a script may take when the test does not say. Starting processes is slow on such a board.</summary>
    internal static readonly TimeSpan UsualPatience = TimeSpan.FromMinutes(3);

    private static readonly TimeSpan BootPatience = TimeSpan.FromMinutes(4);

    // A board that nobody turned off ends by itself after this.
    private static readonly TimeSpan Lifetime = TimeSpan.FromHours(1);

    private readonly DirectoryInfo _work;
    private readonly BoardSpec _spec;
    private readonly Socket _listener;
    private readonly StringBuilder _said = new();
    private readonly SemaphoreSlim _oneAtATime = new(1);
    private Process? _runner;
    private StreamReader? _answers;
    private StreamWriter? _orders;
    private int _scripts;

    private EmulatedBoard(DirectoryInfo work, BoardSpec spec, Socket listener)
    {
        _work = work;
        _spec = spec;
        _listener = listener;
    }

    /// <summary>The directory of the host that the board has as /mnt/share.</summary>
    internal string Share => Path.Combine(_work.FullName, "share");

    /// <summary>Where 127.0.0.1 of the host leads to <see cref="BoardSpec.Forward"/>.</summary>
    internal int ForwardedPort { get; private init; }

    private string Console => Path.Combine(_work.FullName, "console");

    /// <summary>Boots a board; the first time on a machine this builds its image, which takes a minute or two and some packages.</summary>
    internal static async Task<EmulatedBoard> StartAsync(BoardSpec? asked = null)
    {
        var spec = asked ?? new BoardSpec();
        Needs.Root();
        await Packages.NeedAsync(
            spec.Kind == "arm64" ? "qemu-system-arm" : "qemu-system-x86", "qemu-system-common", "mmdebstrap", "kmod", "cpio", "e2fsprogs", "util-linux");
        var binary = await PublishedBinary.ForAsync(spec.Kind == "arm64" ? "linux-arm64" : "linux-x64");
        (await CommandRun.RunAsync(Script("board-build.sh"), spec.Flavour is null ? [spec.Kind] : [spec.Kind, spec.Flavour], patience: TimeSpan.FromMinutes(20))).Succeeds();

        var work = Directory.CreateTempSubdirectory("edgehost-board-");
        var share = work.CreateSubdirectory("share");
        _ = share.CreateSubdirectory("run");
        if (spec.Flavour != "systemd")
        {
            File.Copy(binary, Path.Combine(share.CreateSubdirectory("bin").FullName, "edgehost"));
        }

        if (spec.Disk is { } size)
        {
            var disk = Path.Combine(work.FullName, "disk");
            (await CommandRun.RunAsync("sh", ["-c", "truncate -s \"$0\" \"$1\" && mkfs.ext4 -q \"$1\"", Text(size) + "M", disk])).Succeeds();
        }

        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(work.FullName, "ctl")));
        listener.Listen();
        var board = new EmulatedBoard(work, spec, listener) { ForwardedPort = spec.Forward is null ? 0 : BrokerUnderTest.FreePort() };
        try
        {
            await board.BootAsync();
            return board;
        }
        catch
        {
            await board.DisposeAsync();
            throw;
        }
    }

    /// <summary>Runs a bash script as root on the board; fails the test when it takes too long or the board dies.</summary>
    /// <param name="script">The script.</param>
    /// <param name="patience">How long it may take.</param>
    internal async Task<CommandRun> RunAsync(string script, TimeSpan? patience = null)
    {
        var limit = patience ?? UsualPatience;
        await _oneAtATime.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            var id = Text(++_scripts);
            var run = Path.Combine(Share, "run", id);
            await File.WriteAllTextAsync($"{run}.sh", script);
            await _orders!.WriteLineAsync($"{id} {Text((int)limit.TotalSeconds)}");
            var answer = await AnswerAsync(limit + TimeSpan.FromMinutes(1), script);
            var code = answer.Split(' ') is [var answered, var status] && answered == id
                ? int.Parse(status, CultureInfo.InvariantCulture)
                : throw new InvalidOperationException($"the board answered \"{answer}\" to script {id}");
            var ended = new CommandRun
            {
                Command = $"on the board: {script}",
                ExitCode = code,
                Output = await TextAsync($"{run}.out"),
                Error = await TextAsync($"{run}.err"),
            };
            const int TimeIsUp = 124;
            if (code == TimeIsUp)
            {
                Assert.Fail($"had not ended after {limit}\n{ended}");
            }

            return ended;
        }
        finally
        {
            _ = _oneAtATime.Release();
        }
    }

    /// <summary>Turns the board off.</summary>
    public async ValueTask DisposeAsync()
    {
        await EndAsync(_orders is null ? TimeSpan.Zero : TimeSpan.FromSeconds(20));
        _listener.Dispose();
        _oneAtATime.Dispose();
        _work.Delete(recursive: true);
    }

    // Hung up on, the board turns itself off.
    private async Task EndAsync(TimeSpan within)
    {
        if (within > TimeSpan.Zero && _orders is not null)
        {
            await _orders.DisposeAsync();
        }

        if (_runner is { } runner)
        {
            using (var patience = new CancellationTokenSource(within))
            {
                try
                {
                    await runner.WaitForExitAsync(patience.Token);
                }
                catch (OperationCanceledException)
                {
                    runner.Kill(entireProcessTree: true);
                    await runner.WaitForExitAsync(CancellationToken.None);
                }
            }

            runner.Dispose();
        }

        _answers?.Dispose();
        (_runner, _orders, _answers) = (null, null, null);
    }

    private async Task BootAsync()
    {
        var start = new ProcessStartInfo(Script("board-run.sh")) { RedirectStandardOutput = true, RedirectStandardError = true };
        string[] arguments = [_spec.Kind, await File.ReadAllTextAsync(Script("board-serve")), Share, Text(_spec.Memory), Text(_spec.Cpus)];
        Array.ForEach(arguments, start.ArgumentList.Add);
        start.Environment["BOARD_CONSOLE"] = Console;
        start.Environment["BOARD_FLAVOUR"] = _spec.Flavour;
        start.Environment["BOARD_TIMEOUT"] = Text((int)Lifetime.TotalSeconds);
        start.Environment["BOARD_APPEND"] = _spec.KernelArguments;
        start.Environment["BOARD_NET"] = _spec.Network ? "1" : null;
        start.Environment["BOARD_HOSTFWD"] = _spec.Forward is { } port ? $"tcp:127.0.0.1:{Text(ForwardedPort)}-:{Text(port)}" : null;
        start.Environment["BOARD_DATA"] = _spec.Disk is null ? null : Path.Combine(_work.FullName, "disk");
        start.Environment["BOARD_KEEP"] = _spec.Disk is null ? null : "1";
        start.Environment["BOARD_QEMU"] = $"-chardev socket,id=ctl,path={Path.Combine(_work.FullName, "ctl")} -device virtserialport,chardev=ctl,name=board.ctl -qmp unix:{Monitor},server=on,wait=off {_spec.Devices}";
        _runner = Process.Start(start)!;
        _runner.OutputDataReceived += (_, line) => Said(line.Data);
        _runner.ErrorDataReceived += (_, line) => Said(line.Data);
        _runner.BeginOutputReadLine();
        _runner.BeginErrorReadLine();

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(BootPatience);
        var ended = _runner.WaitForExitAsync(patience.Token);
        var accepted = _listener.AcceptAsync(patience.Token).AsTask();
        if (await Task.WhenAny(accepted, ended) != accepted)
        {
            Assert.Fail($"qemu did not start\n{await StateAsync()}");
        }

        var stream = new NetworkStream(await accepted, ownsSocket: true);
        _answers = new StreamReader(stream, Encoding.ASCII);
        _orders = new StreamWriter(stream, Encoding.ASCII) { AutoFlush = true, NewLine = "\n" };
        Assert.Equal("ready", await AnswerAsync(BootPatience, "boot"));
    }

    private async Task<string> AnswerAsync(TimeSpan limit, string question)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        patience.CancelAfter(limit);
        try
        {
            if (await _answers!.ReadLineAsync(patience.Token) is { } line)
            {
                return line;
            }

            // The console is whole once qemu is gone.
            await _runner!.WaitForExitAsync(patience.Token);
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"the board did not answer for {limit} to: {question}\n{await StateAsync()}");
        }

        Assert.Fail($"the board died at: {question}\n{await StateAsync()}");
        return string.Empty;
    }

    private async Task<string> StateAsync()
    {
        const int LastOfConsole = 8000;
        var console = File.Exists(Console) ? await File.ReadAllTextAsync(Console) : string.Empty;
        lock (_said)
        {
            return $"--- board-run.sh said\n{_said}\n--- console\n{console[Math.Max(0, console.Length - LastOfConsole)..]}";
        }
    }

    private void Said(string? line)
    {
        const int Enough = 64 << 10;
        lock (_said)
        {
            if (line is not null && _said.Length < Enough)
            {
                _ = _said.AppendLine(line);
            }
        }
    }

    private static async Task<string> TextAsync(string path) => File.Exists(path) ? await File.ReadAllTextAsync(path) : string.Empty;

    private static string Script(string name) => Repository.PathOf("Edge.Tests", "Board", name);

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
