using System.Text.Json;
using System.Text.Json.Serialization;

namespace EdgeHost.Oci;

/// <summary>Docker's health check: what is run in a container again and again to see whether it does its work.</summary>
[JsonConverter(typeof(HealthCheckConverter))]
public sealed class HealthCheck
{
    /// <summary>The test that stands for "no check, whatever the image says".</summary>
    public const string None = "NONE";

    /// <summary>The test whose words are a program and its arguments.</summary>
    public const string Command = "CMD";

    /// <summary>The test whose word is a line for the image's shell.</summary>
    public const string ShellCommand = "CMD-SHELL";

    /// <summary><c>NONE</c>, <c>CMD</c> and a program with its arguments, or <c>CMD-SHELL</c> and a line; empty inherits.</summary>
    public IReadOnlyList<string> Test { get; init; } = [];

    /// <summary>Time between the end of a check and the next, in nanoseconds; 0 inherits, and then stands for 30 s.</summary>
    public long Interval { get; init; }

    /// <summary>How long a check may take, in nanoseconds; 0 inherits, and then stands for 30 s.</summary>
    public long Timeout { get; init; }

    /// <summary>How long failures do not count after a start, in nanoseconds; 0 inherits, and then stands for none.</summary>
    public long StartPeriod { get; init; }

    /// <summary>In the place of <see cref="Interval"/> during <see cref="StartPeriod"/>, in nanoseconds; 0 inherits, and then stands for 5 s.</summary>
    public long StartInterval { get; init; }

    /// <summary>Failures in a row that make it unhealthy; 0 inherits, and then stands for 3.</summary>
    public int Retries { get; init; }

    /// <summary>Whether anything is to be run.</summary>
    public bool IsOn => Test is [Command or ShellCommand, ..];

    /// <summary>This one, with another beneath it: what it does not say is as there.</summary>
    public HealthCheck Over(HealthCheck? inherited) => inherited is null ? this : new HealthCheck
    {
        Test = Test.Count > 0 ? Test : inherited.Test,
        Interval = Interval != 0 ? Interval : inherited.Interval,
        Timeout = Timeout != 0 ? Timeout : inherited.Timeout,
        StartPeriod = StartPeriod != 0 ? StartPeriod : inherited.StartPeriod,
        StartInterval = StartInterval != 0 ? StartInterval : inherited.StartInterval,
        Retries = Retries != 0 ? Retries : inherited.Retries,
    };
}

/// <summary>
/// Reads and writes it by hand: it stands in four kinds of documents, and generated code for each is larger. Names in
/// any case, as Go reads them; what is not known is passed over.
/// </summary>
internal sealed class HealthCheckConverter : JsonConverter<HealthCheck>
{
    /// <inheritdoc/>
    public override HealthCheck Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new JsonException();
        }

        List<string> test = [];
        long interval = 0, timeout = 0, startPeriod = 0, startInterval = 0, retries = 0;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            switch (name.ToUpperInvariant())
            {
                case "TEST":
                    test = ReadTest(ref reader);
                    break;
                case "INTERVAL":
                    interval = ReadNumber(ref reader);
                    break;
                case "TIMEOUT":
                    timeout = ReadNumber(ref reader);
                    break;
                case "STARTPERIOD":
                    startPeriod = ReadNumber(ref reader);
                    break;
                case "STARTINTERVAL":
                    startInterval = ReadNumber(ref reader);
                    break;
                case "RETRIES":
                    retries = ReadNumber(ref reader);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }

        return new HealthCheck
        {
            Test = test,
            Interval = interval,
            Timeout = timeout,
            StartPeriod = startPeriod,
            StartInterval = startInterval,
            Retries = retries is >= int.MinValue and <= int.MaxValue ? (int)retries : throw new JsonException(),
        };
    }

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, HealthCheck value, JsonSerializerOptions options)
    {
        writer.WriteStartObject();
        if (value.Test.Count > 0)
        {
            writer.WriteStartArray("Test");
            foreach (var word in value.Test)
            {
                writer.WriteStringValue(word);
            }

            writer.WriteEndArray();
        }

        Number("Interval", value.Interval);
        Number("Timeout", value.Timeout);
        Number("StartPeriod", value.StartPeriod);
        Number("StartInterval", value.StartInterval);
        Number("Retries", value.Retries);
        writer.WriteEndObject();

        void Number(string name, long number)
        {
            if (number != 0)
            {
                writer.WriteNumber(name, number);
            }
        }
    }

    private static List<string> ReadTest(ref Utf8JsonReader reader)
    {
        var test = new List<string>();
        if (reader.TokenType == JsonTokenType.Null)
        {
            return test;
        }

        if (reader.TokenType != JsonTokenType.StartArray)
        {
            throw new JsonException();
        }

        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            test.Add(reader.TokenType == JsonTokenType.String ? reader.GetString()! : throw new JsonException());
        }

        return test;
    }

    private static long ReadNumber(ref Utf8JsonReader reader) => reader.TokenType switch
    {
        JsonTokenType.Null => 0,
        JsonTokenType.Number when reader.TryGetInt64(out var number) => number,
        _ => throw new JsonException(),
    };
}
