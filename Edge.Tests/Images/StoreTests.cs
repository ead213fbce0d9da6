using System.Formats.Tar;
using EdgeHost.Errors;
using EdgeHost.Images;
using Xunit;

namespace Edge.Tests.Images;

/// <summary>What the store makes of its own disk: after kills, damage and want of space, and as overlayfs sees it.</summary>
public sealed class StoreTests : IAsyncLifetime
{
    private readonly OciLayout _layout = new();
    private readonly TemporaryDirectory _scratch = new();
    private readonly List<string> _mounts = [];
    private readonly StoreFixture _fixture = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        foreach (var mount in Enumerable.Reverse(_mounts))
        {
            await Tool.RunAsync("umount", mount);
        }

        _fixture.Dispose();
        _layout.Dispose();
        _scratch.Dispose();
    }

    private async Task<Image> LoadAsync(string name, params Layer[] layers)
    {
        using var layout = new OciLayout();
        layout.AddImage(name, layers);
        return await LoadAsync(layout);
    }

    private async Task<Image> LoadAsync(OciLayout layout)
    {
        var file = _scratch.Sub($"{Guid.NewGuid():n}.tar");
        await Tool.RunAsync("tar", "-C", layout.Path, "-cf", file, ".");
        await using var archive = File.OpenRead(file);
        return Assert.Single(await _fixture.Store.LoadAsync(archive, Cancel));
    }

    private async Task<string> MountAsync(Image image)
    {
        var snapshot = _fixture.Store.Prepare(image.Id.ToString(), "c1");
        var target = _scratch.Sub("merged");
        Directory.CreateDirectory(target);
        await Tool.RunAsync(
            "mount", "-t", "overlay", "overlay", "-o", $"lowerdir={string.Join(':', snapshot.LowerDirectories)},upperdir={snapshot.UpperDirectory},workdir={snapshot.WorkDirectory}", target);
        _mounts.Add(target);
        return target;
    }

    [Fact]
    public async Task The_mounted_image_is_the_tree_that_umoci_unpacks()
    {
        static PaxTarEntry Directory(string name, string mode, int uid = 0) => new(TarEntryType.Directory, name) { Mode = (UnixFileMode)Convert.ToInt32(mode, 8), Uid = uid };
        static PaxTarEntry Empty(string name) => new(TarEntryType.RegularFile, name);
        _layout.AddImage(
            "a:1",
            [
                Layer.Gzip(Layer.Entries(
                    Directory("./", "751", 7), Directory("d", "1777", 3), Empty("d/x"), Empty("d/y"), Directory("gone", "755"), Empty("gone/deep"), Empty("file"), Empty("stays"),
                    new PaxTarEntry(TarEntryType.HardLink, "hard") { LinkName = "stays" },
                    new PaxTarEntry(TarEntryType.SymbolicLink, "soft") { LinkName = "../../stays" },
                    Directory("todir", "755"), Empty("todir/old"))),
                Layer.Gzip(Layer.Entries(Empty("d/.wh.x"), Empty("d/z"), Empty(".wh.gone"), new PaxTarEntry(TarEntryType.RegularFile, "file") { Mode = (UnixFileMode)Convert.ToInt32("4755", 8), Uid = 9 })),
                Layer.Plain(Layer.Entries(Directory("todir", "700"), Empty("todir/.wh..wh..opq"), Empty("todir/new"), Directory("gone", "711"), Empty("gone/again"))),
            ]);
        var bundle = _scratch.Sub("bundle");
        await Tool.RunAsync("umoci", "unpack", "--image", $"{_layout.Path}:a:1", bundle);
        var merged = await MountAsync(await LoadAsync(_layout));
        Assert.Equal(await ListAsync(bundle + "/rootfs"), await ListAsync(merged));
        await Tool.RunAsync("diff", "-r", "--no-dereference", bundle + "/rootfs", merged);

        static async Task<string> ListAsync(string directory) => string.Join('\n', (await Tool.RunAsync(
            "find", directory, "-printf", "%P %y %m %U %G %l\n")).Split('\n').Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_layer_that_hides_all_below_it_is_mounted_without_them()
    {
        var merged = await MountAsync(await LoadAsync(
            "a:1", Layer.Plain(Layer.Files(("old", "o"))), Layer.Plain(Layer.Files((".wh..wh..opq", ""), ("new", "n"))), Layer.Plain(Layer.Files(("newer", "n")))));
        Assert.Equal(["new", "newer"], Directory.GetFileSystemEntries(merged).Select(Path.GetFileName).Order());
    }

    [Fact]
    public async Task Without_room_for_what_lies_below_all_layers_a_container_has_its_layers_all_the_same()
    {
        var image = await LoadAsync("a:1", Layer.Plain(Layer.Files(("a", "a"))));
        File.WriteAllText(_fixture.Sub("snapshots/0"), "in its way");

        var without = _fixture.Store.Prepare(image.Id.ToString(), "c1");
        Assert.Null(without.MountPoints);
        Assert.Equal(without.LowerDirectories, without.Below);
        Assert.DoesNotContain(Directory.GetFileSystemEntries(_fixture.Sub("snapshots")), path => Path.GetFileName(path).StartsWith('.'));

        File.Delete(_fixture.Sub("snapshots/0"));
        var with = _fixture.Store.Prepare(image.Id.ToString(), "c2");
        Assert.Equal(["dev", "etc", "proc", "sys"], Directory.GetFileSystemEntries(with.MountPoints!).Select(Path.GetFileName).Order());
        Assert.Equal([.. with.LowerDirectories, with.MountPoints!], with.Below);
    }

    [Fact]
    public async Task What_a_killed_process_left_is_gone_when_the_store_is_opened_and_nothing_of_it_was_seen()
    {
        var image = await LoadAsync("a:1", Layer.Plain(Layer.Files(("a", "a"))));
        _fixture.Reopen(() =>
        {
            Directory.CreateDirectory(_fixture.Sub("snapshots/.new-1-1/fs/deep/er"));
            File.WriteAllText(_fixture.Sub("snapshots/.new-1-1/fs/deep/er/file"), "x");
            Directory.CreateDirectory(_fixture.Sub("snapshots/.gone-7-1/fs"));
            Directory.CreateDirectory(_fixture.Sub("content/ingest/load-1"));
            File.WriteAllText(_fixture.Sub("content/ingest/load-1/0"), "x");
            File.WriteAllText(_fixture.Sub("content/ingest/sha256-young"), "x");
            File.WriteAllText(_fixture.Sub("content/ingest/sha256-old"), "x");
            File.SetLastWriteTimeUtc(_fixture.Sub("content/ingest/sha256-old"), DateTime.UtcNow.AddDays(-8));
            File.WriteAllText(_fixture.Sub("content/images/.x.json.1.tmp"), "x");

            // A container's layer that nobody waited for: its files are there, and what it is has not reached the disk.
            foreach (var number in (string[])["17", "18"])
            {
                Directory.CreateDirectory(_fixture.Sub($"snapshots/{number}/fs/etc"));
            }

            File.WriteAllText(_fixture.Sub("snapshots/18/snapshot.json"), string.Empty);
        });
        await _fixture.Store.Swept;
        Assert.Equal(["1"], _fixture.Visible("snapshots"));
        Assert.Equal(["sha256-young"], _fixture.Visible("content/ingest"));
        Assert.Equal([image.Id.Hex + ".json"], _fixture.Visible("content/images"));
        Assert.Equal(image.Id, Assert.Single(_fixture.Store.List()).Id);
    }

    [Fact]
    public async Task A_layer_of_a_container_that_was_never_made_is_discarded_and_holds_no_image()
    {
        await LoadAsync("a:1", Layer.Plain(Layer.Files(("a", "a"))));
        _fixture.Store.Prepare("a:1", "never-made");
        _fixture.Store.Prepare("a:1", "made");

        _fixture.Reopen().DiscardOthers(id => id == "made");

        Assert.Null(_fixture.Store.FindContainer("never-made"));
        Assert.NotNull(_fixture.Store.FindContainer("made"));
        _fixture.Store.Discard("made");
        await _fixture.Store.RemoveAsync("a:1", force: false, TestContext.Current.CancellationToken);
        Assert.Empty(_fixture.Store.List());
    }

    [Fact]
    public async Task Facts_that_were_whole_but_had_no_name_yet_when_the_power_was_lost_are_no_image_and_bring_back_none()
    {
        var image = await LoadAsync("a:1", Layer.Plain(Layer.Files(("a", "a"))));
        var facts = File.ReadAllBytes(_fixture.Sub($"content/images/{image.Id.Hex}.json"));
        await _fixture.Store.RemoveAsync("a:1", force: false, TestContext.Current.CancellationToken);
        _fixture.Reopen(() => File.WriteAllBytes(_fixture.Sub($"content/images/.{image.Id.Hex}.json.ab.tmp"), facts));
        Assert.Empty(_fixture.Store.List());
        Assert.Empty(_fixture.Visible("content/images"));
    }

    [Theory]
    [InlineData("configuration")]
    [InlineData("manifest")]
    [InlineData("layer")]
    [InlineData("facts")]
    public async Task An_image_that_is_damaged_on_disk_is_not_shown_and_comes_back_when_it_is_loaded_again(string part)
    {
        _layout.AddImage("example.com/a:1", [Layer.Plain(Layer.Files(("a", "a")))]);
        var image = await LoadAsync(_layout);
        _fixture.Reopen(() =>
        {
            switch (part)
            {
                case "configuration":
                    File.WriteAllText(_fixture.Sub("content/blobs/sha256/" + image.Id.Hex), "{}");
                    break;
                case "manifest":
                    File.Delete(_fixture.Sub("content/blobs/sha256/" + image.ManifestDigest.Hex));
                    break;
                case "layer":
                    File.WriteAllText(_fixture.Sub("snapshots/1/snapshot.json"), "{}\nno checksum\n");
                    break;
                default:
                    File.AppendAllText(_fixture.Sub($"content/images/{image.Id.Hex}.json"), "x");
                    break;
            }
        });
        Assert.Empty(_fixture.Store.List());
        Assert.Null(_fixture.Store.Find("example.com/a:1"));
        var again = await LoadAsync(_layout);
        Assert.Equal(image.Id, again.Id);
        Assert.Equal("a", File.ReadAllText(_fixture.Root(again) + "/a"));
        Assert.Single(_fixture.Reopen().List());
    }

    [Fact]
    public async Task A_name_that_two_images_claim_after_a_kill_belongs_to_the_later()
    {
        var first = await LoadAsync("example.com/a:1", Layer.Plain(Layer.Files(("a", "1"))));
        var facts = _fixture.Sub($"content/images/{first.Id.Hex}.json");
        var before = File.ReadAllBytes(facts);
        var second = await LoadAsync("example.com/a:1", Layer.Plain(Layer.Files(("a", "2"))));
        _fixture.Reopen(() => File.WriteAllBytes(facts, before));
        Assert.Equal(second.Id, _fixture.Store.Find("example.com/a:1")!.Id);
        Assert.Empty(_fixture.Store.Find(first.Id.ToString())!.References);
    }

    [Fact]
    public async Task Layers_and_blobs_of_no_image_are_collected_once_they_are_old()
    {
        var image = await LoadAsync("a:1", Layer.Plain(Layer.Files(("a", "1"))), Layer.Plain(Layer.Files(("b", "2"))));
        _fixture.Reopen(() =>
        {
            File.Delete(_fixture.Sub($"content/images/{image.Id.Hex}.json"));
            Directory.SetLastWriteTimeUtc(_fixture.Sub("snapshots/1"), DateTime.UtcNow.AddDays(-8));
        });
        Assert.Equal(["2"], _fixture.Visible("snapshots"));
        Assert.Empty(_fixture.Visible("content/blobs/sha256"));
    }

    [Fact]
    public async Task Of_what_deployments_brought_the_oldest_go_when_the_layers_that_only_they_have_are_too_many()
    {
        await using var registry = await RegistryFixture.StartAsync();
        var shared = Layer.Plain(Layer.Files(("base", new string('b', 4000))));
        foreach (var name in (string[])["one", "two", "three", "byhand", "tagged", "needed", "used"])
        {
            _layout.AddImage(name, [shared, Layer.Plain(Layer.Files((name, new string('x', 1000))))]);
            await registry.PushAsync($"{_layout.Path}:{name}", $"{name}:1");
        }

        var store = _fixture.Store;
        var ids = new Dictionary<string, string>();
        foreach (var name in (string[])["one", "byhand", "two", "tagged", "three", "needed", "used"])
        {
            ids[name] = (await store.PullForDeploymentAsync($"{registry.Host}/{name}:1", null, Cancel)).Id.ToString();
        }

        await store.PullAsync($"{registry.Host}/byhand:1", null, Cancel);
        await store.PullForDeploymentAsync($"{registry.Host}/byhand:1", null, Cancel);
        store.Tag(ids["tagged"], "mine:1");
        store.Prepare(ids["used"], "c1");

        // Who brought an image is still known after a start.
        store = _fixture.Reopen();
        HashSet<string> needed = [ids["needed"]];
        const int Each = 1000 + (16 << 10);
        Assert.Empty(await store.RemoveUnneededAsync(3 * Each, needed, Cancel));
        Assert.Equal([ids["one"]], (await store.RemoveUnneededAsync((3 * Each) - 1, needed, Cancel)).Select(image => image.Id.ToString()));
        Assert.Equal([ids["two"], ids["three"]], (await store.RemoveUnneededAsync(0, needed, Cancel)).Select(image => image.Id.ToString()));
        Assert.Equal(new[] { ids["byhand"], ids["needed"], ids["tagged"], ids["used"] }.Order(), store.List().Select(image => image.Id.ToString()).Order());

        store.Discard("c1");
        Assert.Equal(2, (await store.RemoveUnneededAsync(0, new HashSet<string>(), Cancel)).Count);
        Assert.Equal(2, store.List().Count);
    }

    [Fact]
    public async Task A_disk_that_is_full_refuses_the_image_and_gets_its_space_back()
    {
        var disk = _scratch.Sub("disk");
        Directory.CreateDirectory(disk);
        await Tool.RunAsync("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk);
        _mounts.Add(disk);
        await using var registry = await RegistryFixture.StartAsync();
        using var layout = new OciLayout();

        // 64 MB of zeros are 64 KB of gzip: only the unpacker can see what they become.
        layout.AddImage("bomb", [Layer.Gzip(Layer.Files(("zeros", new string('0', 64_000_000))))]);
        layout.AddImage("big", [Layer.Gzip(Layer.Noise("noise", 45_000_000, 1))]);
        layout.AddImage("second", [Layer.Gzip(Layer.Files(("fits", "f"))), Layer.Gzip(Layer.Files(("zeros", new string('0', 64_000_000))))]);
        await registry.PushAsync(layout.Path + ":bomb", "bomb:1");
        await registry.PushAsync(layout.Path + ":big", "big:1");
        await registry.PushAsync(layout.Path + ":second", "second:1");
        using var state = EdgeHost.State.StateDatabase.Open(Path.Combine(disk, "state.db"));
        using var store = new ImageStore(disk, state, _fixture.Options);
        foreach (var name in (string[])["bomb:1", "big:1", "second:1"])
        {
            var e = await Assert.ThrowsAsync<EdgeHostException>(() => store.PullAsync($"{registry.Host}/{name}", null, Cancel));
            Assert.Equal(ErrorKind.Full, e.Kind);
            Assert.Empty(Directory.GetFileSystemEntries(disk + "/snapshots"));
            Assert.Empty(Directory.GetFileSystemEntries(disk + "/content/ingest"));
        }
    }

    [Fact]
    public async Task Two_containers_have_writable_layers_of_their_own_with_the_roots_owner_and_mode()
    {
        var image = await LoadAsync("a:1", Layer.Plain(Layer.Entries(new PaxTarEntry(TarEntryType.Directory, "./") { Mode = (UnixFileMode)Convert.ToInt32("711", 8), Uid = 5, Gid = 6 })));
        var one = _fixture.Store.Prepare("a:1", "one");
        var two = _fixture.Store.Prepare(image.Id.Hex[..8], "two", durable: false);
        Assert.NotEqual(one.UpperDirectory, two.UpperDirectory);
        Assert.Equal(one.LowerDirectories, two.LowerDirectories);
        Assert.Equal("711 5 6\n", await Tool.RunAsync("stat", "-c", "%a %u %g", one.UpperDirectory));
        File.WriteAllText(one.UpperDirectory + "/written", "w");
        Assert.Equal("w", File.ReadAllText(_fixture.Reopen().Prepare("a:1", "one").UpperDirectory + "/written"));
        _fixture.Store.Discard("one");
        Assert.False(Directory.Exists(one.UpperDirectory));
        Assert.Empty(Directory.GetFileSystemEntries(_fixture.Store.Prepare("a:1", "one").UpperDirectory));
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<EdgeHostException>(() => _fixture.Store.Prepare("nowhere", "three")).Kind);
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => _fixture.Store.Prepare("a:1", "../x")).Kind);
    }

    [Fact]
    public async Task Removal_asks_before_it_takes_several_names()
    {
        var layer = Layer.Plain(Layer.Files(("a", "1")));
        var image = await LoadAsync("example.com/a:1", layer);
        await LoadAsync("example.com/a:2", layer);
        Assert.Equal(2, _fixture.Store.Find(image.Id.ToString())!.References.Count);
        Assert.Equal(ErrorKind.Conflict, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.RemoveAsync(image.Id.ToString(), false, Cancel))).Kind);
        Assert.Empty((await _fixture.Store.RemoveAsync("example.com/a:1", false, Cancel)).Deleted);
        Assert.Equal(["example.com/a:2"], _fixture.Store.Find(image.Id.ToString())!.References);
        Assert.Contains(image.Id.ToString(), (await _fixture.Store.RemoveAsync(image.Id.Hex[..12], false, Cancel)).Deleted);
        Assert.Equal(ErrorKind.NotFound, (await Assert.ThrowsAsync<EdgeHostException>(() => _fixture.Store.RemoveAsync("a:1", false, Cancel))).Kind);
    }
}
