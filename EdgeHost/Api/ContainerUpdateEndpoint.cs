using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary><c>POST /containers/{id}/update</c>.</summary>
internal sealed class ContainerUpdateEndpoint(IContainerEngine engine)
{
    internal void Map(ApiRouter router) => router.Map("POST", "/containers/*/update", UpdateAsync);

    private async Task UpdateAsync(ApiExchange exchange)
    {
        var (limits, restart, warnings) = ContainerCreateTranslation.TranslateUpdate(await exchange.ReadJsonAsync(DockerJson.In.HostConfigBody));
        await engine.UpdateAsync(exchange.Values[0], limits, restart, exchange.Aborted);
        await exchange.JsonAsync(200, new ContainerUpdatedView(warnings), DockerJson.Out.ContainerUpdatedView);
    }
}

/// <summary>The answer to an update.</summary>
internal sealed record ContainerUpdatedView(List<string> Warnings);
