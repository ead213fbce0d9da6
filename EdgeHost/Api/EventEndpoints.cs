using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary><c>GET /events</c>.</summary>
internal sealed class EventEndpoints(IContainerEngine engine, EventHistory history)
{
    internal void Map(ApiRouter router) => router.Map("GET", "/events", WatchAsync);

    private async Task WatchAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "type", "event", "container", "image", "label", "volume", "scope", "daemon", "network", "plugin", "service", "node", "secret", "config");
        var now = DateTimeOffset.UtcNow;
        var since = DockerTime.Parse("since", exchange.Query["since"], now);
        var until = DockerTime.Parse("until", exchange.Query["until"], now);

        // Until a moment that has passed: there is nothing to wait for.
        using var end = CancellationTokenSource.CreateLinkedTokenSource(exchange.Aborted);
        if (until > now)
        {
            end.CancelAfter(until.Value - now);
        }

        await using var events = engine.WatchAsync(end.Token).GetAsyncEnumerator(end.Token);
        // The engine has us from the first step on, so nothing falls between the history and what follows.
        var next = until <= now ? null : events.MoveNextAsync().AsTask();
        var body = await exchange.StreamAsync(200, "application/json");
        var last = since ?? now;
        foreach (var happened in since is null ? [] : history.Between(since.Value, until ?? DateTimeOffset.MaxValue))
        {
            last = happened.Time > last ? happened.Time : last;
            Write(body, happened, filters);
        }

        var shown = last;
        await body.FlushAsync(exchange.Aborted);
        try
        {
            while (next is not null && await next)
            {
                if (since is null || events.Current.Time > shown)
                {
                    Write(body, events.Current, filters);
                    await body.FlushAsync(exchange.Aborted);
                }

                next = events.MoveNextAsync().AsTask();
            }
        }
        catch (OperationCanceledException) when (!exchange.Aborted.IsCancellationRequested)
        {
            // The time that the client gave is over.
        }
    }

    private static void Write(System.IO.Pipelines.PipeWriter body, EngineEvent happened, DockerFilters filters)
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
        using (var writer = new Utf8JsonWriter(body))
        {
            JsonSerializer.Serialize(writer, view, DockerJson.Out.EventView);
        }

        System.Buffers.BuffersExtensions.Write(body, "\n"u8);
    }

    private static bool Fits(EngineEvent happened, DockerFilters filters)
    {
        var name = happened.Attributes.GetValueOrDefault("name");
        return filters.Any("type", v => v == happened.Type)
            && filters.Any("event", v => v == happened.Action)
            && filters.Any("container", v => happened.Type == "container" && (happened.Id.StartsWith(v, StringComparison.Ordinal) || name == v.TrimStart('/')))
            && filters.Any("image", v => happened.Type == "image"
                ? happened.Id == v || name == v
                : happened.Attributes.GetValueOrDefault("image") == v)
            && filters.Any("volume", v => happened.Type == "volume" && happened.Id == v)
            && filters.Any("scope", v => v == "local")
            && !filters.Has("network") && !filters.Has("plugin") && !filters.Has("service")
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
