using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using EdgeHost.Engine;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Edge.Tests.Engine;

/// <summary>Volumes on a real file system, filled from layers that a hostile image may have made.</summary>
public sealed class VolumeStoreTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly List<string> _users = [];
    private readonly List<string> _told = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    private string Volumes => _directory.Sub("data/volumes");

    [Fact]
    public async Task A_new_volume_gets_owner_mode_times_attributes_and_links_of_the_image()
    {
        await Packages.NeedAsync("attr");
        var layer = await LayerAsync("""
            mkdir -p data/sub/deep
            echo hello > data/file; chown 12:34 data/file; chmod 4751 data/file; touch -d '2020-01-02 03:04:05.678 UTC' data/file
            setfattr -n user.note -v kept data/file
            setfattr -n user.of -v directory data
            ln data/file data/sub/same
            ln -s ../../file data/sub/deep/link; chown -h 5:6 data/sub/deep/link
            mkfifo -m 640 data/pipe
            mknod data/null c 1 3
            chown 7:8 data; chmod 1770 data; touch -d '2019-01-01 UTC' data/sub
            """);
        Assert.True(Store().Prepare("v", false, [layer], "/data", Cancel));

        var shown = await ShellAsync($"""
            cd {Volumes}/v/_data
            stat -c '%n %u:%g %a %F' . file pipe sub
            stat -c '%n %u:%g %N' sub/deep/link
            stat -c %Y.%y file | cut -c1-40; stat -c %Y sub
            test file -ef sub/same && echo same
            getfattr --only-values -n user.note file; echo; getfattr --only-values -n user.of .; echo
            cat sub/same; ls
            """);
        Assert.Equal(
            """
            . 7:8 1770 directory
            file 12:34 4751 regular file
            pipe 0:0 640 fifo
            sub 0:0 755 directory
            sub/deep/link 5:6 'sub/deep/link' -> '../../file'
            1577934245.2020-01-02 03:04:05.678000000
            1546300800
            same
            kept
            directory
            hello
            file
            pipe
            sub

            """,
            shown);
    }

    [Fact]
    public async Task What_upper_layers_hide_is_not_in_the_volume()
    {
        var lower = await LayerAsync("mkdir data; echo old > data/hidden; echo old > data/kept");
        var upper = await LayerAsync("mkdir data; mknod data/hidden c 0 0; echo new > data/added");
        Store().Prepare("v", false, [upper, lower], "/data", Cancel);

        Assert.Equal("added\nkept\n", await ShellAsync($"ls {Volumes}/v/_data"));
        Assert.DoesNotContain(_directory.Path, await File.ReadAllTextAsync("/proc/self/mounts", TestContext.Current.CancellationToken), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_directory.Sub("run/volumes")));
    }

    [Theory]
    [InlineData("ln -s SECRET data")]
    [InlineData("ln -s ../../../../../../../..SECRET data")]
    [InlineData("mkdir a; ln -s SECRET a/b; ln -s a/b data")]
    [InlineData("ln -s /proc/self/rootSECRET data")]
    public async Task A_link_in_the_image_does_not_lead_the_copy_out_of_it(string make)
    {
        Directory.CreateDirectory(_directory.Sub("secret"));
        await File.WriteAllTextAsync(_directory.Sub("secret/key"), "mine", Cancel);
        var layer = await LayerAsync(make.Replace("SECRET", _directory.Sub("secret"), StringComparison.Ordinal));

        Store().Prepare("v", false, [layer], "/data", Cancel);
        Assert.Empty(Directory.EnumerateFileSystemEntries($"{Volumes}/v/_data"));
    }

    [Fact]
    public async Task Links_inside_are_copied_as_they_are_and_never_followed()
    {
        var layer = await LayerAsync("mkdir data; ln -s /etc data/etc; ln -s /etc/passwd data/passwd; mkdir -p real; echo x > real/x; ln -s real through");
        var store = Store();
        store.Prepare("v", false, [layer], "/data", Cancel);
        Assert.Equal("/etc\n/etc/passwd\n", await ShellAsync($"cd {Volumes}/v/_data; readlink etc passwd"));

        // The path of the mount itself may go through a link of the image, inside the image.
        store.Prepare("w", false, [layer], "/through", Cancel);
        Assert.Equal("x\n", await ShellAsync($"cat {Volumes}/w/_data/x"));
    }

    [Fact]
    public async Task Only_an_empty_volume_is_filled_and_what_is_there_is_left_alone()
    {
        var layer = await LayerAsync("mkdir data; echo image > data/file; chmod 711 data; chown 9:9 data");
        var store = Store();
        store.Create("empty", new Dictionary<string, string>());
        store.Create("full", new Dictionary<string, string>());
        store.Create("plain", new Dictionary<string, string>());
        await File.WriteAllTextAsync($"{Volumes}/full/_data/file", "mine\n", Cancel);
        var inode = await ShellAsync($"stat -c %i {Volumes}/empty/_data");

        Assert.False(store.Prepare("empty", false, [layer], "/data", Cancel));
        store.Prepare("full", false, [layer], "/data", Cancel);
        store.Prepare("plain", false, null, "/data", Cancel);

        Assert.Equal("image\nmine\n711 9:9\n", await ShellAsync($"cat {Volumes}/empty/_data/file {Volumes}/full/_data/file; stat -c '%a %u:%g' {Volumes}/empty/_data"));
        Assert.Equal(inode, await ShellAsync($"stat -c %i {Volumes}/empty/_data"));
        Assert.Equal("0\n0\n", await ShellAsync($"ls -A {Volumes}/plain/_data | wc -l; find {Volumes} -name _fill | wc -l"));
    }

    [Fact]
    public async Task A_full_disk_leaves_nothing_half_made_and_says_so()
    {
        var layer = await LayerAsync("mkdir data; dd if=/dev/zero of=data/big bs=1M count=3 status=none");
        Directory.CreateDirectory(_directory.Sub("data"));
        await ShellAsync($"mount -t tmpfs -o size=1m tmpfs {_directory.Sub("data")}");
        try
        {
            var store = Store();
            store.Create("empty", new Dictionary<string, string>());
            var failure = Assert.Throws<EdgeHostException>(() => store.Prepare("new", false, [layer], "/data", Cancel));
            Assert.Equal(ErrorKind.Full, failure.Kind);
            Assert.Contains("volume new", failure.Message, StringComparison.Ordinal);
            Assert.Equal(ErrorKind.Full, Assert.Throws<EdgeHostException>(() => store.Prepare("empty", false, [layer], "/data", Cancel)).Kind);

            Assert.Equal("empty\n_data\nvolume.json\n", await ShellAsync($"ls -A {Volumes} {Volumes}/empty | grep -v '[:]' | grep .; ls -A {Volumes}/empty/_data"));
            Assert.Equal(["empty"], store.List().Select(volume => volume.Name));
        }
        finally
        {
            await ShellAsync($"umount {_directory.Sub("data")}");
        }
    }

    [Fact]
    public async Task What_a_power_cut_left_half_done_is_finished_or_taken_away()
    {
        var store = Store();
        store.Create("half", new Dictionary<string, string> { ["a"] = "b" });
        await ShellAsync($"""
            cd {Volumes}
            mkdir -p half/_fill .new-1/_data .gone-2/_data
            echo rest > half/_fill/rest; echo theirs > half/_fill/both; echo mine > half/_data/both; chmod 701 half/_fill
            echo x > .new-1/_data/x
            """);
        var next = Store();
        await next.Swept;

        Assert.Equal("half\nboth\nrest\nmine\n701\n", await ShellAsync($"cd {Volumes}; ls -A; ls half/_data; cat half/_data/both; stat -c %a half/_data"));
        Assert.Equal("b", next.Inspect("half").Labels["a"]);
    }

    [Theory]
    [InlineData("dd if=/dev/zero of=volume.json bs=10 count=3 conv=notrunc status=none")]
    [InlineData(": > volume.json")]
    [InlineData("rm volume.json")]
    public async Task Damaged_facts_are_made_anew_from_what_is_there(string damage)
    {
        Store().Create("kept", new Dictionary<string, string> { ["a"] = "b" });
        await ShellAsync($"echo data > {Volumes}/kept/_data/file; cd {Volumes}/kept; {damage}");

        var store = Store();
        var volume = Assert.Single(store.List());
        Assert.Equal(("kept", false, 0), (volume.Name, volume.Anonymous, volume.Labels.Count));
        Assert.InRange(volume.Created, DateTimeOffset.UtcNow.AddMinutes(-10), DateTimeOffset.UtcNow.AddMinutes(10));
        Assert.Equal(volume.Created, store.Inspect("kept").Created);
        Assert.Equal("data\n", await ShellAsync($"cat {volume.Directory}/file"));
    }

    [Theory]
    [InlineData("rm -r bad; ln -s /etc bad", "not a directory")]
    [InlineData("rm -r bad; echo x > bad", "not a directory")]
    [InlineData("rm -r bad/_data; ln -s /etc bad/_data", "not a directory")]
    [InlineData("rm -r bad/_data; echo x > bad/_data", "not a directory")]
    [InlineData("rm -r bad/_data", "is gone")]
    public async Task What_stands_where_a_volume_is_to_be_is_refused_and_can_be_removed_without_being_followed(string make, string words)
    {
        var store = Store();
        store.Create("bad", new Dictionary<string, string>());
        store.Create("good", new Dictionary<string, string>());
        await ShellAsync($"cd {Volumes}; {make}");

        Assert.Contains(words, Assert.Throws<EdgeHostException>(() => store.Ensure("bad")).Message, StringComparison.Ordinal);
        Assert.Contains(words, Assert.Throws<EdgeHostException>(() => store.Prepare("bad", false, [], "/x", Cancel)).Message, StringComparison.Ordinal);
        Assert.Equal(["good"], store.List().Select(volume => volume.Name));
        store.Remove("bad");
        Assert.Equal(ErrorKind.NotFound, Assert.Throws<EdgeHostException>(() => store.Inspect("bad")).Kind);
        Assert.True(File.Exists("/etc/passwd"));
    }

    [Fact]
    public void A_volume_that_a_container_has_stays_and_the_container_is_named()
    {
        var store = Store();
        store.Create("used", new Dictionary<string, string>());
        _users.Add("used");

        var failure = Assert.Throws<EdgeHostException>(() => store.Remove("used"));
        Assert.Equal((ErrorKind.Conflict, true), (failure.Kind, failure.Message.Contains("user-of-used", StringComparison.Ordinal)));
        Assert.Empty(store.Prune(_ => true, Cancel).Removed);
        store.RemoveWith("used", "user-of-used");
        Assert.Empty(store.List());
        Assert.Equal(["create used", "prune ", "destroy used"], _told);
    }

    [Theory]
    [InlineData("..")]
    [InlineData("../x")]
    [InlineData("a/b")]
    [InlineData(".new-1")]
    [InlineData("-x")]
    [InlineData("a\0b")]
    public void What_is_no_name_is_refused(string name)
    {
        var store = Store();
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => store.Create(name, new Dictionary<string, string>())).Kind);
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => store.Remove(name)).Kind);
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => store.Inspect(name)).Kind);
    }

    private VolumeStore Store()
    {
        Directory.CreateDirectory(_directory.Sub("run"));
        return new(
            _directory.Sub("data"),
            _directory.Sub("run"),
            name => _users.Contains(name) ? ["user-of-" + name] : [],
            (action, name, _) => _told.Add($"{action} {name}"),
            NullLogger.Instance);
    }

    private async Task<string> LayerAsync(string make)
    {
        var layer = _directory.Sub("layer-" + Guid.NewGuid().ToString("n"));
        Directory.CreateDirectory(layer);
        await ShellAsync($"cd {layer}\n{make}");
        return layer;
    }

    private static async Task<string> ShellAsync(string script) =>
        (await CommandRun.RunAsync("bash", ["-c", "set -e; umask 022; " + script])).Succeeds().Output;
}
