using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Linux;

namespace EdgeHost.Api;

/// <summary>Start, stop, kill, restart, rename, remove, wait.</summary>
internal sealed class ContainerLifecycleEndpoints(IContainerEngine engine)
{
    internal void Map(ApiRouter router)
    {
        router.Map("POST", "/containers/*/start", StartAsync);
        router.Map("POST", "/containers/*/stop", StopAsync);
        router.Map("POST", "/containers/*/kill", KillAsync);
        router.Map("POST", "/containers/*/restart", RestartAsync);
        router.Map("POST", "/containers/*/pause", PauseAsync);
        router.Map("POST", "/containers/*/unpause", UnpauseAsync);
        router.Map("POST", "/containers/*/rename", RenameAsync);
        router.Map("POST", "/containers/*/wait", WaitAsync);
        router.Map("DELETE", "/containers/*", RemoveAsync);
    }

    private async Task StartAsync(ApiExchange exchange) =>
        await exchange.EmptyAsync(await engine.StartAsync(exchange.Values[0], exchange.Aborted) ? 204 : 304);

    // As in Docker: who asked may go; a stop that has begun is not left halfway, the container signalled and never killed.
    private async Task StopAsync(ApiExchange exchange) =>
        await exchange.EmptyAsync(await engine.StopAsync(exchange.Values[0], Signal(exchange), Grace(exchange), CancellationToken.None) ? 204 : 304);

    private async Task KillAsync(ApiExchange exchange)
    {
        await engine.KillAsync(exchange.Values[0], Signal(exchange) ?? Signals.SIGKILL, exchange.Aborted);
        await exchange.EmptyAsync(204);
    }

    private async Task RestartAsync(ApiExchange exchange)
    {
        // As for a stop: it would be left stopped.
        await engine.RestartAsync(exchange.Values[0], Signal(exchange), Grace(exchange), CancellationToken.None);
        await exchange.EmptyAsync(204);
    }

    private async Task PauseAsync(ApiExchange exchange)
    {
        await engine.PauseAsync(exchange.Values[0], exchange.Aborted);
        await exchange.EmptyAsync(204);
    }

    private async Task UnpauseAsync(ApiExchange exchange)
    {
        await engine.UnpauseAsync(exchange.Values[0], exchange.Aborted);
        await exchange.EmptyAsync(204);
    }

    private async Task RenameAsync(ApiExchange exchange)
    {
        var name = exchange.Query["name"] ?? throw new EdgeHostException(ErrorKind.Invalid, "no new name: the query needs name=");
        await engine.RenameAsync(exchange.Values[0], name.TrimStart('/'), exchange.Aborted);
        await exchange.EmptyAsync(204);
    }

    private async Task RemoveAsync(ApiExchange exchange)
    {
        if (exchange.Query.Flag("link"))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "link=1: links are not in this version");
        }

        await engine.RemoveAsync(exchange.Values[0], exchange.Query.Flag("force"), exchange.Query.Flag("v"), CancellationToken.None);
        await exchange.EmptyAsync(204);
    }

    private async Task WaitAsync(ApiExchange exchange)
    {
        var condition = exchange.Query["condition"] switch
        {
            null or "not-running" => WaitCondition.NotRunning,
            "next-exit" => WaitCondition.NextExit,
            "removed" => WaitCondition.Removed,
            var other => throw new EdgeHostException(ErrorKind.Invalid, $"condition={other} is not one of not-running, next-exit, removed"),
        };
        var id = engine.Inspect(exchange.Values[0]).Id;
        // The engine waits from here on; the headers then tell docker run that it may start the container.
        var end = engine.WaitAsync(id, condition, exchange.Aborted);
        var body = await exchange.StreamAsync(200, "application/json");
        ContainerExitView view;
        try
        {
            // An exit that nobody saw has no code: 255 is what Docker's clients take for a failure without a cause of its own.
            view = await end is { } code
                ? new ContainerExitView(code, null)
                : new ContainerExitView(255, new ContainerExitErrorView("nobody saw how it ended"));
        }
        catch (EdgeHostException e)
        {
            // The status has been sent, so the reason goes where Docker puts it.
            view = new ContainerExitView(125, new ContainerExitErrorView(e.Message));
        }

        await body.WriteAsync(System.Text.Json.JsonSerializer.SerializeToUtf8Bytes(view, DockerJson.Out.ContainerExitView), exchange.Aborted);
    }

    private static int? Signal(ApiExchange exchange) => exchange.Query["signal"] is { } signal ? Signals.Parse(signal) : null;

    private static TimeSpan? Grace(ApiExchange exchange) => exchange.Query.Number("t") switch
    {
        null => null,
        < 0 => TimeSpan.FromDays(1),
        > 86_400 => TimeSpan.FromDays(1),
        var seconds => TimeSpan.FromSeconds(seconds.Value),
    };
}

/// <summary>How a container ended.</summary>
internal sealed record ContainerExitView(int StatusCode, [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] ContainerExitErrorView? Error);

/// <summary>Why there is no better code.</summary>
internal sealed record ContainerExitErrorView(string Message);
