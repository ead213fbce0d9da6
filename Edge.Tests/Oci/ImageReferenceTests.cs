using EdgeHost.Errors;
using EdgeHost.Oci;
using Xunit;

namespace Edge.Tests.Oci;

public sealed class ImageReferenceTests
{
    private const string Hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    [Theory]
    [InlineData("busybox", "docker.io/library/busybox:latest", "busybox:latest")]
    [InlineData("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36")]
    [InlineData("team/app", "docker.io/team/app:latest", "team/app:latest")]
    [InlineData("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest")]
    [InlineData("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest")]
    [InlineData("index.docker.io/library/busybox:x", "docker.io/library/busybox:x", "busybox:x")]
    [InlineData("localhost/a", "localhost/a:latest", "localhost/a:latest")]
    [InlineData("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b")]
    [InlineData("host:5000", "docker.io/library/host:5000", "host:5000")]
    [InlineData("registry.example.com/a/b/c__d/e-f.g:v1.2_3-4", "registry.example.com/a/b/c__d/e-f.g:v1.2_3-4", "registry.example.com/a/b/c__d/e-f.g:v1.2_3-4")]
    [InlineData("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest", "127.0.0.1:5000/a:latest")]
    [InlineData("[2001:db8::1]:5000/a", "[2001:db8::1]:5000/a:latest", "[2001:db8::1]:5000/a:latest")]
    [InlineData("Registry/a", "Registry/a:latest", "Registry/a:latest")]
    [InlineData("a@sha256:" + Hex, "docker.io/library/a@sha256:" + Hex, "a@sha256:" + Hex)]
    [InlineData("a:t@sha256:" + Hex, "docker.io/library/a:t@sha256:" + Hex, "a:t@sha256:" + Hex)]
    [InlineData("a---b", "docker.io/library/a---b:latest", "a---b:latest")]
    public void A_name_is_completed_as_Docker_does(string text, string whole, string familiar)
    {
        var reference = ImageReference.Parse(text);
        Assert.Equal(whole, reference.ToString());
        Assert.Equal(familiar, reference.Familiar);
        Assert.Equal(reference, ImageReference.Parse(whole));
    }

    [Theory]
    [InlineData("")]
    [InlineData("Busybox")]
    [InlineData("team/App")]
    [InlineData("a:")]
    [InlineData("a:-x")]
    [InlineData("a:.x")]
    [InlineData("a:x y")]
    [InlineData("a//b")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("-a")]
    [InlineData("a-")]
    [InlineData("a..b")]
    [InlineData("a___b")]
    [InlineData("a._b")]
    [InlineData("a@")]
    [InlineData("a@sha256:abc")]
    [InlineData("a@md5:" + Hex)]
    [InlineData(Hex)]
    [InlineData("-host.com/a")]
    [InlineData("host:port/a")]
    [InlineData("host.com:123456/a")]
    [InlineData("[::1/a")]
    [InlineData("https://host.com/a")]
    [InlineData("a\nb")]
    [InlineData("../a")]
    public void What_is_no_name_is_refused_in_one_line(string text)
    {
        var e = Assert.Throws<EdgeHostException>(() => ImageReference.Parse(text));
        Assert.Equal(ErrorKind.Invalid, e.Kind);
        Assert.DoesNotContain('\n', e.Message);
        Assert.False(ImageReference.TryParse(text, out _));
    }

    [Fact]
    public void Lengths_are_bounded()
    {
        Assert.NotNull(ImageReference.Parse("a:" + new string('t', 128)));
        Assert.Throws<EdgeHostException>(() => ImageReference.Parse("a:" + new string('t', 129)));
        Assert.NotNull(ImageReference.Parse("h.com/" + new string('a', 249)));
        Assert.Throws<EdgeHostException>(() => ImageReference.Parse("h.com/" + new string('a', 250)));
    }

    [Fact]
    public void Sixty_four_hex_digits_are_a_name_with_a_tag_or_a_registry() =>
        Assert.Equal($"docker.io/library/{Hex}:x", ImageReference.Parse(Hex + ":x").ToString());
}
