using MQTTnet;
using MQTTnet.Packets;
using MQTTnet.Server;

namespace EdgeHost.Mqtt;

/// <summary>
/// MQTTnet reads the retained messages first and adds the subscription afterwards: what is retained in between reaches
/// the subscriber in neither way, and a device would miss a desired state until it connects again. So what has changed
/// since the SUBSCRIBE arrived is sent once more; the subscriber may then hear it twice.
/// </summary>
public sealed partial class EmbeddedBroker
{
    private const string SubscribingKey = "subscribing";
    private const int RememberedChanges = 64;

    private readonly Lock _changesLock = new();
    private readonly Queue<string> _changes = new();
    private long _changeCount;

    private void NoteSubscribing(InterceptingPacketEventArgs inbound)
    {
        if (inbound.Packet is MqttSubscribePacket)
        {
            lock (_changesLock)
            {
                inbound.SessionItems[SubscribingKey] = _changeCount;
            }
        }
    }

    private void NoteRetained(string topic)
    {
        lock (_changesLock)
        {
            _changeCount++;
            _changes.Enqueue(topic);
            if (_changes.Count > RememberedChanges)
            {
                _changes.Dequeue();
            }
        }
    }

    private async Task OnSubscribedAsync(ClientSubscribedTopicEventArgs subscribed)
    {
        if (subscribed.SessionItems[SubscribingKey] is not long before || _server is not { } server)
        {
            return;
        }

        HashSet<string>? topics;
        lock (_changesLock)
        {
            var missed = _changeCount - before;
            if (missed == 0)
            {
                return;
            }

            topics = missed > _changes.Count ? null : _changes.Skip(_changes.Count - (int)missed).ToHashSet(StringComparer.Ordinal);
        }

        var session = await server.GetSessionAsync(subscribed.ClientId).ConfigureAwait(false);
        foreach (var message in await server.GetRetainedMessagesAsync().ConfigureAwait(false))
        {
            if (topics?.Contains(message.Topic) != false
                && MqttTopicFilterComparer.Compare(message.Topic, subscribed.TopicFilter.Topic) == MqttTopicFilterCompareResult.IsMatch)
            {
                session.TryEnqueueApplicationMessage(AsSubscribed(message, subscribed.TopicFilter), out _);
            }
        }
    }

    private static MqttApplicationMessage AsSubscribed(MqttApplicationMessage message, MqttTopicFilter filter) => new()
    {
        Topic = message.Topic,
        Payload = message.Payload,
        Retain = true,
        QualityOfServiceLevel = (MQTTnet.Protocol.MqttQualityOfServiceLevel)Math.Min((int)message.QualityOfServiceLevel, (int)filter.QualityOfServiceLevel),
        ContentType = message.ContentType,
        PayloadFormatIndicator = message.PayloadFormatIndicator,
        ResponseTopic = message.ResponseTopic,
        CorrelationData = message.CorrelationData,
        MessageExpiryInterval = message.MessageExpiryInterval,
        UserProperties = message.UserProperties,
    };
}
