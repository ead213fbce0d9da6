using System.Formats.Tar;
using System.Text.Json.Nodes;
using EdgeHost.Errors;
using EdgeHost.Images;
using Xunit;

namespace Edge.Tests.Images;

/// <summary>Images that are saved are what they were, byte by byte, although no blob of a layer is kept.</summary>
public sealed class SaveTests : IDisposable
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

    [Fact]
    public async Task Whatever_a_layer_was_made_of_it_comes_out_with_the_same_bytes()
    {
        byte[][] tars =
        [
            Layer.Entries(new PaxTarEntry(TarEntryType.Directory, "d/"), new PaxTarEntry(TarEntryType.RegularFile, new string('n', 150)) { DataStream = new MemoryStream(new byte[100_000]) },
                new PaxTarEntry(TarEntryType.RegularFile, "./d/../a") { DataStream = new MemoryStream("abc"u8.ToArray()) }, new PaxTarEntry(TarEntryType.HardLink, "b") { LinkName = "a" },
                new PaxTarEntry(TarEntryType.SymbolicLink, "c") { LinkName = "/d" }, new PaxTarEntry(TarEntryType.RegularFile, "c/through") { DataStream = new MemoryStream("x"u8.ToArray()) }),
            new RawTar().Directory("d").Add("d/.wh.gone").Add(".wh..wh..opq").Add("setuid", mode: 0x9ED, uid: 7, content: "s").End(),
            [.. new RawTar().GnuName(new string('g', 200)).Add("x", content: "long").Add("empty").End(), .. new byte[9000]],
            new RawTar().Add("last", content: "umoci ends here").EndAfterContent("umoci ends here".Length),
        ];
        _layout.AddImage("example.com/a:1", [Layer.Gzip(tars[0]), Layer.Zstd(tars[1]), Layer.Plain(tars[2]), Layer.Gzip(tars[3]), Layer.Gzip(tars[3])]);
        var image = await LoadAsync(_fixture.Store);
        var unpacked = await UnpackAsync(Save(_fixture.Reopen(), "example.com/a:1"));
        var manifest = JsonNode.Parse(File.ReadAllText(_scratch.Sub("out/manifest.json")))![0]!;
        Assert.Equal(tars.Append(tars[3]), manifest["Layers"]!.AsArray().Select(layer => File.ReadAllBytes(Path.Combine(unpacked, (string)layer!))));
        Assert.Equal(image.Id.ToString(), OciLayout.Sha256(File.ReadAllBytes(Path.Combine(unpacked, (string)manifest["Config"]!))));

        using var other = new StoreFixture();
        var again = Assert.Single(await other.Store.LoadAsync(File.OpenRead(_scratch.Sub("saved.tar")), Cancel));
        Assert.Equal((image.Id, image.SizeBytes, "example.com/a:1"), (again.Id, again.SizeBytes, again.References.Single()));
    }

    [Fact]
    public async Task A_name_without_a_tag_is_all_its_tags_and_an_id_has_none()
    {
        _layout.AddImage("docker.io/library/a:1", [Layer.Gzip(Layer.Files(("a", "a")))]);
        var image = await LoadAsync(_fixture.Store);
        _fixture.Store.Tag("a:1", "a:2");
        _fixture.Store.Tag("a:1", "b:1");
        Assert.Equal("a:1 a:2", await TagsAsync("a"));
        Assert.Equal("a:2 b:1", await TagsAsync("a:2", "b"));
        Assert.Equal(string.Empty, await TagsAsync(image.Id.Hex[..12]));
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<EdgeHostException>(() => _fixture.Store.OpenArchive(["a:1", "a:3"])).Kind);

        async Task<string> TagsAsync(params string[] names)
        {
            var directory = await UnpackAsync(Save(_fixture.Store, names));
            var entry = Assert.Single(JsonNode.Parse(File.ReadAllText(Path.Combine(directory, "manifest.json")))!.AsArray());
            return string.Join(' ', entry!["RepoTags"]!.AsArray().Select(tag => (string)tag!));
        }
    }

    [Theory]
    [InlineData("docker-archive:{0}:example.com/a:1")]
    [InlineData("oci-archive:{0}:1")]
    public async Task Skopeo_reads_what_is_saved(string form)
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Files(("a", "1"))), Layer.Gzip(Layer.Files(("a", "2")))]);
        var image = await LoadAsync(_fixture.Store);
        Save(_fixture.Store, "example.com/a:1");
        var copy = _scratch.Sub("copy");
        await Tool.RunAsync("skopeo", "--insecure-policy", "copy", "-q", string.Format(System.Globalization.CultureInfo.InvariantCulture, form, _scratch.Sub("saved.tar")), "dir:" + copy);
        Assert.True(File.Exists(Path.Combine(copy, image.Id.Hex)));
    }

    [Fact]
    public async Task A_layer_that_is_not_what_it_was_is_not_saved_as_if_it_were()
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Files(("a", "content"), ("b", "b")))]);
        var image = await LoadAsync(_fixture.Store);
        File.WriteAllText(Path.Combine(_fixture.Root(image), "a"), "CONTENT");
        Assert.Equal(ErrorKind.Corrupt, Assert.Throws<EdgeHostException>(() => Save(_fixture.Store, "example.com/a:1")).Kind);
        File.Delete(Path.Combine(_fixture.Root(image), "a"));
        Assert.Contains("a is not there as it was", Assert.Throws<EdgeHostException>(() => Save(_fixture.Store, "example.com/a:1")).Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(_fixture.Root(image), "..", "tar-record.gz"));
        Assert.Contains("pull or load it again", Assert.Throws<EdgeHostException>(() => Save(_fixture.Store, "example.com/a:1")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_image_that_is_removed_meanwhile_is_saved_whole()
    {
        _layout.AddImage("example.com/a:1", [Layer.Gzip(Layer.Files(("a", "a")))]);
        var image = await LoadAsync(_fixture.Store);
        using (var archive = _fixture.Store.OpenArchive(["example.com/a:1"]))
        {
            await _fixture.Store.RemoveAsync("example.com/a:1", force: false, Cancel);
            await using var file = File.Create(_scratch.Sub("saved.tar"));
            archive.WriteTo(file, Cancel);
        }

        Assert.Equal(image.Id, Assert.Single(await _fixture.Store.LoadAsync(File.OpenRead(_scratch.Sub("saved.tar")), Cancel)).Id);
    }

    private async Task<Image> LoadAsync(ImageStore store)
    {
        await Tool.RunAsync("tar", "-C", _layout.Path, "-cf", _scratch.Sub("layout.tar"), ".");
        await using var archive = File.OpenRead(_scratch.Sub("layout.tar"));
        return Assert.Single(await store.LoadAsync(archive, Cancel));
    }

    private string Save(ImageStore store, params string[] names)
    {
        using var archive = store.OpenArchive(names);
        using var file = File.Create(_scratch.Sub("saved.tar"));
        archive.WriteTo(file, Cancel);
        return file.Name;
    }

    private async Task<string> UnpackAsync(string file)
    {
        var directory = Directory.CreateDirectory(_scratch.Sub("out")).FullName;
        await Tool.RunAsync("tar", "-C", directory, "-xf", file);
        return directory;
    }
}
