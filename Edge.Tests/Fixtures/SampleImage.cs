using System.Collections.Concurrent;

namespace Edge.Tests.Fixtures;

/// <summary>The images of images/build.sh, each built once for a run of the tests, as OCI image layouts in tar files.</summary>
internal static class SampleImage
{
    private static readonly ConcurrentDictionary<(string Name, string Architecture), Lazy<Task<string>>> Built = new();

    /// <summary>The path of an image's tar file; its tag is <c>latest</c>.</summary>
    /// <param name="name">As images/build.sh has it: <c>busybox</c>, <c>sensor</c>, <c>climate</c>, <c>hog</c>.</param>
    /// <param name="architecture"><c>amd64</c> or <c>arm64</c>.</param>
    internal static Task<string> PathAsync(string name, string architecture) =>
        Built.GetOrAdd((name, architecture), key => new Lazy<Task<string>>(() => BuildAsync(key.Name, key.Architecture))).Value;

    private static async Task<string> BuildAsync(string name, string architecture)
    {
        Needs.Root();
        await Packages.NeedAsync("busybox-static", "mmdebstrap", "umoci");
        var run = await CommandRun.RunAsync(Repository.PathOf("images", "build.sh"), [name, architecture], patience: TimeSpan.FromMinutes(10));
        return Repository.PathOf(run.Succeeds().Output.Trim());
    }
}
