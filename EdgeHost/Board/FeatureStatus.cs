using System.Text.Json.Serialization;

namespace EdgeHost.Board;

/// <summary>How much EdgeHost depends on a feature.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<FeatureNeed>))]
public enum FeatureNeed
{
    /// <summary>Containers cannot be run, or their limits cannot be held, without it.</summary>
    [JsonStringEnumMemberName("required")]
    Required,

    /// <summary>Some deployments need it, or it makes failures rarer.</summary>
    [JsonStringEnumMemberName("recommended")]
    Recommended,
}

/// <summary>What was found of a feature.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<FeatureState>))]
public enum FeatureState
{
    /// <summary>It is there.</summary>
    [JsonStringEnumMemberName("present")]
    Present,

    /// <summary>It is not there, or not enough of it.</summary>
    [JsonStringEnumMemberName("missing")]
    Missing,

    /// <summary>This process could not find out; what was found says why.</summary>
    [JsonStringEnumMemberName("unknown")]
    Unknown,
}

/// <summary>A feature of the board as it was observed.</summary>
/// <param name="Name">What users know it by, as in <c>memory controller</c>.</param>
/// <param name="Need">How much depends on it.</param>
/// <param name="State">Whether it is there.</param>
/// <param name="Found">What was seen, in words.</param>
/// <param name="Remedy">One line on how to mend the lack; null when there is none.</param>
public sealed record FeatureStatus(string Name, FeatureNeed Need, FeatureState State, string Found, string? Remedy = null);
