using System.Buffers;
using System.Diagnostics;
using System.Text.Json;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;
using Microsoft.Extensions.Logging;
using MQTTnet;
using MQTTnet.Protocol;

namespace EdgeHost.Mqtt;

/// <summary>
/// The device on its broker: takes desired states and commands, says what it is, what it runs and what happens.
/// It connects again for ever; nothing in it depends on the broker remembering anything.
/// </summary>
public sealed partial class MqttAgent : IAsyncDisposable
{
    private static readonly TimeSpan WillDelay = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan StableAfter = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan FarewellWithin = TimeSpan.FromSeconds(5);

    // Longer than the delay of the will: where the session ends, the broker sends the will at once (MQTT 5, 3.1.3.2.2).
    private static readonly TimeSpan SessionExpiry = TimeSpan.FromMinutes(5);

    private readonly AgentOptions _options;
    private readonly Reconciler _reconciler;
    private readonly StateReporter _reporter;
    private readonly IContainerEngine _engine;
    private readonly ILogger<MqttAgent> _log;
    private readonly TimeProvider _time;
    private readonly Topics _topics;
    private readonly EventQueue _events;
    private readonly SemaphoreSlim _changed = new(0, 1);
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _tasks = [];
    private MqttOptions _broker;
    private TaskCompletionSource _otherBroker = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private BrokerConnection? _connection;
    private long _sequence;

    /// <summary>Makes the agent; nothing happens before <see cref="StartAsync"/>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the broker's address is none.</exception>
    public MqttAgent(
        MqttOptions broker,
        AgentOptions options,
        Reconciler reconciler,
        StateReporter reporter,
        IContainerEngine engine,
        ILogger<MqttAgent> log,
        TimeProvider? time = null)
    {
        _ = broker.Endpoint();
        _broker = broker;
        _options = options;
        _reconciler = reconciler;
        _reporter = reporter;
        _engine = engine;
        _log = log;
        _time = time ?? TimeProvider.System;
        _topics = new Topics(options.Device);
        _events = new EventQueue(options.EventQueueLength);
        _commands = new CommandExecutor(engine, reporter, _time);
        _changes = NewQueue();
        _reads = NewQueue();
    }

    /// <summary>Whether the broker can be reached at this moment.</summary>
    public bool IsConnected => Volatile.Read(ref _connection) is not null;

    /// <summary>The client id of a device.</summary>
    public static string ClientIdOf(string device) => "edgehost-" + device;

    /// <summary>Begins to connect, and goes on until <see cref="StopAsync"/>; a broker that is away is no error.</summary>
    public Task StartAsync(CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        _reconciler.Changed += SignalChange;
        _reconciler.Progressed += OnProgress;
        _tasks.Add(Task.Run(() => ConnectForeverAsync(_stop.Token), cancel));
        _tasks.Add(Task.Run(() => WatchEngineAsync(_stop.Token), cancel));
        _tasks.Add(Task.Run(() => ExecuteAsync(_changes, _stop.Token), cancel));
        _tasks.Add(Task.Run(() => ExecuteAsync(_reads, _stop.Token), cancel));
        return Task.CompletedTask;
    }

    /// <summary>Goes over to another broker, or to the same one with other credentials: takes leave of the one and connects to the other.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: the broker's address is none; nothing has changed.</exception>
    public void Use(MqttOptions broker)
    {
        _ = broker.Endpoint();
        Volatile.Write(ref _broker, broker);
        Volatile.Read(ref _otherBroker).TrySetResult();
    }

