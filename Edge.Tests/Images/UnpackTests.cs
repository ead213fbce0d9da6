using System.Text;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Linux;
using EdgeHost.Linux.Archives;
using Xunit;

namespace Edge.Tests.Images;

/// <summary>What archives do to a directory, and what hostile ones do not do to anything else.</summary>
public sealed class UnpackTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public UnpackTests()
    {
        Directory.CreateDirectory(_directory.Sub("root"));
        Directory.CreateDirectory(_directory.Sub("outside"));
        File.WriteAllText(_directory.Sub("outside/victim"), "untouched");
    }

    private string Root => _directory.Sub("root");

    public void Dispose() => _directory.Dispose();

    private Unpacked Unpack(byte[] tar, string? into = null, long reserved = 0)
    {
        using var root = RootedDirectory.Open(into ?? Root);
        using var unpacker = new LayerUnpacker(root, reserved);
        return unpacker.Unpack(new TarReader(new MemoryStream(tar), null), TestContext.Current.CancellationToken);
    }

    private EdgeHostException Refuse(byte[] tar, ErrorKind kind = ErrorKind.Corrupt)
    {
        var e = Assert.ThrowsAny<EdgeHostException>(() => Unpack(tar));
        Assert.Equal(kind, e.Kind);
        AssertNothingOutside();
        return e;
    }

    private void AssertNothingOutside()
    {
        Assert.Equal(["victim"], Directory.GetFileSystemEntries(_directory.Sub("outside")).Select(Path.GetFileName));
        Assert.Equal("untouched", File.ReadAllText(_directory.Sub("outside/victim")));
        Assert.Equal(["outside", "root"], Directory.GetFileSystemEntries(_directory.Path).Select(Path.GetFileName).Order());
    }

    private string At(string path) => Path.Combine(Root, path);

    private string Outside => _directory.Sub("outside");

    // ---- attacks ----

    [Theory]
    [InlineData("../escaped")]
    [InlineData("a/../../escaped")]
    [InlineData("./../escaped")]
    [InlineData("/../escaped")]
    [InlineData("..")]
    public void A_name_that_climbs_above_the_root_is_refused(string name) => Refuse(new RawTar().Directory("a").Add(name, content: "x").End());

    [Fact]
    public void An_absolute_name_lands_inside()
    {
        Unpack(new RawTar().Add(_directory.Sub("outside/new"), content: "x").End());
        AssertNothingOutside();
        Assert.Equal("x", File.ReadAllText(Root + _directory.Sub("outside/new")));
    }

    [Fact]
    public void A_write_through_a_symbolic_link_to_the_outside_stays_inside()
    {
        // As in CVE-2019-14271 and its many relatives: first the link, then a file beneath it.
        Refuse(new RawTar().Symlink("link", Outside).Add("link/victim", content: "overwritten").End());
        Refuse(new RawTar().Symlink("up", "../outside").Add("up/victim", content: "overwritten").End());
        Refuse(new RawTar().Symlink("deep", "../../../../../../../../" + Outside).Add("deep/new", content: "x").End());
        Unpack(new RawTar().Directory(Outside).Symlink("in", Outside).Add("in/victim", content: "inside").End());
        Assert.Equal("inside", File.ReadAllText(Root + Outside + "/victim"));
        AssertNothingOutside();
    }

    [Fact]
    public void A_file_over_a_symbolic_link_replaces_the_link_not_its_target()
    {
        Unpack(new RawTar().Symlink("x", Outside + "/victim").Add("x", content: "new").End());
        AssertNothingOutside();
        Assert.Equal("new", File.ReadAllText(At("x")));
    }

    [Fact]
    public void A_directory_over_a_symbolic_link_replaces_it_and_its_mode_reaches_nobody_else()
    {
        Unpack(new RawTar().Symlink("x", Outside).Directory("x", 0x1C0).Add("x/new", content: "n").End());
        AssertNothingOutside();
        Assert.Equal("n", File.ReadAllText(At("x/new")));
        Assert.NotEqual((UnixFileMode)0x1C0, File.GetUnixFileMode(Outside));
    }

    [Theory]
    [InlineData("../outside/victim")]
    [InlineData("a/../../outside/victim")]
    public void A_hard_link_that_climbs_out_is_refused(string target) => Refuse(new RawTar().Directory("a").Link("stolen", target).End());

    [Fact]
    public void A_hard_link_to_an_absolute_path_of_the_host_finds_nothing() =>
        Assert.Contains("not in the same layer", Refuse(new RawTar().Link("stolen", Outside + "/victim").End()).Message, StringComparison.Ordinal);

    [Fact]
    public void A_hard_link_through_a_symbolic_link_finds_nothing_outside() =>
        Refuse(new RawTar().Symlink("s", Outside).Link("stolen", "s/victim").End());

    [Fact]
    public void A_hard_link_to_a_symbolic_link_is_the_link_itself_and_a_write_to_it_replaces_it()
    {
        Unpack(new RawTar().Symlink("s", Outside + "/victim").Link("h", "s").Add("h", content: "new").End());
        AssertNothingOutside();
        Assert.Equal(Outside + "/victim", new FileInfo(At("s")).LinkTarget);
        Assert.Equal("new", File.ReadAllText(At("h")));
    }

    [Theory]
    [InlineData(".wh.")]
    [InlineData(".wh..")]
    [InlineData(".wh...")]
    [InlineData("a/.wh...")]
    public void A_whiteout_of_no_name_is_refused(string name) => Refuse(new RawTar().Directory("a").Add(name).End());

    [Fact]
    public void A_whiteout_through_a_symbolic_link_removes_nothing_outside()
    {
        Refuse(new RawTar().Symlink("s", Outside).Add("s/.wh.victim").End());
        Refuse(new RawTar().Symlink("t", Outside).Add("t/.wh..wh..opq").End());
    }

    [Fact]
    public void A_tree_that_is_replaced_by_a_link_is_removed_without_following_links_in_it()
    {
        Unpack(new RawTar().Directory("d").Directory("d/e").Symlink("d/e/out", Outside).Add("d", '2', link: Outside).End());
        AssertNothingOutside();
        Assert.Equal(Outside, new FileInfo(At("d")).LinkTarget);
    }

    [Fact]
    public void Times_and_modes_of_a_directory_that_became_a_link_reach_nobody_else()
    {
        var before = Directory.GetLastWriteTimeUtc(Outside);
        Unpack(new RawTar().Directory("d").Symlink("d", Outside).End());
        Assert.Equal(before, Directory.GetLastWriteTimeUtc(Outside));
        AssertNothingOutside();
    }

    [Fact]
    public void Names_with_a_zero_byte_or_beyond_the_kernels_lengths_are_refused()
    {
        Refuse(new RawTar().Pax(("path", "a\0b")).Add("x", content: "x").End());
        Refuse(new RawTar().Pax(("path", new string('n', 300))).Add("x", content: "x").End());
        Refuse(new RawTar().Pax(("path", string.Concat(Enumerable.Repeat("d/", 3000)))).Add("x", content: "x").End());
        Refuse(new RawTar().Pax(("linkpath", "a\0b")).Symlink("x", "y").End());
    }

    [Fact]
    public void Links_to_the_root_or_to_themselves_and_files_over_the_root_are_refused()
    {
        Refuse(new RawTar().Link("x", "/").End());
        Refuse(new RawTar().Add("x", content: "1").Link("x", "./x").End());
        Refuse(new RawTar().Add("./", '2', link: Outside).End());
        Refuse(new RawTar().Add(".", content: "x").End());
    }

    [Fact]
    public void A_file_as_parent_and_a_loop_of_links_are_refused()
    {
        Refuse(new RawTar().Add("f", content: "x").Add("f/g", content: "y").End());
        Refuse(new RawTar().Symlink("a", "b").Symlink("b", "a").Add("a/x", content: "y").End());
    }

    [Fact]
    public void Sparse_files_and_unknown_types_are_refused_in_words()
    {
        Assert.Contains("sparse", Refuse(new RawTar().Add("x", 'S').End(), ErrorKind.Unsupported).Message, StringComparison.Ordinal);
        Assert.Contains("sparse", Refuse(new RawTar().Pax(("GNU.sparse.major", "1")).Add("x").End(), ErrorKind.Unsupported).Message, StringComparison.Ordinal);
        Refuse(new RawTar().Add("x", 'V').End(), ErrorKind.Unsupported);
    }

    [Fact]
    public void A_header_that_lies_is_refused()
    {
        Refuse(new RawTar().Add("x", size: "7777777777\0 ").End());
        Refuse(new RawTar().Add("x", size: "9999\0").End());
        Refuse(new RawTar().Pax(("size", "-1")).Add("x").End());
        Refuse(new RawTar().Pax(("uid", "-1")).Add("x").End());
        Refuse(new RawTar().Pax(("uid", "99999999999")).Add("x").End());
        Refuse(new RawTar().Add("x", 'x', "5 a=").Add("x").End());
        Refuse(new RawTar().Add("x", 'x', "999999999999999999 path=a\n").Add("x").End());
        Refuse(new RawTar().Add("big", 'x', size: RawTar.Octal(1L << 30, 12)).End());
        Refuse(new RawTar().Add("x", content: "hello").End()[..700]);
        var broken = new RawTar().Add("x", content: "hello").End();
        broken[3] ^= 0x20;
        Refuse(broken);
    }

    [Fact]
    public void Headers_before_an_entry_are_bounded_all_together()
    {
        var half = new string('x', 600_000);
        Refuse(new RawTar().Pax(("a", half)).Pax(("b", half)).Add("file").End());
        Unpack(new RawTar().Pax(("a", half)).Add("file").Pax(("a", half)).Add("other").End());
    }

    [Fact]
    public void Attributes_that_steer_overlayfs_are_not_taken_from_a_layer()
    {
        Unpack(new RawTar().Pax(("SCHILY.xattr.trusted.overlay.redirect", "/secret"), ("SCHILY.xattr.trusted.overlay.opaque", "y"), ("SCHILY.xattr.user.kept", "v")).Directory("d").End());
        Assert.Null(Attribute("d", "trusted.overlay.redirect"));
        Assert.Null(Attribute("d", "trusted.overlay.opaque"));
        Assert.Equal("v", Attribute("d", "user.kept"));
    }

    [Fact]
    public void A_bomb_ends_at_the_reserve_of_the_disk()
    {
        using var root = RootedDirectory.Open(Root);
        var free = DiskSpace.Of(root.Root).FreeBytes;
        var e = Assert.Throws<EdgeHostException>(() => Unpack(new RawTar().Add("x", content: "x").End(), reserved: free));
        Assert.Equal(ErrorKind.Full, e.Kind);
    }

    [Fact]
    public void A_tree_deeper_than_any_stack_is_removed()
    {
        var tar = new RawTar();
        tar.Pax(("path", string.Concat(Enumerable.Repeat("d/", 2000)))).Add("x", '5');
        tar.Add("d", content: "now a file");
        Unpack(tar.End());
        Assert.Equal("now a file", File.ReadAllText(At("d")));
        Assert.Single(Directory.GetFileSystemEntries(Root));
    }

    // ---- what layers mean ----

    [Fact]
    public void Whiteouts_take_the_form_that_overlayfs_knows()
    {
        Unpack(new RawTar().Directory("d").Add("d/.wh.gone").Add("d/.wh..wh..opq").Add(".wh..wh.plnk").Add("d/kept", content: "k").End());
        Assert.Equal("character special file 0:0", Stat("d/gone", "%F %t:%T"));
        Assert.Equal("y", Attribute("d", "trusted.overlay.opaque"));
        Assert.Equal(["d/gone", "d/kept"], Directory.GetFileSystemEntries(At("d")).Select(entry => Path.GetRelativePath(Root, entry)).Order());
        Assert.False(File.Exists(At(".wh..wh.plnk")));
    }

    [Fact]
    public void A_whiteout_never_hides_what_its_own_layer_brings()
    {
        Unpack(new RawTar()
            .Add("before", content: "b").Add(".wh.before")
            .Add(".wh.after").Add("after", content: "a")
            .Add(".wh.dir").Directory("dir")
            .Directory("dir2").Add("dir2/f", content: "f").Add(".wh.dir2")
            .Add(".wh.implied").Add("implied/f", content: "f").End());
        Assert.Equal("b", File.ReadAllText(At("before")));
        Assert.Equal("a", File.ReadAllText(At("after")));
        Assert.Equal("f", File.ReadAllText(At("dir2/f")));
        Assert.Equal(["y", "y", "y"], ((string[])["dir", "dir2", "implied"]).Select(name => Attribute(name, "trusted.overlay.opaque")));
    }

    [Fact]
    public void An_opaque_root_is_told_of() => Assert.True(Unpack(new RawTar().Add(".wh..wh..opq").End()).OpaqueRoot);

    [Fact]
    public void Owners_modes_times_links_nodes_and_attributes_are_kept()
    {
        // VFS_CAP_REVISION_2 with CAP_NET_RAW, effective.
        var capability = "\u0001\0\0\u0002\0\u0020\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        Unpack(new RawTar()
            .Pax(("mtime", "1234567890.123456789"))
            .Directory("d", 0x3FF)
            .Add("d/setuid", content: "s", mode: 0x9ED, uid: 1000, gid: 2000)
            .Pax(("SCHILY.xattr.security.capability", capability), ("uid", "3000000000"))
            .Add("d/ping", content: "p")
            .Link("d/hard", "d/ping")
            .Symlink("d/soft", "/etc/passwd")
            .Add("d/fifo", '6', mode: 0x1A4)
            .Add("d/null", '3', mode: 0x1B6, major: 1, minor: 3)
            .Add("d/loop", '4', mode: 0x1B0, major: 7, minor: 300)
            .GnuName("d/" + new string('g', 200)).Add("x", content: "long")
            .Pax(("path", "d/p\u00c3\u00a4x"), ("mtime", "-1.5")).Add("x", content: "pax")
            .Add("prefixed", content: "u", change: header => "d/prefix"u8.CopyTo(header.AsSpan(345)))
            .End());
        Assert.Equal("1777 0 0 1234567890", Stat("d", "%a %u %g %Y"));
        Assert.EndsWith(".123456789 +0000", Stat("d", "%y").Trim(), StringComparison.Ordinal);
        Assert.Equal("4755 1000 2000 1700000000", Stat("d/setuid", "%a %u %g %Y"));
        Assert.Equal("3000000000 2", Stat("d/ping", "%u %h"));
        Assert.Equal(capability, Attribute("d/hard", "security.capability"));
        Assert.Equal("/etc/passwd", new FileInfo(At("d/soft")).LinkTarget);
        Assert.Equal("1700000000", Stat("d/soft", "%Y"));
        Assert.Equal("fifo 644", Stat("d/fifo", "%F %a"));
        Assert.Equal("character special file 1:3 666", Stat("d/null", "%F %t:%T %a"));
        Assert.Equal("block special file 7:12c 660", Stat("d/loop", "%F %t:%T %a"));
        Assert.Equal("long", File.ReadAllText(At("d/" + new string('g', 200))));
        Assert.Equal("pax", File.ReadAllText(At("d/päx")));
        Assert.Equal("-2", Stat("d/päx", "%Y"));
        Assert.Equal("u", File.ReadAllText(At("d/prefix/prefixed")));
    }

    [Fact]
    public void Names_that_are_no_UTF_8_keep_their_bytes()
    {
        Unpack(new RawTar().Add("caf\u00e9", content: "x").End());
        using var root = Files.OpenDirectory(Root);
        Assert.Equal([(byte)'c', (byte)'a', (byte)'f', 0xe9], Assert.Single(RootedDirectory.List(root)).Name);
    }

    [Fact]
    public void An_archive_that_ends_right_after_its_last_content_is_read_as_Docker_reads_it()
    {
        Unpack(new RawTar().Add("x", content: "hello").EndAfterContent("hello".Length));
        Assert.Equal("hello", File.ReadAllText(At("x")));
    }

    [Fact]
    public void Numbers_in_base_256_are_read()
    {
        Unpack(new RawTar().Add("x", content: "x", change: header =>
        {
            ((ReadOnlySpan<byte>)[0x80, 0, 0, 0, 0x12, 0x34, 0x56, 0x78]).CopyTo(header.AsSpan(108));
        }).End());
        Assert.Equal("305419896", Stat("x", "%u"));
    }

    [Fact]
    public async Task A_tree_of_the_real_world_comes_out_as_GNU_tar_unpacks_it()
    {
        var golden = _directory.Sub("golden");
        Directory.CreateDirectory(golden);
        var tar = _directory.Sub("t.tar");
        await Tool.RunAsync("tar", "-cf", tar, "--format=gnu", "-C", "/", "etc", "usr/share/zoneinfo");
        await Tool.RunAsync("tar", "-xpf", tar, "--numeric-owner", "-C", golden);
        await using (var stream = File.OpenRead(tar))
        {
            using var root = RootedDirectory.Open(Root);
            using var unpacker = new LayerUnpacker(root, 0);
            unpacker.Unpack(new TarReader(stream, null), TestContext.Current.CancellationToken);
        }

        Assert.Equal(await ListAsync(golden), await ListAsync(Root));
        await Tool.RunAsync("diff", "-r", "--no-dereference", golden, Root);

        // The directories "usr" and "usr/share" are not in the archive: their times are of now.
        static async Task<string> ListAsync(string directory) => string.Join('\n', (await Tool.RunAsync(
            "find", directory, "-mindepth", "2", "-not", "-path", directory + "/usr/share", "-printf", "%P %y %m %U %G %T@ %n %l\n")).Split('\n').Order(StringComparer.Ordinal));
    }

    private string Stat(string path, string format)
    {
        using var process = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("stat", ["-c", format, At(path)])
        {
            RedirectStandardOutput = true,
            Environment = { ["TZ"] = "UTC", ["LC_ALL"] = "C" },
        })!;
        var text = process.StandardOutput.ReadToEnd().TrimEnd('\n');
        process.WaitForExit();
        return text;
    }

    private string? Attribute(string path, string name)
    {
        using var directory = Files.OpenDirectory(Path.GetDirectoryName(At(path))!);
        var leaf = Encoding.UTF8.GetBytes(Path.GetFileName(path));
        using var file = Directory.Exists(At(path))
            ? RootedDirectory.OpenNamedDirectory(directory, leaf)
            : new Fd((int)File.OpenHandle(At(path)).DangerousGetHandle());
        return RootedDirectory.GetAttribute(file, Encoding.UTF8.GetBytes(name)) is { } value ? Encoding.Latin1.GetString(value) : null;
    }
}
