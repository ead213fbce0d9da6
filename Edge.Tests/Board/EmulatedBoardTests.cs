using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.Board;

/// <summary>What the fixture does to a board befalls it.</summary>
public sealed class EmulatedBoardTests
{
    [Fact]
    public async Task A_board_loses_its_link_its_clock_the_room_on_its_disk_and_its_power()
    {
        using var files = new TemporaryDirectory();
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Disk = 64, Network = true, Memory = 256, Cpus = 1 });

        await File.WriteAllTextAsync(files.Sub("there"), "to the board", TestContext.Current.CancellationToken);
        await board.CopyToAsync(files.Sub("there"), "/root/there");
        await board.CopyFromAsync("/root/there", files.Sub("back"));
        Assert.Equal("to the board", await File.ReadAllTextAsync(files.Sub("back"), TestContext.Current.CancellationToken));

        const string Ping = "ping -c 1 -W 5 10.0.2.2";
        (await board.RunAsync(Ping)).Succeeds();
        await board.CutLinkAsync();
        Assert.NotEqual(0, (await board.RunAsync(Ping)).ExitCode);
        await board.CutLinkAsync(isCut: false);
        (await board.RunAsync(Ping)).Succeeds();
        await board.ShapeLinkAsync("loss 100%");
        (await board.RunAsync(Ping)).Exits(1);
        await board.ShapeLinkAsync(null);
        (await board.RunAsync(Ping)).Succeeds();

        await board.SetClockAsync(DateTimeOffset.UnixEpoch.AddDays(1));
        Assert.Equal("1970", (await board.RunAsync("date -u +%Y")).Succeeds().Output.Trim());

        await board.FillDiskAsync("/root");
        Assert.Contains("No space left on device", (await board.RunAsync("head -c 100000 /dev/urandom > /root/more")).Exits(1).Error, StringComparison.Ordinal);
        await board.EmptyDiskAsync("/root");
        (await board.RunAsync("head -c 100000 /dev/urandom > /root/more; sync; echo lost > /tmp/memory")).Succeeds();

        await board.CutPowerAsync();
        Assert.Equal("100000\n", (await board.RunAsync("stat -c %s /root/more; test ! -e /tmp/memory")).Succeeds().Output);
    }
}
