using System.Net;
using System.Text.Json;
using System.Text.Json.Serialization;
using EdgeHost.Engine;
using EdgeHost.Errors;
using EdgeHost.Networks;

namespace EdgeHost.Api;

/// <summary><c>/networks</c>.</summary>
internal sealed class NetworkEndpoints(IContainerEngine engine, NetworkHost networks)
{
    private static readonly DateTimeOffset Always = DateTimeOffset.UnixEpoch;

    internal void Map(ApiRouter router)
    {
        router.Map("GET", "/networks", ListAsync);
        router.Map("POST", "/networks/create", CreateAsync);
        router.Map("POST", "/networks/prune", PruneAsync);
        router.Map("POST", "/networks/*/connect", ConnectAsync);
        router.Map("POST", "/networks/*/disconnect", DisconnectAsync);
        router.Map("GET", "/networks/*", InspectAsync);
        router.Map("DELETE", "/networks/*", RemoveAsync);
    }

    private Task ListAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "id", "name", "driver", "type", "scope", "label", "dangling");
        var dangling = filters.Switch("dangling");
        filters.Check("type", v => v is "builtin" or "custom");
        filters.Check("name", v => new NamePattern(v) is not null);
        var all = All().Where(view => filters.Any("id", v => view.Id.StartsWith(v, StringComparison.Ordinal))
            && filters.Any("name", v => new NamePattern(v).IsIn(view.Name))
            && filters.Any("driver", v => view.Driver == v)
            && filters.Any("type", v => v == (IsBuiltIn(view.Name) ? "builtin" : "custom"))
            && filters.Any("scope", v => v == "local")
            && (dangling is null || dangling == (view.Containers.Count == 0 && !IsBuiltIn(view.Name)))
            && filters.Labels(view.Labels));
        return exchange.JsonAsync(200, all.OrderBy(view => view.Name, StringComparer.Ordinal).ToList(), DockerJson.Out.ListNetworkView);
    }

    private Task InspectAsync(ApiExchange exchange)
    {
        var wanted = exchange.Values[0];
        return exchange.JsonAsync(200, All().FirstOrDefault(each => each.Name == wanted || each.Id == wanted) ?? View(networks.Find(wanted)), DockerJson.Out.NetworkView);
    }

    private async Task CreateAsync(ApiExchange exchange)
    {
        var body = await exchange.ReadJsonAsync(DockerJson.In.NetworkCreateBody);
        // Attachable, Ingress, ConfigOnly … belong to Swarm; what is asked for must be there.
        if (body.Rest?.FirstOrDefault(each => each.Value.ValueKind == JsonValueKind.True && each.Key is not ("CheckDuplicate" or "Attachable")).Key is { } key)
        {
            throw new EdgeHostException(ErrorKind.Unsupported, $"{key} is not in this version");
        }

        var record = networks.Create(new NetworkSpec
        {
            Name = body.Name ?? string.Empty,
            Driver = body.Driver is { Length: > 0 } driver ? driver : NetworkDrivers.Bridge,
            Subnets = [.. (body.IPAM?.Config ?? []).Where(each => !string.IsNullOrEmpty(each.Subnet)).Select(SubnetOf)],
            IsInternal = body.Internal,
            EnableIPv6 = body.EnableIPv6 ?? false,
            Options = body.Options ?? [],
            Labels = body.Labels ?? [],
        });
        await exchange.JsonAsync(201, new NetworkCreatedView(record.Id, string.Empty), DockerJson.Out.NetworkCreatedView);
    }

    private async Task ConnectAsync(ApiExchange exchange)
    {
        var body = await exchange.ReadJsonAsync(DockerJson.In.NetworkConnectBody);
        RefuseFixed(exchange.Values[0]);
        await engine.JoinNetworkAsync(ContainerOf(body), ContainerNetworkTranslation.Endpoint(exchange.Values[0], body.EndpointConfig, null), exchange.Aborted);
        await exchange.EmptyAsync(200);
    }

    private async Task DisconnectAsync(ApiExchange exchange)
    {
        var body = await exchange.ReadJsonAsync(DockerJson.In.NetworkConnectBody);
        RefuseFixed(exchange.Values[0]);
        await engine.LeaveNetworkAsync(ContainerOf(body), exchange.Values[0], exchange.Aborted);
        await exchange.EmptyAsync(200);
    }

    private static void RefuseFixed(string network)
    {
        if (network is "none" or "host")
        {
            throw new EdgeHostException(ErrorKind.Denied, $"container cannot be disconnected from {network} network or connected to {network} network; make it anew with --network");
        }
    }

    private static string ContainerOf(NetworkConnectBody body) =>
        string.IsNullOrEmpty(body.Container) ? throw new EdgeHostException(ErrorKind.Invalid, "Container: name the container") : body.Container;

    private Task RemoveAsync(ApiExchange exchange)
    {
        if (exchange.Values[0] is "none" or "host")
        {
            throw new EdgeHostException(ErrorKind.Denied, $"{exchange.Values[0]} is a pre-defined network and cannot be removed");
        }

        networks.Remove(exchange.Values[0]);
        return exchange.EmptyAsync(204);
    }

    private Task PruneAsync(ApiExchange exchange)
    {
        var filters = new DockerFilters(exchange.Query["filters"], "until", "label", "label!");
        var until = PruneEndpoints.Until(filters);
        var removed = new List<string>();
        var asked = engine.List().SelectMany(each => each.Spec.Endpoints).Select(each => each.Network).ToHashSet(StringComparer.Ordinal);
        foreach (var record in networks.Networks.Where(each => !each.IsDefault && !asked.Contains(each.Name) && !asked.Contains(each.Id) && !(each.Created > until) && filters.Labels(each.Labels) && filters.NotLabels(each.Labels)))
        {
            try
            {
                networks.Remove(record.Name);
                removed.Add(record.Name);
            }
            catch (EdgeHostException e) when (e.Kind == ErrorKind.Conflict)
            {
                // Somebody has moved in meanwhile.
            }
        }

        return exchange.JsonAsync(200, new NetworksPrunedView(removed), DockerJson.Out.NetworksPrunedView);
    }

    private static bool IsBuiltIn(string name) => name is "none" or "host" or NetworkDrivers.Bridge;

    private static SubnetSpec SubnetOf(AddressPoolBody body) => new(
        Network("Subnet", body.Subnet!),
        string.IsNullOrEmpty(body.IPRange) ? null : Network("IPRange", body.IPRange),
        string.IsNullOrEmpty(body.Gateway) ? null
            : IPAddress.TryParse(body.Gateway, out var gateway) ? gateway : throw new EdgeHostException(ErrorKind.Invalid, $"Gateway: \"{body.Gateway}\" is not an IP address"),
        body.AuxiliaryAddresses is { Count: > 0 } auxiliary ? auxiliary : null);

    private static IPNetwork Network(string key, string text) => IPNetwork.TryParse(text, out var network)
        ? network
        : throw new EdgeHostException(ErrorKind.Invalid, $"{key}: \"{text}\" is not a network, as in 10.5.0.0/24 (the part after the prefix is 0)");

    private IEnumerable<NetworkView> All() =>
    [
        .. networks.Networks.Select(View),
        new NetworkView { Name = "host", Id = NetworkViews.Digest("host"), Created = DockerTime.Format(Always), Driver = "host" },
        new NetworkView { Name = "none", Id = NetworkViews.Digest("none"), Created = DockerTime.Format(Always), Driver = "null" },
    ];

    private NetworkView View(NetworkRecord record) => new()
    {
        Name = record.Name,
        Id = record.Id,
        Created = DockerTime.Format(record.Created),
        Driver = record.Driver,
        EnableIPv6 = record.Subnets.Any(each => each.Gateway.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6),
        IPAM = new AddressesView("default", null, [.. record.Subnets.Select(each => new AddressPoolView(each.Subnet.ToString(), each.Range?.ToString(), each.Gateway.ToString(), each.Auxiliary))]),
        Internal = record.IsInternal,
        Clashes = networks.ClashesOf(record) is { Count: > 0 } clashes ? [.. clashes] : null,
        Options = new Dictionary<string, string>(record.Options),
        Labels = new Dictionary<string, string>(record.Labels),
        Containers = engine.List()
            .SelectMany(container => container.Sandbox.Endpoints.Where(each => each.NetworkId == record.Id).Select(each => (Container: container, Endpoint: each)))
            .ToDictionary(
                each => each.Container.Id,
                each => new NetworkContainerView(
                    each.Container.Name,
                    NetworkViews.EndpointIdOf(each.Container.Id, record.Id),
                    each.Endpoint.HardwareAddress,
                    AddressOf(each.Endpoint, isV6: false),
                    AddressOf(each.Endpoint, isV6: true)),
                StringComparer.Ordinal),
    };

    private static string AddressOf(Endpoint endpoint, bool isV6) => endpoint.Addresses
        .Where(each => each.Address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetworkV6 == isV6)
        .Select(each => $"{each.Address}/{each.Prefix}")
        .FirstOrDefault(string.Empty);
}

