using Edge.Tests.Fixtures;
using EdgeHost;
using Xunit;

namespace Edge.Tests.Configuration;

public sealed class DeviceConfigTests
{
    public static TheoryData<string> Files => [.. Directory.GetFiles(Repository.PathOf("device-configs"), "*.json").Select(path => Path.GetFileName(path)).Order()];

    [Theory]
    [MemberData(nameof(Files))]
    public void Each_configuration_to_start_from_is_one_that_the_daemon_reads(string file)
    {
        var path = Repository.PathOf("device-configs", file);
        _ = ConfigurationReader.Read(DaemonPaths.From(path, null, null, _ => null), _ => null);
        Assert.Contains($"`{file}`", File.ReadAllText(Repository.PathOf("device-configs", "README.md")), StringComparison.Ordinal);
    }
}
