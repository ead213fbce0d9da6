using Edge.Tests.Board;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Limits are in bytes and the kernel counts in pages, whose size is the board's. The classes beneath name that.</summary>
public abstract class PageSizeTests
{
    private protected abstract int Kibibytes { get; }

    private protected abstract string? Flavour { get; }

    // What a static program of 1.8 MB does with 256 and with 384 KiB, as docs/limits.md says.
    private protected abstract string WithLeast { get; }

    [Fact]
    public async Task A_container_runs_within_limits_that_are_counted_in_the_pages_of_the_board()
    {
        // With two processors each may hold 64 pages of a limit, and the smallest ones would be a matter of luck.
        await using var board = await EmulatedBoard.StartAsync(new BoardSpec { Flavour = Flavour, Cpus = 1 });
        var run = (await DaemonScript.RunOnAsync(board, "pages.sh", DaemonScript.WithBroker)).Succeeds();
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output);
        var page = Kibibytes << 10;

        // The file's pages, and that of the container's init.
        Says($"BOARD page={Kibibytes} check=1\n");
        Says($"LIMITS 33554432,{20_000_000 / page * page},0,50000/100000,20 seen=33554432 shm={(8 << 20) + page} log=hello first=edgehost-init\n");
        Says("OOM code=137 hog=exited,true,137 box=running,false,0\n");
        Says(WithLeast);
        Says("LEFT cgroups=0 mounts=0\n");

        void Says(string text) => Assert.Contains(text, run.Output, StringComparison.Ordinal);
    }
}

/// <summary>Most boards.</summary>
public sealed class PagesOf4KiB : PageSizeTests
{
    private protected override int Kibibytes => 4;

    private protected override string? Flavour => null;

    private protected override string WithLeast => "LEAST 256k exited,false,0\nLEAST 384k exited,false,0\n";
}

/// <summary>A Raspberry Pi 5 with its usual kernel; here that of Debian's backports.</summary>
public sealed class PagesOf16KiB : PageSizeTests
{
    private protected override int Kibibytes => 16;

    private protected override string? Flavour => "16k";

    private protected override string WithLeast => "LEAST 256k exited,true,137\nLEAST 384k exited,false,0\n";
}
