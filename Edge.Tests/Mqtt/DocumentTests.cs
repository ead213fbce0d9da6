using System.Diagnostics;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Edge.Tests.Deployments;
using EdgeHost.Deployments;
using Xunit;

namespace Edge.Tests.Mqtt;

/// <summary>Runs docs/mqtt.md: its commands as they stand there, and compares what comes with what it shows.</summary>
public sealed partial class DocumentTests
{
    [Theory]
    [InlineData("embedded")]
    [InlineData("mosquitto")]
    public async Task Every_example_of_the_page_works(string kind)
    {
        await using var broker = await BrokerUnderTest.StartAsync(kind);
        await using var device = await DeviceUnderTest.StartAsync(broker);
        var directory = Directory.CreateTempSubdirectory("edgehost-docs-").FullName;
        var answers = 0;
        string? output = null;
        Listener? listener = null;
        foreach (Match block in Blocks().Matches(await File.ReadAllTextAsync(Repository.PathOf("docs/mqtt.md"), TestContext.Current.CancellationToken)))
        {
            var content = block.Groups["content"].Value;
            switch (block.Groups["kind"].Value)
            {
                case "sh setup":
                    break;
                case "sh listen":
                    await device.SettledAsync();
                    listener = await Listener.StartAsync(content, broker.Arguments, directory);
                    break;
                case "sh":
                    if (listener is null)
                    {
                        await device.SettledAsync();
                    }

                    output = await RunAsync(content, broker.Arguments, directory);
                    if (Published().Match(content) is { Success: true } published)
                    {
                        // The broker has it; what the next command shows is what the device made of it.
                        var digest = DesiredState.DigestOf(await File.ReadAllBytesAsync(Path.Combine(directory, published.Groups[1].Value), TestContext.Current.CancellationToken));
                        await device.Board.UntilAsync(status => status.Digest == digest || status.Failure?.Digest == digest);
                    }

                    break;
                case "json answer":
                    AssertSameShape(content, output);
                    answers++;
                    break;
                case "json heard":
                    Assert.NotNull(listener);
                    AssertSameShape(content, await listener.HeardAsync());
                    listener = null;
                    answers++;
                    break;
                case var file when file.StartsWith("json ", StringComparison.Ordinal):
                    await File.WriteAllTextAsync(Path.Combine(directory, file[5..]), content, TestContext.Current.CancellationToken);
                    break;
                default:
                    Assert.Fail($"what is ```{block.Groups["kind"].Value}?");
                    break;
            }
        }

        Directory.Delete(directory, recursive: true);
        Assert.True(answers >= 9, $"only {answers} answers were compared");
        await device.Board.UntilContainersAsync(containers => containers.Count == 0);
    }

    [Fact]
    public async Task Every_desired_state_of_the_page_fits_the_schema_and_those_that_are_accepted_no_more_than_it()
    {
        await BrokerUnderTest.RunAsync("python3", "-c", "import jsonschema");
        using var schema = new TemporaryFile(await File.ReadAllBytesAsync(Repository.PathOf("docs/desired-state.schema.json"), TestContext.Current.CancellationToken));
        var text = await File.ReadAllTextAsync(Repository.PathOf("docs/mqtt.md"), TestContext.Current.CancellationToken);
        var documents = Blocks().Matches(text).Where(block => block.Groups["kind"].Value.EndsWith(".json", StringComparison.Ordinal)).Select(block => block.Groups["content"].Value).ToList();
        Assert.NotEmpty(documents);
        foreach (var document in documents)
        {
            await ValidateAsync(schema.Path, document, expected: 0);
        }

        await ValidateAsync(schema.Path, documents[0].Replace("mem_limit", "mem_limt", StringComparison.Ordinal), expected: 1);
    }

    private static async Task ValidateAsync(string schema, string document, int expected)
    {
        using var file = new TemporaryFile(Encoding.UTF8.GetBytes(document));
        var (code, _, error) = await BrokerUnderTest.TryRunAsync(
            "python3", "-c", "import json,sys,jsonschema; jsonschema.Draft202012Validator(json.load(open(sys.argv[1]))).validate(json.load(open(sys.argv[2])))", schema, file.Path);
        Assert.True(code == expected, $"{document}: {error}");
    }

