using EdgeHost.Engine;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>No two containers have a user in common.</summary>
public sealed class UserRangesTests
{
    [Fact]
    public void The_lowest_free_range_is_taken_none_overlaps_another_and_the_end_is_said()
    {
        var taken = new List<uint>();
        EdgeHostException? end = null;
        while (end is null)
        {
            try
            {
                taken.Add(UserRanges.Default.Take(taken));
            }
            catch (EdgeHostException e)
            {
                end = e;
            }
        }

        Assert.Equal(ErrorKind.Full, end.Kind);
        Assert.Equal(2303, taken.Count);
        Assert.All(taken.Zip(taken.Skip(1)), pair => Assert.Equal(UserRanges.Size, pair.Second - pair.First));
        Assert.True(taken[^1] + (ulong)UserRanges.Size <= int.MaxValue);

        Assert.Equal(taken[7], UserRanges.Default.Take(taken.Where((_, index) => index != 7)));
    }
}