/// <summary>A network to be made.</summary>
internal sealed class NetworkCreateBody
{
    public string? Name { get; set; }

    public string? Driver { get; set; }

    public bool Internal { get; set; }

    public bool? EnableIPv6 { get; set; }

    public AddressesBody? IPAM { get; set; }

    public Dictionary<string, string>? Options { get; set; }

    public Dictionary<string, string>? Labels { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Rest { get; set; }
}

/// <summary>A container that is to join or leave a network.</summary>
internal sealed class NetworkConnectBody
{
    public string? Container { get; set; }

    public EndpointBody? EndpointConfig { get; set; }
}

/// <summary>Its subnets.</summary>
internal sealed class AddressesBody
{
    public List<AddressPoolBody>? Config { get; set; }
}

/// <summary>A subnet.</summary>
internal sealed class AddressPoolBody
{
    public string? Subnet { get; set; }

    public string? IPRange { get; set; }

    public string? Gateway { get; set; }

    public Dictionary<string, string>? AuxiliaryAddresses { get; set; }
}

/// <summary>A network.</summary>
internal sealed class NetworkView
{
    public required string Name { get; init; }

    public required string Id { get; init; }

    public required string Created { get; init; }

    public string Scope { get; init; } = "local";

    public required string Driver { get; init; }

