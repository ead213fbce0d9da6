using System.Buffers;
using System.Text.Json;
using System.Threading.Channels;
using EdgeHost.Deployments;
using EdgeHost.Errors;

namespace EdgeHost.Mqtt;

/// <summary>What a follower of a deployment is told.</summary>
public abstract record DeployUpdate
{
    private DeployUpdate()
    {
    }

    /// <summary>The device's state changed.</summary>
    /// <param name="State">As reported.</param>
    public sealed record Reported(ReportedState State) : DeployUpdate;

    /// <summary>An image is being fetched.</summary>
    public sealed record Pulling(string Workload, string Image, string Phase, long DoneBytes, long TotalBytes, long? BytesPerSecond) : DeployUpdate;
}

/// <summary>The operator's side: publishes a desired state and follows what the device makes of it.</summary>
public sealed class DeployClient : IAsyncDisposable
{
    private readonly MqttOptions _broker;
    private readonly Topics _topics;
    private readonly Channel<(string Topic, byte[] Payload)> _messages = Channel.CreateBounded<(string, byte[])>(
        new BoundedChannelOptions(256) { FullMode = BoundedChannelFullMode.DropOldest });

    private BrokerConnection? _connection;
    private ReportedState? _last;

    /// <summary>Makes the client; <see cref="ConnectAsync"/> comes next.</summary>
    /// <param name="broker">The device's broker.</param>
    /// <param name="device">The device's name in topics.</param>
    public DeployClient(MqttOptions broker, string device)
    {
        _broker = broker;
        _topics = new Topics(device);
    }

