using EdgeHost;
using EdgeHost.Cli;
using Xunit;

namespace Edge.Tests.Cli;

/// <summary><c>edgehost config</c> over the daemon's own reader.</summary>
public sealed class ConfigCommandTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-config-").FullName;
    private readonly Dictionary<string, string> _environment = [];

    private string ConfigFile => Path.Combine(_directory, "edgehost.json");

    public void Dispose() => Directory.Delete(_directory, true);

    [Fact]
    public void A_good_one_is_said_to_be_good()
    {
        File.WriteAllText(ConfigFile, """{ "log": { "maxSize": "1m" } }""");
        Assert.Equal((0, "configuration OK\n", string.Empty), Run("check", ConfigFile));
    }

    [Theory]
    [InlineData("{\n \"log\": {\n \"maxSize\": \"1k\" } }", ":3: log.maxSize 1024 is not between 65536 and 1073741824")]
    [InlineData("{\n \"log\": {\n \"maxsize\": \"1m\" } }", ":3: log.maxsize is not a key of the configuration; there are log.maxSize, log.maxFiles")]
    [InlineData("{ \"mqt\": {} }", ":1: mqt is not a key of the configuration; there are profile, devices, thermal, watchdog, device, mqtt, broker, registries, defaults, reserve, network, userns, log, images, logLevel, cgroupRoot")]
    [InlineData("{ \"registries\": { \"r\": { \"http\": true } } }", ":1: registries.r.http is not a key of the configuration; there are registries.r.plainHttp, registries.r.insecure, registries.r.caFile, registries.r.user, registries.r.passwordFile")]
    [InlineData("{ \"logLevel\": \"loud\" }", ":1: logLevel \"loud\" is not debug, info, warning or error")]
    [InlineData("{ \"defaults\": { \"cpus\": true } }", ":1: defaults.cpus must be a number, as in 0.5")]
    [InlineData("{ \"log\": ", ":1: not valid JSON")]
    public void A_bad_one_is_one_line_with_file_line_key_and_what_is_allowed(string text, string words)
    {
        File.WriteAllText(ConfigFile, text);
        var check = Run("check", ConfigFile);
        Assert.Equal((1, string.Empty), (check.Exit, check.Output));
        Assert.StartsWith($"edgehost: {ConfigFile}{words}", check.Error);
        Assert.Single(check.Error.TrimEnd().Split('\n'));
    }

    [Fact]
    public void One_that_is_named_and_is_not_there_is_an_error() =>
        Assert.Equal((1, string.Empty, $"edgehost: configuration file {ConfigFile} is not there; make it, or leave --config out for the defaults\n"), Run("check", ConfigFile));

    [Fact]
    public void Show_says_what_holds_and_from_where_it_comes()
    {
        File.WriteAllText(ConfigFile, "{\n \"log\": {\n \"maxSize\": \"1m\", \"maxFiles\": 3 },\n \"registries\": { \"r.lan\": { \"plainHttp\": true } } }");
        _environment["EDGEHOST_LOG_MAX_FILES"] = "7";
        var lines = Run("show", ConfigFile, "--format", "{{.Key}}={{.Value}} {{.From}}").Output.Split('\n');
        Assert.Contains($"log.maxSize=1m {ConfigFile}:3", lines);
        Assert.Contains("log.maxFiles=7 EDGEHOST_LOG_MAX_FILES", lines);
        Assert.Contains($"registries.r.lan.plainHttp=true {ConfigFile}:4", lines);
        Assert.Contains("logLevel=info default", lines);
        Assert.StartsWith("KEY ", Run("show", ConfigFile).Output);
    }

    [Fact]
    public void The_defaults_that_are_shown_are_those_of_the_document()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "ARCHITECTURE.md")))
        {
            directory = Path.GetDirectoryName(directory.TrimEnd('/'))!;
        }

        // | key | type | variable | default | |
        var rows = File.ReadLines(Path.Combine(directory, "docs", "configuration.md"))
            .Where(line => line.StartsWith("| `", StringComparison.Ordinal) && !line.StartsWith("| `--", StringComparison.Ordinal))
            .Select(line => line.Split('|', StringSplitOptions.TrimEntries))
            .Where(cells => cells[3].Length > 0)
            .ToDictionary(cells => cells[1].Trim('`'), cells => cells[4].Trim('`'));
        foreach (var (key, said) in rows)
        {
            var shown = ConfigurationListing.DefaultOf(key);
            if (shown is null)
            {
                Assert.True(said.StartsWith("none", StringComparison.Ordinal) || said.Contains(' ', StringComparison.Ordinal), $"{key}: {said}");
            }
            else
            {
                Assert.Equal(ConfigurationKeys.TryParseSize(said, out var size) ? size.ToString(System.Globalization.CultureInfo.InvariantCulture) : said, shown);
            }
        }
    }

    private (int Exit, string Output, string Error) Run(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var exit = CliRoot.Run(["config", .. arguments], _ => 1, output, error, file => ConfigurationListing.Read(file, name => _environment.GetValueOrDefault(name)));
        return (exit, output.ToString(), error.ToString());
    }
}
