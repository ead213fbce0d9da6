using System.Text.Json;
using EdgeHost.Engine;

namespace EdgeHost.Api;

/// <summary><c>GET /containers/{id}/changes</c>.</summary>
internal sealed class ContainerChangesEndpoint(IContainerEngine engine)
{
    internal void Map(ApiRouter router) => router.Map("GET", "/containers/*/changes", ReadAsync);

    private async Task ReadAsync(ApiExchange exchange)
    {
        var changes = await Task.Run(() => engine.Archives.Changes(exchange.Values[0], exchange.Aborted));
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartArray();
            foreach (var change in changes)
            {
                json.WriteStartObject();
                json.WriteString("Path", change.Path);
                json.WriteNumber("Kind", (int)change.Kind);
                json.WriteEndObject();
            }

            json.WriteEndArray();
        }

        await exchange.BytesAsync(200, "application/json", buffer.ToArray());
    }
}
