using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Xunit;

namespace Edge.Tests.Fixtures;

/// <summary>
/// The native binary, as users get it. It is taken from the directory that EDGEHOST_DIST names (test.sh builds it there
/// once), else built by cross-build.sh, once for each run of the tests.
/// </summary>
internal static class PublishedBinary
{
    private static readonly ConcurrentDictionary<string, Lazy<Task<string>>> Built = new(StringComparer.Ordinal);

    /// <summary>The RID of this machine.</summary>
    internal static string NativeRid => RuntimeInformation.RuntimeIdentifier.EndsWith("arm64", StringComparison.Ordinal) ? "linux-arm64" : "linux-x64";

    /// <summary>The path of the binary for this machine.</summary>
    internal static Task<string> NativeAsync() => ForAsync(NativeRid);

    /// <summary>The path of the binary for a RID.</summary>
    /// <param name="rid"><c>linux-x64</c> or <c>linux-arm64</c>.</param>
    internal static Task<string> ForAsync(string rid) => Built.GetOrAdd(rid, r => new Lazy<Task<string>>(() => FindOrBuildAsync(r))).Value;

    /// <summary>Runs the binary of this machine.</summary>
    internal static async Task<CommandRun> RunAsync(params string[] arguments) => await CommandRun.RunAsync(await NativeAsync(), arguments);

    private static async Task<string> FindOrBuildAsync(string rid)
    {
        if (Environment.GetEnvironmentVariable("EDGEHOST_DIST") is { Length: > 0 } dist)
        {
            var given = Path.Combine(dist, rid, "edgehost");
            Assert.True(File.Exists(given), $"EDGEHOST_DIST is {dist}, but there is no {given}");
            return given;
        }

        (await CommandRun.RunAsync(Repository.PathOf("cross-build.sh"), [rid], patience: TimeSpan.FromMinutes(30))).Succeeds();
        return Repository.PathOf("dist", rid, "edgehost");
    }
}
