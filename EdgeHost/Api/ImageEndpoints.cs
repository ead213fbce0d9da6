using System.Globalization;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;
using EdgeHost.Oci;

namespace EdgeHost.Api;

/// <summary>List, inspect, history and removal of images.</summary>
internal sealed class ImageEndpoints(IImageStore images, IContainerEngine engine)
{
    internal void Map(ApiRouter router)
    {
        router.Map("GET", "/images/json", ListAsync);
        router.Map("GET", "/images/**/json", InspectAsync);
        router.Map("GET", "/images/**/history", HistoryAsync);
        router.Map("POST", "/images/**/tag", TagAsync);
        router.Map("DELETE", "/images/**", RemoveAsync);
    }

    private Task ListAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "reference", "dangling", "label", "before", "since", "until");
        var dangling = filters.Switch("dangling");
        var now = DateTimeOffset.UtcNow;
        filters.Check("before", v => Found(v) is not null);
        filters.Check("since", v => Found(v) is not null);
        filters.Check("until", v => DockerTime.Parse("until", v, now) is not null);
        var inUse = engine.List().GroupBy(c => c.ImageId, StringComparer.Ordinal).ToDictionary(g => g.Key, g => (long)g.Count(), StringComparer.Ordinal);
        var result = new List<ImageListView>();
        foreach (var image in images.List())
        {
            var names = image.References.Select(DockerReference.Short).ToList();
            if ((dangling is null || dangling == (names.Count == 0))
                && filters.Any("before", v => image.Created < Found(v).Created)
                && filters.Any("since", v => image.Created > Found(v).Created)
                && filters.Any("until", v => image.Created < DockerTime.Parse("until", v, now))
                && filters.Labels(image.Config.Config.Labels)
                && (!filters.Has("reference") || image.References.Any(Named)))
            {
                var view = ListViewOf(image, inUse.GetValueOrDefault(image.Id.ToString()), -1);
                if (filters.Has("reference"))
                {
                    // Of its names those alone that were asked for: what is listed is often removed next.
                    view.RepoTags.RemoveAll(name => !Named(name));
                    view.RepoDigests.RemoveAll(digest => !view.RepoTags.Exists(name => digest.StartsWith(DockerReference.Untagged(name) + "@", StringComparison.Ordinal)));
                }

                result.Add(view);
            }
        }

        return exchange.JsonAsync(200, result, DockerJson.Out.ListImageListView);

        bool Named(string name) => filters.Any("reference", v => DockerReference.Fits(DockerReference.Short(name), v) || DockerReference.Fits(name, v));
    }

    /// <summary>A line of the list.</summary>
    internal static ImageListView ListViewOf(Image image, long containers, long sharedBytes) => new(
        image.Id.ToString(),
        string.Empty,
        image.References.Select(DockerReference.Short).ToList(),
        image.RepositoryDigests.Select(DockerReference.Short).ToList(),
        image.Created.ToUnixTimeSeconds(),
        image.SizeBytes,
        sharedBytes,
        Labels(image),
        containers);

    private Task InspectAsync(ApiExchange exchange)
    {
        var image = Found(exchange.Values[0]);
        return exchange.JsonAsync(200, View(image, ApiRouter.IsOlderThan(exchange, 44)), DockerJson.Out.ImageView);
    }

    private async Task RemoveAsync(ApiExchange exchange)
    {
        var removed = await images.RemoveAsync(exchange.Values[0], exchange.Query.Flag("force"), exchange.Aborted);
        var lines = new List<Dictionary<string, string>>();
        lines.AddRange(removed.Untagged.Select(name => new Dictionary<string, string> { ["Untagged"] = DockerReference.Short(name) }));
        lines.AddRange(removed.Deleted.Select(digest => new Dictionary<string, string> { ["Deleted"] = digest }));
        await exchange.JsonAsync(200, lines, DockerJson.Out.ListDictionaryStringString);
    }

    private Image Found(string name) => images.Find(name) ?? throw new EdgeHostException(ErrorKind.NotFound, $"No such image: {name}");

    private Task TagAsync(ApiExchange exchange)
    {
        var repository = exchange.Query["repo"] ?? throw new EdgeHostException(ErrorKind.Invalid, "no name: the query needs repo=");
        if (repository is "sha256" or "sha512")
        {
            // Everybody would read it as a digest.
            throw new EdgeHostException(ErrorKind.Invalid, $"refusing to create an ambiguous tag using digest algorithm as name: {repository}");
        }

        images.Tag(exchange.Values[0], exchange.Query["tag"] is { } tag ? $"{repository}:{tag}" : repository);
        return exchange.EmptyAsync(201);
    }

    private Task HistoryAsync(ApiExchange exchange)
    {
        var image = Found(exchange.Values[0]);
        var sizes = new Queue<long>(image.LayerBytes);
        var stepBytes = image.Config.History.Select(step => !step.EmptyLayer && sizes.TryDequeue(out var bytes) ? bytes : 0).Reverse().ToList();
        var steps = image.Config.History.Reverse().Select((step, index) => new ImageHistoryView(
            index == 0 ? image.Id.ToString() : "<missing>",
            DateTimeOffset.TryParse(step.Created, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var time) ? time.ToUnixTimeSeconds() : 0,
            step.CreatedBy ?? string.Empty,
            index == 0 ? image.References.Select(DockerReference.Short).ToList() : [],
            stepBytes[index],
            step.Comment ?? string.Empty)).ToList();
        return exchange.JsonAsync(200, steps, DockerJson.Out.ListImageHistoryView);
    }

    private static Dictionary<string, string> Labels(Image image) => new(image.Config.Config.Labels);

    private static List<string>? NullIfEmpty(IReadOnlyList<string> list) => list.Count > 0 ? list.ToList() : null;

    private static ImageConfigView ConfigView(Image image) => new()
    {
        User = image.Config.Config.User,
        Env = image.Config.Config.Env.ToList(),
        Cmd = NullIfEmpty(image.Config.Config.Cmd),
        Entrypoint = NullIfEmpty(image.Config.Config.Entrypoint),
        WorkingDir = image.Config.Config.WorkingDir,
        Labels = Labels(image),
        StopSignal = image.Config.Config.StopSignal,
        Healthcheck = image.Config.Config.Healthcheck,
        Volumes = image.Config.Config.Volumes.Keys.ToDictionary(v => v, _ => new EmptyView(), StringComparer.Ordinal),
        ExposedPorts = image.Config.Config.ExposedPorts.Keys.ToDictionary(p => p, _ => new EmptyView(), StringComparer.Ordinal),
    };

    private static ImageView View(Image image, bool isOld) => new()
    {
        Id = image.Id.ToString(),
        RepoTags = image.References.Select(DockerReference.Short).ToList(),
        RepoDigests = image.RepositoryDigests.Select(DockerReference.Short).ToList(),
        Created = DockerTime.Format(image.Created),
        Author = image.Config.Author ?? string.Empty,
        Config = ConfigView(image),
        ContainerConfig = ConfigView(image),
        Architecture = image.Config.Architecture,
        Variant = image.Config.Variant,
        Os = image.Config.Os,
        RootFS = new RootFsView { Layers = image.Config.RootFs.DiffIds.ToList() },
        Size = image.SizeBytes,
        VirtualSize = isOld ? image.SizeBytes : null,
    };
}

