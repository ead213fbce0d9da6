using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Board.PowerCuts;

/// <summary>The power is lost at any moment of any scenario, and a daemon is started on what the disk then has.</summary>
public abstract class PowerCutTests(ITestOutputHelper output)
{
    private protected abstract string FileSystem { get; }

    // Of each scenario in a run of all tests. test.sh --board-long says how many there are to be.
    private protected abstract int SampledCuts { get; }

    // This machine's kernel may not have it.
    private protected abstract bool IsReadByBoard { get; }

    // Where a recording is kept that is to be looked at again, and what was found.
    private string Kept => Repository.PathOf("dist", "power-cuts", FileSystem);

    [Fact]
    public async Task Whenever_the_power_is_lost_everything_comes_up_whole_and_nothing_that_was_acknowledged_is_lost()
    {
        var named = Environment.GetEnvironmentVariable("EDGEHOST_POWER_CUTS") is { Length: > 0 } text ? text.Split(',').Select(PowerCut.Parse).ToList() : null;
        await using var site = await PowerCutSite.StartAsync();
        using var recording = named is null ? await PowerCutRecording.RecordAsync(site, FileSystem) : PowerCutRecording.Open(Kept);
        var most = int.TryParse(Environment.GetEnvironmentVariable("EDGEHOST_BOARD_LONG"), CultureInfo.InvariantCulture, out var number) ? number : 0;
        var cuts = named ?? [.. recording.Scenarios.SelectMany(scenario => most > 0 ? Draw(recording, scenario, most) : Sample(recording, scenario))];
        await using var board = IsReadByBoard ? await EmulatedBoard.StartAsync(new BoardSpec { Kind = "amd64", Memory = 768 }) : null;
        var problems = await FindProblemsAsync(recording, cuts, site, board);

        var table = Table(recording, cuts, problems);
        output.WriteLine(table);
        if (named is null && (most > 0 || !problems.IsEmpty))
        {
            await recording.KeepAsync(Kept);
            await File.WriteAllTextAsync(Path.Combine(Kept, "table.txt"), table, TestContext.Current.CancellationToken);
        }

        Assert.True(problems.IsEmpty, $"{table}\n{string.Join('\n', problems.OrderBy(each => each.Key.Flush).Select(each => $"{recording.ScenarioOf(each.Key)} {each.Key}: {each.Value}"))}\nAgain, on the same recording: ./test.sh --power-cut {FileSystem}.{problems.Keys.FirstOrDefault()}");
    }

    /// <summary>Looks at each cut, on as many machines as there are processors where there are many.</summary>
    private static async Task<ConcurrentDictionary<PowerCut, string>> FindProblemsAsync(PowerCutRecording recording, List<PowerCut> cuts, PowerCutSite site, EmulatedBoard? board)
    {
        const int Many = 100, MostMachines = 4;
        var found = new ConcurrentDictionary<PowerCut, string>();
        var left = new ConcurrentQueue<PowerCut>(cuts);
        var machines = cuts.Count < Many || board is not null ? 1 : Math.Min(MostMachines, Environment.ProcessorCount);
        await Task.WhenAll(Enumerable.Range(0, machines).Select(WorkAsync));
        return found;

        async Task WorkAsync(int machine)
        {
            await using var more = machine == 0 ? null : await PowerCutSite.StartAsync();
            using var work = new TemporaryDirectory();

            // These disks are read and written by this machine alone, and end with the test.
            (await CommandRun.RunAsync("mount", ["-t", "tmpfs", "none", work.Path])).Succeeds();
            try
            {
                while (left.TryDequeue(out var cut))
                {
                    if (await PowerCutCheck.FindProblemsAsync(more ?? site, recording, cut, work.Path, board) is { Count: > 0 } problems)
                    {
                        found[cut] = string.Join("\n  ", problems);
                    }
                }
            }
            finally
            {
                // Lazily: containers that were just killed let go of their layers, and the loop device then of its file, a moment later.
                (await CommandRun.RunAsync("umount", ["--lazy", work.Path])).Succeeds();
            }
        }
    }

    /// <summary>A few, from the beginning to the end, each kind of them.</summary>
    private IEnumerable<PowerCut> Sample(PowerCutRecording recording, string scenario)
    {
        var (first, last) = recording.FlushesOf(scenario);
        var kinds = Enum.GetValues<CutKind>();
        return Enumerable.Range(0, SampledCuts).Select(n => new PowerCut(first + ((last - first) * n / (SampledCuts - 1)), kinds[n % kinds.Length], n));
    }

    /// <summary>As many as are wanted, of each flush as often as of any other, in each kind and with other seeds.</summary>
    private static IEnumerable<PowerCut> Draw(PowerCutRecording recording, string scenario, int count)
    {
        var (first, last) = recording.FlushesOf(scenario);
        var kinds = Enum.GetValues<CutKind>();
        var flushes = last - first + 1;
        return Enumerable.Range(0, count).Select(n => new PowerCut(first + (n % flushes), kinds[(n + (n / flushes)) % kinds.Length], 1 + (n / flushes)));
    }

    private static string Table(PowerCutRecording recording, List<PowerCut> cuts, ConcurrentDictionary<PowerCut, string> problems)
    {
        var table = new StringBuilder("scenario            flushes    cuts     bad\n");
        foreach (var scenario in recording.Scenarios)
        {
            var (first, last) = recording.FlushesOf(scenario);
            var mine = cuts.Count(cut => recording.ScenarioOf(cut) == scenario);
            table.AppendLine(CultureInfo.InvariantCulture, $"{scenario,-20}{last - first + 1,7} {mine,7} {problems.Keys.Count(cut => recording.ScenarioOf(cut) == scenario),7}");
        }

        return table.ToString();
    }
}

/// <summary>On the file system of most boards.</summary>
[Collection("power cuts")]
public sealed class PowerCutsOnExt4(ITestOutputHelper output) : PowerCutTests(output)
{
    private protected override string FileSystem => "ext4";

    private protected override int SampledCuts => 6;

    private protected override bool IsReadByBoard => false;
}

/// <summary>On the one that is made for flash. What its recovery leaves is looked at on ext4.</summary>
[Collection("power cuts")]
public sealed class PowerCutsOnF2fs(ITestOutputHelper output) : PowerCutTests(output)
{
    private protected override string FileSystem => "f2fs";

    private protected override int SampledCuts => 2;

    private protected override bool IsReadByBoard => true;
}
