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

        Check(filters);
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

    /// <summary>What is wrong is so without any container, too.</summary>
    private void Check(DockerFilters filters)
    {
        filters.Check("status", v => v is "created" or "running" or "paused" or "restarting" or "removing" or "exited" or "dead");
        filters.Check("health", v => v is "none" or "starting" or "healthy" or "unhealthy");
        filters.Check("exited", v => int.TryParse(v, System.Globalization.NumberStyles.AllowLeadingSign, System.Globalization.CultureInfo.InvariantCulture, out _));
        filters.Check("publish", v => PortFilter.TryParse(v, out _));
        filters.Check("expose", v => PortFilter.TryParse(v, out _));
        _ = filters.Switch("is-task");
        filters.Check("name", v => new NamePattern(v) is not null);
        filters.Check("before", v => engine.Inspect(v) is not null);
        filters.Check("since", v => engine.Inspect(v) is not null);
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
        && filters.Any("health", v => v == (container.Health?.Word ?? "none"))
        && filters.Any("is-task", v => v is "false" or "0")
        && PortsFit(container, filters);

    // As in Docker one that fits either will do.
    private bool PortsFit(ContainerStatus container, DockerFilters filters) => (!filters.Has("expose") && !filters.Has("publish"))
        || Ports(container).Exists(port =>
            (filters.Has("publish") && filters.Any("publish", v => PortFilter.TryParse(v, out var wanted) && wanted.Fits(port.PublicPort, port.Type)))
            || (filters.Has("expose") && filters.Any("expose", v => PortFilter.TryParse(v, out var wanted) && wanted.Fits(port.PrivatePort, port.Type))));

    private List<PortView> Ports(ContainerStatus container) => NetworkViews.ListOf(container, NetworkViews.ExposedBy(container, images));

    /// <summary>Whether a name fits a filter, which is a regular expression; one with a slash in front is about the name as the API shows it.</summary>
    internal static bool NameFits(string name, string pattern)
    {
        var wanted = new NamePattern(pattern);
        return wanted.IsIn(name) || wanted.IsIn("/" + name);
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

    /// <summary>What something takes of the disk; one that is removed meanwhile takes nothing.</summary>
    internal static long Measured(Func<long> measure)
    {
        try
        {
            return measure();
        }
        catch (EdgeHostException e) when (e.Kind == ErrorKind.NotFound)
        {
            return 0;
        }
    }

    /// <summary>A line of the list.</summary>
    /// <param name="container">What it is about.</param>
    /// <param name="sized">Whether it says how much the container has written, for which all its directories are read.</param>
    /// <param name="cancel">Ends the reading.</param>
    internal ContainerListView View(ContainerStatus container, bool sized, CancellationToken cancel)
    {
        long? written = sized ? Measured(() => engine.MeasureBytes(container.Id, cancel)) : null;
        return new ContainerListView(
            container.Id,
            ["/" + container.Name],
            container.Spec.Image,
            container.ImageId,
            ContainerWords.Quoted(container.Arguments),
            container.Created.ToUnixTimeSeconds(),
            Ports(container),
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

/// <summary>Ports that a filter asks for: <c>80</c>, <c>80/udp</c>, <c>8000-8010/tcp</c>.</summary>
internal sealed class PortFilter(int first, int last, string protocol)
{
    internal static bool TryParse(string text, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out PortFilter? ports)
    {
        var slash = text.IndexOf('/', StringComparison.Ordinal);
        var range = slash < 0 ? text : text[..slash];
        var protocol = slash < 0 ? "tcp" : text[(slash + 1)..];
        var dash = range.IndexOf('-', StringComparison.Ordinal);
        var isGood = ushort.TryParse(dash < 0 ? range : range[..dash], out var first) & ushort.TryParse(dash < 0 ? range : range[(dash + 1)..], out var last);
        ports = isGood && first <= last && (protocol is "tcp" or "udp" or "sctp") ? new PortFilter(first, last, protocol) : null;
        return ports is not null;
    }

    internal bool Fits(int port, string type) => port >= first && port <= last && type == protocol;
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

/// <summary>The addresses that a container's end in a network must have.</summary>
internal sealed class EndpointAddressesView
{
    public string? IPv4Address { get; init; }

    public string? IPv6Address { get; init; }
}

/// <summary>A container's end in a network; none and host have no address of their own.</summary>
internal sealed class EndpointView
{
    /// <summary>The addresses that it was asked to have; null when any would do.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public EndpointAddressesView? IPAMConfig { get; set; }

    public List<string>? Links { get; init; }

    public List<string>? Aliases { get; init; }

    public List<string>? DNSNames { get; init; }

    public string NetworkID { get; init; } = string.Empty;

    public string EndpointID { get; init; } = string.Empty;

    public string Gateway { get; set; } = string.Empty;

    public string IPAddress { get; set; } = string.Empty;

    public int IPPrefixLen { get; set; }

    public string IPv6Gateway { get; set; } = string.Empty;

    public string GlobalIPv6Address { get; set; } = string.Empty;

    public int GlobalIPv6PrefixLen { get; set; }

    public string MacAddress { get; init; } = string.Empty;

    public Dictionary<string, string>? DriverOpts { get; init; }
}
