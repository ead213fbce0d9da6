using System.Buffers;
using System.Text;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Xunit;

namespace Edge.Tests.Linux;

/// <summary>The keys that leave a terminal, among what is typed.</summary>
public sealed class DetachKeysTests
{
    [Theory]
    [InlineData(null, "ab\u0010\u0011cd", "ab", true)]
    [InlineData(null, "ab\u0010cd", "ab\u0010cd", false)]
    [InlineData(null, "\u0010\u0010\u0011", "\u0010", true)]
    [InlineData(null, "\u0010", "", false)]
    [InlineData("x", "ax", "a", true)]
    [InlineData("a,a,b", "aaab", "a", true)]
    [InlineData("ctrl-@,ctrl-_,z", "q\0\u001fz", "q", true)]
    public void They_are_found_and_what_only_begins_like_them_is_passed_on(string? keys, string typed, string passed, bool found)
    {
        // Also when they come one by one.
        var whole = DetachKeys.Parse(keys);
        var single = DetachKeys.Parse(keys);
        ArrayBufferWriter<byte> atOnce = new(), oneByOne = new();
        Assert.Equal(found, whole.Scan(Encoding.Latin1.GetBytes(typed), atOnce));
        Assert.Equal(found, typed.Any(key => single.Scan([(byte)key], oneByOne)));
        Assert.Equal(passed, Encoding.Latin1.GetString(atOnce.WrittenSpan));
        Assert.Equal(passed, Encoding.Latin1.GetString(oneByOne.WrittenSpan));
    }

    [Theory]
    [InlineData("ctrl-")]
    [InlineData("ctrl-A")]
    [InlineData("ctrl-p,,ctrl-q")]
    [InlineData("\u00e9")]
    public void Others_are_refused(string keys) =>
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => DetachKeys.Parse(keys)).Kind);
}
