using System.Text.RegularExpressions;
using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Architecture;

/// <summary>What is committed is for everybody: no trace of the machine or the workplace where it was made.</summary>
public sealed partial class TrackedFileTests
{
    private static readonly string[] PublicHosts = ["deb.debian.org", "security.debian.org", "api.nuget.org", "localhost", "127.0.0.1"];

    [Fact]
    public async Task No_tracked_file_names_the_machine_or_the_workplace_where_it_was_made()
    {
        await Packages.NeedAsync("git");
        var listed = (await CommandRun.RunAsync("git", ["ls-files", "-z"])).Succeeds().Output.Split('\0', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(listed);
        var hosts = await MirrorHostsAsync();
        var found = new List<string>();
        foreach (var path in listed.Where(p => File.Exists(Repository.PathOf(p))))
        {
            var text = await File.ReadAllTextAsync(Repository.PathOf(path), TestContext.Current.CancellationToken);
            found.AddRange(Forbidden().Matches(text).Select(m => $"{path}: {m.Value}"));
            found.AddRange(hosts.Where(h => text.Contains(h, StringComparison.OrdinalIgnoreCase)).Select(h => $"{path}: package mirror {h}"));
            if (Repository.Root.Count(c => c == '/') > 1 && text.Contains(Repository.Root + "/", StringComparison.Ordinal))
            {
                found.Add($"{path}: {Repository.Root}");
            }
        }

        Assert.True(found.Count == 0, string.Join('\n', found));
    }

    [Theory]
    [InlineData("cd /wor", "k/main")]
    [InlineData("/tmp/w", "t/x")]
    [InlineData("as iss", "ue 4 asks")]
    [InlineData("see sl", "ice 2")]
    public void The_forbidden_words_are_recognised(string first, string second) => Assert.Matches(Forbidden(), first + second);

    // Character classes keep the pattern from matching itself.
    [GeneratedRegex(@"(?<![\w.])/wor[k]/|/tmp/w[t]/|/home/\w+/|\bin iss[u]e [A-Z]\b|\biss[u]e [0-9]+\b|\bsl[i]ce [0-9]\b|\bmy bri[e]f\b")]
    private static partial Regex Forbidden();

    // Where this machine gets its packages from, unless everybody does.
    private static async Task<IReadOnlyList<string>> MirrorHostsAsync()
    {
        var sources = Directory.Exists("/etc/apt")
            ? Directory.EnumerateFiles("/etc/apt", "*", SearchOption.AllDirectories).Where(f => f.EndsWith(".list", StringComparison.Ordinal) || f.EndsWith(".sources", StringComparison.Ordinal))
            : [];
        var text = string.Join('\n', sources.Select(f => File.ReadAllText(f)));
        text += (await CommandRun.RunAsync("dotnet", ["nuget", "list", "source"])).Output;
        return [.. Host().Matches(text).Select(m => m.Groups[1].Value).Except(PublicHosts).Distinct()];
    }

    [GeneratedRegex("https?://(?:[^@/ ]+@)?([^:/ ]+)")]
    private static partial Regex Host();
}
