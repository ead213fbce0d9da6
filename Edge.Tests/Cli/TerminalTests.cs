using Edge.Tests.Api;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>What the binary writes to a terminal, which script(1) of util-linux makes, and elsewhere.</summary>
public sealed class TerminalTests(ApiFixture api) : IClassFixture<ApiFixture>
{
    [Theory]
    [InlineData(40)]
    [InlineData(70)]
    [InlineData(100)]
    public async Task A_table_is_as_wide_as_the_terminal_and_its_columns_stay_columns(int columns)
    {
        await Made();
        var lines = (await OnTerminalAsync($"stty cols {columns}; {await CommandAsync()} ps -a")).Output.Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
        Assert.All(lines, line => Assert.True(line.Length <= columns, line));
        var at = lines[0].IndexOf("NAMES", StringComparison.Ordinal);
        Assert.All(lines.Skip(1), line => Assert.Matches("^ (narrow|slow)", line[(at - 1)..]));
        Assert.Contains(lines, line => line.Contains('…', StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_terminal_wide_enough_and_one_that_does_not_say_how_wide_it_is_get_what_a_pipe_gets()
    {
        await Made();
        var whole = (await CommandRun.RunAsync("sh", ["-c", $"{await CommandAsync()} ps -a --format 'table {{{{.Image}}}}\\t{{{{.Command}}}}\\t{{{{.Names}}}}' | cat"])).Succeeds().Output;
        foreach (var size in (string[])["stty cols 200", "stty cols 0"])
        {
            var shown = await OnTerminalAsync($"{size}; {await CommandAsync()} ps -a --format 'table {{{{.Image}}}}\\t{{{{.Command}}}}\\t{{{{.Names}}}}'");
            Assert.Equal(whole, shown.Output.ReplaceLineEndings("\n"));
        }
    }

    [Fact]
    public async Task No_trunc_and_COLUMNS_go_before_the_width_of_the_terminal()
    {
        await Made();
        var command = await CommandAsync();
        Assert.DoesNotContain("…", (await OnTerminalAsync($"stty cols 40; {command} ps -a --no-trunc")).Output);
        Assert.All((await OnTerminalAsync($"stty cols 200; COLUMNS=60 {command} ps -a")).Output.Split("\r\n"), line => Assert.True(line.Length <= 60, line));
    }

    [Theory]
    [InlineData("xterm", true)]
    [InlineData("linux", true)]
    [InlineData("dumb", false)]
    [InlineData("", false)]
    public async Task A_pull_draws_its_progress_over_and_over_where_that_can_be_and_else_writes_a_line_for_each_step(string term, bool isLive)
    {
        var pull = await OnTerminalAsync($"TERM={term} {await CommandAsync()} pull alpine");
        var text = pull.Output.Replace("\r\n", "\n", StringComparison.Ordinal);
        Assert.Equal(isLive, text.Contains('\r', StringComparison.Ordinal));
        Assert.Equal(isLive, text.Contains("[==========>         ] 50B of 100B", StringComparison.Ordinal));
        Assert.Equal(!isLive, text.Contains("\naaaaaaaaaaaa: Downloading\n", StringComparison.Ordinal));
        Assert.DoesNotContain('\x1b', text);

        // The last that was drawn is gone: blanks, and back to where the line began.
        Assert.Equal(isLive, System.Text.RegularExpressions.Regex.IsMatch(text, "\r +\r[^\r]*$"));
    }

    [Fact]
    public async Task An_archive_does_not_go_to_a_terminal_and_what_is_said_of_it_there_has_no_control_characters()
    {
        var save = await OnTerminalAsync($"{await CommandAsync()} save busybox; echo $?");
        Assert.Equal("edgehost: an archive is nothing for a terminal: name a file with --output, or redirect standard output\n1\n", save.Output.ReplaceLineEndings("\n"));
        Assert.Equal("archive of busybox:latest", (await CommandRun.RunAsync("sh", ["-c", $"{await CommandAsync()} save busybox:latest | cat"])).Succeeds().Output);
    }

    [Fact]
    public async Task What_is_not_a_terminal_gets_a_line_for_each_step_and_no_sign_beside_letters()
    {
        var pull = (await CommandRun.RunAsync("sh", ["-c", $"TERM=xterm {await CommandAsync()} pull alpine 2>&1 | cat"])).Succeeds();
        Assert.StartsWith("latest: Pulling from alpine\naaaaaaaaaaaa: Downloading\naaaaaaaaaaaa: Pull complete\nDigest: sha256:", pull.Output);
        Assert.DoesNotContain(pull.Output, c => char.IsControl(c) && c != '\n');
    }

    [Fact]
    public async Task A_load_shows_how_much_is_read_on_a_terminal_and_only_its_end_elsewhere()
    {
        var load = $"head -c 30000000 /dev/zero >\"$f\"; {await CommandAsync()} load -i \"$f\"";
        var shown = await OnTerminalAsync($"f=$(mktemp); {load}; rm \"$f\"");
        Assert.Contains("\rloading [", shown.Output);
        Assert.EndsWith("\rLoaded image: loaded:latest\r\n", shown.Output);
        Assert.Equal("Loaded image: loaded:latest\n", (await CommandRun.RunAsync("sh", ["-c", $"f=$(mktemp); {load}; rm \"$f\""])).Succeeds().Output);
    }

    [Fact]
    public async Task Whom_a_stop_waits_for_is_named_on_a_terminal()
    {
        foreach (var name in (string[])["slow-1", "slow-2"])
        {
            await api.DockerAsync("run", "-d", "--name", name, "--network", "none", "busybox", "sleep");
        }

        var stop = await OnTerminalAsync($"{await CommandAsync()} stop slow-1 nosuch slow-2 || true");
        Assert.Matches("\rstopping slow-1 \\(1 of 3\\)\r +\rslow-1\r\n.*\redgehost: No such container: nosuch\r\n\rstopping slow-2 \\(3 of 3\\)\r +\rslow-2\r\n$", stop.Output);
        var plain = await CommandRun.RunAsync("sh", ["-c", $"{await CommandAsync()} stop slow-1 nosuch slow-2"]);
        Assert.Equal(("slow-1\nslow-2\n", "edgehost: No such container: nosuch\n"), (plain.Output, plain.Error));
    }

    private async Task Made()
    {
        if (!api.Engine.List().Any(container => container.Name == "narrow"))
        {
            (await api.DockerAsync("run", "-d", "--name", "narrow", "--network", "none", "busybox", "sleep", "words", "that", "take", "a", "lot", "of", "room")).Succeeds();
            (await api.DockerAsync("create", "--name", "narrow-too", "--network", "none", "busybox", "true")).Succeeds();
        }
    }

    private async Task<string> CommandAsync() => $"{await PublishedBinary.NativeAsync()} -H unix://{api.Socket}";

    private static async Task<CommandRun> OnTerminalAsync(string script) => (await CommandRun.RunAsync(
        "script", ["-qec", script, "/dev/null"], environment: new Dictionary<string, string?> { ["TERM"] = "xterm", ["COLUMNS"] = null })).Succeeds();
}
