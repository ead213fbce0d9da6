using System.Net;
using System.Text.RegularExpressions;
using EdgeHost.Api;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;
using Xunit;

namespace Edge.Tests.Api;

/// <summary>Docker's filters, asked for by docker's own client.</summary>
public sealed class FilterTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    [Theory]
    [InlineData("name=web", "web-1 web-2")]
    [InlineData("name=^/web-1$", "web-1")]
    [InlineData("name=^web-[12]$", "web-1 web-2")]
    [InlineData("name=^(web-1|db)$", "db web-1")]
    [InlineData("name=w.b-2", "web-2")]
    [InlineData("status=exited", "db")]
    [InlineData("status=created", "web-2")]
    [InlineData("status=running --filter status=exited", "db web-1")]
    [InlineData("exited=3", "db")]
    [InlineData("exited=4", "")]
    [InlineData("label=tier", "db web-1 web-2")]
    [InlineData("label=tier=front", "web-1 web-2")]
    [InlineData("label=tier=front --filter label=first", "web-1")]
    [InlineData("before=web-2", "db web-1")]
    [InlineData("since=web-1", "db web-2")]
    [InlineData("ancestor=busybox", "db web-1 web-2")]
    [InlineData("ancestor=nosuch", "")]
    [InlineData("volume=/data", "web-1")]
    [InlineData("volume=/tmp", "web-1")]
    [InlineData("network=none", "db web-1 web-2")]
    [InlineData("network=host", "")]
    [InlineData("is-task=false", "db web-1 web-2")]
    [InlineData("is-task=true", "")]
    [InlineData("health=healthy", "")]
    [InlineData("health=none", "db web-1 web-2")]
    [InlineData("publish=80", "")]
    [InlineData("expose=80-90/udp", "")]
    public async Task Containers(string filter, string names)
    {
        await Made();
        var listed = (await api.DockerAsync(["ps", "-a", "--format", "{{.Names}}", "--filter", .. filter.Split(' '), "--filter", "label=filtered"])).Succeeds();
        Assert.Equal(names, string.Join(' ', listed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)));
    }

    [Theory]
    [InlineData("ps", "colour=red", "invalid filter 'colour'")]
    [InlineData("ps", "status=bogus", "invalid filter 'status=bogus'")]
    [InlineData("ps", "health=ill", "invalid filter 'health=ill'")]
    [InlineData("ps", "exited=x", "invalid filter 'exited=x'")]
    [InlineData("ps", "is-task=perhaps", "invalid filter 'is-task=perhaps'")]
    [InlineData("ps", "publish=0:80", "invalid filter 'publish=0:80'")]
    [InlineData("ps", "expose=9-8", "invalid filter 'expose=9-8'")]
    [InlineData("ps", "before=nosuch", "No such container: nosuch")]
    [InlineData("ps", "since=nosuch", "No such container: nosuch")]
    [InlineData("ps", "name=(", "is not a pattern")]
    [InlineData("ps", "name=[a", "is not a pattern")]
    [InlineData("images", "colour=red", "invalid filter 'colour'")]
    [InlineData("images", "dangling=perhaps", "invalid filter 'dangling=perhaps'")]
    [InlineData("images", "before=nosuch", "No such image: nosuch")]
    [InlineData("images", "since=nosuch", "No such image: nosuch")]
    [InlineData("images", "until=soon", "until=soon")]
    [InlineData("volume ls", "colour=red", "invalid filter 'colour'")]
    [InlineData("volume ls", "dangling=perhaps", "invalid filter 'dangling=perhaps'")]
    [InlineData("network ls", "colour=red", "invalid filter 'colour'")]
    [InlineData("network ls", "type=strange", "invalid filter 'type=strange'")]
    [InlineData("network ls", "dangling=perhaps", "invalid filter 'dangling=perhaps'")]
    [InlineData("events --until 1", "colour=red", "invalid filter 'colour'")]
    public async Task A_filter_that_is_not_known_or_not_good_is_refused_by_its_name(string command, string filter, string words)
    {
        var run = (await api.DockerAsync([.. command.Split(' '), "--filter", filter])).Exits(1);
        Assert.Contains(words, run.Error);
        Assert.Empty(run.Output);
    }

    [Theory]
    [InlineData("reference=busybox", true)]
    [InlineData("dangling=true", false)]
    [InlineData("dangling=0", true)]
    [InlineData("since=busybox", false)]
    [InlineData("before=busybox", false)]
    [InlineData("until=24h", true)]
    [InlineData("until=2000h", false)]
    [InlineData("label=nosuch", false)]
    public async Task Images(string filter, bool isThere) =>
        Assert.Equal(isThere ? "busybox\n" : string.Empty, (await api.DockerAsync("images", "--filter", filter, "--filter", "reference=busybox", "--format", "{{.Repository}}")).Succeeds().Output);

    [Theory]
    [InlineData("dangling=true", "spare")]
    [InlineData("dangling=false", "used")]
    [InlineData("driver=local", "spare used")]
    [InlineData("driver=nfs", "")]
    [InlineData("label=of", "spare")]
    [InlineData("name=^us", "used")]
    public async Task Volumes(string filter, string names)
    {
        await Made();
        var listed = (await api.DockerAsync("volume", "ls", "-q", "--filter", filter)).Succeeds().Output;
        Assert.Equal(names, string.Join(' ', listed.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)));
    }

    [Theory]
    [InlineData("driver=null", "none")]
    [InlineData("type=builtin", "host none")]
    [InlineData("type=custom", "")]
    [InlineData("scope=local", "host none")]
    [InlineData("scope=swarm", "")]
    [InlineData("name=^(host|none)$", "host none")]
    [InlineData("dangling=true", "")]
    [InlineData("label=nosuch", "")]
    public async Task Networks(string filter, string names) =>
        Assert.Equal(names, string.Join(' ', (await api.DockerAsync("network", "ls", "--format", "{{.Name}}", "--filter", filter)).Succeeds().Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)));

    [Theory]
    [InlineData("container=db", "create start die")]
    [InlineData("container=db --filter event=die", "die")]
    [InlineData("container=db --filter image=busybox", "create start die")]
    [InlineData("container=db --filter image=alpine", "")]
    [InlineData("container=db --filter type=volume", "")]
    [InlineData("container=db --filter label=name=db", "create start die")]
    [InlineData("container=db --filter label=nosuch", "")]
    [InlineData("container=db --filter scope=local", "create start die")]
    [InlineData("daemon=x", "")]
    public async Task Events(string filter, string actions)
    {
        await Made();
        var until = DateTimeOffset.UtcNow.ToUnixTimeSeconds() + 1;
        var events = (await api.DockerAsync(["events", "--since", "1h", "--until", until.ToString(System.Globalization.CultureInfo.InvariantCulture), "--format", "{{.Action}}", "--filter", .. filter.Split(' ')])).Succeeds();
        Assert.Equal(actions, events.Output.TrimEnd().ReplaceLineEndings(" "));
    }

    [Fact]
    public void Ports_of_the_image_that_nobody_published_are_listed_without_an_address()
    {
        var running = new SandboxStatus(
            [new Endpoint("n", "bridge", "eth0", "v", "m", [], [])],
            [new PortBinding(80, PortProtocol.Tcp, 8080, IPAddress.Loopback)]);
        var container = new ContainerStatus { Id = "x", Name = "x", Spec = new ContainerSpec { Image = "i" }, Effective = new ContainerSpec { Image = "i" }, ImageId = "i", State = ContainerState.Running, Created = DateTimeOffset.UtcNow, Sandbox = running };
        var ports = NetworkViews.ListOf(container, ["80/tcp", "53/udp", "443"]);
        Assert.Equal([new PortView("127.0.0.1", 80, 8080, "tcp"), new PortView(null, 53, 0, "udp"), new PortView(null, 443, 0, "tcp")], ports);
        Assert.Empty(NetworkViews.ListOf(container with { Sandbox = SandboxStatus.Empty }, ["80/tcp"]));
    }

    [Fact]
    public void Patterns_fit_what_they_fit_as_regular_expressions()
    {
        string[] patterns = ["web", "^web$", "^/web", "w.b", "we*b", "we+b", "web-?1", "^(web|db)-[0-9]+$", "[^a-z]", "a|b|", "(a|b)*c", "^$", "", "x\\.y", "[]a]", "[a-]", "((ab)+c)?d$", "^(a|ab)(c|bcd)$", "[^-]-[0-9]$"];
        string[] names = ["web", "/web", "web-1", "web1", "wb", "weeb", "db-22", "db", "", "a", "b", "abac", "abcd", "ababcd", "x.y", "xzy", "]", "-", "under_score", "UPPER"];
        foreach (var pattern in patterns)
        {
            var ours = new NamePattern(pattern);
            foreach (var name in names)
            {
                Assert.True(Regex.IsMatch(name, pattern) == ours.IsIn(name), $"{pattern} in {name}");
            }
        }
    }

    [Theory]
    [InlineData("(")]
    [InlineData("a)")]
    [InlineData("[a")]
    [InlineData("*a")]
    [InlineData("a{2}")]
    [InlineData("\\d")]
    [InlineData("\\")]
    public void What_is_no_pattern_is_refused(string pattern) => Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => new NamePattern(pattern)).Kind);

    [Theory]
    [InlineData("(a*)*b")]
    [InlineData("(a|aa)+$b")]
    public void A_pattern_that_goes_astray_ends(string pattern) =>
        Assert.Equal(ErrorKind.Invalid, Assert.Throws<EdgeHostException>(() => new NamePattern(pattern).IsIn(new string('a', 60))).Kind);

    [Fact]
    public void Groups_in_groups_have_an_end() =>
        Assert.Throws<EdgeHostException>(() => new NamePattern(new string('(', 100_000)));

    private async Task Made()
    {
        if (api.Engine.List().Any(container => container.Name == "db"))
        {
            return;
        }

        (await api.DockerAsync("volume", "create", "--label", "of=test", "spare")).Succeeds();
        (await api.DockerAsync("volume", "create", "used")).Succeeds();
        (await api.DockerAsync("run", "-d", "--name", "web-1", "--network", "none", "--label", "filtered", "--label", "tier=front", "--label", "first", "-v", "/tmp:/data", "-v", "used:/used", "busybox", "sleep")).Succeeds();
        (await api.DockerAsync("run", "--name", "db", "--network", "none", "--label", "filtered", "--label", "tier=back", "busybox", "exit", "3")).Exits(3);
        (await api.DockerAsync("create", "--name", "web-2", "--network", "none", "--label", "filtered", "--label", "tier=front", "busybox", "sleep")).Succeeds();
    }
}
