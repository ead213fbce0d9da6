using System.Runtime.InteropServices;
using System.Text.Json.Serialization;
using EdgeHost.Errors;

namespace EdgeHost.Oci;

/// <summary>What an image is built for, in Go's words (OCI image-spec, image-index.md).</summary>
public sealed record Platform
{
    /// <summary>The operating system: <c>linux</c>.</summary>
    [JsonPropertyName("os")]
    public string Os { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>The architecture: <c>arm64</c>, <c>arm</c>, <c>amd64</c>.</summary>
    [JsonPropertyName("architecture")]
    public string Architecture { get; init => field = value ?? string.Empty; } = string.Empty;

    /// <summary>Its variant: <c>v8</c>, <c>v7</c>.</summary>
    [JsonPropertyName("variant")]
    public string? Variant { get; init; }

    /// <summary>The platform of this board.</summary>
    public static Platform Host { get; } = RuntimeInformation.OSArchitecture switch
    {
        System.Runtime.InteropServices.Architecture.X64 => new() { Os = "linux", Architecture = "amd64" },
        System.Runtime.InteropServices.Architecture.Arm64 => new() { Os = "linux", Architecture = "arm64", Variant = "v8" },
        System.Runtime.InteropServices.Architecture.Arm => new() { Os = "linux", Architecture = "arm", Variant = "v7" },
        System.Runtime.InteropServices.Architecture.Armv6 => new() { Os = "linux", Architecture = "arm", Variant = "v6" },
        var other => new() { Os = "linux", Architecture = other.ToString().ToLowerInvariant() },
    };

    /// <summary>
    /// Chooses from an index as containerd does: the host's own architecture first, then what it also runs (arm64 runs
    /// arm v8 to v5, arm v7 runs v6 and v5, amd64 runs 386), and among equals the first.
    /// </summary>
    /// <param name="index">The index.</param>
    /// <param name="image">What it is called in an error.</param>
    /// <returns>The descriptor of the manifest.</returns>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>: nothing in it runs here.</exception>
    public Descriptor Choose(ImageIndex index, string image)
    {
        Descriptor? best = null;
        var bestRank = int.MaxValue;
        foreach (var entry in index.Manifests)
        {
            if (entry.Platform is { } platform && Rank(platform) is { } rank && rank < bestRank)
            {
                (best, bestRank) = (entry, rank);
            }
        }

        // An index of one image that names no platform (umoci and buildah write such): its configuration decides.
        best ??= index.Manifests.Count == 1 && index.Manifests[0].Platform is null ? index.Manifests[0] : null;
        if (best is not null)
        {
            return best;
        }

        var offered = index.Manifests
            .Where(entry => entry.Platform is { Os: not "unknown" })
            .Select(entry => entry.Platform!.ToString())
            .Distinct()
            .Take(16)
            .ToList();
        throw new EdgeHostException(
            ErrorKind.Infeasible,
            $"image {image} is not built for {this}: it is built for {(offered.Count == 0 ? "no platform that it names" : string.Join(", ", offered))}");
    }

    /// <summary>Refuses an image that this platform cannot run.</summary>
    /// <param name="config">Its configuration.</param>
    /// <param name="image">What it is called in an error.</param>
    /// <exception cref="EdgeHostException"><see cref="ErrorKind.Infeasible"/>, naming both platforms.</exception>
    public void Require(ImageConfig config, string image)
    {
        if (Rank(config.Platform) is null)
        {
            throw new EdgeHostException(ErrorKind.Infeasible, $"image {image} is not built for {this}: it is built for {config.Platform}");
        }
    }

    /// <inheritdoc/>
    public override string ToString() => Variant is { Length: > 0 } ? $"{Os}/{Architecture}/{Variant}" : $"{Os}/{Architecture}";

    /// <summary>How well an image for another platform runs on this one: 0 is best, null is not at all.</summary>
    internal int? Rank(Platform image)
    {
        if (!string.Equals(image.Os, Os, StringComparison.OrdinalIgnoreCase))
        {
            return null;
        }

        var (architecture, variant) = Normal(image);
        var order = Runs();
        var rank = order.FindIndex(one => one.Architecture == architecture && one.Variant == variant);
        return rank < 0 ? null : rank;
    }

    private List<(string Architecture, int Variant)> Runs()
    {
        var (architecture, variant) = Normal(this);
        var order = new List<(string, int)>();
        void Down(string name, int from, int to)
        {
            for (var v = from; v >= to; v--)
            {
                order.Add((name, v));
            }
        }

        switch (architecture)
        {
            case "arm64":
                Down("arm64", variant, 8);
                Down("arm", 8, 5);
                break;
            case "arm":
                Down("arm", variant, 5);
                break;
            case "amd64":
                Down("amd64", variant, 1);
                order.Add(("386", 0));
                break;
            default:
                order.Add((architecture, variant));
                break;
        }

        return order;
    }

    // As in containerd's platforms.Normalize: arm64 means v8, arm means v7, amd64 means v1.
    private static (string Architecture, int Variant) Normal(Platform platform)
    {
        var architecture = platform.Architecture.ToLowerInvariant() switch
        {
            "x86_64" or "x86-64" => "amd64",
            "aarch64" => "arm64",
            "armhf" => "arm",
            "armel" => "arm",
            "i386" => "386",
            var name => name,
        };
        var number = platform.Variant is null ? string.Empty : platform.Variant.TrimStart('v', 'V').Split('.')[0];
        var unknown = platform.Variant is { Length: > 0 } && !int.TryParse(number, out _);
        var fallback = architecture switch
        {
            "arm64" => 8,
            "arm" => platform.Architecture.Equals("armel", StringComparison.OrdinalIgnoreCase) ? 6 : 7,
            "amd64" => 1,
            _ => 0,
        };
        return (architecture, unknown ? -1 : int.TryParse(number, out var variant) ? variant : fallback);
    }
}
