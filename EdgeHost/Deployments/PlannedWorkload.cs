using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using EdgeHost.Engine;

namespace EdgeHost.Deployments;

/// <summary>
/// A workload whose image is held: from here on it is decided which container it is. Two workloads with the same
/// <see cref="SpecHash"/> are the same container, whatever the version of the document.
/// </summary>
public sealed record PlannedWorkload
{
    /// <summary>On every container of ours: the version of the document that made it.</summary>
    public const string DeploymentLabel = "io.edgehost.deployment";

    /// <summary>The workload's name.</summary>
    public const string WorkloadLabel = ContainerLabels.Workload;

    /// <summary>The hash of what was asked for and of the image.</summary>
    public const string SpecLabel = "io.edgehost.spec";

    /// <summary>What a workload may subscribe to at the broker in the daemon: filters with blanks between them; without the label it may not use it.</summary>
    public const string MqttLabel = "io.edgehost.mqtt";

    /// <summary>On every network of ours: how the document calls it.</summary>
    public const string NetworkLabel = "io.edgehost.network";

    private PlannedWorkload(WorkloadSpec workload, string imageId, string specHash)
    {
        Workload = workload;
        ImageId = imageId;
        SpecHash = specHash;
    }

    /// <summary>What was asked for.</summary>
    public WorkloadSpec Workload { get; }

    /// <summary>The digest of the image's configuration.</summary>
    public string ImageId { get; }

    /// <summary>64 hex digits.</summary>
    public string SpecHash { get; }

    /// <summary>The container's name: it carries the hash, so that old and new can exist side by side and a crash leaves no doubt.</summary>
    public string ContainerName => $"{Workload.Name}-{SpecHash[..8]}";

    /// <summary>Decides which container a workload is.</summary>
    public static PlannedWorkload Create(WorkloadSpec workload, string imageId) => new(workload, imageId, Hash(workload, imageId));

    /// <summary>The workload that a container of ours stands for; null when the container is none of ours.</summary>
    public static (string Workload, string SpecHash)? Read(ContainerStatus container) =>
        container.Spec.Labels.ContainsKey(DeploymentLabel)
        && container.Spec.Labels.TryGetValue(WorkloadLabel, out var workload)
        && container.Spec.Labels.TryGetValue(SpecLabel, out var hash)
            ? (workload, hash)
            : null;

    /// <summary>The container to make.</summary>
    /// <param name="version">Of the document.</param>
    /// <param name="image">How the engine is to find the image: its reference or its id.</param>
    public ContainerSpec ToContainer(long version, string image)
    {
        var labels = new Dictionary<string, string>(Workload.Container.Labels, StringComparer.Ordinal)
        {
            [DeploymentLabel] = version.ToString(CultureInfo.InvariantCulture),
            [WorkloadLabel] = Workload.Name,
            [SpecLabel] = SpecHash,
        };
        if (Workload.DependsOn.Count > 0)
        {
            labels[ContainerLabels.DependsOn] = string.Join(',', Workload.DependsOn.Select(static dependency => dependency.On));
        }

        if (Workload.Mqtt is { } filters)
        {
            labels[MqttLabel] = string.Join(' ', filters);
        }

        return Workload.Container with { Name = ContainerName, Image = image, Labels = labels };
    }

