using System.Text;
using EdgeHost.Errors;
using EdgeHost.Oci;
using Xunit;

namespace Edge.Tests.Oci;

public sealed class PlatformTests
{
    private static Platform Parse(string text) => text.Split('/') is var parts
        ? new Platform { Os = parts[0], Architecture = parts[1], Variant = parts.Length > 2 ? parts[2] : null }
        : throw new InvalidOperationException();

    private static ImageIndex Index(string platforms) => new()
    {
        Manifests = [.. platforms.Split(' ').Select((platform, i) => new Descriptor
        {
            Digest = "sha256:" + i.ToString().PadLeft(64, '0'),
            Platform = platform == "-" ? null : Parse(platform),
        })],
    };

    [Theory]
    [InlineData("linux/arm64/v8", "linux/amd64 linux/arm64 linux/arm/v7", 1)]
    [InlineData("linux/arm64/v8", "linux/arm/v7 linux/arm64/v8", 1)]
    [InlineData("linux/arm64/v8", "linux/amd64 linux/arm/v6 linux/arm/v7", 2)]
    [InlineData("linux/arm/v7", "linux/arm/v5 linux/arm/v6 linux/arm64", 1)]
    [InlineData("linux/arm/v7", "linux/arm/v8 linux/arm", 1)]
    [InlineData("linux/arm/v6", "linux/arm/v7 linux/arm/v5", 1)]
    [InlineData("linux/amd64", "windows/amd64 linux/amd64 linux/386", 1)]
    [InlineData("linux/amd64", "linux/amd64/v3 linux/amd64", 1)]
    [InlineData("linux/amd64", "linux/386 linux/arm64", 0)]
    [InlineData("linux/amd64", "unknown/unknown linux/amd64 linux/amd64", 1)]
    [InlineData("linux/amd64", "-", 0)]
    public void The_best_of_an_index_is_chosen(string host, string offered, int expected) =>
        Assert.Equal(Index(offered).Manifests[expected], Parse(host).Choose(Index(offered), "x"));

    [Theory]
    [InlineData("linux/arm/v6", "linux/arm/v7 linux/arm64")]
    [InlineData("linux/amd64", "linux/amd64/v3 windows/amd64")]
    [InlineData("linux/amd64", "unknown/unknown")]
    [InlineData("linux/amd64", "- -")]
    public void Where_nothing_fits_both_sides_are_named(string host, string offered)
    {
        var e = Assert.Throws<EdgeHostException>(() => Parse(host).Choose(Index(offered), "image"));
        Assert.Equal(ErrorKind.Infeasible, e.Kind);
        Assert.Contains(host, e.Message, StringComparison.Ordinal);
        Assert.All(offered.Split(' ').Where(one => one is not "-" and not "unknown/unknown"), one => Assert.Contains(one, e.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Nulls_and_unknown_fields_in_a_configuration_are_taken_as_Go_writes_them()
    {
        var config = ImageDocument.ReadConfig(Encoding.UTF8.GetBytes("""
            {"created":"no time","architecture":"arm64","os":"linux","os.features":null,"x":{"y":[1]},
             "config":{"Env":null,"Cmd":null,"Entrypoint":["/a"],"Volumes":{"/data":{}},"ExposedPorts":{"80/tcp":{}},"Labels":null,"User":"1:2"},
             "rootfs":{"type":"layers","diff_ids":null},"history":null}
            """), "x").Value;
        Assert.Null(config.CreatedTime);
        Assert.Empty(config.Config.Env);
        Assert.Equal(["/data"], config.Config.Volumes.Keys);
        Assert.Empty(config.RootFs.DiffIds);
        Assert.Equal("1:2", config.Config.User);
    }

    [Fact]
    public void Deep_and_large_documents_are_refused()
    {
        var deep = Encoding.UTF8.GetBytes("""{"schemaVersion":2,"x":""" + new string('[', 1000) + new string(']', 1000) + "}");
        Assert.Equal(ErrorKind.Corrupt, Assert.Throws<EdgeHostException>(() => ImageDocument.ReadManifest(deep, "x")).Kind);
        Assert.Equal(ErrorKind.Corrupt, Assert.Throws<EdgeHostException>(() => ImageDocument.ReadManifest(new byte[ImageDocument.MaximumBytes + 1], "x")).Kind);
        var layers = string.Join(',', Enumerable.Repeat($$"""{"digest":"sha256:{{new string('0', 64)}}","size":1}""", 128));
        Assert.Contains("128 layers", Assert.Throws<EdgeHostException>(() => ImageDocument.ReadManifest(
            Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"config":{"digest":"sha256:{{new string('0', 64)}}","size":1},"layers":[{{layers}}]}"""), "x")).Message, StringComparison.Ordinal);
    }
}
