using System.Net;
using EdgeHost.Errors;
using Microsoft.Extensions.Logging;
using MQTTnet.Packets;
using MQTTnet.Protocol;
using MQTTnet.Server;

namespace EdgeHost.Mqtt;

/// <summary>
/// Who may do what. Whoever can publish a desired state owns the board, so only operators and the device itself can;
/// a workload is confined to <c>…/telemetry/{workload}/</c>, its will included.
/// </summary>
public sealed partial class EmbeddedBroker
{
    private const int MaximumRefusalsSaid = 20;

    private readonly Lock _refusalsLock = new();
    private long _refusalsSince;
    private int _refusals;

    private Task OnConnectingAsync(ValidatingConnectionEventArgs connecting)
    {
        var identity = _credentials?.Authenticate(connecting.UserName, connecting.RawPassword);
        if (identity is null)
        {
            connecting.ReasonCode = MqttConnectReasonCode.BadUserNameOrPassword;
            if (IsToBeSaid())
            {
                LogStranger(_log, connecting.RemoteEndPoint, connecting.UserName is null ? "anonymous" : $"user {Shown(connecting.UserName)}");
            }

            return Task.CompletedTask;
        }

        var clientId = connecting.ClientId;
        if (string.IsNullOrEmpty(clientId))
        {
            connecting.AssignedClientIdentifier = clientId = NamedAdapter.NewClientId(connecting.UserName);
        }

        if (!MayUse(identity, connecting.UserName, clientId))
        {
            connecting.ReasonCode = MqttConnectReasonCode.ClientIdentifierNotValid;
            connecting.ReasonString = identity.Role == BrokerRole.Workload
                ? $"the client id of a workload is {connecting.UserName} or begins with {connecting.UserName}/"
                : "this client id belongs to somebody else";
            if (IsToBeSaid())
            {
                LogClientId(_log, connecting.RemoteEndPoint, Shown(connecting.UserName), Shown(clientId));
            }

            return Task.CompletedTask;
        }

        var client = new BrokerClient(identity, connecting.ProtocolVersion == MQTTnet.Formatter.MqttProtocolVersion.V500);
        connecting.SessionItems[ClientKey] = client;
        _clients[clientId] = client;
        return Task.CompletedTask;
    }

    /// <summary>A client id is a claim on a session: nobody may take over that of somebody with other rights.</summary>
    private bool MayUse(BrokerIdentity identity, string user, string clientId) => identity.Role switch
    {
        BrokerRole.Device => true,
        BrokerRole.Workload => clientId == user || clientId.StartsWith(user + "/", StringComparison.Ordinal),
        _ => clientId != MqttAgent.ClientIdOf(_options.Device) && !clientId.StartsWith(BrokerCredentials.WorkloadPrefix, StringComparison.Ordinal),
    };

    /// <summary>
    /// Ends what containers opened that are gone: their passwords are void, and somebody else may have had one and go on.
    /// </summary>
    public async Task EndVoidAsync()
    {
        var held = _granted().Select(static grant => grant.Container).ToHashSet(StringComparer.Ordinal);
        foreach (var (clientId, client) in _clients)
        {
            if (client.Identity.Grant is not { } grant || held.Contains(grant.Container) || _server is not { } server)
            {
                continue;
            }

            // From here on it may do nothing, even if it is slow to go.
            _clients.TryRemove(clientId, out _);
            try
            {
                await server.DisconnectClientAsync(clientId, new MqttServerClientDisconnectOptions { ReasonCode = MqttDisconnectReasonCode.NotAuthorized }).ConfigureAwait(false);
                LogVoid(_log, Shown(clientId), grant.Container);
            }
            catch (InvalidOperationException)
            {
                // It had gone by itself.
            }
        }
    }

