using System.Globalization;
using Edge.Tests.Board;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>What cgroup v2 holds on the arm64 board, by the kernel's own counters.</summary>
[Collection(Alone.Name)]
public sealed class LimitsTests(Arm64Board board)
{
    [Fact]
    public async Task Limits_of_version_2_hold_and_an_end_for_want_of_memory_is_that_of_one_container_whole()
    {
        var run = (await DaemonScript.RunOnAsync(board, "limits.sh")).Succeeds();
        TestContext.Current.TestOutputHelper?.WriteLine(run.Output);
        Says("SEEN updated=41943040,0,25000/100000,30 held=41943040,0,25000/100000,30 made=33554432,0,50000/100000,20");
        Says("SPARED daemon=-500 shepherd=-900 logger=-900 box=0 exec=0 lowered=no");
        Says("HUGE daemon=0 shepherd=0 logger=0 box=1 exec=1");
        Says("EXEC code=137 said=1 killed=1 groups=0 box=running,false,0 same=yes");
        Says("OLDER exec=300 pids=25 frozen=1 oom=137,running,false,0 stats=1");
        Says("STOPPED exited,false,137 left=0");
        Says("NESTED frozen=1 left=0");
        Says("DEVICE own=not-permitted,1+0-records-in, exec=not-permitted,1+0-records-in, given=1+0-records-in, beyond=not-permitted,");
        Says("SWAP strict=137,,exited,true,137 used=0 asked=0,done");
        Says("LEFT cgroups=0 mounts=0");

        // One that dies with the first process before its own turn comes is not counted.
        Assert.InRange(Number("GROUP", "killed"), 2, 5);
        Says("groups=1 hog=exited,true,137 outlived=0 box=running,false,0 same=yes daemon=answers left=0");

        Assert.InRange(Number("CACHE", "read"), 100 << 20, long.MaxValue);
        Assert.InRange(Number("CACHE", "peak"), 20 << 20, 24 << 20);
        Assert.InRange(Number("CACHE", "file"), 1 << 20, 24 << 20);
        Assert.InRange(Number("CACHE", "reached"), 1, long.MaxValue);
        Says(" kills=0 state=running,false,0");

        // The kernel lets through what was saved up in a tenth of a second.
        var seconds = Number("DISK", "hundredths") / 100.0;
        Assert.InRange(Number("DISK", "bytes") / seconds, (2 << 20) * 0.5, (2 << 20) * 1.1);
        Assert.InRange(Number("DISK", "writes") / seconds, 20 * 0.5, 20 * 1.1);
        Says(" bytes-held=rbps=max,wbps=2097152,riops=max,wiops=max writes-held=rbps=3145728,wbps=max,riops=max,wiops=20");
        Says("rate of disk /dev/none: it is not there; plug it in, or start the container without this limit");
        Says("rate of disk /dev/zero: it is no disk; lsblk lists them");

        foreach (var percent in (int[])[30, 60])
        {
            var (check, periods) = ($"CPU{percent}", Number($"CPU{percent}", "periods"));
            Assert.InRange(periods, 95, long.MaxValue);
            Agrees(periods, Number(check, "throttled"));
            Agrees(periods * percent * 1000, Number(check, "usage"));
            Agrees(periods * 100_000, Number(check, "usage") + Number(check, "time"));
        }

        void Says(string text) => Assert.Contains(text, run.Output, StringComparison.Ordinal);

        void Agrees(long expected, long counted) => Assert.True(Math.Abs(counted - expected) <= expected * 2 / 100, $"{counted} instead of {expected}\n{run}");

        long Number(string check, string key)
        {
            var line = run.Output.Split('\n').LastOrDefault(each => each.StartsWith(check + " ", StringComparison.Ordinal));
            Assert.True(line is not null, $"no line {check} in\n{run}");
            return long.Parse(line.Split(' ').First(word => word.StartsWith(key + "=", StringComparison.Ordinal))[(key.Length + 1)..], CultureInfo.InvariantCulture);
        }
    }
}
