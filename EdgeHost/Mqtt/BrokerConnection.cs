using System.Security.Authentication;
using EdgeHost.Errors;
using MQTTnet;
using MQTTnet.Exceptions;
using MQTTnet.Protocol;

namespace EdgeHost.Mqtt;

/// <summary>One connection to a broker, from the options to its end.</summary>
internal sealed partial class BrokerConnection : IAsyncDisposable
{
    /// <summary>The largest packet from a broker: a desired state that is too large must still be seen to be refused in words.</summary>
    internal const int MaximumPacketBytes = 2 * 1024 * 1024;

    // A PUBLISH besides topic, correlation data and content: header, identifier and the properties that we set.
    private const int PublishOverheadBytes = 64;

    private readonly IMqttClient _client;
    private readonly TaskCompletionSource<ConnectionEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _disposed = new();
    private SemaphoreSlim _inFlight = new(1, 1);
    private uint _maximumPacketBytes = uint.MaxValue;
    private Task _keepAlive = Task.CompletedTask;
    private ClientAdapter? _adapter;

    private BrokerConnection(IMqttClient client, bool isV5)
    {
        _client = client;
        IsV5 = isV5;
    }

    /// <summary>Whether MQTT 5 is spoken: 3.1.1 has no properties.</summary>
    internal bool IsV5 { get; }

    /// <summary>Ends with the connection; its result says why.</summary>
    internal Task<ConnectionEnd> Ended => _ended.Task;

    /// <summary>Why the broker ended the connection, known before anything else fails by it; null as long as it did not.</summary>
    internal ConnectionEnd? Farewell => _adapter?.Farewell switch
    {
        null => null,
        { ReasonCode: MqttDisconnectReasonCode.SessionTakenOver } =>
            new ConnectionEnd("another client has connected under our client id; device.id must be the device's alone", IsTakenOver: true),
        var said => new ConnectionEnd($"the broker ended it: {said.ReasonCode} {said.ReasonString}".TrimEnd()),
    };

    /// <summary>Connects.</summary>
    /// <param name="options">The broker.</param>
    /// <param name="clientId">Who we are.</param>
    /// <param name="configure">Adds will and session.</param>
    /// <param name="onMessage">Called for each message, one after the other; the broker gets its acknowledgement afterwards.</param>
    /// <param name="spokeV5">Whether this broker was seen to speak MQTT 5: one that hangs up is then no old one, but one that restarts.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: credentials; <see cref="ErrorKind.Unavailable"/>: everything else that may pass; <see cref="ErrorKind.Invalid"/>: options.</exception>
    internal static async Task<BrokerConnection> OpenAsync(
        MqttOptions options,
        string clientId,
        Action<MqttClientOptionsBuilder, bool>? configure,
        Func<BrokerConnection, MqttApplicationMessage, Task> onMessage,
        bool spokeV5,
        CancellationToken cancel)
    {
        if (options.Protocol != MqttProtocol.V311)
        {
            try
            {
                return await OpenOnceAsync(options, clientId, configure, onMessage, isV5: true, cancel).ConfigureAwait(false);
            }
            catch (WrongVersionException wrong) when (options.Protocol == MqttProtocol.Auto && !(spokeV5 && wrong.HungUp))
            {
                return await OpenOnceAsync(options, clientId, configure, onMessage, isV5: false, cancel).ConfigureAwait(false);
            }
        }

        return await OpenOnceAsync(options, clientId, configure, onMessage, isV5: false, cancel).ConfigureAwait(false);
    }

