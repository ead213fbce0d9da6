using System.Buffers;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Threading.Channels;
using EdgeHost.Deployments;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;
using MQTTnet;

namespace EdgeHost.Mqtt;

/// <summary>
/// Commands: request and answer. What changes something is carried out one after the other, in the order in which it
/// came; what only reads does not wait for it.
/// </summary>
public sealed partial class MqttAgent
{
    /// <summary>What this version understands; <c>status</c> lists it.</summary>
    internal static readonly string[] Features =
    [
        "desired.plain", "desired.healthcheck", "reported", "progress", "events", .. CommandExecutor.Names.Select(static name => "commands." + name),
    ];

    private const int MaximumRequestBytes = 16 * 1024;
    private const int RememberedCommands = 64;

    private readonly CommandExecutor _commands;
    private readonly Channel<Command> _changes;
    private readonly Channel<Command> _reads;
    private readonly Queue<string> _recent = new();
    private readonly PullRate _rate = new();

    private sealed record Command(string Name, byte[] Payload, string? ResponseTopic, byte[]? Correlation, long? ExpiresAt);

    private Channel<Command> NewQueue() => Channel.CreateBounded<Command>(
        new BoundedChannelOptions(_options.CommandQueueLength) { FullMode = BoundedChannelFullMode.Wait, SingleReader = true });

    private async Task TakeCommandAsync(BrokerConnection connection, MqttApplicationMessage message)
    {
        var name = message.Topic[_topics.Commands.Length..];
        if (message.Retain)
        {
            // It would be carried out again with every connection.
            LogRetainedCommand(_log, message.Topic);
            return;
        }

        var key = KeyOf(message);
        if (message.Dup && _recent.Contains(key))
        {
            return;
        }

        _recent.Enqueue(key);
        if (_recent.Count > RememberedCommands)
        {
            _recent.Dequeue();
        }

        // All that waits in the queue counts: correlation data and response topic may have 64 KiB each.
        var size = message.Payload.Length + (message.CorrelationData?.Length ?? 0) + (message.ResponseTopic?.Length ?? 0);
        var isTooLarge = size > MaximumRequestBytes;
        var command = new Command(
            name,
            isTooLarge ? [] : message.Payload.ToArray(),
            connection.IsV5 ? message.ResponseTopic : null,
            message.CorrelationData,
            message.MessageExpiryInterval == 0 ? null : Stopwatch.GetTimestamp() + (message.MessageExpiryInterval * Stopwatch.Frequency));
        if (isTooLarge)
        {
            var tooLarge = new EdgeHostException(
                ErrorKind.Invalid, $"a request of {size} bytes, with correlation data and response topic, is larger than the {MaximumRequestBytes} that are accepted");
            await AnswerAsync(command, null, Failed(command, null, tooLarge)).ConfigureAwait(false);
        }
        else if (!(CommandExecutor.Changes(name) ? _changes : _reads).Writer.TryWrite(command))
        {
            var busy = new EdgeHostException(ErrorKind.Unavailable, $"{_options.CommandQueueLength} commands are waiting already; try again later");
            await AnswerAsync(command, null, Failed(command, null, busy)).ConfigureAwait(false);
        }
    }

    private async Task ExecuteAsync(Channel<Command> queue, CancellationToken stop)
    {
        try
        {
            await foreach (var command in queue.Reader.ReadAllAsync(stop).ConfigureAwait(false))
            {
                await ExecuteAsync(command, stop).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            LogCommandsEnd(_log, queue.Reader.Count);
        }
    }

    private async Task ExecuteAsync(Command command, CancellationToken stop)
    {
        CommandRequest? request = null;
        CommandResponse response;
        try
        {
            if (command.ExpiresAt < Stopwatch.GetTimestamp())
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"{command.Name}: the request expired before it could be carried out");
            }

            request = Parse(command);
            response = await _commands.ExecuteAsync(command.Name, request, stop).ConfigureAwait(false);
            LogCommand(_log, command.Name, request.Workload);
        }
        catch (EdgeHostException failure)
        {
            LogCommandFailed(_log, command.Name, failure.Message);
            response = Failed(command, request, failure);
        }
        catch (Exception defect) when (!stop.IsCancellationRequested)
        {
            LogDefect(_log, defect, command.Name);
            response = Failed(command, request, new EdgeHostException(ErrorKind.Internal, "a defect; see the device's log"));
        }