/// <summary>References as Docker's clients show them.</summary>
internal static class DockerReference
{
    /// <summary>Without what Docker's clients leave out: <c>docker.io/library/busybox:latest</c> is <c>busybox:latest</c>.</summary>
    internal static string Short(string reference)
    {
        const string hub = "docker.io/";
        const string library = "library/";
        var name = reference.StartsWith(hub, StringComparison.Ordinal) ? reference[hub.Length..] : reference;
        return name.Length < reference.Length && name.StartsWith(library, StringComparison.Ordinal) ? name[library.Length..] : name;
    }

    /// <summary>Whether a name fits a pattern of docker's <c>reference</c> filter: <c>*</c> and <c>?</c> within a path part; without a tag any tag.</summary>
    internal static bool Fits(string name, string pattern)
    {
        return FitsGlob(name, pattern) || FitsGlob(Untagged(name), pattern);
    }

    /// <summary>Without its tag; the colon of a port is none.</summary>
    internal static string Untagged(string name)
    {
        var colon = name.LastIndexOf(':');
        return colon > name.LastIndexOf('/') ? name[..colon] : name;
    }

    private static bool FitsGlob(ReadOnlySpan<char> text, ReadOnlySpan<char> pattern)
    {
        // A star is tried short first and taken back once at most per letter: linear in practice, quadratic at worst.
        int at = 0, p = 0, star = -1, from = 0;
        while (at < text.Length)
        {
            if (p < pattern.Length && (pattern[p] == text[at] || (pattern[p] == '?' && text[at] != '/')))
            {
                at++;
                p++;
            }
            else if (p < pattern.Length && pattern[p] == '*')
            {
                star = p++;
                from = at;
            }
            else if (star >= 0 && text[from] != '/')
            {
                p = star + 1;
                at = ++from;
            }
            else
            {
                return false;
            }
        }

        return pattern[p..].Trim('*').IsEmpty;
    }
}

