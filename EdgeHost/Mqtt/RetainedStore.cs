using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Mqtt;

/// <summary>A retained message on disk.</summary>
internal sealed record RetainedRecord
{
    public required string Topic { get; init; }

    public required byte[] Payload { get; init; }

    public required int Qos { get; init; }

    public string? ContentType { get; init; }

    public bool? IsText { get; init; }

    public string? ResponseTopic { get; init; }

    public byte[]? Correlation { get; init; }

    /// <summary>When it is void: MQTT 5 message expiry.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }

    /// <summary>Name, value, name, value …</summary>
    public string[]? UserProperties { get; init; }
}

/// <summary>Retained messages, one checked file per topic, with a bound on number and bytes in all and for each workload.</summary>
internal sealed class RetainedStore
{
    private const int MaximumFileBytes = 8 * 1024 * 1024;

    private readonly BrokerOptions _options;
    private readonly string _directory;
    private readonly string _telemetry;
    private readonly Dictionary<string, int> _sizes = new(StringComparer.Ordinal);
    private long _bytes;

    internal RetainedStore(BrokerOptions options)
    {
        _options = options;
        _directory = Path.Combine(options.Directory, "retained");
        _telemetry = new Topics(options.Device).Telemetry;
        SharedDirectory.Create(_directory, 0x1C0, null);
    }

    /// <summary>Reads all of them; damaged ones are put aside, those that are void are removed.</summary>
    internal List<RetainedRecord> Load(DateTimeOffset now, Action<EdgeHostException> onDamaged)
    {
        var records = new List<RetainedRecord>();
        foreach (var path in Directory.EnumerateFiles(_directory, "*.json"))
        {
            try
            {
                var record = Read(path);
                if (record is null || record.ExpiresAt < now)
                {
                    DurableFile.Remove(path);
                    continue;
                }

                records.Add(record);
                Count(record.Topic, SizeOf(record));
            }
            catch (EdgeHostException damaged) when (damaged.Kind == ErrorKind.Corrupt)
            {
                CheckedFile.SetAside(path);
                onDamaged(damaged);
            }
        }

        return records;
    }

    /// <summary>Keeps a message; it is on disk when this returns.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Full"/>: a bound is reached, or the disk is full.</exception>
    internal void Set(RetainedRecord record)
    {
        Admit(record);
        CheckedFile.Write(PathOf(record.Topic), JsonSerializer.SerializeToUtf8Bytes(record, MqttJson.Default.RetainedRecord));
        Count(record.Topic, SizeOf(record));
    }

    /// <summary>Forgets a message, durably.</summary>
    internal void Remove(string topic)
    {
        if (_sizes.Remove(topic, out var size))
        {
            _bytes -= size;
            DurableFile.Remove(PathOf(topic));
        }
    }

    private void Admit(RetainedRecord record)
    {
        var known = _sizes.TryGetValue(record.Topic, out var before);
        Check(_sizes.Count + (known ? 0 : 1), _options.MaximumRetainedMessages, "retained messages");
        Check(_bytes - before + SizeOf(record), _options.MaximumRetainedBytes, "bytes of retained messages");
        if (WorkloadRoot(record.Topic) is not { } root)
        {
            return;
        }

        var own = _sizes.Where(entry => entry.Key.StartsWith(root, StringComparison.Ordinal) && entry.Key != record.Topic).ToList();
        Check(own.Count + 1, _options.MaximumRetainedMessagesPerWorkload, $"retained messages beneath {root}");
        Check(own.Sum(static entry => (long)entry.Value) + SizeOf(record), _options.MaximumRetainedBytesPerWorkload, $"bytes of retained messages beneath {root}");

        static void Check(long wanted, long limit, string what)
        {
            if (wanted > limit)
            {
                throw new EdgeHostException(ErrorKind.Full, $"{wanted} {what} are more than the {limit} that are kept");
            }
        }
    }

    private string? WorkloadRoot(string topic)
    {
        if (!topic.StartsWith(_telemetry, StringComparison.Ordinal))
        {
            return null;
        }

        var end = topic.IndexOf('/', _telemetry.Length);
        return end < 0 ? null : topic[..(end + 1)];
    }

    private void Count(string topic, int size)
    {
        _bytes += size - _sizes.GetValueOrDefault(topic);
        _sizes[topic] = size;
    }

    // Properties and topics may be as large as the content.
    private static int SizeOf(RetainedRecord record) =>
        record.Payload.Length
        + record.Topic.Length
        + (record.ContentType?.Length ?? 0)
        + (record.ResponseTopic?.Length ?? 0)
        + (record.Correlation?.Length ?? 0)
        + (record.UserProperties?.Sum(static part => part.Length) ?? 0);

    private static RetainedRecord? Read(string path)
    {
        try
        {
            return CheckedFile.Read(path, MaximumFileBytes) is { } bytes
                ? JsonSerializer.Deserialize(bytes, MqttJson.Default.RetainedRecord)
                : null;
        }
        catch (JsonException failure)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: {failure.Message}", failure);
        }
    }

    private string PathOf(string topic) =>
        Path.Combine(_directory, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(topic)))[..40] + ".json");
}
