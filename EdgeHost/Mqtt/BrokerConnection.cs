using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using EdgeHost.Errors;
using MQTTnet;
using MQTTnet.Exceptions;
using MQTTnet.Formatter;

namespace EdgeHost.Mqtt;

/// <summary>One connection to a broker, from the options to its end.</summary>
internal sealed class BrokerConnection : IAsyncDisposable
{
    /// <summary>The largest packet from a broker: a desired state that is too large must still be seen to be refused in words.</summary>
    internal const int MaximumPacketBytes = 2 * 1024 * 1024;

    private readonly TaskCompletionSource<string> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private BrokerConnection(IMqttClient client, bool isV5)
    {
        Client = client;
        IsV5 = isV5;
    }

    /// <summary>The connected client.</summary>
    internal IMqttClient Client { get; }

    /// <summary>Whether MQTT 5 is spoken: 3.1.1 has no properties.</summary>
    internal bool IsV5 { get; }

    /// <summary>Ends with the connection; its result says why.</summary>
    internal Task<string> Ended => _ended.Task;

    /// <summary>Connects.</summary>
    /// <param name="options">The broker.</param>
    /// <param name="clientId">Who we are.</param>
    /// <param name="configure">Adds will and session.</param>
    /// <param name="onMessage">Called for each message, one after the other; the broker gets its acknowledgement afterwards.</param>
    /// <param name="cancel">Gives up.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: credentials; <see cref="ErrorKind.Unavailable"/>: everything else that may pass; <see cref="ErrorKind.Invalid"/>: options.</exception>
    internal static async Task<BrokerConnection> OpenAsync(
        MqttOptions options,
        string clientId,
        Action<MqttClientOptionsBuilder, bool>? configure,
        Func<BrokerConnection, MqttApplicationMessage, Task> onMessage,
        CancellationToken cancel)
    {
        if (options.Protocol != MqttProtocol.V311)
        {
            try
            {
                return await OpenAsync(options, clientId, configure, onMessage, isV5: true, cancel).ConfigureAwait(false);
            }
            catch (WrongVersionException) when (options.Protocol == MqttProtocol.Auto)
            {
                return await OpenAsync(options, clientId, configure, onMessage, isV5: false, cancel).ConfigureAwait(false);
            }
        }

        return await OpenAsync(options, clientId, configure, onMessage, isV5: false, cancel).ConfigureAwait(false);
    }