    private Task OnDisconnectedAsync(ClientDisconnectedEventArgs disconnected)
    {
        // Its will was published before. What the next connection with the same id was given stays: it may be there already.
        if (disconnected.SessionItems[ClientKey] is BrokerClient client)
        {
            _clients.TryRemove(new KeyValuePair<string, BrokerClient>(disconnected.ClientId, client));
        }

        // An entry of a session that was taken up again may stay: an id is bound to whom it was given, and the next
        // connection with it is authenticated anew. Only their number needs a bound.
        if (_clients.Count > _options.MaximumConnections * 16)
        {
            _clients.TryRemove(disconnected.ClientId, out _);
        }

        return Task.CompletedTask;
    }

    private async Task OnPublishAsync(InterceptingPublishEventArgs publish)
    {
        if (!publish.ProcessPublish)
        {
            return;
        }

        var topic = publish.ApplicationMessage.Topic;
        if (!_clients.TryGetValue(publish.ClientId, out var client) || !MayPublish(client.Identity, topic))
        {
            // As mosquitto does: a reason in MQTT 5, an acknowledgement and nothing else in 3.1.1.
            publish.ProcessPublish = false;
            publish.Response.ReasonCode = MqttPubAckReasonCode.NotAuthorized;
            Deny(publish.ClientId, "publish", topic);
            return;
        }

        if (!publish.ApplicationMessage.Retain || (client.Identity.Role == BrokerRole.Device && IsOurOwn(topic)))
        {
            return;
        }

        try
        {
            await RetainAsync(publish.ApplicationMessage, publish.CancellationToken).ConfigureAwait(false);
        }
        catch (EdgeHostException failure)
        {
            // 3.1.1 has no other way to say no than to end the connection: the client then keeps the message.
            LogNotRetained(_log, Shown(topic), failure.Message);
            publish.ProcessPublish = false;
            publish.Response.ReasonCode = failure.Kind == ErrorKind.Full ? MqttPubAckReasonCode.QuotaExceeded : MqttPubAckReasonCode.UnspecifiedError;
            publish.Response.ReasonString = failure.Message;
            publish.CloseConnection = !client.IsV5;
        }
    }

    private bool MayPublish(BrokerIdentity identity, string topic) =>
        identity.Grant is not { } grant || IsBeneath(topic, WorkloadRoot(grant));

    /// <summary>Its own topics, and filters that it was granted, as they stand or narrower than one that ends with #.</summary>
    private bool MaySubscribe(WorkloadGrant grant, string filter) =>
        IsBeneath(filter, WorkloadRoot(grant))
        || grant.Subscribe.Any(granted => filter == _topics.Telemetry + granted
            || (granted.EndsWith("/#", StringComparison.Ordinal) && !granted.Contains('+', StringComparison.Ordinal) && IsBeneath(filter, _topics.Telemetry + granted[..^1])));

    private Task OnSubscribingAsync(InterceptingSubscriptionEventArgs subscribing)
    {
        var filter = subscribing.TopicFilter.Topic;
        if (!_clients.TryGetValue(subscribing.ClientId, out var client)
            || (client.Identity.Grant is { } grant && !MaySubscribe(grant, filter)))
        {
            subscribing.ProcessSubscription = false;
            subscribing.Response.ReasonCode = MqttSubscribeReasonCode.NotAuthorized;
            Deny(subscribing.ClientId, "subscribe", filter);
            return Task.CompletedTask;
        }

        // MQTTnet serves the packets of a session one after the other.
        if (subscribing.SessionItems[SubscriptionsKey] is not HashSet<string> filters)
        {
            subscribing.SessionItems[SubscriptionsKey] = filters = new HashSet<string>(StringComparer.Ordinal);
        }

        if (!filters.Contains(filter) && filters.Count >= _options.MaximumSubscriptions)
        {
            subscribing.ProcessSubscription = false;
            subscribing.Response.ReasonCode = MqttSubscribeReasonCode.QuotaExceeded;
            return Task.CompletedTask;
        }

        filters.Add(filter);
        return Task.CompletedTask;
    }

    private Task OnUnsubscribingAsync(InterceptingUnsubscriptionEventArgs unsubscribing)
    {
        (unsubscribing.SessionItems[SubscriptionsKey] as HashSet<string>)?.Remove(unsubscribing.Topic);
        return Task.CompletedTask;
    }