    /// <summary>Publishes as JSON; under 3.1.1 without properties.</summary>
    /// <returns>Once the broker has it, for a quality of 1.</returns>
    /// <exception cref="PacketTooLargeException">The broker said that it takes no packet of this size; nothing was sent.</exception>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: the connection broke; <see cref="ErrorKind.Denied"/>: the broker does not allow it.</exception>
    internal async Task PublishAsync(
        string topic, ReadOnlyMemory<byte> payload, int qos, bool retain, byte[]? correlation, CancellationToken cancel)
    {
        var size = (long)payload.Length + System.Text.Encoding.UTF8.GetByteCount(topic) + (correlation?.Length ?? 0) + PublishOverheadBytes;
        if (size > _maximumPacketBytes)
        {
            throw new PacketTooLargeException(topic, size, _maximumPacketBytes);
        }

        var message = new MqttApplicationMessage
        {
            Topic = topic,
            Payload = new System.Buffers.ReadOnlySequence<byte>(payload),
            QualityOfServiceLevel = (MqttQualityOfServiceLevel)qos,
            Retain = retain,
        };
        if (IsV5)
        {
            message.ContentType = "application/json";
            message.PayloadFormatIndicator = MqttPayloadFormatIndicator.CharacterData;
            message.CorrelationData = correlation;
        }

        // MQTTnet does not keep to the broker's receive maximum (MQTT 5, 3.3.4), and the broker would hang up.
        var counts = qos > 0;
        if (counts)
        {
            await _inFlight.WaitAsync(cancel).ConfigureAwait(false);
        }

        try
        {
            var result = await _client.PublishAsync(message, cancel).ConfigureAwait(false);
            if (!result.IsSuccess)
            {
                throw new EdgeHostException(
                    result.ReasonCode == MqttClientPublishReasonCode.NotAuthorized ? ErrorKind.Denied : ErrorKind.Unavailable,
                    $"the broker did not take {topic}: {result.ReasonCode} {result.ReasonString}".TrimEnd());
            }
        }
        catch (Exception failure) when (failure is MqttCommunicationException or MqttProtocolViolationException or InvalidOperationException or ObjectDisposedException
            || (failure is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"{topic} could not be published: {failure.Message}", failure);
        }
        finally
        {
            if (counts)
            {
                _inFlight.Release();
            }
        }
    }

    /// <summary>Subscribes with a quality of 1.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: the broker does not allow it; <see cref="ErrorKind.Unavailable"/>: the connection broke.</exception>
    internal async Task SubscribeAsync(IReadOnlyList<string> filters, CancellationToken cancel)
    {
        var subscribe = new MqttClientSubscribeOptionsBuilder();
        foreach (var filter in filters)
        {
            subscribe.WithTopicFilter(filter, MqttQualityOfServiceLevel.AtLeastOnce);
        }

        MqttClientSubscribeResult result;
        try
        {
            result = await _client.SubscribeAsync(subscribe.Build(), cancel).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is MqttCommunicationException or MqttProtocolViolationException or InvalidOperationException or ObjectDisposedException
            || (failure is OperationCanceledException && !cancel.IsCancellationRequested))
        {
            throw new EdgeHostException(ErrorKind.Unavailable, $"{string.Join(", ", filters)} could not be subscribed: {failure.Message}", failure);
        }

        foreach (var item in result.Items)
        {
            if (item.ResultCode > MqttClientSubscribeResultCode.GrantedQoS2)
            {
                throw new EdgeHostException(ErrorKind.Denied, $"the broker does not let us subscribe {item.TopicFilter.Topic}: {item.ResultCode}");
            }
        }
    }

    /// <summary>Takes leave of the broker, so that it drops the will.</summary>
    internal async Task CloseAsync(CancellationToken cancel)
    {
        if (!await _client.TryDisconnectAsync(MqttClientDisconnectOptionsReason.NormalDisconnection).WaitAsync(cancel).ConfigureAwait(false))
        {
            _ended.TrySetResult(new ConnectionEnd("closed"));
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _disposed.CancelAsync().ConfigureAwait(false);
        await _keepAlive.ConfigureAwait(false);
        _client.Dispose();
        _disposed.Dispose();
    }

    private static async Task<BrokerConnection> OpenOnceAsync(
        MqttOptions options,
        string clientId,
        Action<MqttClientOptionsBuilder, bool>? configure,
        Func<BrokerConnection, MqttApplicationMessage, Task> onMessage,
        bool isV5,
        CancellationToken cancel)
    {
        var adapters = new ClientAdapter.Factory(options.KeepAlive, MaximumPacketBytes);
        var client = new MqttClientFactory().CreateMqttClient(adapters);
        var connection = new BrokerConnection(client, isV5);
        client.ApplicationMessageReceivedAsync += async received =>
        {
            try
            {
                await onMessage(connection, received.ApplicationMessage).ConfigureAwait(false);
            }
            finally
            {
                adapters.Adapter?.Handled(received.ApplicationMessage);
            }
        };
        client.DisconnectedAsync += ended =>
        {
            connection._ended.TrySetResult(connection.Farewell ?? new ConnectionEnd(ended.Exception?.Message ?? ended.ReasonString ?? ended.Reason.ToString()));
            return Task.CompletedTask;
        };
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        timeout.CancelAfter(options.ConnectTimeout);
        try
        {
            var result = await client.ConnectAsync(Build(options, clientId, configure, isV5), timeout.Token).ConfigureAwait(false);
            switch (result.ResultCode)
            {
                case MqttClientConnectResultCode.Success:
                    connection.Begin(adapters.Adapter!, result, options);
                    return connection;
                case MqttClientConnectResultCode.UnsupportedProtocolVersion when isV5:
                case < MqttClientConnectResultCode.UnspecifiedError when isV5:
                    // MQTT 5 has no refusal below 0x80: 1 is the "unacceptable protocol version" of 3.1.1.
                    throw new WrongVersionException(options.Url, null, hungUp: false);
                case MqttClientConnectResultCode.BadUserNameOrPassword or MqttClientConnectResultCode.NotAuthorized or MqttClientConnectResultCode.Banned:
                    throw new EdgeHostException(
                        ErrorKind.Denied, $"broker {options.Url} refuses user {options.User ?? "(none)"}: {result.ResultCode}; check user and password file");
                default:
                    throw new EdgeHostException(ErrorKind.Unavailable, $"broker {options.Url} refuses the connection: {result.ResultCode} {result.ReasonString}".TrimEnd());
            }
        }
        catch (Exception failure)
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            if (failure is EdgeHostException || (failure is OperationCanceledException && cancel.IsCancellationRequested))
            {
                throw;
            }

            // Or it just hangs up, as 3.1.1 allows.
            if (isV5 && IsAnswer(failure))
            {
                throw new WrongVersionException(options.Url, failure, hungUp: true);
            }

            throw new EdgeHostException(
                ErrorKind.Unavailable,
                failure is OperationCanceledException
                    ? $"broker {options.Url} does not answer within {options.ConnectTimeout.TotalSeconds:0} s"
                    : $"broker {options.Url} cannot be reached: {InWords(Innermost(failure))}",
                failure);
        }
    }