    /// <summary>Publishes as JSON; under 3.1.1 without properties.</summary>
    /// <returns>Once the broker has it, for a quality of 1.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Unavailable"/>: the connection broke; <see cref="ErrorKind.Denied"/>: the broker does not allow it.</exception>
    internal async Task PublishAsync(
        string topic, ReadOnlyMemory<byte> payload, int qos, bool retain, byte[]? correlation, CancellationToken cancel)
    {
        var message = new MqttApplicationMessage
        {
            Topic = topic,
            Payload = new System.Buffers.ReadOnlySequence<byte>(payload),
            QualityOfServiceLevel = (MQTTnet.Protocol.MqttQualityOfServiceLevel)qos,
            Retain = retain,
        };
        if (IsV5)
        {
            message.ContentType = "application/json";
            message.PayloadFormatIndicator = MQTTnet.Protocol.MqttPayloadFormatIndicator.CharacterData;
            message.CorrelationData = correlation;
        }

        try
        {
            var result = await Client.PublishAsync(message, cancel).ConfigureAwait(false);
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
    }

    /// <summary>Subscribes with a quality of 1.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Denied"/>: the broker does not allow it; <see cref="ErrorKind.Unavailable"/>: the connection broke.</exception>
    internal async Task SubscribeAsync(IReadOnlyList<string> filters, CancellationToken cancel)
    {
        var subscribe = new MqttClientSubscribeOptionsBuilder();
        foreach (var filter in filters)
        {
            subscribe.WithTopicFilter(filter, MQTTnet.Protocol.MqttQualityOfServiceLevel.AtLeastOnce);
        }

        MqttClientSubscribeResult result;
        try
        {
            result = await Client.SubscribeAsync(subscribe.Build(), cancel).ConfigureAwait(false);
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
        if (!await Client.TryDisconnectAsync(MqttClientDisconnectOptionsReason.NormalDisconnection).WaitAsync(cancel).ConfigureAwait(false))
        {
            _ended.TrySetResult("closed");
        }
    }

    public ValueTask DisposeAsync()
    {
        Client.Dispose();
        return ValueTask.CompletedTask;
    }

    private static async Task<BrokerConnection> OpenAsync(
        MqttOptions options,
        string clientId,
        Action<MqttClientOptionsBuilder, bool>? configure,
        Func<BrokerConnection, MqttApplicationMessage, Task> onMessage,
        bool isV5,
        CancellationToken cancel)
    {
        var client = new MqttClientFactory().CreateMqttClient(new BoundedAdapterFactory(MaximumPacketBytes));
        var connection = new BrokerConnection(client, isV5);
        client.ApplicationMessageReceivedAsync += received => onMessage(connection, received.ApplicationMessage);
        client.DisconnectedAsync += ended =>
        {
            connection._ended.TrySetResult(ended.Exception?.Message ?? ended.ReasonString ?? ended.Reason.ToString());
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
                    return connection;
                case MqttClientConnectResultCode.UnsupportedProtocolVersion when isV5:
                case < MqttClientConnectResultCode.UnspecifiedError when isV5:
                    // MQTT 5 has no refusal below 0x80: 1 is the "unacceptable protocol version" of 3.1.1.
                    throw new WrongVersionException(options.Url, null);
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
                throw new WrongVersionException(options.Url, failure);
            }

            throw new EdgeHostException(
                ErrorKind.Unavailable,
                failure is OperationCanceledException
                    ? $"broker {options.Url} does not answer within {options.ConnectTimeout.TotalSeconds:0} s"
                    : $"broker {options.Url} cannot be reached: {Innermost(failure).Message}",
                failure);
        }
    }

    private static bool IsAnswer(Exception failure) => Innermost(failure) is not
        (System.Net.Sockets.SocketException or System.Security.Authentication.AuthenticationException or OperationCanceledException);

    private static Exception Innermost(Exception failure) => failure.InnerException is { } inner ? Innermost(inner) : failure;

    private static MqttClientOptions Build(MqttOptions options, string clientId, Action<MqttClientOptionsBuilder, bool>? configure, bool isV5)
    {
        var (host, port, tls) = options.Endpoint();
        var builder = new MqttClientOptionsBuilder()
            .WithTcpServer(host, port)
            .WithClientId(clientId)
            .WithProtocolVersion(isV5 ? MqttProtocolVersion.V500 : MqttProtocolVersion.V311)
            .WithKeepAlivePeriod(options.KeepAlive)
            .WithTimeout(options.ConnectTimeout);
        if (options.User is { } user)
        {
            builder.WithCredentials(user, ReadPassword(options));
        }

        if (tls)
        {
            builder.WithTlsOptions(ReadTls(options));
        }

        if (isV5)
        {
            builder.WithMaximumPacketSize(MaximumPacketBytes).WithReceiveMaximum(16);
        }

        configure?.Invoke(builder, isV5);
        return builder.Build();
    }

    private static string? ReadPassword(MqttOptions options)
    {
        if (options.PasswordFile is not { } path)
        {
            return options.Password;
        }

        try
        {
            using var reader = new StreamReader(path);
            return reader.ReadLine() ?? string.Empty;
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the broker's password file {path} cannot be read: {failure.Message}", failure);
        }
    }

    private static MqttClientTlsOptions ReadTls(MqttOptions options)
    {
        var tls = new MqttClientTlsOptions
        {
            UseTls = true,
            // A private authority rarely has a revocation service, and a board without time or route could never ask it; as in mosquitto.
            RevocationMode = X509RevocationMode.NoCheck,
        };
        try
        {
            if (options.CaFile is { } authorities)
            {
                tls.TrustChain = [];
                tls.TrustChain.ImportFromPemFile(authorities);
                if (tls.TrustChain.Count == 0)
                {
                    throw new EdgeHostException(ErrorKind.Invalid, $"the broker's CA file {authorities} has no certificate in PEM form");
                }
            }

            if (options.CertificateFile is { } certificate)
            {
                tls.ClientCertificatesProvider = new DefaultMqttCertificatesProvider(
                    new X509Certificate2Collection(X509Certificate2.CreateFromPemFile(certificate, options.KeyFile ?? certificate)));
            }
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException or CryptographicException)
        {
            throw new EdgeHostException(ErrorKind.Invalid, $"the broker's certificates cannot be read: {failure.Message}", failure);
        }

        return tls;
    }

    private sealed class WrongVersionException(string url, Exception? cause)
        : EdgeHostException(ErrorKind.Unsupported, $"broker {url} does not speak MQTT 5", cause);
}
