using Edge.Tests.Images;

namespace Edge.Tests.Fixtures;

/// <summary>The Debian package, made of a built binary as packaging/package.sh does it.</summary>
internal static class DebianPackage
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(5);

    /// <summary>Packs it and gives the path of the .deb, beside which are the archive and SHA256SUMS.</summary>
    /// <param name="directory">Where that is made, in a directory of its own.</param>
    /// <param name="name">Of that directory.</param>
    /// <param name="rid"><c>linux-x64</c> or <c>linux-arm64</c>.</param>
    /// <param name="revision">A later number is a later version of the package.</param>
    internal static async Task<string> PackAsync(TemporaryDirectory directory, string name, string rid, string? revision = null)
    {
        Needs.Root();
        await Packages.NeedAsync("zstd", "xz-utils", "dpkg");
        var binary = await PublishedBinary.ForAsync(rid);
        var dist = Directory.CreateDirectory(directory.Sub(name)).FullName;
        Directory.CreateDirectory($"{dist}/{rid}");
        File.Copy(binary, $"{dist}/{rid}/edgehost");
        (await CommandRun.RunAsync(
            Repository.PathOf("packaging", "package.sh"), [rid],
            environment: new Dictionary<string, string?> { ["EDGEHOST_DIST"] = dist, ["EDGEHOST_REVISION"] = revision },
            patience: Patience)).Succeeds();
        return Directory.GetFiles(dist, "edgehost_*.deb").Single();
    }
}
