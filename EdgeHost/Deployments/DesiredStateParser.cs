using System.Text.Json;
using EdgeHost.Errors;
using EdgeHost.Oci;

namespace EdgeHost.Deployments;

/// <summary>
/// Turns received bytes into a <see cref="DesiredState"/>, or says what is wrong and where. A pure function of the
/// document, the board and the defaults. Nothing is guessed: an unknown field is refused, because it may have been the
/// one that mattered.
/// </summary>
public static class DesiredStateParser
{
    /// <summary>The fields of the document.</summary>
    internal static readonly string[] Fields = ["version", "networks", "workloads"];

    /// <summary>Parses a document.</summary>
    /// <param name="bytes">As received; kept, so the caller must not change them.</param>
    /// <param name="capacity">What the board has.</param>
    /// <param name="defaults">Limits for workloads that give none.</param>
    /// <exception cref="DesiredStateException">Invalid, larger than 1 MiB, more than the board has, or signed (which this version cannot verify).</exception>
    public static DesiredState Parse(ReadOnlyMemory<byte> bytes, BoardCapacity capacity, DefaultLimits defaults)
    {
        if (bytes.Length > DesiredState.MaximumBytes)
        {
            throw new DesiredStateException(
                ErrorKind.Invalid, string.Empty, $"{bytes.Length} bytes are more than the {DesiredState.MaximumBytes} (1 MiB) that are accepted");
        }

        using var document = ParseJson(bytes);
        var root = new JsonNode(document.RootElement, string.Empty);
        RefuseEnvelope(document.RootElement);

        long? version = null;
        try
        {
            // First, so that a refusal for anything else can name the version, wherever it stands.
            version = ReadVersion(root);
            var networks = ReadNetworks(root);
            var workloads = DependencyParser.Sort(ReadRest(root, capacity, defaults, networks));
            NetworkParser.RefuseClashes(workloads);
            return new DesiredState(version.Value, Used(networks, workloads), workloads, bytes, Digest.OfSha256(bytes.Span).ToString());
        }
        catch (DesiredStateException refusal)
        {
            refusal.Version = version;
            throw;
        }
    }

    private static JsonDocument ParseJson(ReadOnlyMemory<byte> bytes)
    {
        try
        {
            return JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = DesiredState.MaximumDepth });
        }
        catch (JsonException failure)
        {
            var place = failure.LineNumber is { } line ? $" at line {line + 1}, byte {failure.BytePositionInLine + 1}" : string.Empty;
            var reason = failure.Message.Contains("maximum configured depth", StringComparison.Ordinal)
                ? $"nested deeper than {DesiredState.MaximumDepth} levels{place}"
                : $"not JSON{place}";
            throw new DesiredStateException(ErrorKind.Invalid, string.Empty, reason);
        }
    }

    /// <summary>A DSSE envelope (in-toto DSSE, envelope.md) must not pass as anything else while nobody verifies it.</summary>
    private static void RefuseEnvelope(JsonElement root)
    {
        if (root.ValueKind == JsonValueKind.Object && root.TryGetProperty("payload"u8, out _) && root.TryGetProperty("signatures"u8, out _))
        {
            throw new DesiredStateException(
                ErrorKind.Unsupported,
                "signatures",
                "a signed document (DSSE envelope) cannot be verified by this version and is never accepted unverified; send the plain document");
        }
    }

    private static long ReadVersion(JsonNode root)
    {
        const string Expected = "a whole number from 1 on";
        foreach (var (name, value) in root.Properties("an object with version and workloads"))
        {
            if (name == "version")
            {
                var version = value.Integer(Expected);
                return version >= 1 ? version : throw value.Wrong(Expected);
            }
        }

        throw new DesiredStateException(ErrorKind.Invalid, "version", "missing; it is " + Expected + " that grows with every change");
    }

    /// <summary>Before the workloads, wherever they stand: what is in them is named by keys of this.</summary>
    private static Dictionary<string, WorkloadNetwork> ReadNetworks(JsonNode root)
    {
        var networks = new Dictionary<string, WorkloadNetwork>(StringComparer.Ordinal);
        foreach (var (name, value) in root.Properties("an object"))
        {
            if (name == "networks" && !value.IsNull)
            {
                foreach (var (key, network) in value.Properties("an object of networks by key"))
                {
                    if (networks.Count == DesiredState.MaximumNetworks)
                    {
                        throw value.Fail($"more than {DesiredState.MaximumNetworks} networks");
                    }

                    networks.Add(key, NetworkParser.Network(key, network));
                }
            }
        }

        return networks;
    }

    /// <summary>As in Compose, a network in which nobody is to be is not made.</summary>
    private static List<WorkloadNetwork> Used(Dictionary<string, WorkloadNetwork> networks, IReadOnlyList<WorkloadSpec> workloads)
    {
        var names = workloads.SelectMany(static workload => workload.Container.Endpoints).Select(static endpoint => endpoint.Network).ToHashSet(StringComparer.Ordinal);
        return networks.Values.Where(network => names.Contains(network.Spec.Name)).ToList();
    }

    private static List<WorkloadSpec> ReadRest(JsonNode root, BoardCapacity capacity, DefaultLimits defaults, Dictionary<string, WorkloadNetwork> networks)
    {
        List<WorkloadSpec>? workloads = null;
        foreach (var (name, value) in root.Properties("an object"))
        {
            switch (name)
            {
                case "version" or "networks":
                    break;
                case "workloads":
                    workloads = [];
                    foreach (var (workload, spec) in value.Properties("an object of workloads by name"))
                    {
                        if (workloads.Count == DesiredState.MaximumWorkloads)
                        {
                            throw value.Fail($"more than {DesiredState.MaximumWorkloads} workloads");
                        }

                        workloads.Add(WorkloadParser.Parse(workload, spec, capacity, defaults, networks));
                    }

                    break;
                case "services":
                    value.Unknown("unknown field; the services of Compose stand under workloads here");
                    break;
                default:
                    value.Unknown();
                    break;
            }
        }

        return workloads ?? throw new DesiredStateException(
            ErrorKind.Invalid, "workloads", "missing; an empty object removes every workload");
    }
}