/// <summary>A line of the list.</summary>
internal sealed record ImageListView(
    string Id,
    string ParentId,
    List<string> RepoTags,
    List<string> RepoDigests,
    long Created,
    long Size,
    long SharedSize,
    Dictionary<string, string> Labels,
    long Containers);

/// <summary>An image, whole.</summary>
internal sealed class ImageView
{
    public required string Id { get; init; }

    public required List<string> RepoTags { get; init; }

    public required List<string> RepoDigests { get; init; }

    public string Parent { get; init; } = string.Empty;

    public string Comment { get; init; } = string.Empty;

    public required string Created { get; init; }

    public string DockerVersion { get; init; } = string.Empty;

    public string Author { get; init; } = string.Empty;

    public ImageConfigView Config { get; init; } = new();

    /// <summary>Of the container in which Docker's first builder made the last layer; docker-compose 1 fails without it.</summary>
    public ImageConfigView ContainerConfig { get; init; } = new();

    public required string Architecture { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Variant { get; init; }

    public required string Os { get; init; }

    public long Size { get; init; }

    /// <summary>For clients that ask by a version before 1.44; later ones take the size.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? VirtualSize { get; init; }

    public GraphDriverView GraphDriver { get; init; } = new("overlayfs", null);

    public RootFsView RootFS { get; init; } = new();

    public Dictionary<string, string> Metadata { get; init; } = [];
}

/// <summary>What containers of an image get unless they ask for something else.</summary>
internal sealed class ImageConfigView
{
    public string User { get; init; } = string.Empty;

    public List<string> Env { get; init; } = [];

    public List<string>? Cmd { get; init; }

    public List<string>? Entrypoint { get; init; }

    public string WorkingDir { get; init; } = string.Empty;

    public Dictionary<string, string> Labels { get; init; } = [];

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? StopSignal { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public HealthCheck? Healthcheck { get; init; }

    public Dictionary<string, EmptyView> Volumes { get; init; } = [];

    public Dictionary<string, EmptyView> ExposedPorts { get; init; } = [];
}

/// <summary>The <c>{}</c> that Go writes as the value of a set.</summary>
internal sealed record EmptyView;

/// <summary>The layers, by the digests of their unpacked bytes.</summary>
internal sealed class RootFsView
{
    public string Type { get; init; } = "layers";

    public List<string> Layers { get; init; } = [];
}

/// <summary>A step that made an image.</summary>
internal sealed record ImageHistoryView(string Id, long Created, string CreatedBy, List<string> Tags, long Size, string Comment);
