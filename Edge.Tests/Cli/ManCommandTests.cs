using Edge.Tests.Fixtures;
using EdgeHost.Cli;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary>The manual page, judged by the programs that show it.</summary>
public sealed class ManCommandTests
{
    [Fact]
    public async Task The_page_has_nothing_that_man_or_mandoc_warns_of()
    {
        await Packages.NeedAsync("man-db", "groff-base", "mandoc");
        var page = Page();
        var utf8 = new Dictionary<string, string?> { ["LC_ALL"] = "C.UTF-8", ["MANWIDTH"] = "80", ["MANPAGER"] = "cat" };
        var man = (await CommandRun.RunAsync("man", ["--warnings", "-l", "-"], page, environment: utf8)).Succeeds();
        Assert.Empty(man.Error);
        Assert.Contains("edgehost run [OPTIONS] IMAGE [COMMAND...]", man.Output);
        var lint = (await CommandRun.RunAsync("mandoc", ["-T", "lint", "-W", "style"], page)).Succeeds();
        Assert.Empty(lint.Output);
    }

    [Fact]
    public void Each_command_and_each_of_its_options_is_in_it_and_no_hidden_one()
    {
        var page = Page();
        var help = Run("run", "--help").Split('\n');
        var options = help.SelectMany(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Where(word => word.StartsWith("--", StringComparison.Ordinal))).ToList();
        Assert.Contains("--restart", options);
        var run = page[page.IndexOf(".SS edgehost run ", StringComparison.Ordinal)..];
        run = run[..run.IndexOf("\n.SS ", StringComparison.Ordinal)];
        Assert.All(options.Where(option => option is not "--help" and not "--host"), option => Assert.Contains(option.Replace("-", "\\-", StringComparison.Ordinal), run));
        foreach (var command in (string[])["network create", "volume prune", "image pull", "completion", "config check", "man"])
        {
            Assert.Contains($"\n.SS edgehost {command}", page);
        }

        Assert.DoesNotContain("__complete", page);
    }

    [Fact]
    public void It_is_ASCII_without_tabs() => Assert.DoesNotContain(Page(), c => c is > '~' or '\t');

    private static string Page() => Run("man");

    private static string Run(params string[] arguments)
    {
        using var output = new StringWriter();
        Assert.Equal(0, CliRoot.Run(arguments, _ => 1, output, output));
        return output.ToString();
    }
}