    /// <summary>
    /// Every field in a fixed order. A field that is added later must be left out while it has its old meaning, or
    /// the update of EdgeHost restarts every workload.
    /// </summary>
    private static string Hash(WorkloadSpec workload, string imageId)
    {
        var buffer = new System.Buffers.ArrayBufferWriter<byte>(512);
        using (var json = new Utf8JsonWriter(buffer))
        {
            var spec = workload.Container;
            json.WriteStartArray();
            json.WriteNumberValue(1);
            json.WriteStringValue(imageId);
            List(json, spec.Entrypoint);
            List(json, spec.Command);
            List(json, spec.Environment);
            json.WriteStringValue(spec.WorkingDirectory);
            json.WriteStringValue(spec.User);
            json.WriteStringValue(spec.Hostname);
            List(json, spec.Labels.OrderBy(static label => label.Key, StringComparer.Ordinal).SelectMany(static label => new[] { label.Key, label.Value }));
            List(json, spec.Mounts.SelectMany(static mount => new[]
            {
                mount.Kind.ToString(), mount.Source, mount.Target, mount.ReadOnly ? "ro" : "rw", mount.Options ?? string.Empty,
            }));
            json.WriteNumberValue((int)spec.Network);
            json.WriteNumberValue(spec.Limits.MemoryBytes ?? -1);
            json.WriteNumberValue(spec.Limits.NanoCpus ?? -1);
            json.WriteNumberValue(spec.Limits.Pids ?? -1);
            json.WriteStringValue(spec.Limits.CpusetCpus);
            json.WriteNumberValue((int)spec.Restart.Kind);
            json.WriteNumberValue(spec.Restart.MaximumRetryCount);
            json.WriteStringValue(spec.StopSignal);
            json.WriteNumberValue(spec.StopGrace?.Ticks ?? -1);
            json.WriteBooleanValue(spec.ReadOnlyRoot);
            List(json, spec.AddCapabilities);
            List(json, spec.DropCapabilities);
            Added(json, "networks", spec.Endpoints.SelectMany(static endpoint => new[]
            {
                endpoint.Network, endpoint.Address4?.ToString() ?? string.Empty, endpoint.Address6?.ToString() ?? string.Empty, endpoint.HardwareAddress ?? string.Empty,
                string.Join(' ', endpoint.Aliases),
            }));
            Added(json, "ports", spec.Ports.Select(static port => $"{port.HostAddress}:{port.HostPort}:{port.ContainerPort}/{port.Protocol}"));
            Added(json, "dns", spec.Dns);
            Added(json, "dns_search", spec.DnsSearch);
            Added(json, "dns_opt", spec.DnsOptions);
            Added(json, "extra_hosts", spec.ExtraHosts);
            Added(json, "mqtt", workload.Mqtt is { } filters ? ["", .. filters] : []);
            Added(json, "depends_on", workload.DependsOn.Select(static dependency => $"{dependency.On} {dependency.Condition}"));
            Added(json, "userns_mode", spec.Users == UserNamespaceMode.Default ? [] : [spec.Users.ToString()]);
            Added(json, "memory", spec.Limits is { MemoryAndSwapBytes: null, MemoryReservationBytes: null } ? [] : [$"{spec.Limits.MemoryAndSwapBytes} {spec.Limits.MemoryReservationBytes}"]);
            Added(json, "blkio_config", spec.Limits.BlockRates ?? []);
            Added(json, "devices", spec.Devices);
            Added(json, "device_cgroup_rules", spec.DeviceRules);
            Added(json, "idmap", spec.Mounts.Where(static mount => mount.HostIds).Select(static mount => mount.Target));
            Added(json, "init", spec.Init ? ["true"] : []);
            if (spec.Health is { } health)
            {
                Added(json, "healthcheck", [.. health.Test, $"{health.Interval} {health.Timeout} {health.StartPeriod} {health.StartInterval} {health.Retries}"]);
            }

            json.WriteEndArray();
        }

        return Convert.ToHexStringLower(SHA256.HashData(buffer.WrittenSpan));

        static void Added(Utf8JsonWriter json, string field, IEnumerable<string> items)
        {
            if (items.Any())
            {
                json.WriteStringValue(field);
                List(json, items);
            }
        }

        static void List(Utf8JsonWriter json, IEnumerable<string>? items)
        {
            if (items is null)
            {
                json.WriteNullValue();
                return;
            }

            json.WriteStartArray();
            foreach (var item in items)
            {
                json.WriteStringValue(item);
            }

            json.WriteEndArray();
        }
    }
}
