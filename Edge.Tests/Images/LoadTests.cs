using System.Formats.Tar;
using System.IO.Compression;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Images;

public sealed class LoadTests : IDisposable
{
    private readonly OciLayout _layout = new();
    private readonly StoreFixture _fixture = new();
    private readonly TemporaryDirectory _scratch = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _fixture.Dispose();
        _layout.Dispose();
        _scratch.Dispose();
    }

    private async Task<Stream> ArchiveAsync(string compression = "")
    {
        var file = _scratch.Sub("archive.tar");
        await Tool.RunAsync("tar", "-C", _layout.Path, "-cf", file, ".");
        switch (compression)
        {
            case "gzip":
                await Tool.RunAsync("gzip", file);
                return File.OpenRead(file + ".gz");
            case "zstd":
                await Tool.RunAsync("zstd", "-q", file);
                return File.OpenRead(file + ".zst");
            default:
                return File.OpenRead(file);
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task An_OCI_layout_is_loaded_with_all_its_images(string compression)
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Files(("a", "a"))), Layer.Zstd(Layer.Files(("b", "b")))]);
        _layout.AddIndex("docker.io/library/b:2", _layout.AddImage(null, [Layer.Plain(Layer.Files(("which", "arm")))], "arm"), _layout.AddImage(null, [Layer.Plain(Layer.Files(("which", "amd64")))]));
        await using var archive = await ArchiveAsync(compression);
        var images = await _fixture.Store.LoadAsync(archive, Cancel);
        Assert.Equal(["example.com/a:1", "docker.io/library/b:2"], images.Select(image => image.References.Single()));
        Assert.Equal("amd64", File.ReadAllText(_fixture.Root(_fixture.Store.Find("b:2")!) + "/which"));
        Assert.Empty(_fixture.Visible("content/ingest"));
        Assert.Equal(2, _fixture.Reopen().List().Count);
    }

    [Theory]
    [InlineData("docker-archive")]
    [InlineData("oci-archive")]
    public async Task What_skopeo_writes_is_loaded(string transport)
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "1"))), Layer.Gzip(Layer.Files(("a", "2")))]);
        var file = _scratch.Sub("image.tar");
        await Tool.RunAsync("skopeo", "--insecure-policy", "copy", "-q", $"oci:{_layout.Path}:a", $"{transport}:{file}:example.com/team/a:1");
        await using var archive = File.OpenRead(file);
        var image = Assert.Single(await _fixture.Store.LoadAsync(archive, Cancel));
        Assert.Equal(["example.com/team/a:1"], image.References);
        Assert.Equal("2", File.ReadAllText(_fixture.Root(image) + "/a"));
    }

    [Fact]
    public async Task A_layer_that_is_a_link_to_another_ones_is_found()
    {
        var tar = Layer.Files(("a", "a"));
        var config = $$$"""{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["{{{OciLayout.Sha256(tar)}}}"]}}""";
        var archive = Layer.Entries(
            new PaxTarEntry(TarEntryType.RegularFile, "0/layer.tar") { DataStream = new MemoryStream(tar) },
            new PaxTarEntry(TarEntryType.SymbolicLink, "1/layer.tar") { LinkName = "../0/layer.tar" },
            new PaxTarEntry(TarEntryType.RegularFile, "c.json") { DataStream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(config)) },
            new PaxTarEntry(TarEntryType.RegularFile, "manifest.json")
            {
                DataStream = new MemoryStream("""[{"Config":"c.json","RepoTags":["old:1","old:2"],"Layers":["1/layer.tar"]}]"""u8.ToArray()),
            });
        var image = Assert.Single(await _fixture.Store.LoadAsync(new MemoryStream(archive), Cancel));
        Assert.Equal(["docker.io/library/old:1", "docker.io/library/old:2"], image.References);
    }

    [Fact]
    public async Task An_archive_that_is_no_image_is_refused_and_leaves_nothing()
    {
        foreach (var bytes in (byte[][])[[], Layer.Files(("etc/passwd", "x")), new byte[10], System.Text.Encoding.UTF8.GetBytes("this is no tar at all, whatever its name says"), Layer.Files(("manifest.json", "{}"))])
        {
            var e = await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.LoadAsync(new MemoryStream(bytes), Cancel));
            Assert.True(e.Kind is ErrorKind.Invalid or ErrorKind.Corrupt, e.Message);
        }

        Assert.Empty(_fixture.Visible("content/ingest"));
        Assert.Empty(_fixture.Visible("snapshots"));
    }

    [Fact]
    public async Task A_blob_that_is_not_what_its_name_says_is_corrupt()
    {
        var layer = Layer.Gzip(Layer.Files(("a", "a")));
        _layout.AddImage("example.com/a:1", [layer]);
        File.WriteAllBytes(_layout.BlobPath(OciLayout.Sha256(layer.Blob)), Layer.Gzip(Layer.Files(("a", "b"))).Blob);
        await using var archive = await ArchiveAsync();
        Assert.Equal(ErrorKind.Corrupt, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.LoadAsync(archive, Cancel))).Kind);
        Assert.Empty(_fixture.Store.List());
    }

    [Fact]
    public async Task A_layout_with_a_link_out_of_it_reads_nothing_of_the_host()
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Files(("a", "a")))]);
        var index = File.ReadAllBytes(Path.Combine(_layout.Path, "index.json"));
        var archive = Layer.Entries(
            new PaxTarEntry(TarEntryType.RegularFile, "../../../../../../tmp/escaped") { DataStream = new MemoryStream([1]) },
            new PaxTarEntry(TarEntryType.SymbolicLink, "manifest.json") { LinkName = "/etc/passwd" },
            new PaxTarEntry(TarEntryType.RegularFile, "oci-layout") { DataStream = new MemoryStream("{}"u8.ToArray()) },
            new PaxTarEntry(TarEntryType.RegularFile, "index.json") { DataStream = new MemoryStream(index) });
        var e = await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.LoadAsync(new MemoryStream(archive), Cancel));
        Assert.Equal(ErrorKind.Corrupt, e.Kind);
        Assert.False(File.Exists("/tmp/escaped"));
    }

    [Fact]
    public async Task A_truncated_archive_is_corrupt()
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Noise("a", 100_000, 1))]);
        await using var archive = await ArchiveAsync("gzip");
        using var half = new MemoryStream();
        await archive.CopyToAsync(half, Cancel);
        half.SetLength(half.Length / 2);
        half.Position = 0;
        Assert.Equal(ErrorKind.Corrupt, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.LoadAsync(half, Cancel))).Kind);
        Assert.Empty(_fixture.Visible("content/ingest"));
    }

    [Fact]
    public async Task A_gzip_of_several_members_is_read_whole()
    {
        var tar = Layer.Files(("a", new string('a', 5000)), ("b", "b"));
        using var blob = new MemoryStream();
        foreach (var part in (byte[][])[tar[..1000], tar[1000..4000], tar[4000..]])
        {
            using var gzip = new GZipStream(blob, CompressionLevel.Fastest, leaveOpen: true);
            gzip.Write(part);
        }

        _layout.AddImage("example.com/a:1", [new Layer(tar, blob.ToArray(), "+gzip")]);
        await using var archive = await ArchiveAsync();
        var image = Assert.Single(await _fixture.Store.LoadAsync(archive, Cancel));
        Assert.Equal(5001, image.SizeBytes);
    }

    [Fact]
    public async Task A_loaded_image_is_found_and_pulled_by_its_digest_without_any_registry()
    {
        _layout.AddImage("nowhere.example/a:1", [Layer.Gzip(Layer.Files(("a", "a")))]);
        await using var archive = await ArchiveAsync();
        var image = Assert.Single(await _fixture.Store.LoadAsync(archive, Cancel));
        Assert.Equal(image, await _fixture.Store.PullAsync($"nowhere.example/a@{image.ManifestDigest}", null, Cancel));
        Assert.Null(_fixture.Store.Find($"elsewhere.example/a@{image.ManifestDigest}"));
    }
}
