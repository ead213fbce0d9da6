using Edge.Tests.Fixtures;
using Xunit;

namespace Edge.Tests.Security;

/// <summary>
/// The shapes of escapes that were published for other runtimes, as <c>escapes.sh</c> reproduces them, each tried on the
/// OCI command line. The table in <c>docs/security.md</c> says what each one is.
/// </summary>
public sealed class EscapeTests(EscapeScript script) : IClassFixture<EscapeScript>
{
    /// <summary>Those that the runc of Debian 12 falls to: the same attempt shows that the attempt is one.</summary>
    public static TheoryData<string> CaughtElsewhere => ["CVE-2025-31133", "CVE-2024-45310"];

    /// <summary>All.</summary>
    public static TheoryData<string> Attempts =>
    [
        "CVE-2019-5736", "CVE-2019-5736-script", "CVE-2019-16884", "CVE-2021-30465", "CVE-2022-0492", "CVE-2022-24769", "CVE-2023-25173",
        "CVE-2023-25809", "CVE-2023-27561", "CVE-2024-21626", "CVE-2024-45310", "CVE-2025-31133", "CVE-2025-52881", "CVE-2025-52881-link", "descriptors",
    ];

    [Theory]
    [MemberData(nameof(Attempts))]
    public async Task Nothing_of_the_host_is_reached_by_way_of(string attempt) =>
        Assert.StartsWith($"{attempt} kept ", await script.LineAsync(attempt, await PublishedBinary.NativeAsync() + " oci"), StringComparison.Ordinal);

    [Theory]
    [MemberData(nameof(CaughtElsewhere))]
    public async Task The_same_attempt_reaches_the_host_through_a_runtime_that_is_open_to_it(string attempt)
    {
        await Packages.NeedAsync("runc");
        Assert.StartsWith($"{attempt} escaped ", await script.LineAsync(attempt, "runc"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_attempt_is_in_the_table_of_the_documentation()
    {
        var page = await File.ReadAllTextAsync(Repository.PathOf("docs", "security.md"), TestContext.Current.CancellationToken);

        Assert.All(Attempts.Select(attempt => attempt.Data.Split("-script")[0].Split("-link")[0]).Where(attempt => attempt.StartsWith("CVE", StringComparison.Ordinal)), attempt => Assert.Contains(attempt[4..], page, StringComparison.Ordinal));
    }
}

/// <summary>One run of the script for each runtime.</summary>
public sealed class EscapeScript
{
    private readonly Dictionary<string, Task<CommandRun>> _runs = new(StringComparer.Ordinal);
    private readonly Lock _starting = new();

    internal async Task<string> LineAsync(string attempt, string runtime)
    {
        Needs.Root();
        await Packages.NeedAsync("busybox-static", "gcc", "libc6-dev");
        Task<CommandRun>? run;
        lock (_starting)
        {
            if (!_runs.TryGetValue(runtime, out run))
            {
                run = CommandRun.RunAsync("bash", [Repository.PathOf("Edge.Tests", "Security", "escapes.sh"), .. runtime.Split(' ')]);
                _runs.Add(runtime, run);
            }
        }

        var output = (await run).Output;
        return Assert.Single(output.Split('\n'), line => line.StartsWith(attempt + " ", StringComparison.Ordinal));
    }
}
