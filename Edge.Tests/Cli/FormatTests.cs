using System.Text.Json;
using Edge.Tests.Api;
using EdgeHost.Cli;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>Docker's own client, over the same socket, says what <c>--format</c> prints.</summary>
public sealed class FormatTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    private static readonly string[] Rows = ["ps", "images", "volume ls", "network ls"];

    [Theory]
    [InlineData("{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.Id}}")]
    [InlineData("{{json .Config.Labels}} {{json .HostConfig.RestartPolicy}} {{json .Config.Env}} {{json .State.Running}} {{json .Name}}")]
    [InlineData("{{range .Mounts}}{{.Destination}} {{end}}{{range $i, $m := .Mounts}}{{$i}}={{$m.Source}};{{else}}none{{end}}")]
    [InlineData("{{index .Config.Labels \"a.b\"}} {{.Config.Labels.plain}} {{index .Config.Labels \"nosuch\"}}|{{.Config.Labels.nosuch}}")]
    [InlineData("{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}|{{end}}")]
    [InlineData("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}} {{end}}")]
    [InlineData("{{if .State.Running}}up{{else}}down{{end}} {{if .State.Paused}}paused{{else if .State.Running}}running{{else}}?{{end}}")]
    [InlineData("{{with .Config}}{{.Image}} {{$.Name}}{{end}}{{with .Config.Domainname}}never{{else}} no domain{{end}}")]
    [InlineData("{{len .Mounts}} {{len .Name}} {{len .Config.Labels}} {{len .Config.Cmd}}")]
    [InlineData("{{join .Config.Cmd \" \"}} {{join .Config.Env \",\"}} {{split .Config.Image \"s\"}} {{.Config.Cmd}}")]
    [InlineData("{{upper .Name}} {{lower \"ABC\"}} {{title \"one two_three four-five\"}} {{.Name | upper | printf \"%q\"}} {{pad .Name 2 3}}|{{pad \"\" 2 3}}|")]
    [InlineData("{{printf \"%s %d %5d|%-5d|%05d %x %q %t %v %8.3s|%%\" .Name .State.Pid .State.Pid .State.Pid .State.Pid .State.Pid .Name .State.Running .State.Pid .Name}}")]
    [InlineData("{{printf \"%d\" .Name}} {{printf \"%s\" .State.Pid}} {{printf \"%d\"}} {{printf \"x\" 1}} {{printf \"%.2f %e\" 1.5 1234.5}} {{printf \"%c %o %b %X\" 65 8 5 255}}")]
    [InlineData("{{print 1 2 \"a\" \"b\" 3}}{{println \"x\" 1}}{{print .State.Pid .HostConfig.Memory}}")]
    [InlineData("{{truncate .Name 3}} {{truncate .Name 300}} {{slice .Name 1 3}} {{index .Config.Cmd 0}} {{(index .Mounts 0).Destination}}")]
    [InlineData("{{eq .State.Status \"running\"}} {{ne .State.Pid 0}} {{lt 1 2}} {{le 2 2}} {{gt .HostConfig.Memory 5}} {{ge 1 2}} {{eq 3 1 2 3}} {{and .State.Running .Name}} {{or .State.Paused \"no\"}} {{not .State.Running}}")]
    [InlineData("a {{- /* a comment */ -}} b {{- .State.Status -}}   c{{/* another */}}d\n  {{- \" e\"}}")]
    [InlineData("{{$x := .Name}}{{$x}} {{$x = \"other\"}}{{$x}} {{range $i, $e := .Config.Cmd}}{{if $i}},{{end}}{{$e}}{{if eq $i 1}}{{break}}{{end}}{{end}}{{range .Config.Env}}{{continue}}never{{end}}")]
    [InlineData("{{true}} {{1.5}} {{0x1f}} {{'a'}} {{`raw \\n`}} {{\"esc\\t\\u00e9\"}} {{1e3}} {{1e21}} {{-3}}")]
    [InlineData("{{.HostConfig.Binds}} {{.Args}} {{.HostConfig.CapAdd}} {{.HostConfig.PidsLimit}} {{.NetworkSettings.Ports}} {{.Config.Volumes}} {{.Config.Entrypoint}} {{.HostConfig.DNS}}")]
    [InlineData("")]
    [InlineData("plain\\ttext\\n")]
    public async Task What_inspect_prints_by_a_template_is_what_docker_prints(string template)
    {
        await Made();
        var docker = (await api.DockerAsync("inspect", "--format", template, "formatted")).Succeeds();
        var ours = Run("inspect", "--format", template, "formatted");
        Assert.Equal((0, string.Empty), (ours.Exit, ours.Error));
        if (template.Length > 0)
        {
            Assert.Equal(docker.Output, ours.Output);
        }
    }

    [Fact]
    public async Task Each_plain_value_of_an_inspected_container_is_printed_as_docker_prints_it()
    {
        await Made();
        var paths = new List<string>();
        var documents = JsonDocument.Parse(Run("inspect", "formatted").Output).RootElement;
        Leaves(documents[0], string.Empty, paths);
        Assert.True(paths.Count > 100, string.Join(' ', paths));
        var docker = await Task.WhenAll(paths.Select(path => api.DockerAsync("inspect", "-f", $"{path}={{{{{path}}}}}", "formatted")));
        var ours = paths.Select(path => Run("inspect", "-f", $"{path}={{{{{path}}}}}", "formatted").Output);
        Assert.Equal(string.Concat(docker.Select(run => run.Succeeds().Output)), string.Concat(ours));
    }

    [Theory]
    [InlineData("ps -a", "{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}} {{.Labels}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Size}} {{.CreatedAt}}")]
    [InlineData("ps -a --no-trunc", "{{.ID}} {{.Command}} {{.Mounts}} {{.Label \"a.b\"}} {{.Label \"nosuch\"}}|")]
    [InlineData("ps -a", "table {{.Names}}\\t{{.Status}}\\t{{upper .State}}\\t{{.Label \"com.example.some-thing\"}}")]
    [InlineData("ps -a", "table")]
    [InlineData("ps -a", "table {{.ID}}: {{.Names}} {{if .Ports}}{{.Ports}}{{else}}none{{end}}")]
    [InlineData("ps -a --filter name=nosuch", "table {{.Names}}\\t{{json .Status}}\\t{{truncate .Image 2}}")]
    [InlineData("ps -a --filter name=nosuch", "{{.Names}}")]
    [InlineData("images", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Digest}} {{.Size}} {{.CreatedSince}} {{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}}")]
    [InlineData("images --no-trunc", "table {{.ID}}\\t{{.Repository}}")]
    [InlineData("images --digests", "table")]
    [InlineData("images", "table")]
    [InlineData("images busybox", "{{.Repository}}")]
    [InlineData("images -q", "table")]
    [InlineData("volume ls", "table")]
    [InlineData("volume ls", "{{.Name}} {{.Driver}} {{.Scope}} {{.Mountpoint}} {{.Labels}} {{.Label \"of\"}} {{.Links}} {{.Size}} {{.Status}}")]
    [InlineData("volume ls -q", "table")]
    [InlineData("network ls", "table")]
    [InlineData("network ls", "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.CreatedAt}}")]
    [InlineData("network ls -q --no-trunc", "table")]
    [InlineData("stats --no-stream", "{{.Container}} {{.ID}} {{.Name}} {{.MemUsage}} {{.MemPerc}} {{.PIDs}} {{.NetIO}} {{.BlockIO}}")]
    [InlineData("stats --no-stream", "table")]
    [InlineData("system df", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}")]
    [InlineData("system df", "table {{.Type}}\\t{{.Reclaimable}}")]
    [InlineData("system df", "json")]
    [InlineData("images", "json")]
    [InlineData("image inspect busybox", "{{.Os}} {{.Architecture}} {{.RepoTags}} {{.Size}} {{.ID}}")]
    [InlineData("volume inspect kept", "{{.Name}} {{.Driver}} {{.Labels}} {{json .Labels}} {{.Options}}")]
    [InlineData("network inspect bridge", "{{.Name}} {{.Driver}} {{range .IPAM.Config}}{{.Subnet}}{{end}} {{len .Containers}} {{.Internal}}")]
    [InlineData("version", "{{.Server.Version}} {{.Server.Os}}/{{.Server.Arch}} {{range .Server.Components}}{{.Name}} {{index .Details \"KernelVersion\"}}{{end}} {{.Client.Os}}")]
    [InlineData("info", "{{.ServerVersion}} {{.Driver}} {{.NCPU}} {{.MemTotal}} {{.Swarm.LocalNodeState}} {{.Name}} {{json .Labels}} {{.SecurityOptions}}")]
    [InlineData("events --since 1h --until 0s", "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.Actor.Attributes.nosuch}} {{.ID}} {{.Status}} {{.TimeNano}}")]
    public async Task What_a_command_prints_by_a_template_is_what_docker_prints(string command, string template)
    {
        await Made();
        string[] arguments = [.. command.Split(' '), .. (string[])(template == "table" ? [] : ["--format", template])];
        if (command.Contains("--until 0s", StringComparison.Ordinal))
        {
            arguments = [.. arguments.Select(word => word == "0s" ? DateTimeOffset.UtcNow.ToUnixTimeSeconds().ToString(System.Globalization.CultureInfo.InvariantCulture) : word)];
        }

        await EqualAsync(arguments);
    }

    /// <summary>How long ago something was is counted in seconds: where one has passed between the two, they are asked again.</summary>
    private async Task EqualAsync(string[] arguments)
    {
        for (var again = 5; ; again--)
        {
            var docker = (await api.DockerAsync(arguments)).Succeeds();
            var ours = Run(arguments);
            Assert.Equal((0, string.Empty), (ours.Exit, ours.Error));
            if (again == 0 || docker.Output == ours.Output)
            {
                Assert.Equal(docker.Output, ours.Output);
                return;
            }
        }
    }

    [Theory]
    [MemberData(nameof(RowCommands))]
    public async Task The_json_of_a_line_is_what_docker_prints(string command)
    {
        await Made();
        foreach (var format in (string[])["json", "{{json .}}"])
        {
            string[] arguments = [.. command.Split(' '), "--format", format];
            await EqualAsync(arguments);
        }
    }

    [Theory]
    [InlineData("{{")]
    [InlineData("{{.A")]
    [InlineData("{{.A}")]
    [InlineData("{{foo}}")]
    [InlineData("{{if .A}}x")]
    [InlineData("{{end}}")]
    [InlineData("{{else}}")]
    [InlineData("{{\"a}}")]
    [InlineData("{{`a}}")]
    [InlineData("{{range $i, .A}}{{end}}")]
    [InlineData("{{$x}}")]
    [InlineData("{{if .A}}{{$x := 1}}{{end}}{{$x}}")]
    [InlineData("{{/* a }}")]
    [InlineData("{{(.A}}")]
    [InlineData("{{.A)}}")]
    [InlineData("{{.A.}}")]
    [InlineData("{{}}")]
    [InlineData("{{if}}{{end}}")]
    [InlineData("{{break}}")]
    [InlineData("{{'a}}")]
    [InlineData("{{.A | 3}}")]
    [InlineData("{{#}}")]
    [InlineData("{{1a}}")]
    [InlineData("{{.State.Status\".x\"}}")]
    [InlineData("{{if .A}}{{else}}{{else}}{{end}}")]
    [InlineData("one\ntwo {{nosuch .}}")]
    public async Task A_template_that_docker_refuses_is_refused_in_one_line_with_its_place_and_dockers_code(string template)
    {
        await Made();
        var docker = await api.DockerAsync("inspect", "-f", template, "formatted");
        var ours = Run("inspect", "-f", template, "formatted");
        Assert.Equal((docker.ExitCode, string.Empty), (ours.Exit, ours.Output));
        Assert.Matches(@"^edgehost: template parsing error: template: :\d+:\d+: [^\n]+\n$", ours.Error);
    }

    [Theory]
    [InlineData("inspect formatted", "{{.Nosuch}}")]
    [InlineData("inspect formatted", "{{.State.Nosuch}}")]
    [InlineData("inspect formatted", "{{.State.Status.Nosuch}}")]
    [InlineData("inspect formatted", "{{index .Config.Cmd 99}}")]
    [InlineData("inspect formatted", "{{upper .State.Pid}}")]
    [InlineData("inspect formatted", "{{lt .State.Running true}}")]
    [InlineData("inspect formatted", "{{.State.Status 1}}")]
    [InlineData("inspect formatted", "{{range .State.Status}}{{end}}")]
    [InlineData("ps -a", "{{.Nosuch}}")]
    [InlineData("ps -a", "table {{.Nosuch}}")]
    [InlineData("ps", "{{")]
    [InlineData("volume ls", "{{.ID}}")]
    [InlineData("info", "{{.Nosuch}}")]
    [InlineData("version", "{{.Nosuch}}")]
    [InlineData("version", "{{")]
    [InlineData("events --since 1h --until 1", "{{")]
    public async Task A_template_that_does_not_fit_is_one_line_with_its_place_and_dockers_code(string command, string template)
    {
        await Made();
        string[] arguments = [.. command.Split(' '), "--format", template];
        var docker = await api.DockerAsync(arguments);
        var ours = Run(arguments);
        Assert.NotEqual(0, docker.ExitCode);
        Assert.Equal((docker.ExitCode, string.Empty), (ours.Exit, ours.Output));
        Assert.Matches(@"^edgehost: template parsing error: template: :\d+:\d+: [^\n]+\n$", ours.Error);
    }

    public static IEnumerable<TheoryDataRow<string>> RowCommands() => [.. Rows.Select(command => new TheoryDataRow<string>(command))];

    private static void Leaves(JsonElement element, string path, List<string> found)
    {
        if (element.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in element.EnumerateObject().Where(member => member.Name.All(char.IsAsciiLetterOrDigit)))
            {
                Leaves(member.Value, $"{path}.{member.Name}", found);
            }
        }
        else if (element.ValueKind != JsonValueKind.Array || element.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String))
        {
            found.Add(path);
        }
    }

    /// <summary>What is looked at: made once, and by nobody else.</summary>
    private async Task Made()
    {
        if (api.Engine.List().Any(container => container.Name == "formatted"))
        {
            return;
        }

        var run = await api.DockerAsync(
            "run", "-d", "--name", "formatted", "--network", "none", "-m", "64m", "--cpus", "0.5", "--label", "a.b=dotted", "--label", "plain=x y", "--label", "com.example.some-thing=of it",
            "-v", "/tmp:/host:ro", "-v", "/usr:/other", "-e", "A=b", "-e", "C=ü", "busybox", "sleep", "some \"quoted\" words that are long", "x");
        run.Succeeds();
        (await api.DockerAsync("create", "--name", "second", "--network", "none", "busybox", "true")).Succeeds();
        (await api.DockerAsync("volume", "create", "--label", "of=example", "kept")).Succeeds();
    }

    private (int Exit, string Output, string Error) Run(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var exit = CliRoot.Run(["--host", api.Socket, .. arguments], _ => throw new InvalidOperationException("not the daemon"), output, error);
        return (exit, output.ToString(), error.ToString());
    }
}
