using System.Text.Json.Serialization;
using System.Threading.Channels;
using EdgeHost.Errors;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary><c>POST /images/create</c> (pull) and <c>POST /images/load</c>, with Docker's stream of progress; <c>GET /images/get</c> (save).</summary>
internal sealed class ImageTransferEndpoints(IImageStore images)
{
    // Reports that a slow client has not read yet; the oldest gives way, since the next one says more.
    private const int PendingReports = 64;

    private static readonly byte[] LineEnd = "\r\n"u8.ToArray();

    internal void Map(ApiRouter router)
    {
        router.Map("POST", "/images/create", PullAsync);
        router.Map("POST", "/images/load", LoadAsync);
        router.Map("GET", "/images/get", exchange => SaveAsync(exchange, exchange.Query.All("names")));
        router.Map("GET", "/images/**/get", exchange => SaveAsync(exchange, exchange.Values));
    }

    private async Task PullAsync(ApiExchange exchange)
    {
        if (exchange.Query["fromSrc"] is not null)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, "fromSrc: importing a file system is not in this version; use image load");
        }

        ContainerCreateTranslation.RefuseOtherPlatform(exchange.Query["platform"]);
        var name = exchange.Query["fromImage"] ?? throw new EdgeHostException(ErrorKind.Invalid, "no image: the query needs fromImage=");
        var reference = exchange.Query["tag"] switch
        {
            null => name,
            var tag when tag.Contains(':', StringComparison.Ordinal) => $"{name}@{tag}",
            var tag => $"{name}:{tag}",
        };
        var credentials = RegistryAuthHeader.Parse(exchange.RequestHeader(RegistryAuthHeader.Name));
        var reports = Channel.CreateBounded<PullProgress>(new BoundedChannelOptions(PendingReports)
        {
            FullMode = BoundedChannelFullMode.DropOldest,
            SingleReader = true,
        });
        var pull = FinishAsync();
        var shown = new Dictionary<string, string>(StringComparer.Ordinal);
        // Headers wait for the first report of a layer, so that a reference that cannot be parsed or found is a status of
        // its own: docker-py passes over an error in the stream.
        if (!await reports.Reader.WaitToReadAsync(exchange.Aborted))
        {
            await pull;
        }

        var body = await exchange.StreamAsync(200, "application/json");
        await WriteAsync(body, new ProgressView { Status = $"Pulling from {DockerReference.Short(name)}", Id = exchange.Query["tag"] }, exchange.Aborted);
        await foreach (var report in reports.Reader.ReadAllAsync(exchange.Aborted))
        {
            if (View(report, shown) is { } view)
            {
                await WriteAsync(body, view, exchange.Aborted);
            }
        }

        try
        {
            var image = await pull;
            foreach (var layer in shown.Keys)
            {
                await WriteAsync(body, new ProgressView { Status = "Pull complete", Id = layer, ProgressDetail = new() }, exchange.Aborted);
            }

            await WriteAsync(body, new ProgressView { Status = $"Digest: {image.ManifestDigest}" }, exchange.Aborted);
            await WriteAsync(body, new ProgressView { Status = $"Status: {(shown.Count > 0 ? "Downloaded newer image" : "Image is up to date")} for {reference}" }, exchange.Aborted);
        }
        catch (EdgeHostException e)
        {
            await WriteAsync(body, ProgressView.Failure(e), exchange.Aborted);
        }

        async Task<Image> FinishAsync()
        {
            try
            {
                return await images.PullAsync(reference, credentials, new Reporter(reports.Writer), exchange.Aborted);
            }
            finally
            {
                reports.Writer.TryComplete();
            }
        }
    }

    private async Task LoadAsync(ApiExchange exchange)
    {
        var loaded = await images.LoadAsync(exchange.BlockingRequestBody, exchange.Aborted);
        var body = await exchange.StreamAsync(200, "application/json");
        foreach (var image in loaded)
        {
            var names = image.References.Select(DockerReference.Short).ToList();
            var lines = names.Count > 0 ? names.Select(n => $"Loaded image: {n}\n") : [$"Loaded image ID: {image.Id}\n"];
            foreach (var line in lines)
            {
                await WriteAsync(body, new ProgressView { Stream = line }, exchange.Aborted);
            }
        }
    }

    private async Task SaveAsync(ApiExchange exchange, IReadOnlyList<string> names)
    {
        if (names.Count == 0)
        {
            throw new EdgeHostException(ErrorKind.Invalid, "no images: the query needs names=");
        }

        using var archive = images.OpenArchive(names);
        await exchange.WrittenAsync("application/x-tar", archive.WriteTo);
    }

    private static ProgressView? View(PullProgress report, Dictionary<string, string> shown)
    {
        if (report.Layer is not { } layer)
        {
            return null;
        }

        var colon = layer.IndexOf(':', StringComparison.Ordinal);
        var id = layer.AsSpan(colon + 1, Math.Min(12, layer.Length - colon - 1)).ToString();
        var status = report.Phase switch
        {
            "downloading" => "Downloading",
            "extracting" => "Extracting",
            "done" => "Pull complete",
            _ => "Waiting",
        };
        shown[id] = status;
        return new ProgressView
        {
            Status = status,
            Id = id,
            ProgressDetail = report.Phase == "done" ? new() : new() { ["current"] = report.DoneBytes, ["total"] = report.TotalBytes },
        };
    }

    private static Task WriteAsync(System.IO.Pipelines.PipeWriter body, ProgressView view, CancellationToken cancel) =>
        DockerJson.WriteLineAsync(body, view, DockerJson.Out.ProgressView, LineEnd, cancel);

    private sealed class Reporter(ChannelWriter<PullProgress> reports) : IProgress<PullProgress>
    {
        public void Report(PullProgress value)
        {
            if (value.Phase != "resolving")
            {
                reports.TryWrite(value);
            }
        }
    }
}

/// <summary>A line of Docker's stream of progress.</summary>
internal sealed class ProgressView
{
    [JsonPropertyName("stream")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Stream { get; init; }

    [JsonPropertyName("status")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Status { get; init; }

    [JsonPropertyName("progressDetail")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, long>? ProgressDetail { get; init; }

    [JsonPropertyName("id")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Id { get; init; }

    [JsonPropertyName("errorDetail")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Dictionary<string, string>? ErrorDetail { get; init; }

    [JsonPropertyName("error")]
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Error { get; init; }

    internal static ProgressView Failure(EdgeHostException e) => new()
    {
        Error = e.Message,
        ErrorDetail = new() { ["message"] = e.Message },
    };
}