    /// <summary>Reads the credential that the embedded broker made for operators.</summary>
    /// <param name="path"><c>broker/operator.json</c> in the daemon's data directory.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.NotFound"/>, <see cref="ErrorKind.Denied"/> or <see cref="ErrorKind.Corrupt"/>.</exception>
    public static MqttOptions ReadOperator(string path)
    {
        try
        {
            var credential = JsonSerializer.Deserialize(File.ReadAllBytes(path), MqttJson.Default.OperatorCredential)
                ?? throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is empty");
            return new MqttOptions { Url = credential.Url, User = credential.User, Password = credential.Password };
        }
        catch (Exception failure) when (failure is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"{path} is not there: the daemon's embedded broker makes it at its first start", failure);
        }
        catch (UnauthorizedAccessException failure)
        {
            throw new EdgeHostException(ErrorKind.Denied, $"{path} may not be read: be root or a member of the group edgehost", failure);
        }
        catch (JsonException failure)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"{path} is damaged: {failure.Message}", failure);
        }
    }

    /// <summary>Connects, and listens to the device.</summary>
    /// <exception cref="EdgeHostException">As <see cref="ErrorKind.Unavailable"/> or <see cref="ErrorKind.Denied"/>.</exception>
    public async Task ConnectAsync(CancellationToken cancel)
    {
        _connection = await BrokerConnection.OpenAsync(
            _broker,
            $"edgehost-cli-{Guid.NewGuid():n}",
            null,
            (_, message) =>
            {
                _messages.Writer.TryWrite((message.Topic, message.Payload.ToArray()));
                return Task.CompletedTask;
            },
            spokeV5: false,
            cancel).ConfigureAwait(false);
        await _connection.SubscribeAsync([_topics.Reported, _topics.Progress], cancel).ConfigureAwait(false);
    }

    /// <summary>Waits for the device's reported state, which is retained: the way to the next version.</summary>
    public async Task<ReportedState> ReadReportedAsync(CancellationToken cancel)
    {
        while (true)
        {
            if (await NextAsync(cancel).ConfigureAwait(false) is DeployUpdate.Reported { State: var state })
            {
                return state;
            }
        }
    }

    /// <summary>Publishes a desired state, retained, and follows it to its end.</summary>
    /// <param name="document">The document.</param>
    /// <param name="onUpdate">Told of everything on the way, on the thread that reads.</param>
    /// <param name="cancel">Stops following; what was published stays.</param>
    /// <returns>The reported state in which the document runs.</returns>
    /// <exception cref="EdgeHostException">The device refused it or could not carry it out, with the device's reason; or the broker went away.</exception>
    public async Task<ReportedState> DeployAsync(ReadOnlyMemory<byte> document, Action<DeployUpdate>? onUpdate, CancellationToken cancel)
    {
        var connection = _connection ?? throw new InvalidOperationException("not connected");
        var digest = DesiredState.DigestOf(document.Span);
        await connection.PublishAsync(_topics.Desired, document, 1, retain: true, null, cancel).ConfigureAwait(false);

        // What the device said before may be its last word: the same document again changes nothing, and nothing is said.
        // A refusal is none: the document is judged anew, and the answer has a new time.
        var refused = _last?.Deployment.Failure is { Outcome: "refused" } before && before.Digest == digest ? before.Time : (DateTimeOffset?)null;
        if (refused is null && _last is { } known && Runs(known, digest))
        {
            return known;
        }

        while (true)
        {
            var update = await NextAsync(cancel).ConfigureAwait(false);
            onUpdate?.Invoke(update);
            if (update is DeployUpdate.Reported { State: var state } && (refused is null || state.Deployment.Failure?.Time != refused) && Runs(state, digest))
            {
                return state;
            }
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_connection is { } connection)
        {
            await connection.CloseAsync(CancellationToken.None).ConfigureAwait(false);
            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static bool Runs(ReportedState state, string digest)
    {
        if (state.Deployment.Failure is { } failure && failure.Digest == digest)
        {
            var later = failure.RetryAt is { } retry ? $"; the device tries again at {retry:O}" : string.Empty;
            throw new EdgeHostException(
                KindOf(failure.Kind), $"the device {(failure.Outcome == "refused" ? "refused it" : "could not carry it out")}: {failure.Reason}; version {state.Deployment.Version} runs{later}");
        }

        return state.Deployment.Digest == digest && state.Deployment.Phase == "running";
    }

    private async Task<DeployUpdate> NextAsync(CancellationToken cancel)
    {
        var connection = _connection ?? throw new InvalidOperationException("not connected");
        while (true)
        {
            var available = _messages.Reader.WaitToReadAsync(cancel).AsTask();
            if (await Task.WhenAny(available, connection.Ended).ConfigureAwait(false) == connection.Ended)
            {
                throw new EdgeHostException(ErrorKind.Unavailable, $"the connection to broker {_broker.Url} ended: {(await connection.Ended.ConfigureAwait(false)).Reason}");
            }

            await available.ConfigureAwait(false);
            if (_messages.Reader.TryRead(out var message) && message.Payload.Length > 0 && Parse(message.Topic, message.Payload) is { } update)
            {
                _last = (update as DeployUpdate.Reported)?.State ?? _last;
                return update;
            }
        }
    }

    private DeployUpdate? Parse(string topic, byte[] payload)
    {
        try
        {
            if (topic == _topics.Reported)
            {
                return JsonSerializer.Deserialize(payload, ReportedJson.Default.ReportedState) is { } state ? new DeployUpdate.Reported(state) : null;
            }

            return JsonSerializer.Deserialize(payload, MqttJson.Default.ProgressMessage) is { } pull
                ? new DeployUpdate.Pulling(pull.Workload, pull.Image, pull.Phase, pull.DoneBytes, pull.TotalBytes, pull.BytesPerSecond)
                : null;
        }
        catch (JsonException failure)
        {
            throw new EdgeHostException(ErrorKind.Corrupt, $"what the device says on {topic} cannot be read: {failure.Message}", failure);
        }
    }

    private static ErrorKind KindOf(string word) =>
        Enum.GetValues<ErrorKind>().FirstOrDefault(kind => StateReporter.WordFor(kind) == word, ErrorKind.Internal);
}
