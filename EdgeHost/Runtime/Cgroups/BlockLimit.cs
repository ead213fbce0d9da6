using System.Globalization;
using System.Text.Json;
using EdgeHost.Errors;

namespace EdgeHost.Runtime.Cgroups;

/// <summary>How much of a disk may be used in a second.</summary>
/// <param name="major">The disk.</param>
/// <param name="minor">The disk.</param>
/// <param name="kind">Of <see cref="Kinds"/>.</param>
/// <param name="rate">At least 1.</param>
public sealed class BlockLimit(long major, long minor, string kind, long rate)
{
    /// <summary>Bytes read and written, operations of reading and writing, in the words of io.max of v2.</summary>
    internal static readonly string[] Kinds = ["rbps", "wbps", "riops", "wiops"];

    // Where the runtime specification and v1 have them, in the same order.
    private static readonly string[] Fields = ["throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"];

    private static readonly string[] FilesOfV1 =
        ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device", "blkio.throttle.read_iops_device", "blkio.throttle.write_iops_device"];

    /// <summary>The disk as the kernel has it, as in <c>8:0</c>.</summary>
    public string Device { get; } = string.Create(CultureInfo.InvariantCulture, $"{major}:{minor}");

    /// <summary>What io.max shows of it.</summary>
    public string Setting { get; } = string.Create(CultureInfo.InvariantCulture, $"{kind}={rate}");

    /// <summary>The file of v1.</summary>
    public string FileOfV1 { get; } = FilesOfV1[Array.IndexOf(Kinds, kind)];

    /// <summary>The line of it.</summary>
    public string LineOfV1 => string.Create(CultureInfo.InvariantCulture, $"{Device} {rate}");

    /// <summary>Reads <c>linux.resources.blockIO</c>.</summary>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/> or <see cref="ErrorKind.Invalid"/>.</exception>
    internal static IReadOnlyList<BlockLimit> From(JsonElement? resources)
    {
        var limits = new List<BlockLimit>();
        if (resources is { ValueKind: JsonValueKind.Object } given)
        {
            foreach (var property in given.EnumerateObject())
            {
                var name = "linux.resources.blockIO." + property.Name;
                if (property.Name is "weight" or "leafWeight" or "weightDevice" && property.Value.GetRawText() is not ("0" or "null" or "[]"))
                {
                    throw new EdgeHostException(ErrorKind.Infeasible, $"{name}: this version cannot hold this limit; take it out");
                }

                var field = Array.IndexOf(Fields, property.Name);
                if (field >= 0 && property.Value.ValueKind != JsonValueKind.Null)
                {
                    Read(limits, name, Kinds[field], property.Value);
                }
            }
        }

        return limits;
    }

    private static void Read(List<BlockLimit> limits, string name, string kind, JsonElement list)
    {
        if (list.ValueKind != JsonValueKind.Array)
        {
            throw Invalid(name);
        }

        foreach (var item in list.EnumerateArray())
        {
            if (Number(name, item, "rate") is > 0 and var rate)
            {
                limits.Add(new BlockLimit(Number(name, item, "major"), Number(name, item, "minor"), kind, rate));
            }
        }
    }

    private static long Number(string name, JsonElement item, string field) =>
        item.ValueKind == JsonValueKind.Object && item.TryGetProperty(field, out var value) && value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out var number) && number >= 0
            ? number
            : throw Invalid(name);

    private static EdgeHostException Invalid(string name) => new(ErrorKind.Invalid, $"{name}: is not a list of objects with a major and a minor number and a rate");
}
