using Edge.Tests.Api;
using Edge.Tests.Fixtures;
using EdgeHost.Cli;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>Completion, asked for by the shells themselves.</summary>
public sealed class CompletionTests(ApiFixture api) : IClassFixture<ApiFixture>, IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-completion-").FullName;

    public void Dispose() => Directory.Delete(_directory, true);

    [Theory]
    [InlineData("net", "network")]
    [InlineData("network c", "connect create")]
    [InlineData("ps --fi", "--filter")]
    [InlineData("ps --no-t", "--no-trunc")]
    [InlineData("volume ls --h", "--help --host")]
    [InlineData("stop compl", "completed completed-too")]
    [InlineData("logs -n 5 completed-", "completed-too")]
    [InlineData("--host other stop xyz", "")]
    [InlineData("rmi busy", "busybox:latest")]
    [InlineData("run --network n", "none")]
    [InlineData("run --name x busy", "busybox:latest")]
    [InlineData("run -d busybox ", ":files")]
    [InlineData("run -d busybox -", ":files")]
    [InlineData("network connect h", "host")]
    [InlineData("network connect host completed-", "completed-too")]
    [InlineData("network create h", "")]
    [InlineData("inspect --type v", "volume")]
    [InlineData("load -i ", ":files")]
    [InlineData("deploy ", ":files")]
    [InlineData("completion ", "bash fish zsh")]
    [InlineData("bogus ", "")]
    [InlineData("ps -- --fi", "")]
    [InlineData("rename completed a", "")]
    public async Task What_may_follow(string line, string words)
    {
        await Made();
        using var output = new StringWriter();
        using var error = new StringWriter();
        var exit = CliRoot.Run(["--host", api.Socket, "__complete", "--", .. Words(line)], _ => 1, output, error);
        Assert.Equal((0, string.Empty), (exit, error.ToString()));
        Assert.Equal(words, string.Join(' ', output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(candidate => candidate.Split('\t')[0])));

        // The line may name the daemon; the test's own is named by what comes before here.
        string[] Words(string text) => text.StartsWith("--host", StringComparison.Ordinal)
            ? text.Replace("other", "/nonexistent.sock", StringComparison.Ordinal).Split(' ')
            : ["--host", api.Socket, .. text.Split(' ')];
    }

    [Fact]
    public void Without_a_daemon_nothing_is_said()
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        Assert.Equal(0, CliRoot.Run(["__complete", "--", "--host", "/nonexistent.sock", "stop", ""], _ => 1, output, error));
        Assert.Equal((string.Empty, string.Empty), (output.ToString(), error.ToString()));
    }

    [Fact]
    public async Task Bash_completes_commands_names_and_files()
    {
        var shown = await InteractiveAsync("bash --norc --noprofile -i", "source <(edgehost completion bash)");
        Assert.Contains("busybox:latest linux", shown);
        Assert.Contains("/completed-too\r", shown);
        Assert.Contains("Loaded image: loaded:latest", shown);
    }

    [Fact]
    public async Task Zsh_completes_commands_names_and_files()
    {
        await Packages.NeedAsync("zsh");
        var shown = await InteractiveAsync("zsh -f -i", $"autoload -Uz compinit; compinit -u -d {_directory}/dump; source <(edgehost completion zsh)");
        Assert.Contains("busybox:latest linux", shown);
        Assert.Contains("/completed-too\r", shown);
        Assert.Contains("Loaded image: loaded:latest", shown);
    }

    [Fact]
    public async Task Fish_completes_commands_names_and_files()
    {
        await Packages.NeedAsync("fish");
        await Made();
        var script = $"edgehost completion fish | source; cd {_directory}; complete -C 'edgehost netw'; complete -C 'edgehost stop completed-'; complete -C 'edgehost run --network n'; complete -C 'edgehost load -i loading'";
        File.WriteAllText(Path.Combine(_directory, "loading-this-file"), string.Empty);
        var run = (await CommandRun.RunAsync("fish", ["--no-config", "-c", script], environment: await EnvironmentAsync())).Succeeds();
        Assert.Equal("network\tWork with networks\ncompleted-too\nnone\nloading-this-file\n", run.Output);
    }

    [Fact]
    public void A_shell_that_has_no_script_is_refused()
    {
        using var error = new StringWriter();
        Assert.Equal(1, CliRoot.Run(["completion", "tcsh"], _ => 1, error, error));
        Assert.Equal("edgehost: completion tcsh: not bash, zsh or fish\n", error.ToString());
    }

    /// <summary>Types lines with the key of completion into a shell on a terminal.</summary>
    private async Task<string> InteractiveAsync(string shell, string setup)
    {
        await Made();
        File.WriteAllText(Path.Combine(_directory, "loading-this-file"), "no archive");
        var typed = $"{setup}\ncd {_directory}\nedgehost image inspect -f '{{{{index .RepoTags 0}}}} {{{{.Os}}}}' busybox:\t\nedgehost insp\t-f '{{{{.Name}}}}' completed-\t\nedgehost load -i loading\t\nexit\n";
        var run = await CommandRun.RunAsync("script", ["-qec", shell, "/dev/null"], typed, environment: await EnvironmentAsync());
        return run.Output;
    }

    private async Task<Dictionary<string, string?>> EnvironmentAsync()
    {
        var link = Path.Combine(_directory, "edgehost");
        if (!File.Exists(link))
        {
            File.CreateSymbolicLink(link, await PublishedBinary.NativeAsync());
        }

        return new Dictionary<string, string?>
        {
            ["PATH"] = $"{_directory}:{Environment.GetEnvironmentVariable("PATH")}",
            ["EDGEHOST_HOST"] = $"unix://{api.Socket}",
            ["TERM"] = "xterm",
            ["HOME"] = _directory,
        };
    }

    private async Task Made()
    {
        if (!api.Engine.List().Any(container => container.Name == "completed"))
        {
            (await api.DockerAsync("create", "--name", "completed", "--network", "none", "busybox", "true")).Succeeds();
            (await api.DockerAsync("create", "--name", "completed-too", "--network", "none", "busybox", "true")).Succeeds();
        }
    }
}
