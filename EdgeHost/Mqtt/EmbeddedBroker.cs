using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;
using MQTTnet;
using MQTTnet.Packets;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeHost.Mqtt;

/// <summary>
/// The broker inside the daemon: for a board that has no other, and for the workloads on it. It refuses anonymous
/// clients, lets each workload publish beneath its own telemetry root alone, and acknowledges a retained message only
/// once it is on disk. It keeps no session of a client that is gone.
/// </summary>
public sealed partial class EmbeddedBroker : IAsyncDisposable
{
    private const string SubscriptionsKey = "subscriptions";
    private const string ClientKey = "client";
    private const int MaximumTopicAliases = 16;

    private readonly BrokerOptions _options;
    private readonly WorkloadGrants _grants;
    private readonly Func<IEnumerable<WorkloadGrant>> _granted;
    private readonly ILogger<EmbeddedBroker> _log;
    private readonly Topics _topics;
    private readonly TimeProvider _time;
    private readonly IPEndPoint _address;
    private readonly SemaphoreSlim _retaining = new(1, 1);

    // By client id: a session's items outlive its connection, so who somebody is must not be read from them.
    private readonly ConcurrentDictionary<string, BrokerClient> _clients = new(StringComparer.Ordinal);
    private RetainedStore? _retained;
    private BrokerCredentials? _credentials;
    private BrokerListener? _listener;
    private MqttServer? _server;

    /// <summary>Makes the broker; nothing happens before <see cref="StartAsync"/>.</summary>
    /// <param name="options">Where it listens, and its bounds.</param>
    /// <param name="grants">The credentials of workloads.</param>
    /// <param name="granted">The containers that have a grant at this moment.</param>
    /// <param name="log">Where it says what it does.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the address is none.</exception>
    public EmbeddedBroker(BrokerOptions options, WorkloadGrants grants, Func<IEnumerable<WorkloadGrant>> granted, ILogger<EmbeddedBroker> log, TimeProvider? time = null)
    {
        _options = options;
        _grants = grants;
        _granted = granted;
        _log = log;
        _time = time ?? TimeProvider.System;
        _topics = new Topics(options.Device);
        _address = IPAddress.TryParse(options.Address, out var ip) && options.Port is >= 0 and <= 65535
            ? new IPEndPoint(ip, options.Port)
            : throw new EdgeHostException(ErrorKind.Invalid, $"the embedded broker's address {options.Address}:{options.Port} is not an IP address and a port");
    }

    /// <summary>How many client ids it knows at this moment.</summary>
    internal int KnownClients => _clients.Count;

    /// <summary>Where it listens: known after <see cref="StartAsync"/>.</summary>
    public IPEndPoint Address => _listener?.LocalEndPoint ?? _address;

    /// <summary>Raised once a connection has given its place to the next one.</summary>
    internal event Action? ConnectionEnded;

    /// <summary>The file with the operator's credential.</summary>
    public string OperatorFile => Path.Combine(_options.Directory, "operator.json");

    /// <summary>How the daemon's own agent gets in.</summary>
    /// <exception cref="InvalidOperationException">The broker was not started.</exception>
    public MqttOptions DeviceConnection => new()
    {
        Url = Url(),
        User = BrokerCredentials.DeviceUser,
        Password = (_credentials ?? throw new InvalidOperationException("the broker was not started")).DevicePassword,
        Protocol = MqttProtocol.V5,
    };

    /// <summary>Starts listening. The first start makes the operator's credential.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Conflict"/>: the address is taken; or a file cannot be read or written.</exception>
    public async Task StartAsync(CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        _listener = new BrokerListener(_address, _options, _log);
        _listener.Ended += () => ConnectionEnded?.Invoke();
        var serverOptions = new MqttServerOptions
        {
            EnablePersistentSessions = false,
            MaxPendingMessagesPerClient = _options.MaximumPendingMessages,
            PendingMessagesOverflowStrategy = MqttPendingMessagesOverflowStrategy.DropOldestQueuedMessage,
            DefaultCommunicationTimeout = TimeSpan.FromSeconds(10),
        };
        serverOptions.KeepAliveOptions.MonitorInterval = TimeSpan.FromSeconds(5);
        var server = new MqttServerFactory().CreateMqttServer(serverOptions, [_listener], new MqttNetLog(_log));
        server.ValidatingConnectionAsync += OnConnectingAsync;
        server.ClientDisconnectedAsync += OnDisconnectedAsync;
        server.InterceptingSubscriptionAsync += OnSubscribingAsync;
        server.ClientSubscribedTopicAsync += OnSubscribedAsync;
        server.InterceptingUnsubscriptionAsync += OnUnsubscribingAsync;
        server.InterceptingPublishAsync += OnPublishAsync;
        server.InterceptingInboundPacketAsync += OnInboundPacketAsync;
        server.InterceptingOutboundPacketAsync += OnOutboundPacketAsync;
        server.LoadingRetainedMessageAsync += OnLoadingRetainedAsync;
        server.RetainedMessageChangedAsync += OnRetainedChangedAsync;
        _server = server;

        // Credentials come after the socket is bound, because the port may be chosen by the kernel; a client that is
        // faster than they are is turned away and comes again.
        System.IO.Directory.CreateDirectory(_options.Directory);
        _retained = new RetainedStore(_options);
        await server.StartAsync().ConfigureAwait(false);
        _credentials = new BrokerCredentials(_options.Directory, _options.Group, Url(), _grants, _granted, out var isGroupMissing);
        if (isGroupMissing)
        {
            LogGroupMissing(_log, _options.Group, OperatorFile);
        }

        if (!IPAddress.IsLoopback(_address.Address))
        {
            LogNotLoopback(_log, Address);
        }

        LogListening(_log, Address, OperatorFile);
    }

