using Edge.Tests.Fixtures;
using Edge.Tests.Images;
using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Volumes as users of Docker's client and of our own know them.</summary>
public sealed class VolumeTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task A_volume_is_made_shown_used_and_removed()
    {
        Assert.Equal("one\n", (await Daemon.DockerAsync("volume", "create", "--label", "a=b", "one")).Succeeds().Output);
        Assert.Equal("one\n", (await Daemon.DockerAsync("volume", "create", "one")).Succeeds().Output);
        Assert.Equal($$"""local map[a:b] {{Daemon.Data}}/volumes/one/_data one local""" + "\n", (await Daemon.DockerAsync("volume", "inspect", "-f", "{{.Driver}} {{.Labels}} {{.Mountpoint}} {{.Name}} {{.Scope}}", "one")).Succeeds().Output);
        Assert.Equal("one\n", (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "label=a=b", "--filter", "name=^one$", "--filter", "dangling=true")).Succeeds().Output);

        (await Daemon.DockerAsync("create", "--name", "holder", "-v", "one:/d", "busybox", "true")).Succeeds();
        var id = await Daemon.InspectAsync("holder", "{{.Id}}");
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "dangling=true", "--filter", "name=one")).Succeeds().Output);
        Assert.Contains($"volume is in use - [{id}]", (await Daemon.DockerAsync("volume", "rm", "one")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-v", "holder")).Succeeds();
        Assert.Equal("one\n", (await Daemon.DockerAsync("volume", "rm", "one")).Succeeds().Output);
        Assert.Contains("no such volume", (await Daemon.DockerAsync("volume", "rm", "one")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.DockerAsync("volume", "rm", "-f", "one")).Succeeds();
        Assert.Contains("no such volume", (await Daemon.DockerAsync("volume", "inspect", "one")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_directory_of_the_host_is_made_where_docker_makes_one()
    {
        using var host = new TemporaryDirectory();
        (await Daemon.RunAsync("--rm", "--network", "none", "-v", host.Sub("a/b") + ":/b", "busybox", "sh", "-c", "echo kept >/b/file")).Succeeds();
        Assert.Equal("kept\n", await File.ReadAllTextAsync(host.Sub("a/b/file"), TestContext.Current.CancellationToken));
        Assert.Equal(0x1ED, (int)File.GetUnixFileMode(host.Sub("a/b")));

        Assert.Contains("bind source path does not exist", (await Daemon.RunAsync("--rm", "--network", "none", "--mount", $"type=bind,source={host.Sub("c")},target=/c", "busybox", "true")).Exits(125).Error, StringComparison.Ordinal);
        Assert.False(Path.Exists(host.Sub("c")));
        Assert.Contains($"{host.Sub("a/b/file/d")} does not exist and cannot be made", (await Daemon.RunAsync("--rm", "--network", "none", "-v", host.Sub("a/b/file/d") + ":/d", "busybox", "true")).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("here:/etc/passwd")]
    [InlineData("/etc/passwd:/etc")]
    [InlineData("/etc/passwd:/etc", "--userns", "host")]
    public async Task A_directory_on_a_file_or_the_other_way_round_is_said_to_be_that(string volume, params string[] options)
    {
        var error = (await Daemon.RunAsync(["--rm", "--network", "none", .. options, "-v", volume, "busybox", "true"])).Exits(125).Error;
        Assert.Contains($" on {volume.Split(':')[1]}: one of the two is a file and the other a directory", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_container_had_of_the_host_is_free_when_it_is_told_to_have_ended()
    {
        await Packages.NeedAsync("e2fsprogs", "util-linux");

        // Whoever makes a mount namespace elsewhere in that moment would keep the file system, too.
        await using var daemon = DaemonUnderTest.Make();
        daemon.Before = ["unshare", "--mount"];
        await daemon.StartAsync();
        await daemon.LoadAsync("busybox");
        using var scratch = new TemporaryDirectory();
        var mounted = Directory.CreateDirectory(scratch.Sub("mounted")).FullName;
        await File.WriteAllBytesAsync(scratch.Sub("image"), new byte[4 << 20], TestContext.Current.CancellationToken);
        var disk = (await CommandRun.RunAsync("losetup", ["--find", "--show", scratch.Sub("image")])).Succeeds().Output.Trim();
        try
        {
            for (var i = 0; i < 10; i++)
            {
                // mkfs opens the disk for itself alone: that fails while anything has its file system, in whatever namespace.
                (await CommandRun.RunAsync("mkfs.ext4", ["-q", disk])).Succeeds();
                (await InsideAsync("mount", disk, mounted)).Succeeds();
                var run = await daemon.DockerAsync("run", "--rm", "-v", mounted + ":/data", "busybox", "sh", "-c", "echo written > /data/file");
                (await InsideAsync("umount", mounted)).Succeeds();
                run.Succeeds();
            }

            (await CommandRun.RunAsync("mkfs.ext4", ["-q", disk])).Succeeds();
        }
        finally
        {
            (await CommandRun.RunAsync("losetup", ["--detach", disk])).Succeeds();
        }

        Task<CommandRun> InsideAsync(params string[] command) => CommandRun.RunAsync("nsenter", [$"--mount=/proc/{daemon.Pid}/ns/mnt", .. command]);
    }

    [Fact]
    public async Task Our_own_command_does_the_same()
    {
        Assert.Equal("own\n", (await Daemon.EdgehostAsync("volume", "create", "--label", "x=y", "own")).Succeeds().Output);
        Assert.Equal("own\n", (await Daemon.EdgehostAsync("volume", "ls", "-q", "--filter", "label=x=y")).Succeeds().Output);
        Assert.Equal("DRIVER    VOLUME NAME\nlocal     own\n", (await Daemon.EdgehostAsync("volume", "ls", "--filter", "name=own")).Succeeds().Output);
        Assert.Contains("\"Mountpoint\": \"" + Daemon.Data, (await Daemon.EdgehostAsync("volume", "inspect", "own")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("Total reclaimed space", (await Daemon.EdgehostAsync("volume", "prune", "-f")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Equal("Deleted Volumes:\nown\n\nTotal reclaimed space: 0B\n", (await Daemon.EdgehostAsync("volume", "prune", "-a", "-f", "--filter", "label=x=y")).Succeeds().Output);
        Assert.Contains("no such volume", (await Daemon.EdgehostAsync("volume", "rm", "own")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("volume name", (await Daemon.EdgehostAsync("volume", "create", "../x")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Volumes_of_an_image_are_filled_kept_over_restarts_and_removed_with_the_container()
    {
        await LoadWithVolumesAsync("registry.lan/vol:1");
        (await Daemon.DockerAsync("create", "--name", "imaged", "registry.lan/vol:1", "-c", "cat /data/file /data/more; echo more > /data/more")).Succeeds();
        Assert.Equal("image\n", (await Daemon.DockerAsync("start", "-a", "imaged")).Exits(0).Output);
        Assert.Equal("image\nmore\n", (await Daemon.DockerAsync("start", "-a", "imaged")).Exits(0).Output);
        var name = await Daemon.InspectAsync("imaged", "{{(index .Mounts 0).Name}}");
        Assert.Equal("/data map[/data:{}] []", await Daemon.InspectAsync("imaged", "{{(index .Mounts 0).Destination}} {{.Config.Volumes}} {{.HostConfig.Binds}}"));
        Assert.Equal(64, name.Length);
        Assert.Equal("1234:99 2750", (await CommandRun.RunAsync("stat", ["-c", "%u:%g %a", $"{Daemon.Data}/volumes/{name}/_data"])).Succeeds().Output.Trim());

        // Without -v it stays, and a pruning takes it, being nobody's.
        (await Daemon.DockerAsync("rm", "imaged")).Succeeds();
        Assert.Equal(name + "\n", (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "name=" + name)).Output);
        Assert.Contains(name, (await Daemon.DockerAsync("volume", "prune", "-f")).Succeeds().Output, StringComparison.Ordinal);

        (await Daemon.DockerAsync("create", "--name", "imaged", "registry.lan/vol:1")).Succeeds();
        name = await Daemon.InspectAsync("imaged", "{{(index .Mounts 0).Name}}");
        (await Daemon.DockerAsync("rm", "-v", "imaged")).Succeeds();
        Assert.False(Directory.Exists($"{Daemon.Data}/volumes/{name}"));

        Assert.Equal("image\n", (await Daemon.RunAsync("--rm", "--name", "imaged", "registry.lan/vol:1", "-c", "cat /data/file")).Output);
        Assert.Equal(string.Empty, (await Daemon.DockerAsync("volume", "ls", "-q", "--filter", "dangling=true", "--filter", "label=com.docker.volume.anonymous")).Output);
    }

    [Fact]
    public async Task A_named_volume_is_filled_once_and_nocopy_leaves_it_empty()
    {
        await LoadWithVolumesAsync("registry.lan/vol:2");
        Assert.Equal("image\n", (await Daemon.RunAsync("--rm", "-v", "filled:/data", "registry.lan/vol:2", "-c", "cat /data/file; echo mine > /data/file")).Succeeds().Output);
        Assert.Equal("mine\n", (await Daemon.RunAsync("--rm", "-v", "filled:/data", "registry.lan/vol:2", "-c", "cat /data/file")).Succeeds().Output);
        Assert.Equal("0\n", (await Daemon.RunAsync("--rm", "-v", "bare:/data:nocopy", "registry.lan/vol:2", "-c", "ls /data | wc -l")).Succeeds().Output);
        Assert.Equal("0\n", (await Daemon.RunAsync("--rm", "--mount", "type=volume,src=bare2,dst=/data,volume-nocopy", "registry.lan/vol:2", "-c", "ls /data | wc -l")).Succeeds().Output);
        Assert.Equal("image\n", (await Daemon.RunAsync("--rm", "-v", "bare:/data", "registry.lan/vol:2", "-c", "cat /data/file")).Succeeds().Output);
        (await Daemon.DockerAsync("volume", "rm", "filled", "bare", "bare2")).Succeeds();
    }

    [Fact]
    public async Task Events_tell_of_volumes()
    {
        var since = (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000m).ToString(System.Globalization.CultureInfo.InvariantCulture);
        (await Daemon.DockerAsync("volume", "create", "told")).Succeeds();
        (await Daemon.DockerAsync("volume", "rm", "told")).Succeeds();
        var until = (DateTimeOffset.UtcNow.ToUnixTimeMilliseconds() / 1000m).ToString(System.Globalization.CultureInfo.InvariantCulture);

        Assert.Equal("volume create told\nvolume destroy told\n", (await Daemon.DockerAsync("events", "--since", since, "--until", until, "--filter", "volume=told", "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}")).Succeeds().Output);
    }

    [Fact]
    public async Task A_mount_on_a_link_to_what_is_not_there_makes_what_it_names_beneath_the_root()
    {
        await LoadWithVolumesAsync("registry.lan/links:1", tar =>
        {
            // As images of distributions with systemd-resolved have it.
            tar.Directory("etc");
            tar.Symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf");
            tar.Symlink("far", "/srv/near/");
            tar.Directory("srv");
            tar.Symlink("srv/near", "../../../../../no/such/place");
            tar.Symlink("endless", "/endless2/x");
            tar.Symlink("endless2", "/endless/x");
        });
        var said = (await Daemon.RunAsync("--rm", "--dns", "192.0.2.53", "-v", "linked:/far/in", "registry.lan/links:1", "-c", "cat /run/systemd/resolve/stub-resolv.conf; echo x >/far/in/file; ls /no/such/place/in")).Succeeds().Output;
        Assert.Contains("nameserver 192.0.2.53\n", said, StringComparison.Ordinal);
        Assert.EndsWith("\nfile\n", said, StringComparison.Ordinal);
        Assert.False(Path.Exists("/no/such"));

        var refused = (await Daemon.RunAsync("--rm", "-v", "linked:/endless", "registry.lan/links:1", "-c", "true")).Exits(125).Error;
        Assert.Contains("/endless in the container: too many levels of symbolic links", refused, StringComparison.Ordinal);
        (await Daemon.DockerAsync("volume", "rm", "linked")).Succeeds();
    }

    // The sample's files, and a directory above them that is a volume with an owner and a mode of its own.
    private async Task LoadWithVolumesAsync(string name, Action<RawTar>? more = null)
    {
        var tar = new RawTar();
        tar.Add("data", '5', mode: 0x5E8, uid: 1234, gid: 99);
        tar.Add("data/file", content: "image\n", mode: 0x1B6);
        foreach (var path in new[] { "bin", "tmp" })
        {
            tar.Directory(path);
        }

        var busybox = await File.ReadAllBytesAsync("/bin/busybox", TestContext.Current.CancellationToken);
        tar.Add("bin/busybox", content: System.Text.Encoding.Latin1.GetString(busybox));
        foreach (var tool in new[] { "sh", "cat", "ls", "wc" })
        {
            tar.Symlink("bin/" + tool, "busybox");
        }

        more?.Invoke(tar);
        using var layout = new OciLayout();
        layout.AddImage(name, [Layer.Gzip(tar.End())], PublishedBinary.NativeRid == "linux-x64" ? "amd64" : "arm64", change: config =>
            config["config"] = System.Text.Json.Nodes.JsonNode.Parse("""{"Entrypoint":["/bin/sh"],"Volumes":{"/data/":{}}}"""));
        (await CommandRun.RunAsync("bash", ["-c", $"tar -C {layout.Path} -c . | docker -H unix://{Daemon.Socket} load"])).Succeeds();
    }
}