    private static bool IsAnswer(Exception failure) => Innermost(failure) is not
        (System.Net.Sockets.SocketException or AuthenticationException or OperationCanceledException);

    private static Exception Innermost(Exception failure) => failure.InnerException is { } inner ? Innermost(inner) : failure;

    /// <summary>A board without a battery for its clock wakes up long ago, when no certificate was valid yet.</summary>
    private static string InWords(Exception failure) => failure is AuthenticationException && !Linux.SystemClock.IsSynchronized
        ? $"{failure.Message} (this device's clock says {DateTimeOffset.UtcNow:yyyy-MM-dd HH:mm} UTC and is not synchronised)"
        : failure.Message;

    private void Begin(ClientAdapter adapter, MqttClientConnectResult result, MqttOptions options)
    {
        _inFlight = new SemaphoreSlim(Math.Max(1, (int)(result.ReceiveMaximum ?? ushort.MaxValue)));
        _maximumPacketBytes = result.MaximumPacketSize is > 0 and { } limit ? limit : uint.MaxValue;
        _adapter = adapter;
        _keepAlive = KeepAliveAsync(adapter, options.ConnectTimeout);
    }

    /// <summary>Proves the connection whenever one direction was silent for the keep-alive; sleeps in between.</summary>
    private async Task KeepAliveAsync(ClientAdapter adapter, TimeSpan patience)
    {
        var keepAlive = adapter.KeepAlive;
        try
        {
            while (!_ended.Task.IsCompleted)
            {
                var silence = adapter.Silence;
                if (silence < keepAlive)
                {
                    // The margin keeps a timer that is early by a tick from going round once more.
                    await Task.Delay(keepAlive - silence + TimeSpan.FromMilliseconds(10), _disposed.Token).ConfigureAwait(false);
                    continue;
                }

                using var answer = CancellationTokenSource.CreateLinkedTokenSource(_disposed.Token);
                answer.CancelAfter(patience < keepAlive / 2 ? patience : keepAlive / 2);
                await _client.PingAsync(answer.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_disposed.IsCancellationRequested)
        {
            return;
        }
        catch (Exception silent)
        {
            _ended.TrySetResult(new ConnectionEnd(
                silent is OperationCanceledException or MqttCommunicationTimedOutException ? "the broker does not answer any more" : silent.Message));
        }
    }

    private sealed class WrongVersionException(string url, Exception? cause, bool hungUp)
        : EdgeHostException(ErrorKind.Unavailable, $"broker {url} {(hungUp ? $"hangs up: {cause?.Message}" : "does not speak MQTT 5")}", cause)
    {
        /// <summary>It said nothing, which 3.1.1 allows where a version is not known.</summary>
        internal bool HungUp => hungUp;
    }
}

/// <summary>How a connection ended.</summary>
/// <param name="Reason">In words.</param>
/// <param name="IsTakenOver">Another client came under the same id.</param>
internal sealed record ConnectionEnd(string Reason, bool IsTakenOver = false);

/// <summary>A message that is larger than the broker takes; the connection goes on.</summary>
internal sealed class PacketTooLargeException(string topic, long size, long limit)
    : EdgeHostException(ErrorKind.Infeasible, $"a message of {size} bytes on {topic} is larger than the {limit} that the broker accepts");
