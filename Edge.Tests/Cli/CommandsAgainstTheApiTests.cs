using System.Text.Json;
using Edge.Tests.Api;
using EdgeHost.Cli;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>The commands that print text, against our API over an engine in memory.</summary>
public sealed class CommandsAgainstTheApiTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    [Fact]
    public void A_container_goes_through_its_whole_life()
    {
        var id = Run("run", "-d", "--name", "life", "--network", "none", "-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "-e", "A=b", "--label", "x=y", "--stop-timeout", "3", "--log-opt", "max-size=1m", "--log-opt", "max-file=3", "busybox", "sleep", "-x", "--rm").Output.Trim();
        var spec = api.Engine.LastSpec!;
        Assert.Equal((1L << 20, 3), (spec.LogBytes, spec.LogFiles));
        Assert.Equal((64L << 20, 500_000_000L, 20L), (spec.Limits.MemoryBytes, spec.Limits.NanoCpus, spec.Limits.Pids));
        Assert.Equal(["sleep", "-x", "--rm"], spec.Command);
        Assert.False(spec.AutoRemove);
        Assert.Equal(TimeSpan.FromSeconds(3), spec.StopGrace);

        Assert.Equal($"{id}\n", Run("ps", "-q", "--no-trunc", "--filter", "label=x=y").Output);
        Assert.Matches(@"^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES\n[0-9a-f]{12} +busybox +""sleep -x --rm"" +.+ ago +Up .+ +life\n$", Run("ps", "--filter", "name=life").Output);
        Assert.Equal("life", JsonDocument.Parse(Run("ps", "--json", "--filter", "name=life").Output).RootElement[0].GetProperty("Names")[0].GetString()!.Trim('/'));
        Assert.Equal(id, JsonDocument.Parse(Run("inspect", "life").Output).RootElement[0].GetProperty("Id").GetString());
        Assert.Matches(@"life +0\.00% +8MiB / 64MiB +12\.50% +0B / 0B +1\.5MB / 4\.1kB +3\n$", Run("stats", "--no-stream", "life", "life").Output);
        var nothing = Run("update", "life");
        Assert.Equal((1, "edgehost: you must provide one or more flags when using this command\n"), (nothing.Exit, nothing.Error));
        Assert.Equal(0, Run("rename", "life", "lived").Exit);
        Assert.Equal("lived\n", Run("stop", "-t", "7", "lived").Output);
        Assert.Equal(TimeSpan.FromSeconds(7), api.Engine.LastGrace);
        Assert.Equal("143\n", Run("wait", "lived").Output);
        Assert.Equal("lived\n", Run("start", "lived").Output);
        Assert.Equal("lived\n", Run("restart", "lived").Output);
        Assert.Equal("lived\n", Run("kill", "-s", "USR1", "lived").Output);
        Assert.Equal("138\n", Run("wait", "lived").Output);
        Assert.Equal("lived\n", Run("rm", "-v", "lived").Output);
        Assert.Equal(string.Empty, Run("ps", "-aq", "--filter", "name=lived").Output);
    }

    [Fact]
    public void One_container_that_fails_does_not_keep_the_others_from_it()
    {
        Run("run", "-d", "--name", "good", "--network", "none", "busybox", "sleep");
        var rm = Run("rm", "nosuch", "good");
        Assert.Equal((1, "edgehost: No such container: nosuch\n"), (rm.Exit, rm.Error[..rm.Error.IndexOf('\n', StringComparison.Ordinal)] + "\n"));
        Assert.Equal("good\n", Run("rm", "-f", "good").Output);
    }

    [Fact]
    public void What_is_removed_by_force_may_be_gone_already()
    {
        Run("run", "-d", "--name", "still", "--network", "none", "busybox", "sleep");
        var rm = Run("rm", "-f", "nosuch", "still");
        Assert.Equal((0, "still\n", "edgehost: No such container: nosuch\n"), (rm.Exit, rm.Output, rm.Error));
        Assert.Equal(0, Run("rmi", "-f", "nosuch").Exit);
        Assert.Equal(1, Run("rmi", "nosuch").Exit);
    }

    [Fact]
    public void Images_are_listed_inspected_pulled_and_removed()
    {
        Assert.Matches(@"^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\nbusybox +latest +[0-9a-f]{12} +3 days ago +4\.12MB\n", Run("image", "ls", "--filter", "reference=busybox").Output);
        Assert.Contains("aaaaaaaaaaaa: Downloading", Run("pull", "alpine").Output);
        Assert.Equal("linux", JsonDocument.Parse(Run("image", "inspect", "alpine").Output).RootElement[0].GetProperty("Os").GetString());
        Assert.Contains("Untagged: alpine:latest", Run("rmi", "alpine").Output);
        var broken = Run("image", "pull", "broken:1");
        Assert.Equal(1, broken.Exit);
        Assert.Contains("not what its digest promised", broken.Error);
    }

    [Fact]
    public void A_missing_image_is_pulled_unless_it_never_should_be()
    {
        Assert.Contains("no such image", Run("run", "-d", "--pull", "never", "alpine", "sleep").Error, StringComparison.OrdinalIgnoreCase);
        var run = Run("run", "-d", "--network", "none", "--name", "pulled", "alpine", "sleep");
        Assert.Contains("Unable to find image 'alpine' locally", run.Error);
        Assert.Equal(0, run.Exit);
        Run("rm", "-f", "pulled");
    }

    [Fact]
    public void Warnings_of_the_daemon_are_printed_and_the_container_runs()
    {
        var run = Run("run", "-d", "--name", "warned", "--network", "host", "-p", "80:80", "busybox", "sleep");
        Assert.Contains("WARNING: Published ports are discarded when using host network mode", run.Error);
        Assert.Equal(0, run.Exit);
        Run("rm", "-f", "warned");
    }

    [Fact]
    public void Load_says_what_is_wrong_with_its_file()
    {
        Assert.Equal("edgehost: / cannot be read: it is a directory\n", Run("load", "-i", "/").Error);
        Assert.Contains("/nonexistent cannot be read: ", Run("load", "-i", "/nonexistent").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Create_makes_a_container_and_start_starts_it()
    {
        var id = Run("create", "--name", "made", "--network", "none", "-e", "A=b", "busybox", "sleep").Output.Trim();
        Assert.Equal($"{id} created\n", Run("inspect", "-f", "{{.Id}} {{.State.Status}}", "made").Output);
        Assert.Equal(0, Run("start", "made").Exit);
        Assert.Contains("already in use", Run("create", "--name", "made", "busybox").Error, StringComparison.Ordinal);
        Run("rm", "-f", "made");
    }

    [Theory]
    [InlineData("the input device is not a TTY", "run", "-it", "busybox", "sh")]
    [InlineData("valid streams are stdin, stdout and stderr", "run", "-a", "all", "busybox", "sh")]
    [InlineData("cannot specify both --attach and --detach", "run", "-d", "-a", "stdout", "busybox", "sh")]
    [InlineData("detach keys \"ctrl-1\": \"ctrl-1\" is not", "run", "--detach-keys", "ctrl-1", "busybox", "sh")]
    [InlineData("--publish 80:0: not [[ADDRESS:]PORT:]PORT", "run", "-p", "80:0", "busybox", "sh")]
    [InlineData("--memory 5q: not a size", "run", "-m", "5q", "busybox", "sh")]
    [InlineData("--cpus x: not a number of CPUs", "run", "--cpus", "x", "busybox", "sh")]
    [InlineData("--pull maybe", "run", "--pull", "maybe", "busybox", "sh")]
    [InlineData("--env-file /nonexistent cannot be read", "run", "--env-file", "/nonexistent", "busybox", "sh")]
    [InlineData("--mount x=y: x is not type", "run", "--mount", "x=y", "busybox", "sh")]
    [InlineData("--memory 5q: not a size", "create", "-m", "5q", "busybox", "sh")]
    public void What_run_cannot_do_is_one_line_and_exit_code_125(string words, params string[] arguments)
    {
        var run = Run(arguments);
        Assert.Equal(125, run.Exit);
        Assert.Contains(words, run.Error);
        Assert.Single(run.Error.TrimEnd().Split('\n'));
    }

    [Fact]
    public void A_daemon_that_is_not_there_is_one_line_with_the_socket_and_what_to_do()
    {
        var ps = RunAt("/nonexistent/edgehost.sock", "ps");
        Assert.Equal(1, ps.Exit);
        Assert.Equal("edgehost: cannot reach the daemon at /nonexistent/edgehost.sock (no such socket); start it (systemctl start edgehost, or edgehost daemon), or name its socket with --host\n", ps.Error);
    }

    [Fact]
    public void Events_of_the_past_are_shown()
    {
        Run("run", "-d", "--name", "eventful", "--network", "none", "busybox", "sleep");
        Run("rm", "-f", "eventful");
        // To the last digit: all of it may have happened within this millisecond.
        var until = ((DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks / (decimal)TimeSpan.TicksPerSecond).ToString(System.Globalization.CultureInfo.InvariantCulture);
        Assert.Matches(@"container create [0-9a-f]{64} \(image=busybox, name=eventful\)\n", Run("events", "--since", "1h", "--until", until, "--filter", "container=eventful").Output);
    }

    [Fact]
    public void Info_says_what_the_daemon_knows() => Assert.Contains("Cgroup Version: ", Run("info").Output);

    private (int Exit, string Output, string Error) Run(params string[] arguments) => RunAt(api.Socket, arguments);

    private static (int Exit, string Output, string Error) RunAt(string socket, params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var exit = CliRoot.Run(["--host", socket, .. arguments], _ => throw new InvalidOperationException("not the daemon"), output, error);
        return (exit, output.ToString(), error.ToString());
    }
}
