using System.Diagnostics;
using System.Formats.Tar;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using Edge.Tests.EndToEnd;
using Edge.Tests.Fixtures;
using EdgeHost.Deployments;
using EdgeHost.Mqtt;
using Xunit.Sdk;
using JsonNode = System.Text.Json.Nodes.JsonNode;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>
/// A daemon, started on the disk that a cut has left, and looked at from outside: it comes up by itself, what was promised
/// is so, images are whole byte by byte and run, what was interrupted can be done again, and nothing is left for ever.
/// </summary>
internal sealed partial class PowerCutCheck : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    // What is removed in the background is told by no event.
    private static readonly TimeSpan Glance = TimeSpan.FromMilliseconds(50);

    // There is no group here, the daemon is stopped at the end, and this is what a lost power makes it say.
    private static readonly string[] Expected =
    [
        "here is no group edgehost", "were cut off: the power was lost while they were written", "was taken back from its files", "runs no more",
        "Disconnected from broker",
    ];

    private readonly PowerCutSite _site;
    private readonly string _data;
    private readonly DaemonUnderTest _daemon;
    private readonly HttpClient _api;
    private readonly List<string> _problems = [];
    private readonly SemaphoreSlim _news = new(1);
    private readonly CancellationTokenSource _ended = new();
    private readonly List<Task> _listening = [];
    private JsonNode? _report;

    private PowerCutCheck(PowerCutSite site, string data)
    {
        _site = site;
        _data = data;
        _daemon = DaemonUnderTest.Make();
        _daemon.Data = data;
        _daemon.Before = site.Inside;

        // The board has given itself a name.
        _daemon.Settings.Remove("device");
        foreach (var (name, value) in PowerCutSite.Settings)
        {
            _daemon.Settings[name] = value;
        }

        _api = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancel) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(_daemon.Socket), cancel);
                return new NetworkStream(socket, ownsSocket: true);
            },
        })
        { BaseAddress = new Uri("http://edgehost/"), Timeout = Timeout.InfiniteTimeSpan };
    }

    /// <summary>Makes the disk of a cut and looks at it.</summary>
    /// <param name="site">What is around it.</param>
    /// <param name="recording">The recording.</param>
    /// <param name="cut">The cut.</param>
    /// <param name="work">A directory for disks.</param>
    /// <param name="board">Whose kernel mounts the disk, where this machine's may not know its file system; null for this machine.</param>
    /// <returns>What is wrong, in words; empty when all is well.</returns>
    internal static async Task<IReadOnlyList<string>> FindProblemsAsync(PowerCutSite site, PowerCutRecording recording, PowerCut cut, string work, EmulatedBoard? board)
    {
        // A file of its own: mount takes the loop device of one that it still knows, with what was read from it before.
        var disk = Path.Combine(work, Guid.NewGuid().ToString("N"));
        var mount = Directory.CreateDirectory(Path.Combine(work, "mount")).FullName;
        var promises = await recording.ReplayAsync(cut, disk);
        if (board is not null && await MoveToExt4Async(board, disk) is { } whyNot)
        {
            File.Delete(disk);
            return [whyNot];
        }

        (await CommandRun.RunAsync("mount", ["-o", "loop,noatime", disk, mount])).Succeeds();
        try
        {
            return await FindProblemsAsync(site, Path.Combine(mount, "edgehost"), promises);
        }
        finally
        {
            await site.ClearAsync();
            (await CommandRun.RunAsync("umount", [mount])).Succeeds();
            File.Delete(disk);
        }
    }

    /// <summary>Has a board mount a disk, and puts all that is then there on a disk in the same place that this machine can mount.</summary>
    /// <returns>Why the board does not mount it; null when it did.</returns>
    private static async Task<string?> MoveToExt4Async(EmulatedBoard board, string disk)
    {
        // The share is no file system that a loop device takes.
        var (shared, archive) = (Path.Combine(board.Share, "cut"), Path.Combine(board.Share, "cut.tar"));
        (await CommandRun.RunAsync("cp", ["--sparse=always", disk, shared])).Succeeds();
        File.Delete(disk);
        var mounted = await board.RunAsync("""
            set -eu
            modprobe loop
            mkdir -p /tmp/cut
            cp --sparse=always /mnt/share/cut /tmp/disk
            mount -o loop,noatime /tmp/disk /tmp/cut || { dmesg | tail -5 >&2; exit 1; }
            tar --xattrs --xattrs-include='*' --numeric-owner -C /tmp/cut -cf /mnt/share/cut.tar .
            umount /tmp/cut
            rm /tmp/disk
            """);
        if (mounted.ExitCode != 0)
        {
            return $"the disk cannot be mounted or read: {mounted}";
        }

        (await CommandRun.RunAsync("truncate", ["-s", $"{2 * Promises.FileSystemMiB}M", disk])).Succeeds();
        (await CommandRun.RunAsync("mkfs.ext4", ["-q", disk])).Succeeds();
        var mount = Directory.CreateDirectory(disk + ".mount").FullName;
        (await CommandRun.RunAsync("mount", ["-o", "loop", disk, mount])).Succeeds();
        var unpacked = await CommandRun.RunAsync("tar", ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-C", mount, "-xpf", archive]);
        (await CommandRun.RunAsync("umount", [mount])).Succeeds();
        Directory.Delete(mount);
        File.Delete(archive);
        unpacked.Succeeds();
        return null;
    }

    private string Device => File.ReadAllText(_data + "/device-id").Trim();

    private static async Task<IReadOnlyList<string>> FindProblemsAsync(PowerCutSite site, string data, Promises promises)
    {
        var check = new PowerCutCheck(site, data);
        var problems = check._problems;
        try
        {
            await check._daemon.StartAsync();
            await check._daemon.SaysAsync("Connected to broker");
            check.Listen();
            var things = await check.SettleAsync(promises);
            if (problems.Count == 0)
            {
                await check.UseAsync(promises, things);
                await check.FindLeftoversAsync();
            }
        }
        catch (Exception e) when (e is XunitException or IOException or HttpRequestException)
        {
            problems.Add(e.Message);
        }
        finally
        {
            try
            {
                await check.DisposeAsync();
            }
            catch (XunitException e)
            {
                problems.Add(e.Message);
            }
        }

        problems.AddRange(check._daemon.Said.Split('\n').Where(line => Complaint().IsMatch(line) && !Expected.Any(words => line.Contains(words, StringComparison.Ordinal))));
        if (problems.Count > 0)
        {
            problems.Add("the daemon said:\n" + check._daemon.Said);
        }

        return problems;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _ended.CancelAsync();
        await Task.WhenAll(_listening);
        _api.Dispose();
        _ended.Dispose();
        _news.Dispose();
        if (File.Exists(_daemon.Run + "/shepherd.lock"))
        {
            // A lost power ends containers and shepherd sooner than they end themselves.
            await _daemon.StopAsync();
            int[] pids = [await _daemon.ShepherdPidAsync(), await _daemon.LoggerPidAsync(), .. _daemon.CgroupPids()];
            const string Kill = "kill -KILL \"$@\"; for pid; do while grep -qs '^State:.*[^Z] (' /proc/$pid/status; do sleep 0.01; done; done 2>/dev/null";
            _ = await CommandRun.RunAsync("sh", ["-c", Kill, "sh", .. pids.Select(pid => pid.ToString(CultureInfo.InvariantCulture))]);
        }

        await _daemon.DisposeAsync();
    }

    /// <summary>Waits until everything is as it was promised, or time is up; says then what is not.</summary>
    private async Task<Dictionary<string, string>> SettleAsync(Promises promises)
    {
        var since = Stopwatch.GetTimestamp();
        while (true)
        {
            var things = await FindAsync();
            var broken = promises.Broken(things);
            if (broken.Count == 0)
            {
                return things;
            }

            // What is lost comes back by no waiting; containers start after the daemon is ready.
            var isStarting = broken.TrueForAll(each => each.StartsWith("container/", StringComparison.Ordinal) || each.StartsWith("deployment ", StringComparison.Ordinal));
            if (!isStarting || Stopwatch.GetElapsedTime(since) > Patience)
            {
                _problems.AddRange(broken);
                return things;
            }

            // Whatever happens is told; the bound is for what does not happen.
            await _news.WaitAsync(TimeSpan.FromSeconds(1));
        }
    }

    private async Task<Dictionary<string, string>> FindAsync()
    {
        var things = new Dictionary<string, string>(StringComparer.Ordinal);
        things["device"] = Device;
        things["password"] = Password().Match(await File.ReadAllTextAsync(_data + "/broker/operator.json")).Value;
        foreach (var image in (await GetAsync("images/json")).AsArray())
        {
            foreach (var name in image!["RepoTags"]!.AsArray())
            {
                things[$"image/{name}"] = "whole";
            }
        }

        var workloads = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var container in (await GetAsync("containers/json?all=1")).AsArray())
        {
            var state = (string)container!["State"]!;
            if (container["Labels"]![PlannedWorkload.WorkloadLabel] is not { } workload)
            {
                things[$"container/{((string)container["Names"]![0]!)[1..]}"] = state;
                continue;
            }

            if (await TryGetAsync($"containers/{container["Id"]}/json") is not { } inspected)
            {
                // Removed since: the one that it gave way to runs.
                continue;
            }

            var number = inspected["Config"]!["Env"]!.AsArray().Select(each => (string)each!).Single(each => each.StartsWith("N=", StringComparison.Ordinal))[2..];
            workloads.Add($"{workload}={number}@{((string)container["Image"]!).Split(':')[^1]}{(state == "running" ? string.Empty : " " + state)}", state);
        }

        foreach (var volume in (await GetAsync("volumes"))["Volumes"]!.AsArray())
        {
            things[$"volume/{volume!["Name"]}"] = "there";
        }

        foreach (var network in (await GetAsync("networks")).AsArray().Where(each => (string)each!["Name"]! is not ("bridge" or "host" or "none")))
        {
            if (network!["Labels"]?.AsObject().ContainsKey(PlannedWorkload.NetworkLabel) == true)
            {
                // Of a deployment: it comes with the first and stays for the next.
                continue;
            }

            things[$"network/{network["Name"]}"] = "there";
        }

        var deployment = Volatile.Read(ref _report)?["deployment"];
        var phase = (string?)deployment?["phase"] ?? "silent";
        if (phase != "idle" || workloads.Count > 0)
        {
            things["deployment"] = string.Join('/', ((string[])[$"{deployment?["version"]}", .. phase == "running" ? Array.Empty<string>() : [phase]]).Concat(workloads.Keys));
        }

        return things;
    }

    /// <summary>Images are whole and run, containers start, logs are read, and what was not finished can be done again.</summary>
    private async Task UseAsync(Promises promises, Dictionary<string, string> things)
    {
        foreach (var name in promises.Things.Where(thing => thing.StartsWith($"image/{PowerCutSite.Registry}/", StringComparison.Ordinal) && !things.ContainsKey(thing)))
        {
            await DoAsync("pull", "-q", name["image/".Length..]);
            things[name] = "whole";
        }

        foreach (var (thing, value) in things)
        {
            switch (thing.Split('/', 2))
            {
                case ["image", var image]:
                    await CompareAsync(image);
                    await DoAsync("run", "--rm", "--network", "none", image, "true");
                    break;
                case ["container", var container]:
                    if (value == "created")
                    {
                        await DoAsync("start", container);
                    }

                    await ReadLogAsync(container);
                    break;
            }
        }
    }

    /// <summary>What lies about is looked at once it is clear that nothing takes it away any more.</summary>
    private async Task FindLeftoversAsync()
    {
        var since = Stopwatch.GetTimestamp();
        IReadOnlyList<string> left;
        while ((left = Look(await FindAsync())).Count > 0 && Stopwatch.GetElapsedTime(since) < Patience)
        {
            _ = await _news.WaitAsync(Glance);
        }

        _problems.AddRange(left);

        List<string> Look(Dictionary<string, string> things)
        {
            try
            {
                return [.. Leftovers.Find(_data, things)];
            }
            catch (IOException e)
            {
                // Removed while it was looked at.
                return [e.Message];
            }
        }
    }

    /// <summary>Has an image saved, for which its layers are made again of their files, and checks every digest.</summary>
    private async Task CompareAsync(string image)
    {
        using var response = await _api.GetAsync($"images/{image}/get", HttpCompletionOption.ResponseHeadersRead);
        await using var body = await response.Content.ReadAsStreamAsync();
        await using var tar = new TarReader(body);
        var blobs = 0;
        while (await tar.GetNextEntryAsync() is { } entry)
        {
            if (entry.Name.Split('/') is not ["blobs", "sha256", { Length: > 0 } expected])
            {
                continue;
            }

            blobs++;
            var found = Convert.ToHexStringLower(await SHA256.HashDataAsync(entry.DataStream!));
            if (found != expected)
            {
                _problems.Add($"image {image}: blob {expected} has the digest {found}");
            }
        }

        const int ManifestConfigurationLayer = 3;
        if (blobs < ManifestConfigurationLayer)
        {
            _problems.Add($"image {image}: saved, it has {blobs} blobs");
        }
    }

    /// <summary>Lines follow each other; where a container was started again they begin again.</summary>
    private async Task ReadLogAsync(string container)
    {
        var run = await _daemon.EdgehostAsync("logs", container);
        var last = 0;
        foreach (var line in run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            var number = line.Split(' ') is ["line", var text, ..] && int.TryParse(text, out var parsed) ? parsed : -1;
            if (number != 1 && last != 0 && number != last + 1)
            {
                _problems.Add($"the log of {container} has \"{line}\" after line {last}");
                return;
            }

            last = number;
        }

        if (run.ExitCode != 0)
        {
            _problems.Add(run.ToString());
        }
    }

    private async Task DoAsync(params string[] command)
    {
        var run = await _daemon.EdgehostAsync(command);
        if (run.ExitCode != 0)
        {
            _problems.Add(run.ToString());
        }
    }

    private async Task<JsonNode> GetAsync(string path) => await TryGetAsync(path) ?? throw new IOException($"GET /{path}: not found");

    private async Task<JsonNode?> TryGetAsync(string path)
    {
        using var response = await _api.GetAsync("v1.41/" + path);
        var text = await response.Content.ReadAsStringAsync();
        return response.StatusCode == HttpStatusCode.NotFound ? null
            : response.IsSuccessStatusCode ? JsonNode.Parse(text)! : throw new IOException($"GET /{path}: {(int)response.StatusCode} {text}");
    }

    private void Listen()
    {
        var broker = new DaemonBroker(_daemon);
        string[] command = [.. _site.Inside, "stdbuf", "-oL", "mosquitto_sub", .. broker.Arguments.Split(' '), "-q", "1", "-t", new Topics(Device).Reported];
        _listening.Add(ListenToReportsAsync(command));
        _listening.Add(ListenToEventsAsync());
    }

    private async Task ListenToReportsAsync(string[] command)
    {
        using var process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardOutput = true })!;
        try
        {
            while (await process.StandardOutput.ReadLineAsync(_ended.Token) is { } line)
            {
                Volatile.Write(ref _report, JsonNode.Parse(line));
                _news.Release();
            }
        }
        catch (OperationCanceledException)
        {
            process.Kill();
        }

        await process.WaitForExitAsync();
    }

    private async Task ListenToEventsAsync()
    {
        try
        {
            await using var events = await _api.GetStreamAsync("v1.41/events", _ended.Token);
            using var reader = new StreamReader(events);
            while (await reader.ReadLineAsync(_ended.Token) is not null)
            {
                _news.Release();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or HttpRequestException)
        {
            // The daemon has ended, or nobody wants to know any more.
        }
    }

    [GeneratedRegex("\"password\":\"[^\"]*\"")]
    private static partial Regex Password();

    [GeneratedRegex("^[0-9:]+ (warning|error|critical) |^edgehost logger: ")]
    private static partial Regex Complaint();
}
