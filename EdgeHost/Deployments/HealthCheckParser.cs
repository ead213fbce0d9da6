using System.Text.Json;
using EdgeHost.Oci;

namespace EdgeHost.Deployments;

/// <summary>Reads a workload's <c>healthcheck</c> (compose-spec, 05-services.md); what is not given is as the image says.</summary>
internal static class HealthCheckParser
{
    private const string ExpectedTest = "a line, or a list that begins with NONE, CMD or CMD-SHELL";
    private const int MaximumWords = 1024;

    /// <summary>The fields of a health check; the JSON Schema has the same ones.</summary>
    internal static readonly string[] Fields = ["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"];

    internal static HealthCheck Parse(JsonNode node)
    {
        List<string> test = [];
        var off = false;
        long interval = 0, timeout = 0, startPeriod = 0, startInterval = 0, retries = 0;
        foreach (var (field, value) in node.Properties("an object"))
        {
            switch (field)
            {
                case "test":
                    test = Test(value);
                    break;
                case "interval":
                    interval = Duration(value);
                    break;
                case "timeout":
                    timeout = Duration(value);
                    break;
                case "start_period":
                    startPeriod = Duration(value);
                    break;
                case "start_interval":
                    startInterval = Duration(value);
                    break;
                case "retries":
                    retries = value.Integer("a number of failures");
                    if (retries is < 1 or > int.MaxValue)
                    {
                        throw value.Fail($"{retries} is not within 1 and {int.MaxValue}");
                    }

                    break;
                case "disable":
                    off = value.Boolean();
                    break;
                default:
                    value.Unknown();
                    break;
            }
        }

        if (off && test is [HealthCheck.Command or HealthCheck.ShellCommand, ..])
        {
            throw node.Fail("a test is given, and disable with it; take one of them out");
        }

        return new HealthCheck
        {
            Test = off ? [HealthCheck.None] : test,
            Interval = interval,
            Timeout = timeout,
            StartPeriod = startPeriod,
            StartInterval = startInterval,
            Retries = (int)retries,
        };
    }

    private static List<string> Test(JsonNode value)
    {
        if (value.Kind == JsonValueKind.String)
        {
            return value.Text(ExpectedTest) is { Length: > 0 } line ? [HealthCheck.ShellCommand, line] : throw value.Wrong(ExpectedTest);
        }

        var words = new List<string>();
        foreach (var item in value.Items(ExpectedTest))
        {
            words.Add(item.Text("text"));
            if (words.Count > MaximumWords)
            {
                throw value.Fail($"more than {MaximumWords} items");
            }
        }

        return words switch
        {
            [HealthCheck.None] => words,
            [HealthCheck.ShellCommand, { Length: > 0 }] => words,
            [HealthCheck.Command, { Length: > 0 }, ..] => words,
            [HealthCheck.None or HealthCheck.ShellCommand or HealthCheck.Command, ..] =>
                throw value.Fail("NONE stands alone, CMD-SHELL before one line, CMD before a program and its arguments"),
            _ => throw value.Wrong(ExpectedTest),
        };
    }

    private static long Duration(JsonNode value)
    {
        const string Expected = "a duration, as in \"30s\" or \"1m30s\"";
        if (!ComposeUnits.TryParseDuration(value.Text(Expected), out var duration))
        {
            throw value.Wrong(Expected);
        }

        return duration >= TimeSpan.FromMilliseconds(1) && duration <= TimeSpan.FromDays(1) ? duration.Ticks * 100 : throw value.Fail("not within 1ms and 24h");
    }
}