    private static ProcessStartInfo Shell(string script, string broker, string directory) => new("stdbuf", ["-oL", "bash", "-euo", "pipefail", "-c", script])
    {
        WorkingDirectory = directory,
        RedirectStandardOutput = true,
        RedirectStandardError = true,
        Environment = { ["BROKER"] = broker, ["DEVICE"] = BrokerUnderTest.Device },
    };

    private static async Task<string> RunAsync(string script, string broker, string directory)
    {
        using var process = Process.Start(Shell(script, broker, directory)) ?? throw new InvalidOperationException("bash did not start");
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync().WaitAsync(BrokerUnderTest.Patience);
        Assert.True(process.ExitCode == 0, $"{script} ended with {process.ExitCode}: {await output}{await error}");
        return await output;
    }

    /// <summary>The same fields with values of the same kind, all the way down; of lists the first item.</summary>
    private static void AssertSameShape(string expected, string? actual)
    {
        Assert.NotNull(actual);
        using var left = JsonDocument.Parse(expected);
        using var right = JsonDocument.Parse(actual);
        Compare(left.RootElement, right.RootElement, "$");

        void Compare(JsonElement wanted, JsonElement found, string path)
        {
            Assert.True(KindOf(wanted) == KindOf(found), $"{path} is {found} and not like {wanted} in {actual}");
            if (wanted.ValueKind == JsonValueKind.Object)
            {
                Assert.Equal(
                    $"{path}: {string.Join(' ', wanted.EnumerateObject().Select(property => property.Name).Order())}",
                    $"{path}: {string.Join(' ', found.EnumerateObject().Select(property => property.Name).Order())}");
                foreach (var property in wanted.EnumerateObject())
                {
                    Compare(property.Value, found.GetProperty(property.Name), $"{path}.{property.Name}");
                }
            }
            else if (wanted.ValueKind == JsonValueKind.Array && wanted.GetArrayLength() > 0)
            {
                Assert.NotEqual(0, found.GetArrayLength());
                Compare(wanted[0], found[0], $"{path}[0]");
            }
            else if (path is "$.state" or "$.deployment.phase" or "$.phase" or "$.failure.reason" or "$.failure.path" or "$.error.message" or "$.correlation" or "$.deployment.version")
            {
                Assert.Equal(wanted.ToString(), found.ToString());
            }
        }

        static string KindOf(JsonElement element) => element.ValueKind is JsonValueKind.True or JsonValueKind.False ? "boolean" : element.ValueKind.ToString();
    }

    [GeneratedRegex("/desired\" -f (\\S+)")]
    private static partial Regex Published();

    [GeneratedRegex("^```(?<kind>(sh|json)[^\n]*)\n(?<content>.*?)^```$", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Blocks();

    /// <summary>A command of the page that runs beside the next one, started until it has its subscription.</summary>
    private sealed class Listener
    {
        private readonly Process _process;
        private readonly TaskCompletionSource _subscribed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly StringBuilder _log = new();
        private string? _heard;

        private Listener(Process process)
        {
            _process = process;
            Reading = ReadAsync();
        }

        private Task Reading { get; }

        public static async Task<Listener> StartAsync(string script, string broker, string directory)
        {
            var listener = new Listener(Process.Start(Shell(script, broker + " -d", directory)) ?? throw new InvalidOperationException("bash did not start"));
            await Task.WhenAny(listener._subscribed.Task, listener.Reading).WaitAsync(BrokerUnderTest.Patience);
            Assert.True(listener._subscribed.Task.IsCompleted, $"not subscribed: {listener._log}");
            return listener;
        }

        public async Task<string> HeardAsync()
        {
            await Reading.WaitAsync(BrokerUnderTest.Patience);
            await _process.WaitForExitAsync();
            _process.Dispose();
            return _heard ?? throw new InvalidOperationException($"nothing was heard: {_log}");
        }

        private async Task ReadAsync()
        {
            while (await _process.StandardOutput.ReadLineAsync() is { } line)
            {
                _log.AppendLine(line);
                if (line.StartsWith("Subscribed (", StringComparison.Ordinal))
                {
                    _subscribed.TrySetResult();
                }
                else if (line.StartsWith('{'))
                {
                    _heard = line;
                }
            }
        }
    }
}
