using EdgeHost;
using EdgeHost.Errors;
using Xunit;

namespace Edge.Tests.Configuration;

public sealed class ConfigurationTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("edgehost-configuration-").FullName;
    private readonly Dictionary<string, string> _environment = [];

    public void Dispose() => Directory.Delete(_directory, true);

    [Fact]
    public void Without_a_file_everything_has_its_default()
    {
        var configuration = ConfigurationReader.Read(DaemonPaths.From(null, null, null, _ => null) with { ConfigFile = Path.Combine(_directory, "none.json") }, _ => null);
        Assert.Null(configuration.Mqtt);
        Assert.Equal("127.0.0.1:1883", configuration.Broker.Listen);
        Assert.Equal(64 << 20, configuration.Reserve.Memory);
    }

    [Fact]
    public void A_file_that_was_named_and_is_missing_is_an_error()
    {
        var failure = Assert.Throws<EdgeHostException>(() => ConfigurationReader.Read(DaemonPaths.From(Path.Combine(_directory, "none.json"), null, null, _ => null), _ => null));
        Assert.Equal(ErrorKind.NotFound, failure.Kind);
        Assert.Contains("none.json is not there", failure.Message);
    }

    [Fact]
    public void Every_key_is_read_from_the_file()
    {
        var configuration = Read("""
            {
              // a comment
              "device": { "id": "gw-1" },
              "mqtt": { "url": "mqtts://b:8883", "user": "u", "passwordFile": "/p", "caFile": "/ca", "certFile": "/c", "keyFile": "/k", "keepAlive": 30 },
              "broker": { "enabled": true, "listen": "[::]:1884" },
              "registries": { "r:5000": { "plainHttp": true }, "i": { "insecure": true }, "s.example": { "caFile": "/s", "user": "a", "passwordFile": "/b" } },
              "defaults": { "memory": "64m", "cpus": 0.5, "pids": 32 },
              "reserve": { "memory": 1048576, "pids": 10 },
              "log": { "maxSize": "128k", "maxFiles": 3 },
              "cgroupRoot": "edgehost.slice/containers",
            }
            """);
        Assert.Equal("gw-1", configuration.DeviceId);
        Assert.Equal(new MqttConfiguration { Url = new Uri("mqtts://b:8883"), User = "u", PasswordFile = "/p", CaFile = "/ca", CertFile = "/c", KeyFile = "/k", KeepAliveSeconds = 30 }, configuration.Mqtt);
        Assert.Equal(new BrokerConfiguration { Enabled = true, Listen = "[::]:1884" }, configuration.Broker);
        Assert.Equal(new RegistryConfiguration { PlainHttp = true }, configuration.Registries["r:5000"]);
        Assert.Equal(new RegistryConfiguration { Insecure = true }, configuration.Registries["i"]);
        Assert.True(DaemonComposition.Registries(new() { Registries = new Dictionary<string, RegistryConfiguration> { ["i"] = configuration.Registries["i"] } })["i"].Insecure);
        Assert.Equal(new RegistryConfiguration { CaFile = "/s", User = "a", PasswordFile = "/b" }, configuration.Registries["s.example"]);
        Assert.Equal(new LimitDefaults { Memory = 64 << 20, NanoCpus = 500_000_000, Pids = 32 }, configuration.Defaults);
        Assert.Equal(new HostReserve { Memory = 1 << 20, Pids = 10 }, configuration.Reserve);
        Assert.Equal(new LogConfiguration { MaxSize = 128 << 10, MaxFiles = 3 }, configuration.Log);
        Assert.Equal("edgehost.slice/containers", configuration.CgroupRoot);
    }

    [Fact]
    public void A_variable_wins_over_the_file()
    {
        _environment["EDGEHOST_DEFAULTS_MEMORY"] = "32m";
        _environment["EDGEHOST_MQTT_URL"] = "mqtt://elsewhere";
        _environment["EDGEHOST_MQTT_PASSWORD_FILE"] = "/p";
        var configuration = Read("""{ "defaults": { "memory": "64m", "cpus": 1 }, "mqtt": { "user": "u" } }""");
        Assert.Equal(32 << 20, configuration.Defaults.Memory);
        Assert.Equal(1_000_000_000, configuration.Defaults.NanoCpus);
        Assert.Equal(("elsewhere", "u", "/p"), (configuration.Mqtt!.Url.Host, configuration.Mqtt.User, configuration.Mqtt.PasswordFile));
    }

    [Fact]
    public void A_flag_wins_over_a_variable()
    {
        var paths = DaemonPaths.From(null, "/flag", null, name => name switch { "EDGEHOST_DATA_DIR" => "/variable", "EDGEHOST_RUN_DIR" => "/run/x", _ => null });
        Assert.Equal(("/flag", "/run/x", "/run/x/edgehost.sock", false), (paths.DataDirectory, paths.RunDirectory, paths.Socket, paths.ConfigFileMustExist));
    }

    [Theory]
    [InlineData("{\n\n \"mqt\": { \"url\": \"mqtt://b\" } }", ":3: mqt is not a key of the configuration")]
    [InlineData("{\n \"mqtt\": {\n \"uri\": \"mqtt://b\" } }", ":3: mqtt.uri is not a key of the configuration")]
    [InlineData("{ \"mqtt\": 5 }", ":1: mqtt must be an object")]
    [InlineData("{ \"registries\": 5 }", ":1: registries must be an object")]
    [InlineData("{ \"registries\": { \"r\": true } }", ":1: registries.r must be an object")]
    [InlineData("{ \"registries\": { \"r\": { \"http\": true } } }", ":1: registries.r.http is not a key")]
    [InlineData("{ \"device\": { \"id\": { } } }", ":1: device.id must be a string, not an object")]
    [InlineData("{ \"device\": { \"id\": 5 } }", ":1: device.id must be a string")]
    [InlineData("{ \"device\": { \"id\": \"a/b\" } }", ":1: device.id \"a/b\" is not 1 to 64")]
    [InlineData("{ \"broker\": {\n\"enabled\": \"yes\" } }", ":2: broker.enabled must be true or false")]
    [InlineData("{ \"broker\": { \"listen\": \"1883\" } }", "is not ADDRESS:PORT")]
    [InlineData("{ \"defaults\": { \"pids\": 1.5 } }", ":1: defaults.pids must be a whole number")]
    [InlineData("{ \"defaults\": { \"memory\": \"1k\" } }", ":1: defaults.memory 1024 is less than 262144")]
    [InlineData("{ \"defaults\": { \"memory\": \"much\" } }", ":1: defaults.memory must be a number of bytes")]
    [InlineData("{ \"defaults\": { \"cpus\": 0 } }", "is not between 0.01 and 4096")]
    [InlineData("{ \"defaults\": [] }", ":1: defaults must be an object")]
    [InlineData("{ \"log\": { \"maxFiles\": 3, \"maxFiles\": 4 } }", ":1: log.maxFiles is given twice")]
    [InlineData("{ \"log\": {\n \"maxFiles\": 3", ":2: not valid JSON (after log")]
    [InlineData("[]", "is not a JSON object")]
    [InlineData("", "not valid JSON")]
    [InlineData("{ \"mqtt\": { \"user\": \"u\" } }", "mqtt is given without mqtt.url")]
    [InlineData("{ \"mqtt\": { \"url\": \"http://b\" } }", "is not mqtt://HOST")]
    [InlineData("{ \"mqtt\": { \"url\": \"mqtt://b\", \"certFile\": \"/c\" } }", "mqtt.certFile and mqtt.keyFile go together")]
    [InlineData("{ \"cgroupRoot\": \"/x\" }", ":1: cgroupRoot \"/x\" is not a path relative")]
    public void An_error_names_file_line_and_key(string text, string expected)
    {
        var failure = Assert.Throws<EdgeHostException>(() => Read(text));
        Assert.Equal(ErrorKind.Invalid, failure.Kind);
        Assert.StartsWith(Path.Combine(_directory, "edgehost.json"), failure.Message);
        Assert.Contains(expected, failure.Message);
        Assert.DoesNotContain('\n', failure.Message);
    }

    [Fact]
    public void A_variable_that_will_not_do_is_named()
    {
        _environment["EDGEHOST_LOG_MAX_FILES"] = "many";
        Assert.Contains("EDGEHOST_LOG_MAX_FILES=many: log.maxFiles must be a whole number", Assert.Throws<EdgeHostException>(() => Read("{}")).Message);
    }

    [Fact]
    public void A_re_read_says_what_changed()
    {
        var before = Read("""{ "log": { "maxFiles": 3 }, "registries": { "r": { "plainHttp": true } } }""");
        Assert.Empty(ConfigurationReader.Changes(before, Read("""{ "log": { "maxFiles": 3 }, "registries": { "r": { "plainHttp": true } } }""")));
        Assert.Equal(["log", "registries"], ConfigurationReader.Changes(before, Read("""{ "log": { "maxFiles": 4 }, "registries": { } }""")));
    }

    [Fact]
    public void The_document_has_a_row_for_each_key_and_no_other()
    {
        var rows = File.ReadLines(Document())
            .Where(l => l.StartsWith("| `", StringComparison.Ordinal) && !l.StartsWith("| `--", StringComparison.Ordinal))
            .Select(l => l.Split('|', StringSplitOptions.TrimEntries))
            .Select(c => (Key: c[1].Trim('`'), Type: c[2], Variable: c[3].Trim('`')))
            .ToList();
        Assert.Equal(
            ConfigurationKeys.All.Select(k => (k.Name, k.Type.ToString().ToLowerInvariant(), k.Variable ?? string.Empty)),
            rows);
    }

    [Fact]
    public void The_example_of_the_document_is_accepted()
    {
        var text = File.ReadAllText(Document());
        var start = text.IndexOf("```json\n", StringComparison.Ordinal) + 8;
        var configuration = Read(text[start..text.IndexOf("```", start, StringComparison.Ordinal)]);
        Assert.Equal("gateway-17", configuration.DeviceId);
    }

    private static string Document()
    {
        var directory = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(directory, "ARCHITECTURE.md")))
        {
            directory = Path.GetDirectoryName(directory.TrimEnd('/'))!;
        }

        return Path.Combine(directory, "docs", "configuration.md");
    }

    private EdgeHost.Configuration Read(string text)
    {
        var file = Path.Combine(_directory, "edgehost.json");
        File.WriteAllText(file, text);
        return ConfigurationReader.Read(DaemonPaths.From(file, null, null, _ => null), name => _environment.GetValueOrDefault(name));
    }
}
