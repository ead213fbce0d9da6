using Xunit;

namespace Edge.Tests.Board;

/// <summary>A board on which there is too little memory for anything beside the system.</summary>
public sealed class SmallBoardTests
{
    [Fact]
    public async Task A_board_with_64_MB_is_told_by_the_check_and_by_the_daemon_how_much_is_needed()
    {
        // Half of it is the kernel's.
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Memory = 64, Cpus = 1, Disk = 128 });

        var check = (await board.RunAsync("edgehost check --data-dir /mnt/data/edgehost")).Exits(1);
        Assert.Matches(@"MISSING  memory +3\d(\.\d)? MiB, 96 MiB are needed\n +-> use a bigger board\n", check.Output);

        var said = await board.RunAsync(
            """
            mkfifo /root/log
            edgehost daemon --data-dir /mnt/data/edgehost --run-dir /run/edgehost 2>/root/log &
            head -1 /root/log
            kill -KILL $!
            """);
        Assert.Matches("warning this board has 3\\d MiB of memory, and 96 are needed: whatever runs on it may be ended for want of memory, EdgeHost last; use a bigger board\n", said.Output);
    }
}