    private string WorkloadRoot(WorkloadGrant grant) => _topics.Telemetry + grant.Workload + "/";

    // A filter that begins with the whole root matches nothing outside it; one with $share or a wildcard before does not begin so.
    private static bool IsBeneath(string topic, string root) => topic.Length > root.Length && topic.StartsWith(root, StringComparison.Ordinal);

    private async Task OnInboundPacketAsync(InterceptingPacketEventArgs inbound)
    {
        NoteSubscribing(inbound);

        // MQTTnet keeps every alias that a client sets, and up to 65535 of them.
        if (inbound.Packet is MqttPublishPacket { TopicAlias: > MaximumTopicAliases } && _server is { } server)
        {
            inbound.ProcessPacket = false;
            await server.DisconnectClientAsync(
                inbound.ClientId,
                new MqttServerClientDisconnectOptions { ReasonCode = MqttDisconnectReasonCode.TopicAliasInvalid }).ConfigureAwait(false);
        }
    }

    private Task OnOutboundPacketAsync(InterceptingPacketEventArgs outbound)
    {
        if (outbound.Packet is MqttConnAckPacket { ReasonCode: MqttConnectReasonCode.Success } connAck)
        {
            connAck.MaximumPacketSize = (uint)_options.MaximumPacketBytes;
            connAck.TopicAliasMaximum = MaximumTopicAliases;
        }

        return Task.CompletedTask;
    }

    private void Deny(string clientId, string action, string topic)
    {
        if (IsToBeSaid())
        {
            LogDenied(_log, Shown(clientId), action, Shown(topic));
        }
    }

    /// <summary>Who is refused may try as often as he likes, and the log is on the same disk as everything else.</summary>
    private bool IsToBeSaid()
    {
        lock (_refusalsLock)
        {
            var now = _time.GetTimestamp();
            if (_refusals == 0 || _time.GetElapsedTime(_refusalsSince, now) >= TimeSpan.FromMinutes(1))
            {
                (_refusalsSince, _refusals) = (now, 0);
            }

            if (++_refusals == MaximumRefusalsSaid + 1)
            {
                LogQuiet(_log, MaximumRefusalsSaid);
            }

            return _refusals <= MaximumRefusalsSaid;
        }
    }

    private static string Shown(string text) =>
        string.Concat(text.Take(100).Select(static c => char.IsControl(c) ? '?' : c));

    [LoggerMessage(Level = LogLevel.Information, Message = "Broker listens on {Address}; the operator's credential is in {File}")]
    private static partial void LogListening(ILogger log, IPEndPoint address, string file);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker listens on {Address} without encryption: passwords can be read on the wire")]
    private static partial void LogNotLoopback(ILogger log, IPEndPoint address);

    [LoggerMessage(Level = LogLevel.Warning, Message = "There is no group {Group}: {File} is for root alone")]
    private static partial void LogGroupMissing(ILogger log, string group, string file);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: {Client} refused: {Who}")]
    private static partial void LogStranger(ILogger log, EndPoint? client, string who);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: {Client} refused: user {User} may not use client id {ClientId}")]
    private static partial void LogClientId(ILogger log, EndPoint? client, string user, string clientId);

    [LoggerMessage(Level = LogLevel.Information, Message = "Broker: {ClientId} is disconnected: its container {Container} is gone")]
    private static partial void LogVoid(ILogger log, string clientId, string container);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: {Count} refusals within a minute; the others of this minute are not said")]
    private static partial void LogQuiet(ILogger log, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Broker: {ClientId} may not {Action} {Topic}")]
    private static partial void LogDenied(ILogger log, string clientId, string action, string topic);

    [LoggerMessage(Level = LogLevel.Error, Message = "Broker: {Topic} was not retained and not acknowledged: {Reason}")]
    private static partial void LogNotRetained(ILogger log, string topic, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Broker: a retained message is lost: {Reason}; the file was put aside")]
    private static partial void LogDamaged(ILogger log, string reason);
}
