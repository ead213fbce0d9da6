using System.IO.Pipelines;
using System.Text.Json.Serialization;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary><c>GET /events</c>.</summary>
internal sealed class EventEndpoints(IContainerEngine engine)
{
    // What a timer of .NET takes at most is 49 days; a client that waits longer asks again.
    private static readonly TimeSpan LongestTimer = TimeSpan.FromDays(49);
    private static readonly byte[] LineEnd = "\n"u8.ToArray();

    internal void Map(ApiRouter router) => router.Map("GET", "/events", WatchAsync);

    private async Task WatchAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "type", "event", "container", "image", "label", "volume", "scope", "daemon", "network", "plugin", "service", "node", "secret", "config");
        var now = DateTimeOffset.UtcNow;
        var since = DockerTime.Parse("since", exchange.Query["since"], now);
        var until = DockerTime.Parse("until", exchange.Query["until"], now);

        // The engine has us from the first step on, so nothing falls between what was and what follows. Until a moment
        // that has passed there is nothing to wait for.
        await using var events = until <= now ? null : new StepAhead<EngineEvent>(engine.WatchAsync, exchange.Aborted);
        var body = await exchange.StreamAsync(200, "application/json");
        var past = since is null ? [] : engine.PastEvents(since.Value, until ?? DateTimeOffset.MaxValue);
        foreach (var happened in past)
        {
            await WriteAsync(body, happened, filters, exchange.Aborted);
        }

        if (events is not null)
        {
            await FollowAsync(exchange, events, body, filters, past, until - now);
        }
    }

    private static async Task FollowAsync(
        ApiExchange exchange, StepAhead<EngineEvent> events, PipeWriter body, DockerFilters filters, IReadOnlyList<EngineEvent> shown, TimeSpan? patience)
    {
        using var limit = new CancellationTokenSource(patience is not { } time ? Timeout.InfiniteTimeSpan : time < LongestTimer ? time : LongestTimer);
        await using var over = limit.Token.Register(events.End);
        try
        {
            while (await events.Next)
            {
                var happened = events.Take();
                if (!shown.Contains(happened))
                {
                    await WriteAsync(body, happened, filters, exchange.Aborted);
                }
            }
        }
        catch (OperationCanceledException) when (!exchange.Aborted.IsCancellationRequested)
        {
            // The time that the client gave is over.
        }
    }

    private static async Task WriteAsync(PipeWriter body, EngineEvent happened, DockerFilters filters, CancellationToken cancel)
    {
        if (!Fits(happened, filters))
        {
            return;
        }

        var nanoseconds = DockerTime.Nanoseconds(happened.Time);
        var view = new EventView(
            happened.Action,
            happened.Id,
            happened.Attributes.GetValueOrDefault("image"),
            happened.Type,
            happened.Action,
            new ActorView(happened.Id, new Dictionary<string, string>(happened.Attributes)),
            "local",
            nanoseconds / 1_000_000_000,
            nanoseconds);
        await DockerJson.WriteLineAsync(body, view, DockerJson.Out.EventView, LineEnd, cancel);
    }

    private static bool Fits(EngineEvent happened, DockerFilters filters)
    {
        var name = happened.Attributes.GetValueOrDefault("name");
        return filters.Any("type", v => v == happened.Type)
            && filters.Any("event", v => v == happened.Action || happened.Action.StartsWith(v + ":", StringComparison.Ordinal))
            // As in Docker: the beginning of an id or of a name.
            && filters.Any("container", v => happened.Type == "container"
                && (happened.Id.StartsWith(v, StringComparison.Ordinal) || name?.StartsWith(v.TrimStart('/'), StringComparison.Ordinal) == true))
            && filters.Any("image", v => happened.Type == "image"
                ? happened.Id == v || name == v || (name is not null && DockerReference.Untagged(name) == v)
                : happened.Attributes.GetValueOrDefault("image") is { } image && (image == v || DockerReference.Untagged(image) == v))
            && filters.Any("volume", v => happened.Type == "volume" && happened.Id == v)
            && filters.Any("scope", v => v == "local")
            && filters.Any("network", v => happened.Type == "network" && (happened.Id.StartsWith(v, StringComparison.Ordinal) || name?.StartsWith(v, StringComparison.Ordinal) == true))
            && !filters.Has("daemon") && !filters.Has("plugin") && !filters.Has("service")
            && !filters.Has("node") && !filters.Has("secret") && !filters.Has("config")
            && filters.Labels(happened.Attributes);
    }
}

/// <summary>An event.</summary>
internal sealed record EventView(
    [property: JsonPropertyName("status")] string Status,
    [property: JsonPropertyName("id")] string Id,
    [property: JsonPropertyName("from"), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? From,
    string Type,
    string Action,
    ActorView Actor,
    [property: JsonPropertyName("scope")] string Scope,
    [property: JsonPropertyName("time")] long Time,
    [property: JsonPropertyName("timeNano")] long TimeNano);

/// <summary>What it happened to.</summary>
internal sealed record ActorView(string ID, Dictionary<string, string> Attributes);
