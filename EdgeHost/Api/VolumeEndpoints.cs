using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;

namespace EdgeHost.Api;

/// <summary><c>/volumes</c>.</summary>
internal sealed class VolumeEndpoints(IContainerEngine engine)
{
    // In Docker a label of its own marks a volume that nobody named.
    private const string AnonymousLabel = "com.docker.volume.anonymous";

    internal void Map(ApiRouter router)
    {
        router.Map("POST", "/volumes/create", CreateAsync);
        router.Map("GET", "/volumes", ListAsync);
        router.Map("POST", "/volumes/prune", PruneAsync);
        router.Map("GET", "/volumes/*", exchange => exchange.JsonAsync(200, View(engine.Volumes.Inspect(exchange.Values[0])), DockerJson.Out.VolumeView));
        router.Map("DELETE", "/volumes/*", RemoveAsync);
    }

    internal static VolumeView View(VolumeStatus volume, VolumeUsageView? usage = null)
    {
        var labels = new Dictionary<string, string>(volume.Labels);
        if (volume.Anonymous)
        {
            labels[AnonymousLabel] = string.Empty;
        }

        return new VolumeView(
            volume.Created.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", System.Globalization.CultureInfo.InvariantCulture),
            "local",
            labels,
            volume.Directory,
            volume.Name,
            null,
            "local",
            usage);
    }

    private async Task CreateAsync(ApiExchange exchange)
    {
        var body = await exchange.ReadJsonAsync(DockerJson.In.VolumeCreateBody);
        if (body.Driver is not (null or "" or "local"))
        {
            throw new EdgeHostException(ErrorKind.NotFound, $"create {body.Name}: volume driver \"{body.Driver}\" not found: local is the one that is here");
        }

        if (body.DriverOpts is { Count: > 0 } options)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"create {body.Name}: DriverOpts.{options.Keys.First()} is not in this version; mount the file system on the host and bind it");
        }

        if (body.ClusterVolumeSpec is { ValueKind: not JsonValueKind.Null })
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"create {body.Name}: cluster volumes are not in this version");
        }

        await exchange.JsonAsync(201, View(engine.Volumes.Create(body.Name, body.Labels ?? [])), DockerJson.Out.VolumeView);
    }

    private Task ListAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "dangling", "driver", "label", "name");
        var dangling = filters.Switch("dangling");
        filters.Check("name", v => new NamePattern(v) is not null);
        var found = engine.Volumes.List()
            .Where(volume => filters.Any("name", v => new NamePattern(v).IsIn(volume.Name))
                && filters.Any("driver", v => v == "local")
                && (dangling is null || dangling == (volume.Containers.Count == 0)))
            .Select(volume => View(volume))
            .Where(view => filters.Labels(view.Labels))
            .ToList();
        return exchange.JsonAsync(200, new VolumeListView(found, null), DockerJson.Out.VolumeListView);
    }

    private async Task RemoveAsync(ApiExchange exchange)
    {
        try
        {
            engine.Volumes.Remove(exchange.Values[0]);
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound && exchange.Query.Flag("force"))
        {
            // By force means: let it be gone.
        }

        await exchange.EmptyAsync(204);
    }

    private Task PruneAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "all", "label", "label!");

        // Before 1.42 a pruning took volumes with names as well.
        var all = filters.Switch("all") ?? ApiRouter.IsOlderThan(exchange, 42);
        var pruning = engine.Volumes.Prune(volume => Fits(volume, all, filters), exchange.Aborted);
        return exchange.JsonAsync(200, new VolumePruningView([.. pruning.Removed], pruning.Bytes), DockerJson.Out.VolumePruningView);
    }

    private static bool Fits(VolumeStatus volume, bool all, DockerFilters filters)
    {
        var labels = View(volume).Labels;
        return (all || volume.Anonymous) && filters.Labels(labels) && filters.NotLabels(labels);
    }
}

/// <summary>The body of <c>POST /volumes/create</c>.</summary>
internal sealed class VolumeCreateBody
{
    public string? Name { get; set; }

    public string? Driver { get; set; }

    public Dictionary<string, string>? DriverOpts { get; set; }

    public Dictionary<string, string>? Labels { get; set; }

    public JsonElement? ClusterVolumeSpec { get; set; }
}

/// <summary>A volume.</summary>
internal sealed record VolumeView(
    string CreatedAt,
    string Driver,
    Dictionary<string, string> Labels,
    string Mountpoint,
    string Name,
    Dictionary<string, string>? Options,
    string Scope,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] VolumeUsageView? UsageData);

/// <summary>What a volume takes and how many have it.</summary>
internal sealed record VolumeUsageView(long Size, int RefCount);

/// <summary>The answer to a list of volumes.</summary>
internal sealed record VolumeListView(List<VolumeView> Volumes, List<string>? Warnings);

/// <summary>What a pruning did.</summary>
internal sealed record VolumePruningView(List<string> VolumesDeleted, long SpaceReclaimed);
