using System.Text.Json;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary><c>GET /system/df</c>: what images, containers and volumes take of the disk. It reads the directories of all of them.</summary>
internal sealed class DiskUsageEndpoint(IContainerEngine engine, IImageStore images, ContainerListEndpoint containers)
{
    private static readonly string[] Types = ["container", "image", "volume", "build-cache"];

    internal void Map(ApiRouter router) => router.Map("GET", "/system/df", ReadAsync);

    /// <summary>The sizes of all layers in bytes, by the digest of each with all below it.</summary>
    internal static Dictionary<string, long> LayersOf(IReadOnlyList<Image> all)
    {
        var layers = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var image in all)
        {
            var chains = ImageStore.ChainIds(image.Config.RootFs.DiffIds);
            for (var i = 0; i < chains.Count && i < image.LayerBytes.Count; i++)
            {
                layers[chains[i]] = image.LayerBytes[i];
            }
        }

        return layers;
    }

    private async Task ReadAsync(ApiExchange exchange)
    {
        var asked = exchange.Query.All("type");
        foreach (var type in asked)
        {
            if (!Types.Contains(type))
            {
                throw new EdgeHostException(ErrorKind.Invalid, $"unknown object type: {type}; there are {string.Join(", ", Types)}");
            }
        }

        // Large trees take their time: not on a thread that others wait for.
        await exchange.BytesAsync(200, "application/json", await Task.Run(() => Write(asked, exchange.Aborted)));
    }

    private byte[] Write(IReadOnlyList<string> asked, CancellationToken cancel)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer))
        {
            json.WriteStartObject();
            if (Wants("image"))
            {
                WriteImages(json);
            }

            if (Wants("container"))
            {
                json.WritePropertyName("Containers");
                JsonSerializer.Serialize(json, engine.List().Select(each => containers.View(each, sized: true, cancel)).ToList(), DockerJson.Out.ListContainerListView);
            }

            if (Wants("volume"))
            {
                json.WritePropertyName("Volumes");
                JsonSerializer.Serialize(
                    json,
                    engine.Volumes.List().Select(each => VolumeEndpoints.View(each, new VolumeUsageView(ContainerListEndpoint.Measured(() => engine.Volumes.MeasureBytes(each.Name, cancel)), each.Containers.Count))).ToList(),
                    DockerJson.Out.ListVolumeView);
            }

            if (Wants("build-cache"))
            {
                json.WriteStartArray("BuildCache");
                json.WriteEndArray();
            }

            json.WriteNumber("BuilderSize", 0);
            json.WriteEndObject();
        }

        return buffer.ToArray();

        bool Wants(string type) => asked.Count == 0 || asked.Contains(type);
    }

    private void WriteImages(Utf8JsonWriter json)
    {
        var all = images.List();
        json.WriteNumber("LayersSize", LayersOf(all).Values.Sum());
        var users = new Dictionary<string, long>(StringComparer.Ordinal);
        foreach (var image in all)
        {
            foreach (var chain in ImageStore.ChainIds(image.Config.RootFs.DiffIds))
            {
                users[chain] = users.GetValueOrDefault(chain) + 1;
            }
        }

        var listed = new List<ImageListView>();
        foreach (var image in all)
        {
            var chains = ImageStore.ChainIds(image.Config.RootFs.DiffIds);
            long shared = 0;
            for (var i = 0; i < chains.Count && i < image.LayerBytes.Count; i++)
            {
                shared += users[chains[i]] > 1 ? image.LayerBytes[i] : 0;
            }

            var id = image.Id.ToString();
            listed.Add(ImageEndpoints.ListViewOf(image, engine.List().Count(each => each.ImageId == id), shared));
        }

        json.WritePropertyName("Images");
        JsonSerializer.Serialize(json, listed, DockerJson.Out.ListImageListView);
    }
}
