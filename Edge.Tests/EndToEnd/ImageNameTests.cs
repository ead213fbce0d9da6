using Xunit;

namespace Edge.Tests.EndToEnd;

/// <summary>Names of images, the steps that made them, and what containers have made of them.</summary>
public sealed class ImageNameTests(SharedDaemon shared) : IClassFixture<SharedDaemon>
{
    private DaemonUnderTest Daemon => shared.Daemon;

    [Fact]
    public async Task A_tag_is_one_more_name_of_an_image_and_goes_to_another_when_that_gets_it()
    {
        var id = await Daemon.InspectAsync("busybox", "{{.Id}}");
        (await Daemon.DockerAsync("tag", "busybox", "tag.lan:5000/team/one:2")).Succeeds();
        (await Daemon.EdgehostAsync("tag", id, "own")).Succeeds();
        Assert.Equal(id, await Daemon.InspectAsync("tag.lan:5000/team/one:2", "{{.Id}}"));
        Assert.Equal(id, await Daemon.InspectAsync("own:latest", "{{.Id}}"));
        await Daemon.LoadAsync("sensor");
        (await Daemon.EdgehostAsync("image", "tag", "sensor", "own")).Succeeds();
        Assert.NotEqual(id, await Daemon.InspectAsync("own", "{{.Id}}"));
        Assert.Equal("untagged: tag.lan:5000/team/one:2\n", (await Daemon.EdgehostAsync("rmi", "tag.lan:5000/team/one:2")).Succeeds().Output.ToLowerInvariant());

        Assert.Contains("No such image: nosuch", (await Daemon.EdgehostAsync("tag", "nosuch", "a")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("digest", (await Daemon.EdgehostAsync("tag", "busybox", "a@sha256:" + new string('a', 64))).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("Bad", (await Daemon.EdgehostAsync("tag", "busybox", "Bad")).Exits(1).Error, StringComparison.Ordinal);
        Assert.Contains("ambiguous tag", (await Daemon.EdgehostAsync("tag", "busybox", "sha256:1")).Exits(1).Error, StringComparison.Ordinal);
        (await Daemon.EdgehostAsync("rmi", "own", "sensor")).Succeeds();
    }

    [Fact]
    public async Task A_list_of_images_by_name_shows_no_other_name_of_theirs()
    {
        (await Daemon.DockerAsync("tag", "busybox", "other.lan:5000/by/name:3")).Succeeds();
        Assert.Equal("other.lan:5000/by/name:3\n", (await Daemon.DockerAsync("images", "--format", "{{.Repository}}:{{.Tag}}", "other.lan:5000/by/name")).Succeeds().Output);
        Assert.Equal("other.lan:5000/by/name:3\n", (await Daemon.EdgehostAsync("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=*/by/name:3")).Succeeds().Output);
        Assert.Equal("busybox:latest\n", (await Daemon.DockerAsync("images", "--format", "{{.Repository}}:{{.Tag}}", "busybox")).Succeeds().Output);
        (await Daemon.DockerAsync("rmi", "other.lan:5000/by/name:3")).Succeeds();
    }

    [Fact]
    public async Task The_steps_of_an_image_are_shown_as_docker_shows_them()
    {
        Assert.Equal((await Daemon.DockerAsync("history", "-q", "busybox")).Succeeds().Output, (await Daemon.EdgehostAsync("history", "-q", "busybox")).Succeeds().Output);
        Assert.StartsWith("IMAGE ", (await Daemon.EdgehostAsync("image", "history", "busybox")).Succeeds().Output, StringComparison.Ordinal);
        Assert.Contains("No such image", (await Daemon.EdgehostAsync("history", "nosuch")).Exits(1).Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_container_added_changed_and_deleted_is_told_apart()
    {
        (await Daemon.RunAsync("--name", "changed", "--network", "none", "-v", "changed:/volume", "busybox", "sh", "-c", "echo x >/tmp/new; echo y >>/etc/passwd; rm /etc/group; mkdir -p /a/b; echo z >/a/b/c; echo v >/volume/v")).Succeeds();
        var changes = (await Daemon.EdgehostAsync("diff", "changed")).Succeeds().Output;
        Assert.Equal((await Daemon.DockerAsync("diff", "changed")).Succeeds().Output, changes);
        foreach (var line in new[] { "A /tmp/new", "C /etc/passwd", "D /etc/group", "A /a", "A /a/b", "A /a/b/c" })
        {
            Assert.Contains(line, changes.Split('\n'));
        }

        Assert.DoesNotContain("/volume/v", changes, StringComparison.Ordinal);
        Assert.DoesNotContain("/etc/hosts", changes, StringComparison.Ordinal);
        Assert.DoesNotContain("/bin", changes, StringComparison.Ordinal);
        (await Daemon.DockerAsync("rm", "-v", "changed")).Succeeds();
    }
}
