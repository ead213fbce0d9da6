using System.Text.Json;
using Edge.Tests.Fixtures;
using EdgeHost;
using Xunit;

namespace Edge.Tests.Configuration;

public sealed class DeviceConfigTests
{
    public static TheoryData<string> Files => [.. Directory.GetFiles(Repository.PathOf("device-configs"), "*.json").Select(path => Path.GetFileName(path)).Order()];

    [Theory]
    [MemberData(nameof(Files))]
    public void Each_configuration_to_start_from_is_one_that_the_daemon_reads(string file)
    {
        var path = Repository.PathOf("device-configs", file);
        _ = ConfigurationReader.Read(DaemonPaths.From(path, null, null, _ => null), _ => null);
        Assert.Contains($"`{file}`", File.ReadAllText(Repository.PathOf("device-configs", "README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void The_schema_has_each_key_with_its_type_and_no_other()
    {
        using var schema = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs", "configuration.schema.json")));
        var keys = new SortedDictionary<string, string>(StringComparer.Ordinal);
        Walk(schema.RootElement, string.Empty);

        Assert.Equal(ConfigurationKeys.All.OrderBy(static key => key.Name, StringComparer.Ordinal).Select(static key => $"{key.Name} {Word(key.Type)}"), keys.Select(static key => $"{key.Key} {key.Value}"));

        void Walk(JsonElement node, string path)
        {
            var others = node.GetProperty("additionalProperties");
            if (others.ValueKind == JsonValueKind.Object)
            {
                Walk(others, path + "NAME.");
                return;
            }

            Assert.False(others.GetBoolean());
            foreach (var property in node.GetProperty("properties").EnumerateObject())
            {
                var type = property.Value.TryGetProperty("type", out var word) ? word.GetString()! : "size";
                if (type == "object")
                {
                    Walk(property.Value, $"{path}{property.Name}.");
                }
                else
                {
                    keys.Add(path + property.Name, type);
                }
            }
        }

        static string Word(ConfigurationType type) => type switch
        {
            ConfigurationType.Flag => "boolean",
            ConfigurationType.Number => "integer",
            ConfigurationType.Fraction => "number",
            ConfigurationType.Size => "size",
            _ => "string",
        };
    }
}
