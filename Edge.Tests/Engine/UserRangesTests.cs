using Edge.Tests.Images;
using EdgeHost.Engine;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>No two containers have a user in common, and none has one that is somebody else's.</summary>
public sealed class UserRangesTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public void The_lowest_free_range_is_taken_none_overlaps_another_and_the_end_is_said()
    {
        var taken = All(UserRanges.Default);

        Assert.Equal(2303, taken.Count);
        Assert.All(taken.Zip(taken.Skip(1)), pair => Assert.Equal(UserRanges.Size, pair.Second - pair.First));
        Assert.True(taken[^1] + (ulong)UserRanges.Size <= int.MaxValue);

        Assert.Equal(taken[7], UserRanges.Default.Take(taken.Where((_, index) => index != 7)));
    }

    [Fact]
    public void Only_the_lines_of_edgehost_count_and_what_fits_into_none_is_left_out()
    {
        var ranges = UserRanges.Read(File("someone:100000:65536", "edgehost:300000:200000", "", "# a remark", "edgehost:200000:65535", "other:bad:line", "edgehost:1000000:65536"));

        Assert.Equal([300000u, 365536u, 431072u, 1000000u], All(ranges));
    }

    [Fact]
    public void A_range_that_a_container_has_from_other_lines_is_not_given_again()
    {
        var ranges = UserRanges.Read(File("edgehost:300000:200000"));

        Assert.Equal(431072u, ranges.Take([310000]));
        Assert.Throws<EdgeHostException>(() => UserRanges.Read(File("edgehost:300000:65536")).Take([365535]));
    }

    [Theory]
    [InlineData("has no line", "someone:100000:65536")]
    [InlineData("no line of edgehost has the 65536 users", "edgehost:100000:65535", "edgehost:300000:1000")]
    [InlineData("edgehost:300000:70000 overlaps edgehost:360000:65536", "edgehost:300000:70000", "edgehost:360000:65536")]
    [InlineData("edgehost:300000:70000 overlaps someone:369999:1", "someone:369999:1", "edgehost:300000:70000")]
    [InlineData("those below are the machine's own users", "edgehost:0:65536")]
    [InlineData("those below are the machine's own users", "edgehost:4294900000:67296")]
    [InlineData(":2: \"edgehost:300000\" is not edgehost:FIRST:COUNT", "someone:1:1", "edgehost:300000")]
    [InlineData(":1: \"edgehost:-1:65536\" is not edgehost:FIRST:COUNT", "edgehost:-1:65536")]
    public void A_file_that_will_not_do_is_refused_by_its_line(string words, params string[] lines)
    {
        var file = File(lines);

        var refused = Assert.Throws<EdgeHostException>(() => UserRanges.Read(file));

        Assert.Equal(ErrorKind.Invalid, refused.Kind);
        Assert.StartsWith(file, refused.Message, StringComparison.Ordinal);
        Assert.Contains(words, refused.Message, StringComparison.Ordinal);
    }

    private static List<uint> All(UserRanges ranges)
    {
        var taken = new List<uint>();
        while (true)
        {
            try
            {
                taken.Add(ranges.Take(taken));
            }
            catch (EdgeHostException e)
            {
                Assert.Equal(ErrorKind.Full, e.Kind);
                return taken;
            }
        }
    }

    private string File(params string[] lines)
    {
        var file = _directory.Sub("subuid");
        System.IO.File.WriteAllLines(file, lines);
        return file;
    }
}
