using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary><c>POST /containers/create</c>.</summary>
internal sealed class ContainerCreateEndpoint(IContainerEngine engine)
{
    internal void Map(ApiRouter router) => router.Map("POST", "/containers/create", CreateAsync);

    private async Task CreateAsync(ApiExchange exchange)
    {
        var body = await exchange.ReadJsonAsync(DockerJson.In.ContainerCreateBody);
        var (spec, warnings) = ContainerCreateTranslation.Translate(exchange.Query["name"], exchange.Query["platform"], body);
        var id = await engine.CreateAsync(spec, exchange.Aborted);
        await exchange.JsonAsync(201, new ContainerCreatedView(id, warnings), DockerJson.Out.ContainerCreatedView);
    }
}

/// <summary>The answer to create.</summary>
internal sealed record ContainerCreatedView(string Id, List<string> Warnings);
