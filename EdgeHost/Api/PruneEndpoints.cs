using System.Text.Json;
using EdgeHost.Deployments;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary>
/// <c>POST /containers/prune</c> and <c>POST /images/prune</c>. What a deployment has made stays, though it does not run:
/// it is the deployment's to remove, and would be made anew.
/// </summary>
internal sealed class PruneEndpoints(IContainerEngine engine, IImageStore images)
{
    internal void Map(ApiRouter router)
    {
        router.Map("POST", "/containers/prune", PruneContainersAsync);
        router.Map("POST", "/images/prune", PruneImagesAsync);
        router.Map("POST", "/build/prune", exchange => exchange.BytesAsync(200, "application/json", "{\"CachesDeleted\":null,\"SpaceReclaimed\":0}"u8.ToArray()));
    }

    /// <summary>The moment before which something must have been made; null without one.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Invalid"/>: none, or more than one.</exception>
    internal static DateTimeOffset? Until(DockerFilters filters) => filters.One("until") is not { } text ? null
        : DockerTime.Parse("until", text, DateTimeOffset.UtcNow) ?? throw new EdgeHostException(ErrorKind.Invalid, $"invalid filter 'until={text}': it is a time, or how long ago");

    private async Task PruneContainersAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "until", "label", "label!");
        var until = Until(filters);
        var removed = new List<string>();
        long bytes = 0;
        foreach (var container in engine.List())
        {
            if (container.State is not (ContainerState.Created or ContainerState.Exited or ContainerState.Dead)
                || container.Created > until
                || container.Spec.Labels.ContainsKey(PlannedWorkload.WorkloadLabel)
                || !filters.Labels(container.Effective.Labels)
                || !filters.NotLabels(container.Effective.Labels))
            {
                continue;
            }

            try
            {
                var size = await Task.Run(() => engine.MeasureBytes(container.Id, exchange.Aborted));
                await engine.RemoveAsync(container.Id, force: false, removeAnonymousVolumes: false, exchange.Aborted);
                removed.Add(container.Id);
                bytes += size;
            }
            catch (EdgeHostException e) when (e.Kind is ErrorKind.Conflict or ErrorKind.NotFound)
            {
                // Started, or removed, by somebody else meanwhile.
            }
        }

        await AnswerAsync(exchange, "ContainersDeleted", removed, json => removed.ForEach(json.WriteStringValue), bytes);
    }

    private async Task PruneImagesAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "dangling", "until", "label", "label!");
        var until = Until(filters);
        var dangling = filters.Switch("dangling") ?? true;
        var layers = DiskUsageEndpoint.LayersOf(images.List());
        var untagged = new List<string>();
        var deleted = new List<string>();
        foreach (var image in images.List())
        {
            var id = image.Id.ToString();
            if ((dangling && image.References.Count > 0)
                || image.Created > until
                || !filters.Labels(image.Config.Config.Labels)
                || !filters.NotLabels(image.Config.Config.Labels)
                || engine.List().Any(container => container.ImageId == id))
            {
                continue;
            }

            foreach (var name in image.References.Count > 0 ? image.References : [id])
            {
                try
                {
                    var removal = await images.RemoveAsync(name, force: false, exchange.Aborted);
                    untagged.AddRange(removal.Untagged);
                    deleted.AddRange(removal.Deleted);
                }
                catch (EdgeHostException e) when (e.Kind is ErrorKind.Conflict or ErrorKind.NotFound)
                {
                    // A container got it, or it was removed, meanwhile.
                }
            }
        }

        await AnswerAsync(
            exchange,
            "ImagesDeleted",
            [.. untagged, .. deleted],
            json =>
            {
                untagged.ForEach(name => Line(json, "Untagged", DockerReference.Short(name)));
                deleted.ForEach(name => Line(json, "Deleted", name));
            },
            deleted.Sum(name => layers.GetValueOrDefault(name)));
    }

    private static void Line(Utf8JsonWriter json, string what, string name)
    {
        json.WriteStartObject();
        json.WriteString(what, name);
        json.WriteEndObject();
    }

    private static Task AnswerAsync(ApiExchange exchange, string name, List<string> removed, Action<Utf8JsonWriter> write, long bytes)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (removed.Count == 0)
            {
                json.WriteNull(name);
            }
            else
            {
                json.WriteStartArray(name);
                write(json);
                json.WriteEndArray();
            }

            json.WriteNumber("SpaceReclaimed", bytes);
            json.WriteEndObject();
        }

        return exchange.BytesAsync(200, "application/json", buffer.ToArray());
    }
}
