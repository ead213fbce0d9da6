using Xunit;

namespace Edge.Tests.Fixtures;

/// <summary>
/// The native binary as an earlier commit of this repository builds it, so that an update is tried from what boards have. It is
/// built once and kept under dist/.
/// </summary>
internal static class OlderBuild
{
    /// <summary>The first build whose shepherd can be replaced in place.</summary>
    private const string Commit = "557a5a9a82aba40f08130318b2175cc85b73f2e0";

    private static readonly Lazy<Task<string>> Built = new(BuildAsync);

    /// <summary>The path of the binary for this machine.</summary>
    internal static Task<string> NativeAsync() => Built.Value;

    private static async Task<string> BuildAsync()
    {
        var path = Repository.PathOf("dist", "older", $"edgehost-{Commit[..12]}");
        if (File.Exists(path))
        {
            return path;
        }

        Assert.True(
            (await CommandRun.RunAsync("git", ["cat-file", "-e", Commit + "^{commit}"])).ExitCode == 0,
            $"the older build is of commit {Commit}, which this checkout does not have; fetch the whole history (git fetch --unshallow)");
        var sources = Directory.CreateTempSubdirectory("edgehost-older-");
        try
        {
            (await CommandRun.RunAsync("sh", ["-c", "git archive \"$0\" | tar -x -C \"$1\"", Commit, sources.FullName])).Succeeds();
            (await CommandRun.RunAsync(Path.Combine(sources.FullName, "cross-build.sh"), [PublishedBinary.NativeRid], directory: sources.FullName, patience: TimeSpan.FromMinutes(30))).Succeeds();
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.Copy(Path.Combine(sources.FullName, "dist", PublishedBinary.NativeRid, "edgehost"), path + ".new", overwrite: true);
            File.Move(path + ".new", path);
            return path;
        }
        finally
        {
            sources.Delete(recursive: true);
        }
    }
}