    /// <summary>Says <c>offline</c> where the broker can be reached, and ends.</summary>
    public async Task StopAsync(CancellationToken cancel)
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        _reconciler.Changed -= SignalChange;
        _reconciler.Progressed -= OnProgress;
        if (Volatile.Read(ref _connection) is { } connection)
        {
            await SayFarewellAsync(connection, cancel).ConfigureAwait(false);
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_tasks).WaitAsync(cancel).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(CancellationToken.None).ConfigureAwait(false);
        _stop.Dispose();
        _changed.Dispose();
    }

    private async Task ConnectForeverAsync(CancellationToken stop)
    {
        var delay = TimeSpan.Zero;
        var lastFailure = string.Empty;
        MqttOptions? last = null;
        var spokeV5 = false;
        while (!stop.IsCancellationRequested)
        {
            // First the signal, then what it is about: a change in between is seen.
            var changed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            Volatile.Write(ref _otherBroker, changed);
            var broker = Volatile.Read(ref _broker);
            if (!ReferenceEquals(broker, last))
            {
                (last, delay, lastFailure, spokeV5) = (broker, broker.ReconnectDelay, string.Empty, false);
            }

            var begun = Stopwatch.GetTimestamp();
            var isTakenOver = false;
            try
            {
                await using var connection = await BrokerConnection.OpenAsync(
                    broker, ClientIdOf(_options.Device), Configure, OnMessageAsync, spokeV5, stop).ConfigureAwait(false);
                LogConnected(_log, broker.Url, connection.IsV5 ? "5" : "3.1.1");
                (spokeV5, begun) = (connection.IsV5, Stopwatch.GetTimestamp());
                var end = await ServeAsync(connection, changed.Task, stop).ConfigureAwait(false);
                (isTakenOver, lastFailure) = (end.IsTakenOver, string.Empty);
                LogDisconnected(_log, broker.Url, end.Reason);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception failure)
            {
                // Once for each reason: a broker that is away for a week is one line.
                if (failure.Message != lastFailure)
                {
                    lastFailure = failure.Message;
                    LogFailure(failure);
                }
            }

            // Whoever connects under our id is thrown out by our return, and we by its: each connection then lasts as long
            // as the other one waits, so what is stable is more than that, and the delay goes on growing.
            var isStable = Stopwatch.GetElapsedTime(begun) > (delay * 2 > StableAfter ? delay * 2 : StableAfter);
            delay = isTakenOver ? broker.MaximumReconnectDelay : isStable ? broker.ReconnectDelay : delay;

            // Jitter: a fleet that lost its broker must not come back as one wave.
            var pause = Task.Delay(delay * (0.5 + Random.Shared.NextDouble()), stop);
            delay = TimeSpan.FromTicks(Math.Min(delay.Ticks * 2, broker.MaximumReconnectDelay.Ticks));
            await Task.WhenAny(pause, changed.Task).ConfigureAwait(false);
        }
    }

    private void LogFailure(Exception failure)
    {
        if (failure is EdgeHostException)
        {
            LogConnectFailed(_log, failure.Message);
        }
        else
        {
            // Nobody would see this loop end, and a device that nobody can reach is the worst of all outcomes.
            LogDefect(_log, failure, "the connection");
        }
    }

    private void Configure(MqttClientOptionsBuilder builder, bool isV5)
    {
        builder
            .WithWillTopic(_topics.Status)
            .WithWillPayload(Status("offline", isWill: true))
            .WithWillQualityOfServiceLevel(MqttQualityOfServiceLevel.AtLeastOnce)
            .WithWillRetain();
        if (isV5)
        {
            builder
                .WithWillContentType("application/json")
                .WithWillDelayInterval((uint)WillDelay.TotalSeconds)
                .WithCleanStart(false)
                .WithSessionExpiryInterval((uint)SessionExpiry.TotalSeconds);
        }
    }

    /// <summary>Works on a connection until it ends, or until another broker is to be used.</summary>
    /// <returns>Why it ended.</returns>
    private async Task<ConnectionEnd> ServeAsync(BrokerConnection connection, Task otherBroker, CancellationToken stop)
    {
        using var session = CancellationTokenSource.CreateLinkedTokenSource(stop);
        await connection.PublishAsync(_topics.Status, Status("online", isWill: false), 1, retain: true, null, stop).ConfigureAwait(false);
        await connection.SubscribeAsync([_topics.Desired, _topics.Commands + "+"], stop).ConfigureAwait(false);
        Volatile.Write(ref _connection, connection);
        var report = ReportAsync(connection, session.Token);
        var events = SendEventsAsync(connection, session.Token);
        try
        {
            var first = await Task.WhenAny(connection.Ended, report, events, otherBroker).WaitAsync(stop).ConfigureAwait(false);
            if (first == otherBroker)
            {
                await SayFarewellAsync(connection, stop).ConfigureAwait(false);
                return new ConnectionEnd("the configuration names another broker or other credentials");
            }

            return connection.Farewell
                ?? (first == connection.Ended ? await connection.Ended.ConfigureAwait(false) : new ConnectionEnd(first.Exception?.InnerException?.Message ?? "it was given up"));
        }
        finally
        {
            Volatile.Write(ref _connection, null);
            await session.CancelAsync().ConfigureAwait(false);

            // Both end by the broken connection or by this token; the first one's reason was returned.
            await Task.WhenAll(report, events).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task SayFarewellAsync(BrokerConnection connection, CancellationToken cancel)
    {
        try
        {
            using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancel);
            timeout.CancelAfter(FarewellWithin);
            await connection.PublishAsync(_topics.Status, Status("offline", isWill: false), 1, retain: true, null, timeout.Token).ConfigureAwait(false);
            await connection.CloseAsync(timeout.Token).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is EdgeHostException or OperationCanceledException)
        {
            LogNoFarewell(_log, failure.Message);
        }
    }

    private async Task ReportAsync(BrokerConnection connection, CancellationToken cancel)
    {
        byte[] last = [];
        byte[] lastWithUse = [];
        var lastUse = 0L;
        var lastReport = 0L;
        while (true)
        {
            var state = JsonSerializer.SerializeToUtf8Bytes(_reporter.Read(default, withUse: false), ReportedJson.Default.ReportedState);
            var isUseDue = last.Length > 0 && Stopwatch.GetElapsedTime(lastUse) >= _options.UseInterval;
            if (isUseDue || !state.AsSpan().SequenceEqual(last))
            {
                var full = _reporter.Read(default, withUse: true);

                // Temperature and pressure change all the time: they go along with what else does, and alone now and then.
                var fullBytes = JsonSerializer.SerializeToUtf8Bytes(full with { Board = full.Board with { Health = null } }, ReportedJson.Default.ReportedState);
                if (!fullBytes.AsSpan().SequenceEqual(lastWithUse) || Stopwatch.GetElapsedTime(lastReport) >= _options.HealthInterval)
                {
                    await PublishReportAsync(connection, full, cancel).ConfigureAwait(false);
                    lastReport = Stopwatch.GetTimestamp();
                }

                last = state;
                lastWithUse = fullBytes;
                lastUse = Stopwatch.GetTimestamp();
                await Task.Delay(_options.ReportInterval, cancel).ConfigureAwait(false);
            }

            _ = await _changed.WaitAsync(_options.UseInterval, cancel).ConfigureAwait(false);
        }
    }

    private async Task PublishReportAsync(BrokerConnection connection, ReportedState state, CancellationToken cancel)
    {
        try
        {
            var bytes = JsonSerializer.SerializeToUtf8Bytes(state with { Time = _time.GetUtcNow() }, ReportedJson.Default.ReportedState);
            await connection.PublishAsync(_topics.Reported, bytes, 1, retain: true, null, cancel).ConfigureAwait(false);
        }
        catch (PacketTooLargeException tooLarge)
        {
            // The broker would hang up, for ever; without this one everything else still works.
            LogTooLarge(_log, tooLarge.Message);
        }
    }

    private async Task SendEventsAsync(BrokerConnection connection, CancellationToken cancel)
    {
        while (true)
        {
            var happened = await _events.PeekAsync(cancel).ConfigureAwait(false);
            try
            {
                await connection.PublishAsync(
                    _topics.Events, JsonSerializer.SerializeToUtf8Bytes(happened, MqttJson.Default.EventMessage), 1, retain: false, null, cancel).ConfigureAwait(false);
                _events.Acknowledge(happened);
            }
            catch (PacketTooLargeException tooLarge)
            {
                LogTooLarge(_log, tooLarge.Message);
                _events.Acknowledge(happened);
                _events.AddDropped(1 + (happened.Dropped ?? 0));
            }
        }
    }

    private async Task WatchEngineAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                await foreach (var happened in _engine.WatchAsync(stop).ConfigureAwait(false))
                {
                    if (happened.Type is "container" or "image" or "volume" or "board")
                    {
                        _events.Add(ToMessage(happened));
                    }

                    SignalChange();
                }
            }
            catch (EdgeHostException failure) when (failure.Kind == ErrorKind.Unavailable)
            {
                // How many is not known: at least the one that did not fit.
                LogEventsLost(_log, failure.Message);
                _events.AddDropped(1);
                SignalChange();
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception defect)
            {
                LogDefect(_log, defect, "the engine's events");
                _events.AddDropped(1);
                await Task.Delay(_options.ReportInterval, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private EventMessage ToMessage(EngineEvent happened)
    {
        var sequence = Interlocked.Increment(ref _sequence);
        return new EventMessage
        {
            Id = $"{_options.BootId}-{Environment.ProcessId}-{sequence}",
            BootId = _options.BootId,
            Sequence = sequence,
            Time = happened.Time,
            Type = happened.Type,
            Action = happened.Action,
            ObjectId = happened.Id,
            Workload = happened.Attributes.GetValueOrDefault(PlannedWorkload.WorkloadLabel),
            Attributes = new SortedDictionary<string, string>(
                happened.Attributes.Where(static attribute => !attribute.Key.StartsWith("io.edgehost.", StringComparison.Ordinal)).ToDictionary(), StringComparer.Ordinal),
        };
    }

    private async Task OnMessageAsync(BrokerConnection connection, MqttApplicationMessage message)
    {
        try
        {
            if (message.Topic == _topics.Desired)
            {
                await _reconciler.OfferAsync(message.Payload.ToArray(), _stop.Token).ConfigureAwait(false);
            }
            else if (message.Topic.StartsWith(_topics.Commands, StringComparison.Ordinal))
            {
                await TakeCommandAsync(connection, message).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Not acknowledged, so that the broker gives it again to the next start.
            throw;
        }
        catch (Exception defect)
        {
            LogDefect(_log, defect, message.Topic);
            throw;
        }
    }

    private void OnProgress(DeploymentProgress progress)
    {
        if (Volatile.Read(ref _connection) is not { } connection)
        {
            return;
        }

        var (rate, eta) = _rate.Measure(progress, Stopwatch.GetTimestamp());
        var message = new ProgressMessage(
            progress.Version, progress.Workload, progress.Image, progress.Phase, progress.Layer, progress.DoneBytes, progress.TotalBytes, rate, eta);

        // Of quality 0, and of no worth once it is late: nobody waits for it.
        _ = SendProgressAsync(connection, JsonSerializer.SerializeToUtf8Bytes(message, MqttJson.Default.ProgressMessage));
    }

    private async Task SendProgressAsync(BrokerConnection connection, byte[] payload)
    {
        try
        {
            await connection.PublishAsync(_topics.Progress, payload, 0, retain: false, null, _stop.Token).ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is EdgeHostException or OperationCanceledException)
        {
            LogSendFailed(_log, failure.Message);
        }
    }

    private byte[] Status(string state, bool isWill) => JsonSerializer.SerializeToUtf8Bytes(
        new StatusMessage
        {
            State = state,
            BootId = _options.BootId,
            Version = _options.Version,
            Time = isWill ? null : _time.GetUtcNow(),
            TimeQuality = isWill ? null : SystemClock.IsSynchronized ? "synchronized" : "unsynchronized",
            Features = state == "online" ? Features : null,
        },
        MqttJson.Default.StatusMessage);

    private void SignalChange()
    {
        lock (_changed)
        {
            if (_changed.CurrentCount == 0)
            {
                _changed.Release();
            }
        }
    }
}
