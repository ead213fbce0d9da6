using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Architecture;

public sealed class AotWarningTests
{
    [Theory]
    [InlineData("linux-x64")]
    [InlineData("linux-arm64")]
    public async Task The_published_binary_warns_of_exactly_what_the_document_explains(string rid)
    {
        if (rid != PublishedBinary.NativeRid && PublishedBinary.NativeRid != "linux-x64")
        {
            Needs.Missing($"{rid} is not built on this machine");
        }

        var said = await File.ReadAllLinesAsync(
            Path.Combine(Path.GetDirectoryName(await PublishedBinary.ForAsync(rid))!, "aot-warnings.txt"), TestContext.Current.CancellationToken);
        var inBlock = false;
        var explained = new List<string>();
        foreach (var line in await File.ReadAllLinesAsync(Repository.PathOf("docs", "aot-warnings.md"), TestContext.Current.CancellationToken))
        {
            if (line.StartsWith("```", StringComparison.Ordinal))
            {
                inBlock = !inBlock;
            }
            else if (inBlock)
            {
                explained.Add(line);
            }
        }

        Assert.Equal(explained.Order(StringComparer.Ordinal), said.Order(StringComparer.Ordinal));
    }
}
