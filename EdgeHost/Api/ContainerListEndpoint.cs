using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Images;

namespace EdgeHost.Api;

/// <summary><c>GET /containers/json</c>.</summary>
internal sealed class ContainerListEndpoint(IContainerEngine engine, IImageStore images, ApiOptions options)
{
    internal void Map(ApiRouter router) => router.Map("GET", "/containers/json", ListAsync);

    private Task ListAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "id", "name", "label", "status", "exited", "ancestor", "before", "since", "volume", "network", "health", "is-task", "expose", "publish");
        var limit = exchange.Query.Number("limit") is > 0 and var number ? number : long.MaxValue;
        // As in Docker, a limit and a filter on the state look at containers that have ended, too.
        var all = exchange.Query.Flag("all") || limit != long.MaxValue || filters.Has("status") || filters.Has("exited");
        if (filters.Has("before") || filters.Has("since"))
        {
            all = true;
        }

        var result = new List<ContainerListView>();
        foreach (var container in engine.List())
        {
            if (result.Count >= limit)
            {
                break;
            }

            if ((all || container.State is ContainerState.Running or ContainerState.Restarting) && Fits(container, filters))
            {
                result.Add(View(container, exchange.Query.Flag("size"), exchange.Aborted));
            }
        }

        return exchange.JsonAsync(200, result, DockerJson.Out.ListContainerListView);
    }

    private bool Fits(ContainerStatus container, DockerFilters filters) =>
        filters.Any("id", v => container.Id.StartsWith(v, StringComparison.Ordinal))
        && filters.Any("name", v => NameFits(container.Name, v))
        && filters.Labels(container.Effective.Labels)
        && filters.Any("status", v => v == StateWord(container))
        && filters.Any("exited", v => container.State is ContainerState.Exited or ContainerState.Dead && ContainerWords.ExitCode(container).ToString(System.Globalization.CultureInfo.InvariantCulture) == v)
        && filters.Any("ancestor", v => container.Spec.Image == v || container.ImageId.StartsWith(v, StringComparison.Ordinal) || images.Find(v)?.Id.ToString() == container.ImageId)
        && filters.Any("before", v => container.Created < engine.Inspect(v).Created)
        && filters.Any("since", v => container.Created > engine.Inspect(v).Created)
        && filters.Any("volume", v => container.Spec.Mounts.Any(m => m.Source == v || m.Target == v))
        && filters.Any("network", v => NetworkViews.NamesOf(container).Contains(v) || container.Sandbox.Endpoints.Any(each => each.NetworkId == v))
        && filters.Any("health", v => v == "none")
        && filters.Any("is-task", v => v is "false" or "0")
        && !filters.Has("expose") && !filters.Has("publish");

    // Docker takes a regular expression; clients write a name, a part of one, or ^/name$. These are understood without
    // the half megabyte of an engine for the rest.
    internal static bool NameFits(string name, string pattern)
    {
        var starts = pattern.StartsWith('^');
        var ends = pattern.EndsWith('$');
        var literal = pattern[(starts ? 1 : 0)..^(ends ? 1 : 0)].Replace("\\", string.Empty, StringComparison.Ordinal);
        if (literal.AsSpan().ContainsAny("*+?()[]{}|^$"))
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"filter name={pattern}: of regular expressions only ^ and $ are in this version");
        }

        var subject = literal.StartsWith('/') ? "/" + name : name;
        return (starts, ends) switch
        {
            (true, true) => subject == literal,
            (true, false) => subject.StartsWith(literal, StringComparison.Ordinal),
            (false, true) => subject.EndsWith(literal, StringComparison.Ordinal),
            _ => subject.Contains(literal, StringComparison.Ordinal),
        };
    }

    internal static string StateWord(ContainerStatus container) => container.State switch
    {
        ContainerState.Running when container.Paused => "paused",
        ContainerState.Created => "created",
        ContainerState.Running => "running",
        ContainerState.Restarting => "restarting",
        ContainerState.Removing => "removing",
        ContainerState.Exited => "exited",
        _ => "dead",
    };

    /// <summary>A line of the list.</summary>
    /// <param name="container">What it is about.</param>
    /// <param name="sized">Whether it says how much the container has written, for which all its directories are read.</param>
    /// <param name="cancel">Ends the reading.</param>
    internal ContainerListView View(ContainerStatus container, bool sized, CancellationToken cancel)
    {
        long? written = sized ? engine.MeasureBytes(container.Id, cancel) : null;
        return new ContainerListView(
            container.Id,
            ["/" + container.Name],
            container.Spec.Image,
            container.ImageId,
            ContainerWords.Quoted(container.Arguments),
            container.Created.ToUnixTimeSeconds(),
            NetworkViews.ListOf(container),
            new Dictionary<string, string>(container.Effective.Labels),
            StateWord(container),
            ContainerWords.Status(container, DateTimeOffset.UtcNow),
            new HostConfigListView(NetworkViews.ModeOf(container.Spec)),
            NetworkViews.SettingsOf(container),
            ContainerInspectEndpoint.MountPoints(container.Spec, options.DataDirectory))
        {
            SizeRw = written,
            SizeRootFs = written + (images.Find(container.ImageId)?.SizeBytes ?? 0),
        };
    }
}

/// <summary>A line of the list.</summary>
internal sealed record ContainerListView(
    string Id,
    List<string> Names,
    string Image,
    string ImageID,
    string Command,
    long Created,
    List<PortView> Ports,
    Dictionary<string, string> Labels,
    string State,
    string Status,
    HostConfigListView HostConfig,
    NetworkSettingsView NetworkSettings,
    List<MountPointView> Mounts)
{
    /// <summary>Bytes that it has written; only where sizes were asked for.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? SizeRw { get; init; }

    /// <summary>With those of its image.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? SizeRootFs { get; init; }
}

/// <summary>What of the host's part the list shows.</summary>
internal sealed record HostConfigListView(string NetworkMode);

/// <summary>Networks by name.</summary>
internal sealed record NetworkSettingsView(Dictionary<string, EndpointView> Networks)
{
    public Dictionary<string, List<PortBindingView>?> Ports { get; init; } = [];

    public string IPAddress { get; init; } = string.Empty;

    public string Gateway { get; init; } = string.Empty;

    public string MacAddress { get; init; } = string.Empty;

    public int IPPrefixLen { get; init; }

    public string GlobalIPv6Address { get; init; } = string.Empty;

    public int GlobalIPv6PrefixLen { get; init; }

    public string IPv6Gateway { get; init; } = string.Empty;

    public string SandboxID { get; init; } = string.Empty;

    public string SandboxKey { get; init; } = string.Empty;
}

/// <summary>A container's end in a network; none and host have no address of their own.</summary>
internal sealed record EndpointView
{
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? IPAMConfig { get; init; }

    public List<string>? Links { get; init; }

    public List<string>? Aliases { get; init; }

    public string NetworkID { get; init; } = string.Empty;

    public string EndpointID { get; init; } = string.Empty;

    public string Gateway { get; init; } = string.Empty;

    public string IPAddress { get; init; } = string.Empty;

    public int IPPrefixLen { get; init; }

    public string IPv6Gateway { get; init; } = string.Empty;

    public string GlobalIPv6Address { get; init; } = string.Empty;

    public int GlobalIPv6PrefixLen { get; init; }

    public string MacAddress { get; init; } = string.Empty;

    public Dictionary<string, string>? DriverOpts { get; init; }
}
