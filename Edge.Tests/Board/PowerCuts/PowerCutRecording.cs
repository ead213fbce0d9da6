using System.Globalization;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>The disk of a board before the scenarios of power-cuts.sh, and everything that they wrote to it.</summary>
internal sealed class PowerCutRecording : IDisposable
{
    private static readonly TimeSpan BootPatience = TimeSpan.FromMinutes(10);

    private readonly TemporaryDirectory? _mine;
    private readonly string _directory;
    private readonly List<(string Scenario, int Write)> _begins;

    private PowerCutRecording(string directory, TemporaryDirectory? mine)
    {
        (_directory, _mine) = (directory, mine);
        Log = WriteLog.Open(LogFile);
        _begins = Promises.Scenarios(Log);
    }

    internal WriteLog Log { get; }

    /// <summary>The names of the scenarios, in their order.</summary>
    internal IEnumerable<string> Scenarios => _begins.Take(_begins.Count - 1).Select(each => each.Scenario);

    private string LogFile => Path.Combine(_directory, "log");

    private string BaseFile => LogFile + ".base";

    /// <summary>Boots the board, has it go through all scenarios, and keeps what it wrote.</summary>
    /// <param name="site">What is around it.</param>
    /// <param name="fileSystem"><c>ext4</c> or <c>f2fs</c>.</param>
    internal static async Task<PowerCutRecording> RecordAsync(PowerCutSite site, string fileSystem)
    {
        Needs.Root();
        if (PublishedBinary.NativeRid != "linux-x64")
        {
            Needs.Missing("what an amd64 board has written is started on x86_64 only");
        }

        await Packages.NeedAsync("qemu-system-x86", "qemu-system-common", "mmdebstrap", "kmod", "cpio", "e2fsprogs", "f2fs-tools", "util-linux");
        (await CommandRun.RunAsync(Script("board-build.sh"), ["amd64"], patience: TimeSpan.FromMinutes(20))).Succeeds();
        var work = new TemporaryDirectory();
        try
        {
            var share = Directory.CreateDirectory(work.Sub("share")).FullName;
            File.Copy(await PublishedBinary.NativeAsync(), Path.Combine(share, "edgehost"));
            File.Copy(await SampleImage.PathAsync("busybox", "amd64"), Path.Combine(share, "busybox.tar"));
            File.Copy(Repository.PathOf("Edge.Tests", "Board", "PowerCuts", "power-cuts.sh"), Path.Combine(share, "power-cuts.sh"));
            await File.WriteAllTextAsync(Path.Combine(share, "edgehost.json"), PowerCutSite.SettingsText);

            // A disk on which every write is one: nothing is initialized later, and nothing discarded.
            var disk = work.Sub("disk");
            (await CommandRun.RunAsync("truncate", ["-s", (Promises.FileSystemMiB + 1).ToString(CultureInfo.InvariantCulture) + "M", disk])).Succeeds();
            (await (fileSystem == "f2fs"
                ? CommandRun.RunAsync("mkfs.f2fs", ["-q", "-t", "0", disk, ((long)Promises.FileSystemMiB << 11).ToString(CultureInfo.InvariantCulture)])
                : CommandRun.RunAsync("mkfs.ext4", ["-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", disk, $"{Promises.FileSystemMiB}M"]))).Succeeds();
            string[] board = [.. site.Inside, Script("board-run.sh"), "amd64", "exec bash /mnt/share/power-cuts.sh", share, "768"];
            (await CommandRun.RunAsync(
                board[0],
                board[1..],
                environment: new Dictionary<string, string?>
                {
                    ["BOARD_DATA"] = disk,
                    ["BOARD_DATALOG"] = work.Sub("log"),
                    ["BOARD_NET"] = "1",
                    ["BOARD_TIMEOUT"] = ((int)BootPatience.TotalSeconds).ToString(CultureInfo.InvariantCulture),
                },
                patience: BootPatience * 1.2)).Succeeds();
            return new PowerCutRecording(work.Path, work);
        }
        catch
        {
            work.Dispose();
            throw;
        }
    }

    /// <summary>Opens one that was kept.</summary>
    internal static PowerCutRecording Open(string directory) => new(directory, null);

    /// <summary>Keeps it, in place of the one that was kept before.</summary>
    internal async Task KeepAsync(string directory)
    {
        Directory.CreateDirectory(directory);
        foreach (var file in (string[])[LogFile, BaseFile])
        {
            (await CommandRun.RunAsync("cp", ["--sparse=always", file, directory])).Succeeds();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Log.Dispose();
        _mine?.Dispose();
    }

    /// <summary>The numbers of the flushes from which on the power may be lost within a scenario.</summary>
    internal (int First, int Last) FlushesOf(string scenario)
    {
        var at = _begins.FindIndex(each => each.Scenario == scenario);
        Assert.InRange(at, 0, _begins.Count - 2);
        var within = Enumerable.Range(0, Log.Flushes + 1)
            .Where(flush => Log.DurableAfter(flush) >= _begins[at].Write && Log.DurableAfter(flush) < _begins[at + 1].Write).ToList();
        return (within[0], within[^1]);
    }

    /// <summary>Within which scenario the power is lost.</summary>
    internal string ScenarioOf(PowerCut cut) => _begins.FindLast(each => each.Write <= Log.DurableAfter(cut.Flush)).Scenario;

    /// <summary>Makes the disk that a cut leaves.</summary>
    /// <returns>What had been promised.</returns>
    internal async Task<Promises> ReplayAsync(PowerCut cut, string disk)
    {
        (await CommandRun.RunAsync("cp", ["--sparse=always", BaseFile, disk])).Succeeds();
        return Promises.Before(Log, Log.Replay(cut, disk));
    }

    private static string Script(string name) => Repository.PathOf("Edge.Tests", "Board", name);
}
