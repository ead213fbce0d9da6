using System.Formats.Tar;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Oci;
using Xunit;

namespace Edge.Tests.Images;

public sealed class PullTests : IAsyncLifetime
{
    private readonly OciLayout _layout = new();
    private readonly StoreFixture _fixture = new();
    private RegistryFixture _registry = null!;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private ImageStore Store => _fixture.Store;

    public async ValueTask InitializeAsync() => _registry = await RegistryFixture.StartAsync();

    public async ValueTask DisposeAsync()
    {
        await _registry.DisposeAsync();
        _fixture.Dispose();
        _layout.Dispose();
    }

    [Fact]
    public async Task An_image_is_pulled_unpacked_and_found_by_every_name_it_has()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("etc/one", "1"))), Layer.Zstd(Layer.Files(("etc/two", "2"))), Layer.Plain(Layer.Files(("etc/three", "3")))]);
        await _registry.PushAsync(_layout.Path + ":a", "team/app:v1");
        var image = await Store.PullAsync($"{_registry.Host}/team/app:v1", null, Cancel);

        Assert.Equal([$"{_registry.Host}/team/app:v1"], image.References);
        Assert.StartsWith($"{_registry.Host}/team/app@sha256:", Assert.Single(image.RepositoryDigests), StringComparison.Ordinal);
        Assert.Equal(["PATH=/bin"], image.Config.Config.Env);
        Assert.Equal(["/bin/sh"], image.Config.Config.Cmd);
        Assert.Empty(image.Config.Config.Entrypoint);
        Assert.Equal(3, image.SizeBytes);
        Assert.Equal(2024, image.Created.Year);
        foreach (var name in (string[])[image.References[0], image.RepositoryDigests[0], image.Id.ToString(), image.Id.Hex, image.Id.Hex[..12]])
        {
            Assert.Equal(image.Id, Store.Find(name)?.Id);
        }

        var snapshot = Store.Prepare(image.Id.ToString(), "c1");
        Assert.Equal(["3", "2", "1"], snapshot.LowerDirectories.Select(lower => File.ReadAllText(Directory.GetFiles(lower + "/etc")[0])));
        Assert.Empty(_fixture.Visible("content/ingest"));
    }

    [Fact]
    public async Task A_second_pull_of_the_same_and_one_by_digest_fetch_nothing()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("one", "1")))]);
        await _registry.PushAsync(_layout.Path + ":a", "app:v1");
        var image = await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        Assert.Equal(image, await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel));
        await _registry.DisposeAsync();
        Assert.Equal(image.Id, (await Store.PullAsync(image.RepositoryDigests[0], null, Cancel)).Id);
    }

    [Fact]
    public async Task Everything_is_there_again_when_the_store_is_opened_again_also_without_its_database()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("one", "1")))]);
        await _registry.PushAsync(_layout.Path + ":a", "app:v1");
        var image = await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        var snapshot = Store.Prepare(image.Id.ToString(), "c1");
        var again = Assert.Single(_fixture.Reopen(() => File.WriteAllText(_fixture.Sub("state.db"), "no database")).List());
        Assert.Equal((image.Id, image.ManifestDigest, image.SizeBytes), (again.Id, again.ManifestDigest, again.SizeBytes));
        Assert.Equal(image.References, again.References);
        Assert.Equal(image.RepositoryDigests, again.RepositoryDigests);
        Assert.Equal(snapshot.UpperDirectory, Store.Prepare(image.Id.ToString(), "c1").UpperDirectory);
    }

    [Fact]
    public async Task A_tag_that_moved_leads_to_the_new_image_and_the_old_one_stays_without_a_name()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("one", "1")))]);
        _layout.AddImage("b", [Layer.Gzip(Layer.Files(("one", "2")))]);
        await _registry.PushAsync(_layout.Path + ":a", "app:v1");
        var first = await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        await _registry.PushAsync(_layout.Path + ":b", "app:v1");
        var second = await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        Assert.NotEqual(first.Id, second.Id);
        Assert.Equal(second.Id, Store.Find($"{_registry.Host}/app:v1")!.Id);
        Assert.Empty(Store.Find(first.Id.ToString())!.References);
        Assert.Equal(second.Id, _fixture.Reopen().Find($"{_registry.Host}/app:v1")!.Id);
    }

    [Fact]
    public async Task Layers_that_two_images_share_are_stored_once_and_go_with_the_last_of_them()
    {
        var common = Layer.Gzip(Layer.Files(("base", "base")));
        _layout.AddImage("a", [common, Layer.Gzip(Layer.Files(("a", "a")))]);
        _layout.AddImage("b", [common, Layer.Gzip(Layer.Files(("b", "b")))]);
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        await _registry.PushAsync(_layout.Path + ":b", "b:1");
        await Task.WhenAll(Store.PullAsync($"{_registry.Host}/a:1", null, Cancel), Store.PullAsync($"{_registry.Host}/b:1", null, Cancel));
        Assert.Equal(3, _fixture.Visible("snapshots").Length);
        var removal = await Store.RemoveAsync($"{_registry.Host}/a:1", false, Cancel);
        Assert.Contains($"{_registry.Host}/a:1", removal.Untagged);
        Assert.Equal(2, removal.Deleted.Count);
        Assert.Equal(2, _fixture.Visible("snapshots").Length);
        await Store.RemoveAsync($"{_registry.Host}/b:1", false, Cancel);
        Assert.Empty(_fixture.Visible("snapshots"));
        Assert.Empty(_fixture.Visible("content/blobs/sha256"));
        Assert.Empty(_fixture.Visible("content/images"));
    }

    [Fact]
    public async Task The_manifest_for_this_platform_is_chosen_from_an_index()
    {
        _layout.AddIndex(
            "a",
            _layout.AddImage(null, [Layer.Gzip(Layer.Files(("which", "arm64")))], "arm64", "v8"),
            _layout.AddImage(null, [Layer.Gzip(Layer.Files(("which", "amd64")))]));
        await _registry.PushAsync(_layout.Path + ":a", "app:v1");
        var image = await Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        Assert.Equal("amd64", File.ReadAllText(_fixture.Root(image) + "/which"));
        using var board = new StoreFixture(new ImageStoreOptions { Platform = new Platform { Os = "linux", Architecture = "arm64", Variant = "v8" } });
        var other = await board.Store.PullAsync($"{_registry.Host}/app:v1", null, Cancel);
        Assert.Equal("arm64", File.ReadAllText(board.Root(other) + "/which"));
        Assert.Equal(image.RepositoryDigests, other.RepositoryDigests);
    }

    [Fact]
    public async Task An_image_for_another_architecture_is_infeasible_and_both_are_named()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "a")))], "s390x");
        _layout.AddIndex("b", _layout.AddImage(null, [Layer.Gzip(Layer.Files(("a", "a")))], "riscv64"));
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        await _registry.PushAsync(_layout.Path + ":b", "b:1");
        foreach (var (name, built) in ((string, string)[])[("a:1", "linux/s390x"), ("b:1", "linux/riscv64")])
        {
            var e = await Assert.ThrowsAsync<EdgeHostException>(() => Store.PullAsync($"{_registry.Host}/{name}", null, Cancel));
            Assert.Equal(ErrorKind.Infeasible, e.Kind);
            Assert.Contains(built, e.Message, StringComparison.Ordinal);
            Assert.Contains("linux/amd64", e.Message, StringComparison.Ordinal);
        }

        Assert.Empty(_fixture.Visible("snapshots"));
    }

    [Fact]
    public async Task Docker_manifests_are_read_like_oci_ones()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "docker")))]);
        await _registry.PushAsync(_layout.Path + ":a", "a:1", format: "v2s2");
        var image = await Store.PullAsync($"{_registry.Host}/a:1", null, Cancel);
        Assert.Equal("docker", File.ReadAllText(_fixture.Root(image) + "/a"));
    }

    [Fact]
    public async Task What_is_not_there_is_not_found_and_a_dead_registry_is_unavailable()
    {
        Assert.Equal(ErrorKind.NotFound, (await Assert.ThrowsAsync<EdgeHostException>(() => Store.PullAsync($"{_registry.Host}/nowhere:1", null, Cancel))).Kind);
        await _registry.DisposeAsync();
        Assert.Equal(ErrorKind.Unavailable, (await Assert.ThrowsAsync<EdgeHostException>(() => Store.PullAsync($"{_registry.Host}/nowhere:1", null, Cancel))).Kind);
    }

    [Fact]
    public async Task A_layer_with_another_diff_id_is_corrupt_and_nothing_becomes_visible()
    {
        var layer = Layer.Gzip(Layer.Files(("a", "a")));
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("b", "b"))), layer], change: config =>
            config["rootfs"]!["diff_ids"]![1] = OciLayout.Sha256([1, 2, 3]));
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        var e = await Assert.ThrowsAsync<EdgeHostException>(() => Store.PullAsync($"{_registry.Host}/a:1", null, Cancel));
        Assert.Equal(ErrorKind.Corrupt, e.Kind);
        Assert.Contains(layer.DiffId, e.Message, StringComparison.Ordinal);
        Assert.Empty(Store.List());
        Assert.DoesNotContain(_fixture.Visible("snapshots"), name => name.StartsWith('.'));

        // The good layer's bytes may be kept for the next pull; the bad one's never.
        Assert.DoesNotContain("sha256-" + OciLayout.Sha256(layer.Blob)["sha256:".Length..], _fixture.Visible("content/ingest"));
    }

    [Fact]
    public async Task Directories_that_a_layer_only_implies_keep_the_attributes_they_have_below()
    {
        var tmp = new PaxTarEntry(TarEntryType.Directory, "tmp/") { Mode = (UnixFileMode)Convert.ToInt32("1777", 8), Uid = 5, Gid = 6 };
        _layout.AddImage("a", [Layer.Gzip(Layer.Entries(tmp)), Layer.Gzip(Layer.Files(("tmp/x", "x")))]);
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        var image = await Store.PullAsync($"{_registry.Host}/a:1", null, Cancel);
        Assert.Equal("1777 5 6\n", await Tool.RunAsync("stat", "-c", "%a %u %g", _fixture.Root(image) + "/tmp"));
    }

    [Fact]
    public async Task An_image_that_a_container_uses_is_kept_until_the_container_lets_it_go()
    {
        _layout.AddImage("a", [Layer.Gzip(Layer.Files(("a", "a")))]);
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        var image = await Store.PullAsync($"{_registry.Host}/a:1", null, Cancel);
        Store.Prepare(image.Id.ToString(), "c1");
        Assert.Equal(ErrorKind.Conflict, (await Assert.ThrowsAsync<EdgeHostException>(() => Store.RemoveAsync($"{_registry.Host}/a:1", false, Cancel))).Kind);
        var removal = await Store.RemoveAsync($"{_registry.Host}/a:1", true, Cancel);
        Assert.Empty(removal.Deleted);
        Assert.Null(Store.Find($"{_registry.Host}/a:1"));
        Store.Prepare(image.Id.ToString(), "c1");
        Store.Discard("c1");
        Store.Discard("c1");
        Assert.Empty(Store.List());

        // Out of sight at once; what was in them is removed in turn.
        await EdgeHost.Linux.Afterwards.Done;
        Assert.Equal(["0"], _fixture.Visible("snapshots"));
    }

    [Fact]
    public async Task Progress_is_told_from_resolving_to_done_and_each_layer_comes_to_its_end()
    {
        var layers = Enumerable.Range(0, 3).Select(i => Layer.Gzip(Layer.Noise("n", 2_000_000, i))).ToList();
        _layout.AddImage("a", layers);
        await _registry.PushAsync(_layout.Path + ":a", "a:1");
        var seen = new Seen();
        await Store.PullAsync($"{_registry.Host}/a:1", seen, Cancel);
        Assert.Equal("resolving", seen.Reports[0].Phase);
        Assert.Equal(("done", (string?)null), (seen.Reports[^1].Phase, seen.Reports[^1].Layer));
        Assert.All(layers, layer => Assert.Contains(seen.Reports, report =>
            report.Layer == OciLayout.Sha256(layer.Blob) && report.Phase == "done" && report.DoneBytes == layer.Blob.Length));
        Assert.All(seen.Reports, report => Assert.InRange(report.DoneBytes, 0, report.TotalBytes));
        Assert.Contains(seen.Reports, report => report.Phase is "downloading" or "extracting");
    }

    private sealed class Seen : IProgress<PullProgress>
    {
        internal List<PullProgress> Reports { get; } = [];

        public void Report(PullProgress value) => Reports.Add(value);
    }
}