        await AnswerAsync(command, request, response).ConfigureAwait(false);
    }

    private static CommandRequest Parse(Command command)
    {
        if (command.Payload.Length == 0)
        {
            return new CommandRequest();
        }

        try
        {
            return JsonSerializer.Deserialize(command.Payload, MqttJson.Default.CommandRequest)
                ?? throw new EdgeHostException(ErrorKind.Invalid, $"{command.Name}: the request is null");
        }
        catch (JsonException failure)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"{command.Name}: the request cannot be read: {failure.Message}", failure);
        }
    }

    private static CommandResponse Failed(Command command, CommandRequest? request, EdgeHostException failure) => new()
    {
        Command = command.Name,
        Workload = request?.Workload,
        Correlation = request?.Correlation,
        Ok = false,
        Error = new ReportedError(StateReporter.WordFor(failure.Kind), null, failure.Message),
    };

    private async Task AnswerAsync(Command command, CommandRequest? request, CommandResponse response)
    {
        if ((command.ResponseTopic ?? request?.ResponseTopic) is not { } topic || Volatile.Read(ref _connection) is not { } connection)
        {
            return;
        }

        if (!_topics.IsResponseTopic(topic))
        {
            LogResponseTopic(_log, command.Name, _topics.Responses);
            return;
        }

        try
        {
            var bytes = JsonSerializer.SerializeToUtf8Bytes(response, MqttJson.Default.CommandResponse);
            await connection.PublishAsync(topic, bytes, 1, retain: false, command.Correlation, _stop.Token).ConfigureAwait(false);
        }
        catch (PacketTooLargeException tooLarge) when (response.Ok)
        {
            var less = new EdgeHostException(ErrorKind.Infeasible, $"the answer was not sent: {tooLarge.Message}; ask for less, for logs by tail");
            await AnswerAsync(command, request, Failed(command, request, less)).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is EdgeHostException or OperationCanceledException)
        {
            LogSendFailed(_log, failure.Message);
        }
    }

    /// <summary>A digest of fixed size: correlation data and content are the sender's, and 64 of them are remembered.</summary>
    private static string KeyOf(MqttApplicationMessage message)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes(message.Topic + "\0"));
        hash.AppendData(SHA256.HashData(message.CorrelationData ?? []));
        foreach (var part in message.Payload)
        {
            hash.AppendData(part.Span);
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    [LoggerMessage(Level = LogLevel.Debug, Message = "The agent stops; {Waiting} commands were not carried out")]
    private static partial void LogCommandsEnd(ILogger log, int waiting);

    [LoggerMessage(Level = LogLevel.Information, Message = "Connected to broker {Url} with MQTT {Version}")]
    private static partial void LogConnected(ILogger log, string url, string version);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Disconnected from broker {Url}: {Reason}")]
    private static partial void LogDisconnected(ILogger log, string url, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Reason}; it is tried again")]
    private static partial void LogConnectFailed(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Not sent: {Reason}; raise the broker's limit")]
    private static partial void LogTooLarge(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Debug, Message = "Not sent: {Reason}")]
    private static partial void LogSendFailed(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The broker was not told that this device goes offline: {Reason}")]
    private static partial void LogNoFarewell(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Events were lost on the way to the broker: {Reason}")]
    private static partial void LogEventsLost(ILogger log, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Command {Command} on {Workload} carried out")]
    private static partial void LogCommand(ILogger log, string command, string? workload);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Command {Command} failed: {Reason}")]
    private static partial void LogCommandFailed(ILogger log, string command, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "A retained message on {Topic} is no command; it would be carried out with every connection")]
    private static partial void LogRetainedCommand(ILogger log, string topic);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Command {Command}: the answer's topic is not allowed; beneath edgehost/ only {Root} is")]
    private static partial void LogResponseTopic(ILogger log, string command, string root);

    [LoggerMessage(Level = LogLevel.Error, Message = "A defect while handling {What}")]
    private static partial void LogDefect(ILogger log, Exception defect, string what);
}