    /// <summary>Ends all connections and stops listening.</summary>
    public async Task StopAsync(CancellationToken cancel)
    {
        if (Interlocked.Exchange(ref _server, null) is { } server)
        {
            await server.StopAsync(new MqttServerStopOptions()).WaitAsync(cancel).ConfigureAwait(false);
            server.Dispose();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None).ConfigureAwait(false);
        _retaining.Dispose();
    }

    // Who listens at all addresses is reached from here at the loopback's: "all" is none to connect to.
    private string Url()
    {
        var address = Address.Address.Equals(IPAddress.Any) ? IPAddress.Loopback : Address.Address.Equals(IPAddress.IPv6Any) ? IPAddress.IPv6Loopback : Address.Address;
        return string.Create(CultureInfo.InvariantCulture, $"mqtt://{new IPEndPoint(address, Address.Port)}");
    }

    private Task OnLoadingRetainedAsync(LoadingRetainedMessagesEventArgs loading)
    {
        foreach (var record in _retained!.Load(_time.GetUtcNow(), damaged => LogDamaged(_log, damaged.Message)))
        {
            loading.LoadedRetainedMessages.Add(ToMessage(record));
        }

        return Task.CompletedTask;
    }

    /// <summary>
    /// Two clients that publish the same topic at once may pass the file in one order and the memory in the other: the
    /// memory's is then written again.
    /// </summary>
    private async Task OnRetainedChangedAsync(RetainedMessageChangedEventArgs changed)
    {
        var topic = changed.ChangedRetainedMessage.Topic;
        NoteRetained(topic);
        if (IsOurOwn(topic) || _server is not { } server)
        {
            return;
        }

        await _retaining.WaitAsync().ConfigureAwait(false);
        try
        {
            var held = await server.GetRetainedMessageAsync(topic).ConfigureAwait(false);
            if (!ReferenceEquals(held, changed.ChangedRetainedMessage) && held is not null)
            {
                _retained!.Set(ToRecord(held));
            }
        }
        finally
        {
            _retaining.Release();
        }
    }

    /// <summary>What the agent says about this device it says again at each start: writing it down would only wear the flash.</summary>
    private bool IsOurOwn(string topic) => topic == _topics.Status || topic == _topics.Reported;

    private async Task RetainAsync(MqttApplicationMessage message, CancellationToken cancel)
    {
        await _retaining.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            if (message.Payload.IsEmpty)
            {
                _retained!.Remove(message.Topic);
            }
            else
            {
                _retained!.Set(ToRecord(message));
            }
        }
        finally
        {
            _retaining.Release();
        }
    }

    private RetainedRecord ToRecord(MqttApplicationMessage message) => new()
    {
        Topic = message.Topic,
        Payload = System.Buffers.BuffersExtensions.ToArray(message.Payload),
        Qos = (int)message.QualityOfServiceLevel,
        ContentType = message.ContentType,
        IsText = message.PayloadFormatIndicator == MqttPayloadFormatIndicator.CharacterData ? true : null,
        ResponseTopic = message.ResponseTopic,
        Correlation = message.CorrelationData,
        ExpiresAt = message.MessageExpiryInterval == 0 ? null : _time.GetUtcNow().AddSeconds(message.MessageExpiryInterval),
        UserProperties = message.UserProperties?.SelectMany(static property => new[] { property.Name, property.ReadValueAsString() }).ToArray(),
    };

    private MqttApplicationMessage ToMessage(RetainedRecord record) => new()
    {
        Topic = record.Topic,
        Retain = true,
        Payload = new System.Buffers.ReadOnlySequence<byte>(record.Payload),
        QualityOfServiceLevel = (MqttQualityOfServiceLevel)record.Qos,
        ContentType = record.ContentType,
        PayloadFormatIndicator = record.IsText == true ? MqttPayloadFormatIndicator.CharacterData : MqttPayloadFormatIndicator.Unspecified,
        ResponseTopic = record.ResponseTopic,
        CorrelationData = record.Correlation,
        MessageExpiryInterval = record.ExpiresAt is { } expires ? (uint)Math.Max(1, (expires - _time.GetUtcNow()).TotalSeconds) : 0,
        UserProperties = record.UserProperties?.Chunk(2).Select(static pair => new MqttUserProperty(pair[0], System.Text.Encoding.UTF8.GetBytes(pair[1]))).ToList(),
    };
}