    public bool EnableIPv4 { get; init; } = true;

    public bool EnableIPv6 { get; init; }

    public AddressesView IPAM { get; init; } = new("default", null, []);

    public bool Internal { get; init; }

    public bool Attachable { get; init; }

    public bool Ingress { get; init; }

    public bool ConfigOnly { get; init; }

    public Dictionary<string, NetworkContainerView> Containers { get; init; } = [];

    /// <summary>Ours: routes of this machine to the same addresses.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public List<string>? Clashes { get; init; }

    public Dictionary<string, string> Options { get; init; } = [];

    public Dictionary<string, string> Labels { get; init; } = [];
}

/// <summary>Its subnets.</summary>
internal sealed record AddressesView(string Driver, Dictionary<string, string>? Options, List<AddressPoolView> Config);

/// <summary>A subnet.</summary>
internal sealed record AddressPoolView(
    string Subnet,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? IPRange,
    string Gateway,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] Dictionary<string, string>? AuxiliaryAddresses);

/// <summary>A container in it.</summary>
internal sealed record NetworkContainerView(string Name, string EndpointID, string MacAddress, string IPv4Address, string IPv6Address);

/// <summary>The answer to its making.</summary>
internal sealed record NetworkCreatedView(string Id, string Warning);

/// <summary>What was removed.</summary>
internal sealed record NetworksPrunedView(List<string> NetworksDeleted);
